"""The real executor and the real rollback on a fake engine: what the model says of each verb, and what is left of every failure."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reconciler.model import ASIDE, Container, Desired, File, Image, Running, State, aside
from reconciler.plan import in_force, quarantined
from reconciler.plan.differences import differences
from reconciler.reasons import Reason
from tests.apply.bed import Node, Unhurried, of_model
from tests.apply.fake import Fault, Killed
from tests.scenarios.test_properties import Draw, lines, quick, sites, situations, some_names
from tests.scenarios.world import World

MEMORY = "/dev/shm"


@contextmanager
def node(world: World) -> Iterator[Node]:
    # In memory where that is possible: each node syncs a hundred files.
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as place:
        yield Node(Path(place), world)


def bases(world: World) -> list[Desired]:
    return [world.memory.last_good] if world.memory.last_good else []


def different(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """What two summaries do not have in common: (found, expected)."""
    return {key: (found[key], expected[key]) for key in expected if found[key] != expected[key]}


@quick(40)
@given(situations())
def test_the_executor_does_what_the_model_says(situation: tuple[World, Desired]) -> None:
    """Plans are proved against the model: so what the model says of a verb has to be what the verb does."""
    world, desired = situation
    sites = [*bases(world), desired]
    with node(world) as real:
        assert different(real.summary(*sites), of_model(world, *sites)) == {}, "the two begin the same"
        theirs, (ours, outcomes) = world.converge(desired), real.converge(desired)
        assert lines(ours) == lines(theirs)
        assert [(o.action.line, o.message) for o in outcomes if o.result != "done"] == []
        assert different(real.summary(*sites), of_model(world, *sites)) == {}, lines(ours)


class Hurried:
    """Cuts the gates of some containers short."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def at(self, container: str, text: str) -> None:
        pass

    def cut(self, container: str) -> Event:
        event = Event()
        if container in self._names:
            event.set()
        return event


@quick(40)
@given(situations(), sites("r3"), some_names())
def test_where_a_gate_is_cut_short_a_newer_commit_goes_on(
    situation: tuple[World, Desired], later: Desired, names: set[str]
) -> None:
    world, desired = situation
    with node(world) as real:
        real.progress = Hurried(names)
        _, outcomes = real.converge(desired)
        assert {o.reason for o in outcomes if o.result == "failed"} <= {Reason.Interrupted}
        real.progress = Unhurried()
        finish(real, later)
        assert real.plan(later).empty and not real.rollback.kept()


# --- what fails ------------------------------------------------------------------------------------------------------

KILLS = (Fault.KILLED_BEFORE, Fault.KILLED_AFTER)
FAILURES = (Fault.UNREACHABLE, Fault.REFUSED, Fault.LOST, Fault.HALF)


def outside(running: Running) -> tuple[str, Any, Any]:
    """What nobody may change of a container that is no part of a plan."""
    return running.id, running.started_at, running.spec


def finish(real: Node, desired: Desired) -> list[str]:
    """Cycles until there is nothing left to do; what they did. What was refused for good is in quarantine, which is an end, too."""
    did: list[str] = []
    for _ in range(4):
        wanted, _ = real.converge(desired)
        if wanted.empty:
            return did
        did += lines(wanted)
    raise AssertionError(f"it never ends: {did}, after {real.faults.happened} of {real.faults.calls}, {real.last}")


def calls_of(world: World, desired: Desired) -> int:
    """How many calls a cycle makes when nothing fails."""
    with node(world) as real:
        real.converge(desired)
        return len(real.faults.calls)


def run(real: Node, desired: Desired, faults: dict[int, Fault]) -> None:
    """One cycle in which calls fail."""
    real.faults.planned = {len(real.faults.calls) + place: fault for place, fault in faults.items()}
    with suppress(Killed):
        real.converge(desired)
    real.faults.planned.clear()


@st.composite
def troubled(draw: Draw, kinds: tuple[Fault, ...], most: int = 1) -> tuple[World, Desired, dict[int, Fault]]:
    """A situation, and which calls of its next cycle fail."""
    world, desired = draw(situations())
    count = calls_of(world, desired)
    assume(count)
    places = st.lists(st.integers(1, count), min_size=1, max_size=most, unique=True)
    return world, desired, {place: draw(st.sampled_from(kinds)) for place in draw(places)}


