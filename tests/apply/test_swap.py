"""What takes the place of what works: how much time each step has, when it goes back, when it does not, and what is said of that."""

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest

from reconciler.apply import Health, Slots
from reconciler.model import (
    Action,
    AsMade,
    Container,
    Desired,
    File,
    Image,
    Job,
    Outcome,
    Reload,
    State,
    Verb,
    Worked,
    aside,
)
from reconciler.reasons import Blame, Reason
from tests.apply.bed import Node, NoGate, Told, settled
from tests.apply.fake import Fault
from tests.scenarios.world import World

DB = Container("db", "i", service="db", config_directory="db", stop_timeout=33)
BEFORE = Desired("site", "here", "r1", "/etc/kolla", (DB,), files=(File("db/x.conf", "a", container="db"),))
CHANGED = replace(BEFORE, revision="r2", files=(File("db/x.conf", "b", container="db"),))
REPLACED = replace(BEFORE, revision="r2", containers=(replace(DB, image="new"),))
SPARE = aside("db")
SICK = Health(False, Reason.Unhealthy, "fails its health check")
WELL = Health(True)


@dataclass
class Gate(NoGate):
    """Notes what is settled."""

    done: list[str] = field(default_factory=list)

    def before(self, container: Container) -> None: ...
    def settled(self, container: str) -> None:
        self.done.append(container)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = settled(tmp_path, BEFORE)
    made.progress = Told()
    made.engine.granted.clear()
    return made


def last(node: Node, desired: Desired, *healths: Health) -> Outcome:
    """What becomes of the last action of a pass, whose waits end so."""
    node.engine.healths = list(healths)
    return node.converge(desired)[1][-1]


def act(node: Node, verb: Verb, desired: Desired, *healths: Health, **how: Any) -> Outcome:
    node.engine.healths = list(healths)
    (outcome,) = node.act(desired, Action(verb, "db", "", container="db", **how))
    return outcome


def told(node: Node) -> list[str]:
    return cast(Told, node.progress).told


# --- how much time it has, and who is told ---------------------------------------------------------------------------------


def test_what_is_stopped_has_the_time_that_its_service_asks_for(node: Node) -> None:
    assert last(node, CHANGED).result == "done"
    assert last(node, replace(REPLACED, revision="r3", files=CHANGED.files)).result == "done"
    assert node.engine.granted == [("restart db", 33), (f"stop {SPARE}", 33)]


@pytest.mark.parametrize("desired", [CHANGED, replace(CHANGED, containers=(replace(DB, reload=Reload("HUP")),))])
def test_what_fails_has_little_when_it_is_put_back(node: Node, desired: Desired) -> None:
    assert last(node, desired, SICK, WELL).result == "rolled-back"
    assert node.engine.granted[-1] == ("restart db", 5)
    assert node.engine.containers["db"].state is State.RUNNING and (node.root / "db/x.conf").read_text() == "a"


def test_people_are_told_what_it_is_at(node: Node) -> None:
    last(node, REPLACED, SICK, WELL)
    assert told(node) == ["waiting for db to become healthy", "putting db back"]


def test_while_a_new_one_proves_itself_others_may_be_made_and_not_while_one_is_replaced(node: Node) -> None:
    """So that few of those that work are down at the same time."""
    slots, lent = Slots(1), list[bool]()
    patience = [60.0, 0.2, 0.2]  # seconds: what is expected has its time
    wait_healthy = node.engine.wait_healthy

    def waits(container: Container, **how: Any) -> Health:
        begun = Event()

        def another() -> None:
            with slots.taken():
                begun.set()

        thread = threading.Thread(target=another, daemon=True)
        thread.start()
        lent.append(begun.wait(patience[len(lent)]))
        return wait_healthy(container, **how)

    node.engine.wait_healthy = waits  # type: ignore[method-assign]
    node.slots = slots
    with slots.taken():
        more = Container("more", "i")
        desired = replace(BEFORE, containers=(DB, more))
        (outcome,) = node.act(desired, Action(Verb.CREATE, "more", ""))
        assert outcome.result == "done" and lent == [True]
        act(node, Verb.REPLACE, REPLACED)
        act(node, Verb.RESTART, REPLACED)
        assert lent == [True, False, False]


# --- reloads -----------------------------------------------------------------------------------------------------------------


