"""A container whose successor can run beside it is not stopped before that one serves, and goes on where it does not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from reconciler.model import Container, Desired, Drain, File, Handover, Reload, aside
from reconciler.reasons import Reason
from tests.apply.bed import Node, Told, Unhurried, settled
from tests.apply.fake import Fault, Killed

LB = Container(
    "lb", "i", service="lb", config_directory="lb", reload=Reload(command=("reload",)),
    drain=Drain(signal="WINCH"), handover=Handover(("test", "-s", "pid"), "USR1", 5),
)  # fmt: skip
BEFORE = Desired("site", "here", "r1", "/etc/kolla", (LB,), files=(File("lb/x.conf", "a", container="lb"),))
AFTER = replace(BEFORE, revision="r2", containers=(replace(LB, image="new"),))
SPARE = aside("lb")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return settled(tmp_path, BEFORE)


def asked(node: Node) -> list[str]:
    return [call for call in node.faults.calls if not call.startswith("pull")]


def test_the_old_one_runs_until_the_new_one_serves(node: Node) -> None:
    _, outcomes = node.converge(AFTER)
    assert {outcome.result for outcome in outcomes} == {"done"}
    assert asked(node) == [
        f"rename lb {SPARE}", "create lb", "start lb", "execute lb", f"finish {SPARE} USR1", f"remove {SPARE}",
    ]  # fmt: skip
    assert node.plan(AFTER).empty


def test_one_that_does_not_end_is_stopped(node: Node) -> None:
    node.faults.planned = {5: Fault.REFUSED}
    _, outcomes = node.converge(AFTER)
    assert {outcome.result for outcome in outcomes} == {"done"}
    assert f"stop {SPARE}" in asked(node) and node.plan(AFTER).empty


def test_what_does_not_run_has_nothing_to_hand_over(node: Node) -> None:
    node.engine.stop("lb")
    node.faults.calls.clear()
    node.converge(AFTER)
    assert asked(node) == [f"rename lb {SPARE}", "create lb", "start lb", f"remove {SPARE}"]


def test_a_restart_stays_one(node: Node) -> None:
    node.converge(replace(BEFORE, revision="r2", files=(File("lb/x.conf", "b", container="lb"),)))
    assert node.faults.calls == ["finish lb WINCH", "restart lb"]


def test_one_that_does_not_take_over_leaves_the_old_one_where_it_was(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = node.engine.containers["lb"]
    execute = node.engine.execute

    def ends(name: str, command: Sequence[str], timeout: float = 60.0) -> tuple[int, str]:
        if command == ("reload",):
            return execute(name, command, timeout)
        node.engine.stop(name)
        return 1, "no such socket"

    monkeypatch.setattr(node.engine, "execute", ends)
    _, outcomes = node.converge(AFTER)
    assert outcomes[-1].result == "rolled-back" and outcomes[-1].reason == Reason.StartTimeout
    assert "did not take over from the one before: no such socket" in outcomes[-1].message
    after = node.engine.containers["lb"]
    assert (after.id, after.started_at) == (before.id, before.started_at), "it was never stopped"
    assert asked(node)[-1] == "execute lb", "what the new one took of it, it makes again"
    assert not node.engine.exists(SPARE) and node.plan(BEFORE).empty


def test_one_that_takes_over_and_is_not_well_is_followed_by_the_old_one(node: Node) -> None:
    node.engine.sick = lambda running: "is not well" if running.spec.image == "new" else ""
    _, outcomes = node.converge(AFTER)
    assert outcomes[-1].result == "rolled-back"
    assert asked(node)[-3:] == ["remove lb", f"rename {SPARE} lb", "start lb"]
    assert node.plan(BEFORE).empty


@pytest.mark.parametrize("place", range(1, 7))
@pytest.mark.parametrize("fault", [Fault.KILLED_BEFORE, Fault.KILLED_AFTER])
def test_the_next_pass_goes_on_from_wherever_it_was_killed(node: Node, place: int, fault: Fault) -> None:
    node.faults.planned = {place: fault}
    with pytest.raises(Killed):
        node.converge(AFTER)
    node.faults.planned = {}
    for _ in range(3):
        node.converge(AFTER)
    assert node.plan(AFTER).empty and not node.engine.exists(SPARE) and node.engine.runs("lb")


def test_it_is_asked_whether_it_serves_until_it_does(node: Node) -> None:
    answers, asked = [(1, ""), (1, ""), (0, "")], list[tuple[str, Sequence[str]]]()
    node.progress = told = Told()
    node.engine.says = lambda name, command: (asked.append((name, command)), answers.pop(0))[1]
    node.engine.granted.clear()
    assert {outcome.result for outcome in node.converge(AFTER)[1]} == {"done"}
    assert asked == [("lb", ("test", "-s", "pid"))] * 3 and told.waited == [0.2] * 2
    assert node.engine.granted == [("execute lb", 30.0)] * 3 + [(f"finish {SPARE}", 5), (f"stop {SPARE}", None)]
    assert "waiting for lb to take over from the one before" in told.told


@pytest.mark.parametrize(("output", "why"), [(" x\n", "x"), ("", "exit code 3"), ("y" * 400, "y" * 300)])
def test_there_is_an_end_to_that(node: Node, monkeypatch: pytest.MonkeyPatch, output: str, why: str) -> None:
    now = [1000.0]

    def asks(name: str, command: Sequence[str]) -> tuple[int, str]:
        if command == ("reload",):
            return 0, ""
        now[0] += 10.0
        return 3, output

    monkeypatch.setattr("reconciler.apply.drain.time.monotonic", lambda: now[0])
    monkeypatch.setattr("reconciler.apply.drain._LOOKING", 0.0)
    node.engine.says = asks
    outcome = node.converge(AFTER)[1][-1]
    assert (outcome.result, outcome.reason) == ("rolled-back", Reason.StartTimeout)
    assert outcome.message.partition("\n")[0] == f"lb: lb did not take over from the one before: {why}"
    assert now[0] == 1040.0, "30 s, and the one that was being asked then"


def test_a_program_that_ends_meanwhile_leaves_both_as_they_are(node: Node) -> None:
    class Ending(Unhurried):
        def cut(self, container: str) -> Event:
            event = Event()
            event.set()
            return event

    node.progress = Ending()
    node.engine.says = lambda name, command: (1, "not yet")
    outcome = node.converge(AFTER)[1][-1]
    assert (outcome.reason, outcome.message) == (Reason.Interrupted, "lb was not waited for to the end")
    assert node.engine.runs("lb") and node.engine.runs(SPARE)


def test_one_that_serves_beside_the_old_one_has_interrupted_nothing(node: Node) -> None:
    node.converge(AFTER)
    assert not node.state.memory().interruptions
