"""Reasons to wait."""

from reconciler.gates.holds import GATES, OUTSIDE_WINDOW, REPORT_ONLY, SUSPENDED, Hold, Situation, holds

__all__ = ["GATES", "OUTSIDE_WINDOW", "REPORT_ONLY", "SUSPENDED", "Hold", "Situation", "holds"]