def reloading(reload: Reload | None) -> Desired:
    return replace(CHANGED, containers=(replace(DB, reload=reload),))


def test_a_reload_is_the_signal_or_the_command_that_the_service_says(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Any]] = []
    monkeypatch.setattr(node.engine, "signal", lambda name, signal: asked.append((name, signal)))
    node.engine.says = lambda name, command: (asked.append((name, command)), (0, "ERROR: and yet it is well"))[1]
    before = node.engine.containers["db"]
    assert act(node, Verb.RELOAD, reloading(Reload("HUP"))).result == "done"
    assert act(node, Verb.RELOAD, reloading(Reload(command=("reload", "-q")))).result == "done"
    assert asked == [("db", "HUP"), ("db", ("reload", "-q"))]
    assert node.engine.containers["db"] == before, "it went on"
    assert len(node.engine.patient) == 3, "and has to prove itself each time"


def test_one_that_it_refuses_is_said_and_taken_back(tmp_path: Path) -> None:
    node = Node(tmp_path, World(images={"i": Image("i")}))
    reloads = replace(BEFORE, containers=(replace(DB, reload=Reload(command=("reload",))),))
    reloads = replace(reloads, files=(replace(BEFORE.files[0], on_change="reload"),))
    node.converge(reloads)
    node.engine.says = lambda name, command: (4, "x" * 1000 + " unknown word \n")
    outcome = last(node, replace(reloads, revision="r2", files=(replace(reloads.files[0], content="b"),)), WELL)
    assert (outcome.result, outcome.reason) == ("rolled-back", Reason.ReloadFailed)
    said = ("x" * 1000 + " unknown word")[-800:]
    assert outcome.message == f"db: db refused its new configuration (exit 4): {said}"
    assert (node.root / "db/x.conf").read_text() == "a"


def test_one_that_no_service_declares_is_none(node: Node) -> None:
    outcome = act(node, Verb.RELOAD, reloading(None))
    assert (outcome.result, outcome.reason) == ("failed", Reason.ReloadFailed)
    assert outcome.message == "db declares no reload" and node.faults.calls == []


# --- what goes back, and what does not ---------------------------------------------------------------------------------------


def failures(node: Node) -> dict[str, tuple[Reason, Blame, str]]:
    return {name: (f.reason, f.blames, f.message) for name, f in node.state.memory().failures.items()}


def test_one_that_is_not_well_is_given_up_and_what_worked_goes_on(node: Node) -> None:
    before = node.engine.containers["db"]
    outcome = last(node, REPLACED, SICK, WELL)
    assert (outcome.result, outcome.reason) == ("rolled-back", Reason.Unhealthy)
    assert outcome.message == "db: fails its health check"
    assert failures(node) == {"db": (Reason.Unhealthy, Blame.CONFIGURATION, "fails its health check")}
    assert node.engine.containers["db"].id == before.id and not node.rollback.kept()


def test_where_the_old_one_is_not_well_either_something_else_is_to_blame(node: Node) -> None:
    outcome = last(node, REPLACED, SICK, Health(False, Reason.ExitedEarly, "ended with exit code 1"))
    assert (outcome.result, outcome.reason) == ("rolled-back", Reason.Unhealthy)
    assert outcome.message == "db: fails its health check\nthe old one is back and ended with exit code 1 too"
    assert failures(node)["db"][:2] == (Reason.Unhealthy, Blame.SERVICE)


def test_whom_the_reason_blames_already_is_to_blame(node: Node) -> None:
    """A port that somebody has is the host's affair, whether the old one has it or not."""
    last(node, REPLACED, Health(False, Reason.PortInUse, "port 80 is taken"), SICK)
    assert failures(node)["db"][:2] == (Reason.PortInUse, Blame.HOST)


def test_what_worked_and_fails_while_drift_is_healed_is_not_given_up(node: Node) -> None:
    (node.root / "db/x.conf").write_text("edited by hand")
    outcome = last(node, BEFORE, SICK, SICK)
    assert (outcome.action.verb, outcome.result) == ("restart", "rolled-back")
    assert outcome.message.endswith("\nthe old one is back and fails its health check too") and not failures(node)


def test_one_that_nobody_waits_for_to_the_end_is_back_all_the_same(node: Node) -> None:
    cut = Health(False, Reason.Interrupted, "was not waited for to the end")
    outcome = last(node, REPLACED, SICK, cut)
    assert (outcome.result, outcome.message) == ("rolled-back", "db: fails its health check")
    assert failures(node)["db"][1] is Blame.CONFIGURATION


