"""What the node must remember between cycles, crash-safe."""

from reconciler.state.hold import STATE_FAULTS, Hold, Witness
from reconciler.state.records import Anchor, Carried, Owner, Suspension, Trial
from reconciler.state.store import LAST_GOOD, StateDirectory

__all__ = [
    "LAST_GOOD",
    "STATE_FAULTS",
    "Anchor",
    "Carried",
    "Hold",
    "Owner",
    "StateDirectory",
    "Suspension",
    "Trial",
    "Witness",
]
