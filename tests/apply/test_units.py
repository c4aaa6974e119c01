"""Units of another tool are taken over without stopping what they run: what systemd is asked, and when it is not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.apply import units
from reconciler.reasons import Reason
from reconciler.system import run
from reconciler.system.run import Completed

UNIT = "kolla-mariadb-container.service"


class Manager:
    """systemd's answers. `heeds` False: it does not read what was put on top of a unit."""

    def __init__(self, runtime: Path, *, heeds: bool = True, refuses: str = "") -> None:
        self.runtime, self.heeds, self.refuses = runtime, heeds, refuses
        self.asked: list[str] = []
        self.on_top = ""  # as of the last daemon-reload

    def program(self, words: list[str], *, seconds: float) -> Completed:
        verb = words[1]
        self.asked.append(verb)
        if verb == self.refuses:
            return Completed(1, b"", b"Connection timed out")
        if verb == "daemon-reload" and self.heeds:
            self.on_top = "".join(path.read_text() for path in sorted(self.runtime.glob(f"{UNIT}.d/*.conf")))
        if verb == "show":
            lets_go = "ExecStop=\n" in self.on_top and "KillSignal=SIGKILL\n" in self.on_top
            return Completed(
                0,
                b"KillSignal=9\n"
                if lets_go
                else b"ExecStop={ path=/usr/bin/docker ; argv[]=/usr/bin/docker stop }\nKillSignal=15\n",
                b"",
            )
        return Completed(0, b"", b"")


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    (tmp_path / "system").mkdir()
    return tmp_path / "system"


@pytest.fixture
def managed(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Manager]:
    def make(**how: object) -> Manager:
        manager = Manager(runtime, **how)  # type: ignore[arg-type]
        monkeypatch.setattr(run, "program", manager.program)
        return manager

    return make


def test_a_unit_is_stopped_only_when_that_stops_nothing_else(runtime: Path, managed: Callable[..., Manager]) -> None:
    manager = managed()
    units.Systemd(runtime).take_over(UNIT)
    assert manager.asked == ["daemon-reload", "show", "stop", "disable", "daemon-reload"]
    assert manager.on_top == "" and not list(runtime.iterdir()), "what was put on top is taken away again"


def test_a_unit_that_would_stop_its_container_is_left_as_it_is(runtime: Path, managed: Callable[..., Manager]) -> None:
    manager = managed(heeds=False)
    with pytest.raises(errors.Transient, match=r"would still be stopped with signal 15") as refused:
        units.Systemd(runtime).take_over(UNIT)
    assert refused.value.reason == Reason.UnitFailed
    assert "stop" not in manager.asked and "disable" not in manager.asked and not list(runtime.iterdir())


@pytest.mark.parametrize("verb", ["daemon-reload", "show", "stop", "disable"])
def test_what_systemd_refuses_is_said_and_can_be_tried_again(
    verb: str, runtime: Path, managed: Callable[..., Manager]
) -> None:
    managed(refuses=verb)
    with pytest.raises(errors.Transient, match=rf"{UNIT}: systemctl {verb}: Connection timed out"):
        units.Systemd(runtime).take_over(UNIT)
    assert not list(runtime.iterdir())
    manager = managed()
    units.Systemd(runtime).take_over(UNIT)
    assert manager.asked[-2:] == ["disable", "daemon-reload"]


def test_what_others_put_on_top_stays(runtime: Path, managed: Callable[..., Manager]) -> None:
    (runtime / f"{UNIT}.d").mkdir()
    theirs = runtime / f"{UNIT}.d" / "limits.conf"
    theirs.write_text("[Service]\nLimitNOFILE=1\n")
    managed()
    units.Systemd(runtime).take_over(UNIT)
    assert list((runtime / f"{UNIT}.d").iterdir()) == [theirs]


def test_without_systemd_nothing_starts_units(tmp_path: Path, managed: Callable[..., Manager]) -> None:
    manager = managed()
    units.Systemd(tmp_path / "none").take_over(UNIT)
    assert manager.asked == []