def test_who_waits_for_what_came_back_can_be_cut_short_too(node: Node) -> None:
    ends, asked = Event(), list[Event | None]()
    progress = Told()
    progress.cut = lambda container: ends  # type: ignore[method-assign]
    node.progress = progress
    wait_healthy = node.engine.wait_healthy

    def waits(container: Container, *, stop: Event | None = None, **how: Any) -> Health:
        asked.append(stop)
        return wait_healthy(container, stop=stop, **how)

    node.engine.wait_healthy = waits  # type: ignore[method-assign]
    last(node, REPLACED, SICK, WELL)
    assert asked == [ends, ends]


@pytest.mark.parametrize(
    ("how", "why"),
    [({"rollback": "never"}, "its service says rollback: never"), ({}, "a schema was migrated")],
)
@pytest.mark.parametrize("verb", [Verb.REPLACE, Verb.RESTART])
def test_what_no_older_program_can_read_stays_as_it_is(node: Node, verb: Verb, how: Any, why: str) -> None:
    job = Job("sync", Container("sync", "new"), "digest", migration=True, owner="elsewhere", service="db")
    image = "new" if verb is Verb.REPLACE else "i"
    desired = replace(CHANGED, containers=(replace(DB, image=image, **how),), jobs=() if how else (job,))
    node.gate = gate = Gate()
    outcome = act(node, verb, desired, SICK)
    assert (outcome.result, outcome.reason) == ("failed", Reason.Unhealthy)
    assert outcome.message == f"db: fails its health check\nnot rolled back: {why}"
    assert node.engine.containers["db"].spec.image == image and not failures(node)
    assert node.engine.exists(SPARE) is (verb is Verb.REPLACE) and gate.done == [], "the next pass judges it again"


@pytest.mark.parametrize("place", [5, 6, 7])
def test_what_hinders_the_way_back_is_said_and_the_next_pass_goes_on(node: Node, place: int) -> None:
    """5: the new one cannot be removed, 6: the old one cannot have its name, 7: it cannot be started."""
    node.faults.planned = {place: Fault.REFUSED}
    outcome = act(node, Verb.REPLACE, REPLACED, SICK)
    (hindered,) = node.faults.happened
    assert (outcome.result, outcome.reason) == ("failed", Reason.Unhealthy)
    assert outcome.message == (
        f"db: fails its health check\nputting the old one back failed: {hindered.partition(':')[0]}: no such thing"
    )
    node.faults.planned = {}
    for _ in range(2):
        node.converge(REPLACED)
    assert node.engine.runs("db") and node.engine.containers["db"].spec.image == "i" and not node.engine.exists(SPARE)


def test_what_never_worked_has_nothing_to_go_back_to(tmp_path: Path) -> None:
    """It is tried again as it is, and what a plan of before left of it goes."""
    node = Node(tmp_path, World(images={"i": Image("i"), "new": Image("new")}))
    node.progress, node.gate = Told(), Gate()
    outcome = last(node, BEFORE, SICK)
    assert (outcome.action.verb, outcome.result, outcome.message) == ("create", "failed", "db: fails its health check")
    node.rollback.keep("db", ["db/x.conf"])
    outcome = act(node, Verb.REPLACE, REPLACED, SICK)
    assert (outcome.result, outcome.message) == ("failed", "db: fails its health check")
    assert list(node.engine.containers) == ["db"] and node.engine.containers["db"].spec.image == "new"
    assert not failures(node) and not node.rollback.kept() and node.gate.done == ["db"]


def test_one_that_was_taken_over_is_replaced_and_taken_back_as_any_other(node: Node) -> None:
    """It bears no label of this program, and goes all the same once it has a successor."""
    node.engine.containers["db"] = replace(node.engine.containers["db"], owned=False)
    assert last(node, REPLACED, SICK, WELL).result == "rolled-back"
    assert not node.engine.containers["db"].owned
    assert last(node, replace(REPLACED, revision="r3", containers=(replace(DB, image="new", environment={"A": "b"}),))).result == "done"  # fmt: skip
    assert list(node.engine.containers) == ["db"] and node.engine.containers["db"].owned


