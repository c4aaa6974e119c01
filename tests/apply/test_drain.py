"""A container that others stand in for is out of use before it is stopped, and what says that it is well says so again once it is."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from structlog.testing import capture_logs

from reconciler import errors
from reconciler.model import Container, Desired, Drain, File, Image, aside
from reconciler.reasons import Reason
from tests.apply.bed import Node, Told, Unhurried
from tests.apply.fake import Fault
from tests.scenarios.world import World

DRAIN = Drain(stop=("db_check",), command=("leave",), wait=0.01, signal="WINCH", timeout=5)
DB = Container("db", "i", service="db", config_directory="db", drain=DRAIN)
CHECK = Container("db_check", "i", service="db", depends_on=("db",))
BEFORE = Desired("site", "here", "r1", "/etc/kolla", (DB, CHECK), files=(File("db/x.conf", "a", container="db"),))
CHANGED = replace(BEFORE, revision="r2", files=(File("db/x.conf", "b", container="db"),))
REPLACED = replace(BEFORE, revision="r2", containers=(replace(DB, environment={"A": "b"}), CHECK))


# As a newer release has it: another program, which nobody's check is about.
UPGRADED = replace(BEFORE, revision="r3", containers=(replace(DB, image="new", drain=None), CHECK))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path, World(images={"i": Image("i"), "new": Image("new")}))
    made.converge(BEFORE)
    assert made.plan(BEFORE).empty
    made.faults.calls.clear()
    return made


def test_before_a_restart_and_after_it(node: Node) -> None:
    _, outcomes = node.converge(CHANGED)
    assert [outcome.result for outcome in outcomes] == ["done", "done"]
    assert node.faults.calls == ["stop db_check", "execute db", "finish db WINCH", "restart db", "start db_check"]
    assert node.plan(CHANGED).empty


def test_what_is_replaced_is_drained_under_the_name_that_it_has_by_then(node: Node) -> None:
    spare = aside("db")
    node.converge(REPLACED)
    assert node.faults.calls == [
        f"rename db {spare}", "stop db_check", f"execute {spare}", f"finish {spare} WINCH", "create db", "start db",
        "start db_check", f"remove {spare}",
    ]  # fmt: skip
    assert node.plan(REPLACED).empty


def test_it_is_drained_as_what_runs_wants_it(node: Node) -> None:
    """A program of another release may end otherwise than the one that comes, as Apache and uWSGI do."""
    spare = aside("db")
    node.converge(UPGRADED)
    assert [call for call in node.faults.calls if "pull" not in call] == [
        f"rename db {spare}", "stop db_check", f"execute {spare}", f"finish {spare} WINCH", "create db", "start db",
        "start db_check", f"remove {spare}",
    ]  # fmt: skip
    node.faults.calls.clear()
    node.converge(replace(UPGRADED, revision="r4", files=CHANGED.files))
    assert node.faults.calls == ["restart db"], "what runs now wants none"


def test_what_is_not_wanted_any_more_is_not_started_again(node: Node) -> None:
    """Its port may be what the new one listens on."""
    node.converge(replace(UPGRADED, revision="r5", containers=UPGRADED.containers[:1]))
    assert "start db_check" not in node.faults.calls and not node.engine.exists("db_check")


def test_what_comes_back_instead_of_an_upgrade_is_in_use_again(node: Node) -> None:
    node.engine.sick = lambda running: "is not well" if running.spec.image == "new" else ""
    _, outcomes = node.converge(UPGRADED)
    assert "rolled-back" in {outcome.result for outcome in outcomes}
    assert node.engine.runs("db_check") and node.plan(BEFORE).empty


def test_what_does_not_run_is_not_drained(node: Node) -> None:
    node.engine.stop("db")
    node.faults.calls.clear()
    node.converge(REPLACED)
    assert "stop db_check" not in node.faults.calls and "start db" in node.faults.calls


def test_one_that_cannot_be_drained_is_changed_all_the_same(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(name: str, command: Sequence[str], timeout: float = 60.0) -> tuple[int, str]:
        return 1, "there is nobody to take over"

    monkeypatch.setattr(node.engine, "execute", refuses)
    _, outcomes = node.converge(CHANGED)
    assert [outcome.result for outcome in outcomes] == ["done", "done"]
    assert "restart db" in node.faults.calls


def test_what_somebody_else_made_is_not_stopped_for_it(node: Node) -> None:
    check = node.engine.containers["db_check"]
    node.engine.containers["db_check"] = replace(check, id="theirs", owned=False)
    node.converge(CHANGED)
    assert "restart db" in node.faults.calls and node.engine.runs("db_check")
    assert not {"stop db_check", "start db_check"} & set(node.faults.calls)


@pytest.mark.parametrize("place", [2, 3])
def test_an_engine_that_refuses_the_drain_is_asked_to_stop_it(node: Node, place: int) -> None:
    node.faults.planned = {place: Fault.REFUSED}
    _, outcomes = node.converge(CHANGED)
    assert [outcome.result for outcome in outcomes] == ["done", "done"] and len(node.faults.happened) == 1


def test_what_is_removed_while_it_was_to_be_stopped_is_no_obstacle(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by another action of the plan, where a release has it no more."""
    stop = node.engine.stop

    def gone(name: str, *more: int) -> None:
        if name == "db_check":
            node.engine.containers.pop(name)
            raise errors.Transient(f"there is no container {name}", reason=Reason.ContainerMissing)
        stop(name, *more)

    monkeypatch.setattr(node.engine, "stop", gone)
    _, outcomes = node.converge(CHANGED)
    assert [outcome.result for outcome in outcomes if outcome.action.target == "db"] == ["done"]
    assert "restart db" in node.faults.calls


