"""How long restarts were felt: the last few of each container, for as long as the site has it."""

from pathlib import Path

from reconciler.model import Container, Desired, Interruption
from reconciler.state import StateDirectory


def test_the_last_few_of_each(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    state.create()
    assert state.interruptions() == {}
    for seconds in (100.0, 9.0, 9.14, 8.0, 30.0, 10.0):
        state.interrupted("keystone", seconds)
    state.interrupted("gone", 1.0)
    again = StateDirectory(tmp_path / "state")
    assert again.interruptions() == {"keystone": Interruption(9.1, 5), "gone": Interruption(1.0, 1)}
    again.converged(Desired("south", "ctl1", "r", "/etc/kolla", (Container("keystone", "image"),)))
    assert again.interruptions().keys() == {"keystone"}
    (tmp_path / "state" / "memory.json").write_text("{")
    assert again.interruptions() == {}
