"""Whether what was changed works, what is said when it does not, and what is remembered of either."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors
from reconciler.apply import Health
from reconciler.model import Action, Container, Desired, Failure, File, Outcome, Verb, aside
from reconciler.reasons import Blame, Reason
from tests.apply.bed import Node, NoGate, Told, settled

WEB = Container("web", "i", service="web", config_directory="web")
BEFORE = Desired("site", "here", "r1", "/etc/kolla", (WEB,), files=(File("web/x.conf", "a", container="web"),))
AFTER = replace(BEFORE, revision="r2", containers=(replace(WEB, image="new"),))
WELL = Health(True)
LOG = ("starting", "2026-03-01 10:00:00 ERROR web [-] no such port", "giving up: failed")


@dataclass
class Gate(NoGate):
    """Open for what is in `opened`; what answers afterwards is `answer`."""

    opened: set[str] = field(default_factory=set)
    answer: Health = WELL
    done: list[str] = field(default_factory=list)

    def before(self, container: Container) -> None: ...
    def is_open(self, container: str) -> bool:
        return container in self.opened

    def after(self, container: Container) -> Health:
        return self.answer

    def settled(self, container: str) -> None:
        self.done.append(container)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return settled(tmp_path, BEFORE)


def act(node: Node, verb: Verb, *healths: Health, desired: Desired = AFTER, **how: Any) -> Outcome:
    node.engine.healths = list(healths)
    (outcome,) = node.act(desired, Action(verb, "web", "", container="web", **how))
    return outcome


def bad(reason: Reason, message: str = "fails its health check", log: tuple[str, ...] = ()) -> Health:
    return Health(False, reason, message, log=log)


# --- what is said ------------------------------------------------------------------------------------------------------------

SILENT = [Reason.Unhealthy, Reason.ExitedEarly, Reason.RestartLoop, Reason.StartTimeout]


@pytest.mark.parametrize("reason", SILENT)
def test_the_cause_comes_first_and_what_the_service_said_last(node: Node, reason: Reason) -> None:
    outcome = act(node, Verb.REPLACE, bad(reason, log=LOG), WELL)
    assert outcome.message == "\n".join(("web: no such port (fails its health check)", *LOG))
    assert node.state.memory().failures["web"].message == "no such port (fails its health check)"


def test_what_the_engine_says_already_is_not_said_twice(node: Node) -> None:
    outcome = act(node, Verb.REPLACE, bad(Reason.ExitedEarly, "ended: no such port", LOG), WELL)
    assert outcome.message.partition("\n")[0] == "web: ended: no such port"


def test_a_line_of_the_service_is_told_as_far_as_anybody_reads_it(node: Node) -> None:
    outcome = act(node, Verb.REPLACE, bad(Reason.Unhealthy, log=("ERROR " + "x" * 900,)), WELL)
    assert outcome.message.partition("\n")[0] == f"web: {'x' * 200} (fails its health check)"


@pytest.mark.parametrize("reason", [*SILENT, Reason.PortInUse, Reason.DiskFull, Reason.NotAnswering])
def test_where_the_engine_shows_no_log_the_service_is_asked(node: Node, reason: Reason) -> None:
    node.engine.words = "\n".join(LOG)
    outcome = act(node, Verb.REPLACE, bad(reason), WELL)
    assert outcome.message.splitlines()[1:] == list(LOG)
    assert act(node, Verb.REPLACE, bad(reason, log=("another",)), WELL).message.splitlines()[1:] == ["another"]


@pytest.mark.parametrize("reason", [Reason.StartFailed, Reason.MountMissing])
def test_what_the_engine_refused_no_service_can_explain(node: Node, reason: Reason) -> None:
    node.engine.words = "\n".join(LOG)
    assert act(node, Verb.REPLACE, bad(reason, "no such folder"), WELL).message == "web: no such folder"


@pytest.mark.parametrize("reason", [Reason.PortInUse, Reason.DiskFull, Reason.NotAnswering])
def test_what_says_best_itself_what_is_wrong_stays_first(node: Node, reason: Reason) -> None:
    assert act(node, Verb.REPLACE, bad(reason, "x", LOG), WELL).message.partition("\n")[0] == "web: x"


def test_who_has_a_port_is_said(node: Node) -> None:
    node.who = lambda message, container: f"nginx has it ({message}, {container.name})"
    outcome = act(node, Verb.REPLACE, bad(Reason.PortInUse, "port 80 is taken"), WELL)
    assert outcome.message == "web: port 80 is taken; nginx has it (port 80 is taken, web)"
    assert act(node, Verb.REPLACE, bad(Reason.Unhealthy), WELL).message == "web: fails its health check"
    node.who = lambda message, container: ""
    assert act(node, Verb.REPLACE, bad(Reason.PortInUse, "taken"), WELL).message == "web: taken"


def test_one_that_is_made_and_is_not_well_says_the_same(node: Node) -> None:
    node.engine.remove("web")
    outcome = act(node, Verb.CREATE, bad(Reason.Unhealthy, log=LOG))
    assert (outcome.result, outcome.reason) == ("failed", Reason.Unhealthy)
    assert outcome.message == "\n".join(("web: no such port (fails its health check)", *LOG))


# --- what says nothing about the change --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason", [Reason.ContainerMissing, Reason.EngineTimeout, Reason.EngineUnreachable, Reason.Interrupted]
)
@pytest.mark.parametrize("verb", [Verb.REPLACE, Verb.RESTART, Verb.CREATE])
def test_where_nobody_can_tell_everything_is_left_as_it_is(node: Node, verb: Verb, reason: Reason) -> None:
    if verb is Verb.CREATE:
        node.engine.remove("web")
    outcome = act(node, verb, bad(reason, "was not seen"))
    assert (outcome.result, outcome.reason, outcome.message) == ("failed", reason, "web was not seen")
    assert node.engine.exists(aside("web")) is (verb is Verb.REPLACE) and not node.state.memory().failures


def refused(node: Node, error: errors.ReconcilerError) -> Outcome:
    """What a replace comes to whose start the engine refuses."""

    def start(name: str) -> None:
        if name == "web" and node.engine.containers["web"].spec.image == "new":
            raise error
        type(node.engine).start(node.engine, name)

    node.engine.start = start  # type: ignore[method-assign]
    return act(node, Verb.REPLACE)


def test_a_refusal_is_bad_health(node: Node) -> None:
    outcome = refused(node, errors.Terminal("no such folder", reason=Reason.StartFailed))
    assert (outcome.result, outcome.reason, outcome.message) == (
        "rolled-back", Reason.StartFailed, "web: no such folder"
    )  # fmt: skip
    assert node.state.memory().failures["web"].blames is Blame.CONFIGURATION


@pytest.mark.parametrize(
    ("reason", "told"), [(Reason.StartFailed, Reason.HostFailed), (Reason.DiskFull, Reason.DiskFull)]
)
def test_what_may_go_by_itself_blames_no_configuration(node: Node, reason: Reason, told: Reason) -> None:
    outcome = refused(node, errors.Transient("not now", reason=reason))
    assert (outcome.result, outcome.reason, outcome.message) == ("rolled-back", told, "web: not now")
    assert node.state.memory().failures["web"].blames is Blame.HOST


@pytest.mark.parametrize("reason", [Reason.EngineTimeout, Reason.EngineUnreachable, Reason.ContainerMissing])
def test_an_engine_that_does_not_answer_has_not_refused(node: Node, reason: Reason) -> None:
    outcome = refused(node, errors.Transient("no answer", reason=reason))
    assert (outcome.result, outcome.reason, outcome.message) == ("failed", reason, "no answer")
    assert node.engine.exists(aside("web")) and not node.state.memory().failures


# --- what answered before ----------------------------------------------------------------------------------------------------


def test_what_is_healthy_has_to_answer_where_it_did_before(node: Node) -> None:
    node.gate = gate = Gate({"web"}, Health(False, Reason.NotAnswering, "is healthy, and does not answer"))
    node.progress = progress = Told()
    outcome = act(node, Verb.REPLACE, WELL, WELL)
    assert (outcome.result, outcome.reason) == ("rolled-back", Reason.NotAnswering)
    assert progress.told[:2] == [
        "waiting for web to become healthy",
        "waiting for what answered before web was changed to answer again",
    ]
    assert gate.done == ["web"]
    gate.answer, gate.done = WELL, []
    assert act(node, Verb.REPLACE, WELL).result == "done" and gate.done == ["web"]


def test_what_is_not_healthy_is_not_asked(node: Node) -> None:
    node.gate = Gate({"web"}, Health(False, Reason.NotAnswering, "does not answer"))
    assert act(node, Verb.REPLACE, bad(Reason.Unhealthy), WELL).reason is Reason.Unhealthy


@pytest.mark.parametrize(("late", "expected"), [(1.9, 20.0), (2.0, 2.0)])
def test_an_answer_that_was_waited_for_counts_as_time_in_which_it_did_not(
    node: Node, monkeypatch: pytest.MonkeyPatch, late: float, expected: float
) -> None:
    """One that comes at once was there all the time that the container took to settle, as far as anybody knows."""
    now = [1000.0]
    monkeypatch.setattr("reconciler.apply.proof.time.monotonic", lambda: now[0])

    class Late(Gate):
        def after(self, container: Container) -> Health:
            now[0] += late
            return WELL

    node.gate = Late({"web"})
    act(node, Verb.RESTART, Health(True, seconds=20.0), desired=BEFORE)
    assert node.state.memory().interruptions["web"] == (expected,)


# --- what is remembered ------------------------------------------------------------------------------------------------------


def test_how_long_it_took_is_remembered_and_asked_for_of_the_next(node: Node) -> None:
    act(node, Verb.REPLACE, Health(True, took=12.0))
    assert node.state.memory().took == {"web": 12.0}
    act(node, Verb.REPLACE, bad(Reason.Unhealthy), WELL, desired=replace(AFTER, revision="r3"))
    assert node.engine.usual == [None, None, 12.0, None] and node.engine.patient == [True, True, False, False]


@pytest.mark.parametrize("stays", ["rollback", "never healthy", "unchanged"])
def test_what_could_not_be_put_back_sooner_has_its_time(node: Node, stays: str) -> None:
    node.state.took("web", 12.0)
    desired = AFTER
    if stays == "rollback":
        desired = replace(AFTER, containers=(replace(AFTER.containers[0], rollback="never"),))
    if stays == "never healthy":
        node.state._change(lambda memory: replace(memory, applied={}))
        node.engine.containers.clear()
    act(
        node,
        Verb.RESTART if stays == "unchanged" else Verb.REPLACE,
        WELL,
        desired=BEFORE if stays == "unchanged" else desired,
    )
    assert node.engine.usual[-1] is None and node.engine.patient[-1]


def test_one_that_works_is_known_by_its_start_and_its_files(node: Node) -> None:
    act(node, Verb.REPLACE, WELL)
    applied, running = node.state.memory().applied["web"], node.engine.containers["web"]
    assert (applied.id, applied.started_at) == (running.id, running.started_at)
    assert applied.files == node.target(AFTER).files_digest["web"] != ""


def test_what_works_again_is_no_longer_given_up_unless_it_is_the_one_before(node: Node) -> None:
    act(node, Verb.REPLACE, bad(Reason.Unhealthy), WELL)
    assert node.state.memory().quarantine == {"web": node.target(AFTER).part_digest["web"]}
    node.rollback.keep("web", ["web/x.conf"])
    assert act(node, Verb.RESTART, WELL).result == "done"
    memory = node.state.memory()
    assert "web" in memory.quarantine, "what runs is the last that worked"
    assert memory.applied["web"].files == "" and not node.rollback.kept()
    act(node, Verb.REPLACE, WELL, desired=replace(AFTER, containers=(replace(WEB, environment={"A": "b"}),)))
    assert not node.state.memory().quarantine


def test_tries_in_vain_are_counted_by_their_reason_and_come_less_and_less_often(node: Node) -> None:
    def kept(verb: Verb, health: Health) -> Failure:
        act(node, Verb.REPLACE, health, WELL)
        return node.state.memory().failures["web"]

    began = datetime.now(UTC)
    seen = [kept(Verb.REPLACE, bad(reason, "port 80 is taken\nmore")) for reason in [Reason.PortInUse] * 3]
    assert [one.tries for one in seen] == [1, 2, 3]
    assert [round((one.again - began) / timedelta(minutes=1)) for one in seen] == [1, 2, 4]
    assert seen[0].message == "port 80 is taken"
    other = kept(Verb.REPLACE, bad(Reason.DiskFull, "x" * 400))
    assert (other.tries, other.reason, other.message) == (1, Reason.DiskFull, "x" * 300)


def test_what_was_kept_aside_goes_once_the_new_one_has_shown_itself(node: Node) -> None:
    """Killed before it was removed: nothing is waited for again."""
    old = node.engine.containers["web"]
    act(node, Verb.REPLACE, WELL)
    node.engine.containers[aside("web")] = replace(old, spec=replace(old.spec, name=aside("web")))
    waits = len(node.engine.patient)
    outcome = node.act(AFTER, Action(Verb.REMOVE, aside("web"), "", container="web"))[0]
    assert outcome.result == "done" and not node.engine.exists(aside("web")) and len(node.engine.patient) == waits


@pytest.mark.parametrize("well", [True, False])
def test_or_it_comes_back_where_the_new_one_has_not(node: Node, well: bool) -> None:
    old = node.engine.containers["web"]
    node.engine.rename("web", aside("web"))
    node.engine.create(replace(WEB, image="new"))
    node.engine.start("web")
    node.engine.healths = [WELL if well else bad(Reason.Unhealthy), WELL]
    outcome = node.act(AFTER, Action(Verb.REMOVE, aside("web"), "", container="web"))[0]
    assert outcome.result == ("done" if well else "rolled-back")
    assert list(node.engine.containers) == ["web"] and (node.engine.containers["web"].id == old.id) is not well