@contextmanager
def nothing_else_is_touched(real: Node, desired: Desired) -> Iterator[None]:
    """What is somebody else's, and no target of the first plan, is in the end as it was."""
    actual, wanted = real.actual(desired), real.plan(desired)
    targets = {action.target for action in wanted.actions} | {action.container for action in wanted.actions}
    others = {
        name: outside(running)
        for name, running in real.engine.containers.items()
        if name not in targets and name.removeprefix(ASIDE) not in targets and not actual.containers[name].owned
    }
    yield
    theirs = {name for name, running in actual.containers.items() if not running.owned}
    assert {name for name in real.engine.together if aside(name) not in theirs} == set()
    assert others == {name: outside(real.engine.containers[name]) for name in others if name in real.engine.containers}


@quick(40)
@given(troubled(KILLS))
def test_killed_at_any_call_it_is_finished(trouble: tuple[World, Desired, dict[int, Fault]]) -> None:
    """A new process with the same state directory goes on; what it ends with is what it would have been without the kill."""
    world, desired, faults = trouble
    model = deepcopy(world)
    with node(world) as real, nothing_else_is_touched(real, desired):
        run(real, desired, faults)
        finish(real, desired)
        model.converge(desired)
        found, expected = real.summary(desired), of_model(model, desired)
        assert found["containers"].keys() == expected["containers"].keys()
        assert (found["files"], found["kept"]) == (expected["files"], [])
        for name, (spec, image, state, _) in expected["containers"].items():
            assert found["containers"][name][:3] == (spec, image, state), name


@quick(50)
@given(troubled(FAILURES, most=2))
def test_whatever_an_engine_does_it_ends_with_what_is_wanted_or_what_worked(
    trouble: tuple[World, Desired, dict[int, Fault]],
) -> None:
    """No answer, no, done with the answer lost, half done: afterwards each container of the site is there once and runs, as it
    should be or, in quarantine, as it was; no spare is left, and no previous file is kept for nothing."""
    world, desired, faults = trouble
    with node(world) as real, nothing_else_is_touched(real, desired):
        run(real, desired, faults)
        finish(real, desired)
        settled(real, desired)


def settled(real: Node, desired: Desired) -> None:
    """Everything that is ours is as it is to be kept."""
    memory, actual = real.state.memory(), real.actual(desired)
    target = real.target(desired)
    held = {held.target for held in real.plan(desired).held}
    failed = quarantined(target.desired, memory, target.part_digest)
    for name, container in in_force(target.desired, memory, failed).items():
        running = actual.containers.get(name)
        if name in held or (running is not None and not running.owned):
            continue
        assert running is not None and running.state is State.RUNNING, name
        assert differences(container, running, actual.images.get(container.image)) == (), name
        assert aside(name) not in actual.containers or not actual.containers[aside(name)].owned
    assert real.rollback.kept() <= held | failed


# --- what does not become healthy ------------------------------------------------------------------------------------


ONE = Container(
    "db", "image:1", service="db", config_directory="db", environment={"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS"}
)
BASE = Desired("site", "here", "r1", "/etc/kolla", containers=(ONE,), files=(File("db/x.conf", "a", container="db"),))
# What a revision changes → the verb that it takes.
CHANGES = {
    "replace": replace(BASE, containers=(replace(ONE, privileged=True),)),
    "replace and write": replace(
        BASE, containers=(replace(ONE, privileged=True),), files=(File("db/x.conf", "b", container="db"),)
    ),
    "restart": replace(BASE, files=(File("db/x.conf", "b", container="db"), File("db/y.conf", "b", container="db"))),
}  # fmt: skip


@pytest.mark.parametrize("sick", [False, True], ids=["healthy", "sick"])
@pytest.mark.parametrize("change", CHANGES)
def test_every_call_of_a_change_fails_in_every_way(change: str, sick: bool) -> None:
    """There and back again, one fault at each call: it ends with the change, or, when that is sick, with what worked."""
    world, head = World(), replace(CHANGES[change], revision="r2")
    world.images["image:1"] = Image("image:1")
    world.converge(BASE)

    def is_sick(real: Node, running: Running) -> str:
        new = running.spec.privileged or (real.root / "db/x.conf").read_text() == "b"
        return "its health check fails" if sick and new and running.spec.name == "db" else ""

    def attempt(faults: dict[int, Fault]) -> int:
        with node(world) as real:
            real.engine.sick = lambda running: is_sick(real, running)
            run(real, head, faults)
            assert faults or real.engine.containers["db"].state is State.RUNNING, "at once, not in the next cycle"
            finish(real, head)
            assert real.engine.together == [], "two would use the same data and ports"
            back = "db" in real.state.memory().quarantine
            assert back is sick or (back and Fault.REFUSED in faults.values()), (
                "only what is refused or sick is taken back"
            )
            running, kept = real.engine.containers["db"], BASE if back else head
            assert running.spec == kept.containers[0] and running.state is State.RUNNING
            assert {f.path: f.content for f in kept.files} == {
                path: (state.content or b"").decode() for path, state in real.actual(head).files.items()
            }
            assert list(real.engine.containers) == ["db"] and not real.rollback.kept()
            return len(real.faults.calls)

    for place in range(1, attempt({}) + 1):
        for fault in Fault:
            attempt({place: fault})


