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
    """systemd's answers. `heeds` False: it does not read what was put on top of a unit; `keeps` is a property that stays all the same."""

    def __init__(self, runtime: Path, *, heeds: bool = True, refuses: str = "", keeps: str = "") -> None:
        self.runtime, self.heeds, self.refuses, self.keeps = runtime, heeds, refuses, keeps
        self.asked: list[str] = []
        self.words: list[list[str]] = []
        self.times: set[float] = set()
        self.on_top = ""  # as of the last daemon-reload

    def program(self, words: list[str], *, seconds: float) -> Completed:
        verb = words[1]
        self.asked.append(verb)
        self.words.append(words)
        self.times.add(seconds)
        if verb == self.refuses:
            return Completed(1, b"", b"Connection timed out")
        if verb == "daemon-reload" and self.heeds:
            self.on_top = "".join(path.read_text() for path in sorted(self.runtime.glob(f"{UNIT}.d/*.conf")))
        if verb == "show":
            return Completed(0, self.shows({word.removeprefix("--property=") for word in words[2:-1]}).encode(), b"")
        return Completed(0, b"", b"")

    def shows(self, wanted: set[str]) -> str:
        """The unit's properties as they are with what is on top: those that were asked for, as `systemctl show` writes them."""
        stop = "{ path=/usr/bin/docker ; argv[]=/usr/bin/docker stop }"
        there = {"ExecStop": stop, "ExecStopPost": stop, "KillSignal": "15", "Type": "simple"}
        for name, _, value in (line.partition("=") for line in self.on_top.splitlines()):
            if name in there and name != self.keeps:
                there[name] = value.replace("SIGKILL", "9")
        return "".join(f"{name}={value}\n" for name, value in there.items() if name in wanted and value)


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
    assert [words for words in manager.words if words[1] in ("stop", "disable")] == [
        ["systemctl", "stop", UNIT], ["systemctl", "disable", "--no-reload", UNIT]
    ]  # fmt: skip
    assert manager.times == {120}, "nobody waits for it for ever"


@pytest.mark.parametrize("keeps", ["ExecStop", "ExecStopPost"])
def test_whatever_of_it_would_stop_the_container_is_found(
    keeps: str, runtime: Path, managed: Callable[..., Manager]
) -> None:
    manager = managed(keeps=keeps)
    with pytest.raises(errors.Transient) as refused:
        units.Systemd(runtime).take_over(UNIT)
    assert str(refused.value) == (
        f"cannot take over {UNIT}: it would still be stopped with {{ path=/usr/bin/docker ; argv[]=/usr/bin/docker stop }}, "
        "so it is left as it is"
    )
    assert "stop" not in manager.asked and "disable" not in manager.asked and not list(runtime.iterdir())


def test_what_is_put_on_top_is_nobody_s_secret_and_comes_last(
    runtime: Path, managed: Callable[..., Manager], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After whatever an operator put there for the same keys."""
    theirs = runtime / f"{UNIT}.d" / "zz-operator.conf"
    theirs.parent.mkdir()
    theirs.write_text("[Service]\nExecStop=/usr/bin/docker stop db\n")
    manager = managed()
    seen: dict[str, int] = {}

    def program(words: list[str], *, seconds: float) -> Completed:
        seen.update({path.name: path.stat().st_mode & 0o777 for path in theirs.parent.iterdir()})
        return manager.program(words, seconds=seconds)

    monkeypatch.setattr(run, "program", program)
    units.Systemd(runtime).take_over(UNIT)
    assert sorted(seen)[-1] == "zz-reconciler.conf" and seen["zz-reconciler.conf"] == 0o644
    assert list(theirs.parent.iterdir()) == [theirs]


def test_a_folder_that_cannot_be_written_is_said(runtime: Path, managed: Callable[..., Manager]) -> None:
    (runtime / f"{UNIT}.d").write_text("a file in its place")
    manager = managed()
    with pytest.raises(errors.Transient) as refused:
        units.Systemd(runtime).take_over(UNIT)
    assert refused.value.reason is Reason.UnitFailed
    assert str(refused.value) == f"cannot take over {UNIT}: {runtime / UNIT}.d cannot be written: File exists"
    assert manager.asked == []


def test_what_cannot_be_told_is_not_stopped(
    runtime: Path, managed: Callable[..., Manager], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = managed()
    monkeypatch.setattr(manager, "shows", lambda wanted: "")
    with pytest.raises(errors.Transient, match="it would still be stopped with signal unknown, so"):
        units.Systemd(runtime).take_over(UNIT)
    assert "stop" not in manager.asked


def test_what_is_given_back_starts_at_boot_and_runs(managed: Callable[..., Manager]) -> None:
    manager = managed()
    units.Systemd().give_back(UNIT)
    assert manager.words == [["systemctl", "enable", UNIT], ["systemctl", "start", UNIT]]
    manager = managed(refuses="enable")
    with pytest.raises(errors.Transient, match=f"{UNIT}: systemctl enable: Connection timed out"):
        units.Systemd().give_back(UNIT)
    assert manager.asked == ["enable"]


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