@pytest.mark.parametrize("verb", [Verb.REPLACE, Verb.RENAME])
def test_the_half_made_one_of_an_interrupted_replace_goes_first(node: Node, verb: Verb) -> None:
    """Also where another program's label is on it, that was taken over."""
    old = node.engine.containers["db"]
    node.engine.rename("db", SPARE)
    half = replace(old, id="half", spec=replace(old.spec, environment={"HALF": "1"}), state=State.CREATED)
    node.engine.containers["db"] = half
    node.faults.calls.clear()
    assert act(node, verb, REPLACED).result == "done"
    assert node.faults.calls[0] == "remove db" and list(node.engine.containers) == ["db"]
    assert node.engine.containers["db"].id == (old.id if verb is Verb.RENAME else node.engine.containers["db"].id)
    assert node.engine.containers["db"].spec.environment == {}


def test_one_that_ended_with_new_files_is_put_to_the_test_by_its_start(node: Node) -> None:
    """An apply was killed once they were written."""
    node.engine.stop("db")
    assert act(node, Verb.START, BEFORE, SICK).message == "db: fails its health check"
    assert (node.root / "db/x.conf").read_text() == "a"
    node.rollback.keep("db", ["db/x.conf"])
    (node.root / "db/x.conf").write_text("b")
    node.engine.stop("db")
    outcome = act(node, Verb.START, CHANGED, SICK, WELL)
    assert (outcome.result, node.engine.granted[-1]) == ("rolled-back", ("restart db", 5))
    assert (node.root / "db/x.conf").read_text() == "a" and not node.rollback.kept()


@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.RELOAD, Verb.START])
def test_what_is_put_back_in_place_has_the_limits_that_it_worked_with(node: Node, verb: Verb) -> None:
    """Before it is restarted: with others it might fail once more, and something else would be blamed for it."""
    desired = replace(CHANGED, containers=(replace(DB, cpu_shares=512, reload=Reload("HUP")),))
    node.rollback.keep("db", ["db/x.conf"])
    node.engine.update(desired.containers[0])
    node.faults.calls.clear()
    assert act(node, verb, desired, SICK, WELL).result == "rolled-back"
    assert node.faults.calls[-2:] == ["update db", "restart db"] and node.engine.containers["db"].spec.cpu_shares == 0


def test_limits_that_the_engine_does_not_take_back_are_no_obstacle(node: Node) -> None:
    desired = replace(CHANGED, containers=(replace(DB, cpu_shares=512),))
    node.faults.calls.clear()
    node.faults.planned = {2: Fault.REFUSED}
    assert act(node, Verb.RESTART, desired, SICK, WELL).result == "rolled-back"
    assert node.faults.calls == ["restart db", "update db", "restart db"]


LIMITED = replace(BEFORE, revision="r2", containers=(replace(DB, cpu_shares=2),))


def test_limits_within_which_it_does_not_work_go_back(node: Node) -> None:
    """It is started anew with those of before, and they are not tried again."""
    outcome = act(node, Verb.UPDATE, LIMITED, SICK, WELL)
    assert (outcome.result, outcome.reason) == ("rolled-back", Reason.Unhealthy)
    assert node.faults.calls == ["update db", "update db", "restart db"]
    assert node.engine.containers["db"].spec.cpu_shares == 0 and "db" in node.state.memory().quarantine


def test_limits_of_one_that_is_never_rolled_back_go_back_and_its_files_do_not(node: Node) -> None:
    """There is data that a former program or file may not fit; of limits it knows nothing."""
    node.rollback.keep("db", ["db/x.conf"])
    (node.root / "db/x.conf").write_text("b")
    desired = replace(BEFORE, revision="r2", containers=(replace(DB, cpu_shares=2, rollback="never"),))
    outcome = act(node, Verb.UPDATE, desired, SICK, WELL)
    assert (outcome.result, node.faults.calls) == ("rolled-back", ["update db", "update db", "restart db"])
    assert node.engine.containers["db"].spec.cpu_shares == 0 and "db" in node.state.memory().quarantine
    assert (node.root / "db/x.conf").read_text() == "b" and node.rollback.kept()


def test_limits_within_which_it_works_start_nothing_anew(node: Node) -> None:
    before = node.engine.containers["db"]
    assert act(node, Verb.UPDATE, LIMITED, WELL).result == "done"
    after = node.engine.containers["db"]
    assert (after.id, after.started_at, after.spec.cpu_shares) == (before.id, before.started_at, 2)
    assert node.faults.calls == ["update db"] and not node.state.memory().quarantine