def test_what_says_that_it_is_well_is_started_later_when_it_cannot_be_now(node: Node) -> None:
    node.faults.planned = {5: Fault.REFUSED}
    _, outcomes = node.converge(CHANGED)
    assert [outcome.result for outcome in outcomes] == ["done", "done"]
    assert not node.engine.runs("db_check")
    node.converge(CHANGED)
    assert node.engine.runs("db_check") and node.plan(CHANGED).empty


def test_what_comes_back_is_in_use_again(node: Node) -> None:
    node.engine.sick = lambda running: "is not well" if "A" in running.spec.environment else ""
    _, outcomes = node.converge(REPLACED)
    assert "rolled-back" in {outcome.result for outcome in outcomes}
    assert node.engine.runs("db_check") and node.plan(BEFORE).empty


class Ending(Unhurried):
    """The program is asked to end while something waits."""

    def cut(self, container: str) -> Event:
        event = Event()
        event.set()
        return event


def test_a_program_that_ends_meanwhile_has_stopped_nothing_that_stays_so(node: Node) -> None:
    node.progress = Ending()
    _, outcomes = node.converge(CHANGED)
    assert outcomes[-1].reason == Reason.Interrupted
    assert "restart db" not in node.faults.calls and not node.engine.runs("db_check")
    node.progress = Unhurried()
    node.converge(CHANGED)
    assert node.engine.runs("db_check")
    assert node.plan(CHANGED).empty


def test_each_step_has_the_time_that_the_service_says(node: Node) -> None:
    node.progress = told = Told()
    node.engine.granted.clear()
    asked: list[tuple[str, Sequence[str]]] = []
    node.engine.says = lambda name, command: (asked.append((name, command)), (0, ""))[1]
    node.converge(CHANGED)
    assert node.engine.granted == [
        ("stop db_check", None), ("execute db", 5), ("finish db", 5), ("restart db", None)
    ]  # fmt: skip
    assert asked == [("db", ("leave",))] and told.waited == [0.01]
    assert told.told[0] == "waiting for db to be out of use"


def test_what_could_not_be_drained_is_in_the_log(node: Node) -> None:
    with capture_logs() as logs:
        node.engine.says = lambda name, command: (1, f"{'x' * 400} nobody is left\n")
        node.faults.planned = {3: Fault.REFUSED}
        node.converge(CHANGED)
    assert [(log["event"], log["container"], log["message"]) for log in logs if log["log_level"] == "warning"] == [
        ("drain.failed", "db", (f"{'x' * 400} nobody is left")[-300:]),
        ("drain.failed", "db", "finish db WINCH: no such thing"),
    ]


def test_what_a_service_does_not_ask_for_is_not_done(tmp_path: Path) -> None:
    node = Node(tmp_path, World(images={"i": Image("i")}))
    bare = replace(BEFORE, containers=(replace(DB, drain=Drain()), CHECK))
    node.converge(bare)
    node.progress = told = Told()
    node.faults.calls.clear()
    node.converge(replace(CHANGED, containers=bare.containers))
    assert node.faults.calls == ["restart db"] and told.waited == []


def test_what_was_stopped_for_it_is_started_once_and_again_with_each_change(node: Node) -> None:
    for number in range(2):
        node.faults.calls.clear()
        node.converge(
            replace(CHANGED, revision=f"r{number + 2}", files=(File("db/x.conf", str(number), container="db"),))
        )
        assert node.faults.calls.count("start db_check") == node.faults.calls.count("stop db_check") == 1


def test_what_comes_back_has_what_it_had_started_too(node: Node) -> None:
    """Also what the new one does not know any more."""
    other = Container("other_check", "i", service="db")
    had = replace(
        BEFORE, containers=(replace(DB, drain=replace(DRAIN, stop=("other_check",))), CHECK, other), revision="r2"
    )
    node.converge(had)
    node.converge(had)
    node.faults.calls.clear()
    node.engine.sick = lambda running: "is not well" if running.spec.image == "new" else ""
    worse = replace(had, revision="r3", containers=(replace(DB, image="new"), CHECK, other))
    _, outcomes = node.converge(worse)
    assert "rolled-back" in {outcome.result for outcome in outcomes}
    assert "stop other_check" in node.faults.calls and node.engine.runs("other_check") and node.engine.runs("db_check")
