"""What the node must remember between cycles, crash-safe."""

from reconciler.state.store import Anchor, StateDirectory, Suspension, Trial

__all__ = ["Anchor", "StateDirectory", "Suspension", "Trial"]
