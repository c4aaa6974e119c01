"""What a service has on a host out of use: what is shown of it, and why it failed. Its verb: `tests/cli/test_draining.py`."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest

from reconciler import errors
from reconciler.apply import OneShot, maintenance
from reconciler.model import Container, Desired, Image, Job, Maintenance
from reconciler.node.maintenance import Elsewhere
from reconciler.node.target import make_target
from reconciler.reasons import Reason
from reconciler.source.prepare import Prepared

STEP = Maintenance("things", "web", ("move",), "they go elsewhere", service="s")
WEB = Container("web", "image:1", network_mode="host")


@dataclass
class Engine:
    """What the program writes, by its first word; it ends when its output was looked at `looks` times."""

    says: dict[str, tuple[int, str]] = field(default_factory=dict)
    looks: int = 1
    jobs: list[Job] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    under_way: bool = False
    _seen: Event = field(default_factory=Event)

    def run_once(self, job: Job, claim: str = "") -> tuple[int, str]:
        self.jobs.append(job)
        found = self.says.get(" ".join((job.container.command or ())[1:2]), (0, ""))
        assert self._seen.wait(60)
        return found

    def output(self, name: str, lines: int) -> str:
        """A line more with each look."""
        if self.looks == 0:
            self._seen.set()
            return ""  # the container is gone
        self.looks -= 1
        return "\n".join(self.says["out"][1].splitlines()[: len(self.says["out"][1].splitlines()) - self.looks])

    def exists(self, name: str) -> bool:
        return self.under_way

    runs = exists

    def stop(self, name: str, timeout: int | None = None) -> None:
        self.stopped.append(name)

    def image(self, name: str) -> Image:
        return Image(name)


def run(engine: Engine, folder: Path, *words: str) -> list[str]:
    told: list[str] = []
    one_shot = OneShot(WEB, (), {}, "d", folder)
    if words[0] == "out":
        maintenance.out(cast(Any, engine), STEP, one_shot, words[1], told.append)
    else:
        maintenance.back(cast(Any, engine), STEP, one_shot, told.append)
    return told


def test_every_line_is_shown_once_and_those_of_errors_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "_LOOKING", 0.01)
    engine = Engine({"out": (0, "a\nb\nb\nc")}, looks=3)
    assert run(engine, tmp_path, "out", "a disk") == ["a", "b", "b", "c"]
    job = engine.jobs[0]
    assert job.container.command == ("move", "out", "a disk") and job.container.network_mode == "host" and job.verbatim
    engine = Engine({"out": (1, "a\nerror: b is in use\nerror: c as well")}, looks=3)
    with pytest.raises(errors.Terminal, match=r"(?s)things: b is in use\nc as well") as caught:
        run(engine, tmp_path, "out", "a disk")
    assert caught.value.reason == "DrainRefused"
    engine = Engine({"out": (127, "bash: move: not found")})
    with pytest.raises(errors.Terminal, match="things: there is no program for it: move"):
        run(engine, tmp_path, "out", "a disk")


def test_what_is_under_way_ends_before_it_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_LOOKING", 0.01)
    engine = Engine({"back": (0, "it is back")}, looks=0, under_way=True)
    assert run(engine, tmp_path, "back") == ["it is back"]
    assert engine.stopped == ["reconciler-maintenance-things"]


def test_where_one_cannot_go_those_before_it_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_LOOKING", 0.01)
    second = replace(STEP, name="more", command=("more",))
    desired = Desired("s", "h", "r", str(tmp_path), containers=(WEB,), maintenance=(STEP, second))
    engine, told = Engine(looks=0), list[str]()
    engine.says = {"back": (0, "it is back")}
    elsewhere = Elsewhere(cast(Any, engine), make_target(Prepared(desired, {})), told.append)

    def ran() -> list[str]:
        return [" ".join(job.container.command or ()) for job in engine.jobs]

    elsewhere.out("x")
    elsewhere.back()
    assert ran() == ["move out x", "more out x", "more back", "move back"]
    assert told == ["things: they go elsewhere", "more: they go elsewhere", "it is back", "it is back"]

    engine.jobs.clear()
    engine.says = {"out": (1, "error: no"), "back": (0, "")}
    real = Engine.run_once
    monkeypatch.setattr(
        Engine, "run_once", lambda self, job, claim="": (real(self, job), (0, ""))["things" in job.name]
    )
    with pytest.raises(errors.Terminal, match=r"^more: no$"):
        elsewhere.out("x")
    assert ran() == ["move out x", "more out x", "more back", "move back"]
    engine.says["back"] = (1, "error: nobody answers")
    with pytest.raises(errors.Terminal, match=r"^more: no\nand it is not as it was: more: nobody answers$"):
        elsewhere.out("x")


def test_it_has_what_the_service_says_and_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_LOOKING", 0.01)
    seen: list[str] = []

    class Looks(Engine):
        def run_once(self, job: Job, claim: str = "") -> tuple[int, str]:
            place = tmp_path / ".reconciler-validate" / job.name
            seen.extend(str(path.relative_to(place)) for path in sorted(place.rglob("*")) if path.is_file())
            return super().run_once(job, claim)

    engine = Looks({"out": (0, "")}, looks=0)
    step = replace(STEP, script="#!/bin/sh\n", user="nova", timeout=77)
    web = replace(WEB, config_directory="web", user="root")
    maintenance.out(cast(Any, engine), step, OneShot(web, (), {}, "d", tmp_path), "a disk", seen.append)
    (job,) = engine.jobs
    assert (job.name, job.timeout, job.verbatim) == ("reconciler-maintenance-things", 77, True)
    assert (job.container.user, job.container.network_mode) == ("nova", "host")
    assert seen == ["web/reconciler-check"]
    assert engine.stopped == [], "one that runs already is waited for"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((3, ""), "exit code 3"),
        ((3, "moving\nfailed: no host\n"), "failed: no host"),
        ((3, "error: \n"), ""),
        ((126, "error: a"), "there is no program for it: move"),
    ],
)
def test_why_it_could_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str], why: str) -> None:
    monkeypatch.setattr(maintenance, "_LOOKING", 0.01)
    with pytest.raises(errors.Terminal) as caught:
        run(Engine({"out": answer}, looks=0), tmp_path, "out", "a disk")
    assert caught.value.reason == "DrainRefused"
    assert str(caught.value) == f"things: {why or 'error:'}".rstrip()


def test_what_the_engine_refuses_is_its_own_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_LOOKING", 0.01)

    def late(job: Job, claim: str = "") -> tuple[int, str]:
        raise errors.Terminal("it did not end in time", reason=Reason.JobTimeout)

    engine = Engine({"out": (0, "")}, looks=0)
    engine.run_once = late  # type: ignore[method-assign]
    with pytest.raises(errors.Terminal, match=r"^it did not end in time$") as caught:
        run(engine, tmp_path, "out", "a disk")
    assert caught.value.reason is Reason.JobTimeout


def test_what_does_not_run_is_not_stopped_before_it_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_LOOKING", 0.01)
    times: list[tuple[str, int | None]] = []

    class There(Engine):
        def stop(self, name: str, timeout: int | None = None) -> None:
            times.append((name, timeout))

    engine = There({"back": (0, "")}, looks=0)
    run(engine, tmp_path, "back")
    engine = There({"back": (0, "")}, looks=0, under_way=True)
    engine.runs = lambda name: False  # type: ignore[method-assign,misc]
    run(engine, tmp_path, "back")
    assert times == []
    run(There({"back": (0, "")}, looks=0, under_way=True), tmp_path, "back")
    assert times == [("reconciler-maintenance-things", 5)]
    assert engine.jobs[0].container.command == ("move", "back")
