"""Reasons to wait."""

from reconciler.gates import other_tool
from reconciler.gates.holds import GATES, Hold, Situation, holds

__all__ = ["GATES", "Hold", "Situation", "holds", "other_tool"]