def test_limits_that_the_engine_refuses_are_not_tried_again_and_nothing_is_started_anew(node: Node) -> None:
    before = node.engine.containers["db"]
    node.faults.planned = {1: Fault.REFUSED}
    outcome = act(node, Verb.UPDATE, LIMITED)
    assert outcome.result == "rolled-back" and node.faults.calls == ["update db", "update db"]
    assert node.engine.containers["db"] == before and "db" in node.state.memory().quarantine


def test_of_one_that_does_not_run_the_limits_are_not_to_blame(node: Node) -> None:
    node.gate = gate = Gate()
    node.engine.stop("db")
    node.faults.calls.clear()
    assert act(node, Verb.UPDATE, LIMITED, SICK).result == "done"
    assert node.faults.calls == ["update db"] and not node.state.memory().quarantine
    assert gate.done == ["db"], "what answered before is nothing that it has to prove"


def test_limits_that_no_commit_changes_are_left_to_whoever_set_them(node: Node) -> None:
    """Whether they are drift that is put right the site says."""
    node.engine.update(replace(DB, cpu_shares=512))
    assert act(node, Verb.RESTART, CHANGED, SICK, WELL).result == "rolled-back"
    assert node.engine.containers["db"].spec.cpu_shares == 512


def test_one_that_another_tool_made_has_its_own_limits(node: Node) -> None:
    """They are other ones than a commit ever said."""
    node.engine.update(replace(DB, cpu_shares=7))
    node.state.as_made("db", AsMade(node.engine.containers["db"].id, "part"))
    desired = replace(CHANGED, containers=(replace(DB, cpu_shares=512),))
    assert act(node, Verb.RESTART, desired, SICK, WELL).result == "rolled-back"
    assert node.faults.calls[-2:] == ["update db", "restart db"] and node.engine.containers["db"].spec.cpu_shares == 7


@pytest.mark.parametrize("desired", [CHANGED, BEFORE])
def test_what_worked_is_not_given_up_whether_all_of_its_commit_was_carried_out_or_not(
    node: Node, desired: Desired
) -> None:
    """The last complete apply, and what a later commit made that another container kept from being one."""
    target = node.target(CHANGED)
    node.state.begin("r2", ["db"])
    node.state.worked({"db": Worked(DB, target.part_digest["db"])})
    assert act(node, Verb.RESTART, desired, SICK, WELL).result == "rolled-back"
    assert not node.state.memory().quarantine
    other = replace(CHANGED, files=(File("db/x.conf", "c", container="db"),))
    assert act(node, Verb.RESTART, other, SICK, WELL).result == "rolled-back" and "db" in node.state.memory().quarantine


def test_one_that_ended_while_what_it_replaced_is_there_still_goes_back_to_that(node: Node) -> None:
    node.engine.rename("db", SPARE)
    old = node.engine.containers[SPARE]
    node.engine.containers["db"] = replace(
        old, id="newer", spec=replace(old.spec, name="db", image="new"), state=State.EXITED
    )
    assert act(node, Verb.START, REPLACED, SICK, WELL).result == "rolled-back"
    assert node.engine.containers["db"].id == old.id and list(node.engine.containers) == ["db"]


# --- for how long it did not answer ------------------------------------------------------------------------------------------


def test_how_long_a_change_interrupted_is_remembered(node: Node) -> None:
    last(node, CHANGED, Health(True, seconds=20.0))
    last(node, replace(REPLACED, revision="r3", files=CHANGED.files), Health(True, seconds=40.0))
    restarted, replaced = node.state.memory().interruptions["db"]
    assert 20 <= restarted < 30 and 40 <= replaced < 50, "with what the engine needed for it"


@pytest.mark.parametrize("how", ["drift", "sick", "resumed", "none before"])
def test_what_says_nothing_of_a_change_is_not(node: Node, how: str) -> None:
    if how == "resumed":
        node.engine.rename("db", SPARE)
    if how == "none before":
        node.engine.remove("db")
    act(node, Verb.REPLACE, REPLACED, SICK if how == "sick" else WELL, drift=how == "drift")
    if how in ("drift", "sick"):
        act(node, Verb.RESTART, REPLACED, SICK if how == "sick" else WELL, drift=how == "drift")
    assert not node.state.memory().interruptions
