"""What the node must remember between cycles, crash-safe."""

from reconciler.state.store import Anchor, Owner, StateDirectory, Suspension, Trial

__all__ = ["Anchor", "Owner", "StateDirectory", "Suspension", "Trial"]