@st.composite
def mistakes(draw: Draw) -> tuple[World, Desired, str, dict[int, Fault]]:
    """A node that had converged, a revision with which one container does not become healthy, and calls that fail meanwhile."""
    world, base = World(), draw(sites("r1"))
    world.images["image:1"] = Image("image:1")
    world.converge(base)
    name = draw(st.sampled_from([container.name for container in base.containers]))
    if draw(st.booleans()):  # whether it is a file that is wrong
        more = File(f"{name}/x.conf", "wrong", container=name, on_change=draw(st.sampled_from(["restart", "reload"])))
        head = replace(base, files=(*(file for file in base.files if file.path != more.path), more))
    else:
        changes = draw(st.sampled_from([{"environment": {"WRONG": "1"}}, {"image": "image:3"}, {"privileged": None}]))
        head = replace(base, containers=tuple(_changed(c, changes) if c.name == name else c for c in base.containers))
    places = st.dictionaries(st.integers(1, 12), st.sampled_from((*FAILURES, *KILLS)), max_size=2)
    return world, replace(head, revision="r2"), name, draw(places)


def _changed(container: Container, changes: dict[str, Any]) -> Container:
    return replace(container, **({"privileged": not container.privileged} if "privileged" in changes else changes))


@quick(60)
@given(mistakes())
def test_what_does_not_become_healthy_goes_all_the_way_back(
    mistake: tuple[World, Desired, str, dict[int, Fault]],
) -> None:
    """Also when calls fail on the way, there or back: files, container and memory are those that worked."""
    world, desired, name, faults = mistake
    wanted = next(container for container in desired.containers if container.name == name)
    good = next(c for c in world.memory.last_good.containers if c.name == name)  # type: ignore[union-attr]
    with node(world) as real, nothing_else_is_touched(real, desired):
        before = {
            path: state.content for path, state in real.actual(desired).files.items() if path.startswith(f"{name}/")
        }

        def sick(running: Running) -> str:
            wrong = (real.root / name / "x.conf").exists() and (real.root / name / "x.conf").read_text() == "wrong"
            return "its health check fails" if running.spec.name == name and (wrong or _new(running)) else ""

        def _new(running: Running) -> bool:
            return good != wanted and running.spec == wanted

        real.engine.sick = sick
        run(real, desired, faults)
        finish(real, desired)
        running = real.engine.containers[name]
        found = {
            path: state.content for path, state in real.actual(desired).files.items() if path.startswith(f"{name}/")
        }
        assert (running.state, running.spec, found) == (State.RUNNING, good, before), (
            running.state,
            running.spec == good,
            found,
            before,
            lines(real.plan(desired)),
            real.faults.happened,
        )
        assert name in real.state.memory().quarantine, (faults, real.faults.calls, lines(real.plan(desired)))
        settled(real, desired)
        real.engine.sick = lambda running: ""
        mended = replace(
            desired, containers=tuple(good if c.name == name else c for c in desired.containers), revision="r3"
        )
        mended = replace(mended, files=world.memory.last_good.files)  # type: ignore[union-attr]
        finish(real, mended)
        assert real.state.memory().revision == "r3" and not real.plan(mended).held


@pytest.mark.slow
@pytest.mark.parametrize(
    ("proposition", "strategies"),
    [
        (test_the_executor_does_what_the_model_says, [situations()]),
        (test_killed_at_any_call_it_is_finished, [troubled(KILLS)]),
        (test_whatever_an_engine_does_it_ends_with_what_is_wanted_or_what_worked, [troubled(FAILURES, most=3)]),
        (test_what_does_not_become_healthy_goes_all_the_way_back, [mistakes()]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_with_many_examples(proposition: Any, strategies: list[st.SearchStrategy[Any]]) -> None:
    proved = given(*strategies)(proposition.hypothesis.inner_test)
    settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)(proved)()
