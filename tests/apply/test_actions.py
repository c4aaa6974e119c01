"""What single actions do to what is there, to what is remembered of it, and to what is somebody else's."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from reconciler import errors
from reconciler.model import (
    Action,
    AsMade,
    Container,
    Desired,
    Difference,
    File,
    HostKept,
    HostSetting,
    Image,
    Job,
    JobResult,
    Outcome,
    Registration,
    Running,
    State,
    Verb,
    aside,
)
from reconciler.reasons import Reason
from tests.apply.bed import START, Node, NoUnits, settled
from tests.apply.fake import Fault
from tests.scenarios.world import World

DB = Container("db", "i", service="db", config_directory="db", stop_timeout=33)
SITE = Desired("site", "here", "r1", "/etc/kolla", (DB,), files=(File("db/x.conf", "a", container="db"),))
SPARE = aside("db")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return settled(tmp_path, SITE)


def act(node: Node, verb: Verb, target: str, desired: Desired = SITE, **how: Any) -> Outcome:
    (outcome,) = node.act(desired, Action(verb, target, "", container=how.pop("container", target), **how))
    return outcome


def of_somebody_else(node: Node, name: str, **changes: Any) -> Running:
    """A container that another tool made."""
    theirs = Running(
        spec=Container(name, "i"), id=f"their {name}", image_id="i", state=State.RUNNING,
        started_at=START + timedelta(days=1), owned=False, explicit=frozenset(),
    )  # fmt: skip
    node.engine.containers[name] = replace(theirs, **changes)
    return node.engine.containers[name]


def test_an_outcome_is_of_its_action_and_has_its_time(node: Node) -> None:
    action = Action(Verb.PULL, "new", "for db")
    (outcome,) = node.act(SITE, action)
    assert outcome.action is action and (outcome.result, outcome.message) == ("done", "")
    assert 0 < outcome.seconds < 60 and node.faults.calls == ["pull new"]


def test_one_that_is_stopped_stays_and_one_that_is_removed_is_stopped_first(node: Node) -> None:
    assert act(node, Verb.STOP, "db").result == "done"
    assert node.engine.containers["db"].state is State.EXITED and node.faults.calls == ["stop db"]
    node.engine.start("db")
    node.rollback.keep("db", ["db/x.conf"])
    node.faults.calls.clear()
    assert act(node, Verb.REMOVE, "db").result == "done"
    assert node.faults.calls == ["stop db", "remove db"] and not node.engine.exists("db")
    assert not node.rollback.kept(), "what is gone has nothing to prove"
    assert act(node, Verb.REMOVE, "db").result == "done", "it is gone already"


@pytest.mark.parametrize(
    "verb", [Verb.STOP, Verb.REMOVE, Verb.UPDATE, Verb.RESTART, Verb.RELOAD, Verb.START, Verb.REPLACE, Verb.RENAME]
)
def test_what_is_somebody_else_s_is_left_alone(node: Node, verb: Verb) -> None:
    before = of_somebody_else(node, "db")
    outcome = act(node, verb, "db")
    assert (outcome.result, outcome.reason) == ("failed", Reason.NotOwned)
    assert outcome.message == "db was made by somebody else, or since this cycle looked; it is left alone"
    assert node.engine.containers["db"] == before and node.faults.calls == []


@pytest.mark.parametrize("verb", [Verb.REPLACE, Verb.RENAME])
def test_nor_is_it_touched_where_what_is_replaced_would_stand(node: Node, verb: Verb) -> None:
    before = of_somebody_else(node, SPARE)
    assert act(node, verb, "db").reason is Reason.NotOwned
    assert node.engine.containers[SPARE] == before and node.faults.calls == []


def test_what_is_kept_aside_goes_only_with_both_known_to_be_ours(node: Node) -> None:
    """Whether it may go is told by the one that took its place."""
    node.engine.rename("db", SPARE)
    node.faults.calls.clear()
    before = of_somebody_else(node, "db")
    assert act(node, Verb.REMOVE, SPARE).reason is Reason.NotOwned
    assert node.engine.containers["db"] == before and node.engine.exists(SPARE) and node.faults.calls == []
    nobody = replace(SITE, containers=(), files=())
    assert act(node, Verb.REMOVE, SPARE, nobody).result == "done", "where no container is wanted, none has to tell"
    assert node.engine.containers["db"] == before and not node.engine.exists(SPARE)


def test_one_that_was_made_since_the_look_is_left_alone(node: Node) -> None:
    """With the same name, by another tool, while the plan was made."""
    changed = replace(SITE, revision="r2", containers=(replace(DB, image="new"),))
    actual = node.actual(changed)
    before = of_somebody_else(node, "db", id="since", owned=True)
    outcomes = node.carry_out(node.plan(changed, actual), changed, actual)
    assert [(one.action.verb, one.reason) for one in outcomes] == [("replace", Reason.NotOwned)]
    assert node.engine.containers["db"] == before


def test_an_update_is_what_the_engine_makes_of_it_in_the_container_that_stays(node: Node) -> None:
    before = node.engine.containers["db"]
    changed = replace(SITE, revision="r2", containers=(replace(DB, restart_policy="no"),))
    assert act(node, Verb.UPDATE, "db", changed).result == "done"
    after = node.engine.containers["db"]
    assert (after.id, after.started_at, after.spec.restart_policy) == (before.id, before.started_at, "no")


# --- what another tool made ----------------------------------------------------------------------------------------------

UNIT = "kolla-db-container.service"
MADE = AsMade("their db", "part")


@pytest.fixture
def adopting(tmp_path: Path) -> Node:
    """A node where another tool's container runs."""
    made = Node(tmp_path, World(images={"i": Image("i")}))
    of_somebody_else(made, "db")
    return made


def test_one_that_is_taken_over_is_ours_from_then_on(adopting: Node) -> None:
    adopting.as_made = {"db": MADE}
    assert act(adopting, Verb.ADOPT, "db", disables=UNIT).result == "done"
    memory = adopting.state.memory()
    assert adopting.units.disabled == [UNIT] and memory.taken == {"db": UNIT} and memory.as_made == {"db": MADE}
    assert (memory.applied["db"].id, memory.applied["db"].files) == ("their db", ""), "nobody knows with which files"
    assert adopting.actual(SITE).containers["db"].owned and adopting.faults.calls == [], "and nothing was done to it"


def test_one_that_nothing_else_starts_is_taken_over_as_it_is(adopting: Node) -> None:
    assert act(adopting, Verb.ADOPT, "db").result == "done"
    memory = adopting.state.memory()
    assert adopting.units.disabled == [] and memory.taken == {"db": ""} and memory.as_made == {}


def test_what_is_ours_already_is_not_noted_as_taken_over(node: Node) -> None:
    """Only its unit is left to be switched off."""
    before = node.state.memory().applied
    assert act(node, Verb.ADOPT, "db", disables=UNIT).result == "done"
    assert node.units.disabled == [UNIT] and node.state.memory().taken == {} and node.state.memory().applied == before


def test_one_that_was_taken_over_may_be_changed_in_the_same_plan(adopting: Node) -> None:
    outcomes = adopting.act(SITE, Action(Verb.ADOPT, "db", ""), Action(Verb.STOP, "db", ""))
    assert [outcome.result for outcome in outcomes] == ["done", "done"]


def test_one_that_was_made_anew_meanwhile_is_another_one(adopting: Node) -> None:
    actual = adopting.actual(SITE)
    of_somebody_else(adopting, "db", id="another")
    (outcome,) = adopting.carry_out(
        replace(adopting.plan(SITE), actions=(Action(Verb.ADOPT, "db", "", disables=UNIT),)), SITE, actual
    )
    assert (outcome.result, outcome.reason) == ("failed", Reason.NotOwned)
    assert outcome.message == "db was made anew by another tool while this cycle looked at it"
    assert adopting.units.disabled == [] and not adopting.state.memory().applied


@pytest.mark.parametrize("change", [{"id": "another"}, {"started_at": START + timedelta(days=2)}])
def test_one_that_went_with_its_unit_is_not_taken_over(adopting: Node, change: dict[str, Any]) -> None:
    class Stops(NoUnits):
        def take_over(self, unit: str) -> None:
            of_somebody_else(adopting, "db", **change)

    adopting.units = Stops()
    (outcome,) = adopting.act(SITE, Action(Verb.ADOPT, "db", "", disables=UNIT))
    assert (outcome.result, outcome.reason) == ("failed", Reason.NotOwned)
    assert outcome.message == f"db was stopped or made anew while {UNIT} was taken over"
    assert not adopting.state.memory().applied and not adopting.state.memory().taken


# --- registrations -------------------------------------------------------------------------------------------------------

USER = Registration("mariadb", "user", "nova", {"host": "%"})
WITH_USER = replace(SITE, registrations=(USER,))


@dataclass
class Registrars:
    """What was asked, and what the node remembered by then."""

    node: Node
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    content: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    refuses: bool = False

    def _ask(self, *what: Any) -> None:
        self.asked.append((*what, [one.id for one in self.node.state.memory().registered]))
        if self.refuses:
            raise errors.Transient("nobody answers", reason=Reason.RegistrarUnreachable)

    def converge(self, registration: Registration, *, overlap: bool = False) -> None:
        self._ask("converge", registration, overlap)

    def is_there(self, registration: Registration) -> bool:
        self._ask("is there", registration)
        return registration.id in self.content

    def end_former(self, registration: Registration) -> None:
        self._ask("end former", registration)

    def withdraw(self, registration: Registration) -> None:
        self._ask("withdraw", registration)


@pytest.fixture
def registrars(node: Node) -> Registrars:
    made = Registrars(node)
    node.registrars = cast(Any, made)
    return made


def test_what_is_registered_is_noted_first_and_forgotten_last(node: Node, registrars: Registrars) -> None:
    """What is made and then forgotten would never be withdrawn."""
    assert act(node, Verb.REGISTER, USER.id, WITH_USER).result == "done"
    assert act(node, Verb.UNREGISTER, USER.id).result == "done"
    assert registrars.asked == [("converge", USER, True, [USER.id]), ("withdraw", USER, [USER.id])]
    assert node.state.memory().registered == ()
    act(node, Verb.REGISTER, USER.id, WITH_USER)
    registrars.refuses = True
    assert act(node, Verb.UNREGISTER, USER.id).reason is Reason.RegistrarUnreachable
    assert node.state.memory().registered == (USER,)


def test_jobs_that_filled_it_are_to_run_again_before_it_is_made_anew(node: Node, registrars: Registrars) -> None:
    """Killed in between, it would be taken for whole."""
    sync = Job("sync", Container("sync", "i"), "i1", owner="here")
    site = replace(WITH_USER, jobs=(sync,))
    ran = JobResult("i1", True, datetime.now(UTC))
    gone = Difference("state", "present", "absent")

    def kept() -> JobResult:
        return node.state.memory().jobs["sync"]

    node.state.job_done("sync", ran)
    registrars.content[USER.id] = {}
    assert act(node, Verb.REGISTER, USER.id, site, unmakes=("sync",)).result == "done"
    assert kept() == ran and [asked[0] for asked in registrars.asked] == ["is there", "converge"]

    registrars.asked.clear()
    registrars.content.clear()
    assert act(node, Verb.REGISTER, USER.id, site, unmakes=("sync",)).result == "done"
    assert kept().lost and not kept().succeeded and kept().message == f"the {USER.type} {USER.key} was made anew"
    assert [asked[0] for asked in registrars.asked] == ["is there", "converge"]

    registrars.asked.clear()
    node.state.job_done("sync", ran)
    registrars.refuses = True
    outcome = act(node, Verb.REGISTER, USER.id, site, unmakes=("sync",), differences=(gone,))
    assert outcome.result == "failed" and kept().lost and [asked[0] for asked in registrars.asked] == ["converge"]


def test_a_password_that_drifted_ends_at_once_and_another_one_is_good_for_a_while(
    node: Node, registrars: Registrars
) -> None:
    act(node, Verb.REGISTER, USER.id, WITH_USER, drift=True)
    former = Difference("former password", "absent", "present")
    assert act(node, Verb.REGISTER, USER.id, WITH_USER, differences=(former,)).result == "done"
    other = Difference("host", "%", "10.0.0.1")
    act(node, Verb.REGISTER, USER.id, WITH_USER, differences=(former, other))
    assert [asked[:-1] for asked in registrars.asked] == [
        ("converge", USER, False), ("end former", USER), ("converge", USER, True)
    ]  # fmt: skip


# --- the host ------------------------------------------------------------------------------------------------------------

FORWARD = HostSetting("sysctl", "net.a", {"live": "1"})
WITH_SETTING = replace(SITE, host_settings=(FORWARD,))


@dataclass
class Host:
    """A host that refuses what it is told to."""

    node: Node
    refusal: str = ""
    noted: list[Mapping[str, HostKept]] = field(default_factory=list)  # what the node remembered when it was asked

    def before(self, setting: HostSetting) -> Mapping[str, str]:
        return {"live": "0"}

    def put(self, setting: HostSetting) -> str:
        self.noted.append(self.node.state.memory().host_settings)
        return self.refusal

    def back(self, kept: HostKept) -> str:
        assert kept.before == {"live": "0"}
        self.noted.append(self.node.state.memory().host_settings)
        return self.refusal

    def observe(self, settings: Any) -> Any:
        return {}, {}


@pytest.fixture
def host(node: Node) -> Host:
    made = Host(node)
    node.machine = cast(Any, made)
    return made


def test_how_the_host_was_is_noted_before_it_is_changed_and_once(
    node: Node, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = act(node, Verb.SET, FORWARD.id, WITH_SETTING)
    assert (outcome.result, outcome.message) == ("done", "")
    monkeypatch.setattr(host, "before", lambda setting: {"live": "what this program made of it"})
    other = replace(FORWARD, fields={"live": "2"})
    act(node, Verb.SET, FORWARD.id, replace(SITE, host_settings=(other,)))
    assert host.noted == [
        {FORWARD.id: HostKept(FORWARD, {"live": "0"})}, {FORWARD.id: HostKept(other, {"live": "0"}, (FORWARD,))}
    ]  # fmt: skip
    assert node.state.memory().host_settings == {FORWARD.id: HostKept(other, {"live": "0"})}, "it is that now"
    act(node, Verb.RESET, FORWARD.id)
    assert FORWARD.id in host.noted[-1] and not node.state.memory().host_settings


def test_what_it_was_set_to_is_not_forgotten_before_it_is_set_to_something_else(node: Node, host: Host) -> None:
    """A commit changes it and the host says no, then another one: what is there is what the first made of it."""
    act(node, Verb.SET, FORWARD.id, WITH_SETTING)
    host.refusal = "the host refuses: read-only"
    for value in ("2", "3", "1"):
        last = replace(FORWARD, fields={"live": value})
        act(node, Verb.SET, FORWARD.id, replace(SITE, host_settings=(last,)))
        kept = node.state.memory().host_settings[FORWARD.id]
        assert kept.as_found({"live": "1"}) == FORWARD and kept.as_found({"live": "7"}) == last
    host.refusal = ""
    act(node, Verb.SET, FORWARD.id, replace(SITE, host_settings=(last,)))
    assert node.state.memory().host_settings[FORWARD.id].earlier == ()


def test_what_the_host_refuses_is_said_and_is_no_failure(node: Node, host: Host) -> None:
    host.refusal = "the host refuses: read-only"
    outcome = act(node, Verb.SET, FORWARD.id, WITH_SETTING)
    assert (outcome.result, outcome.message) == ("done", host.refusal)
    differs = (Difference("live", "0", "1"),)
    outcome = act(node, Verb.RESET, FORWARD.id, differences=differs)
    assert (outcome.result, outcome.message) == ("done", host.refusal)
    assert node.state.memory().host_settings, "as long as it is as this program made it, it is remembered"
    act(node, Verb.RESET, FORWARD.id)
    assert not node.state.memory().host_settings, "what is somebody else's by now is not"


# --- data that an older program may not read -------------------------------------------------------------------------------


@pytest.mark.parametrize("rollback", ["auto", "never"])
def test_that_its_data_may_be_newer_is_noted_before_one_that_never_goes_back_is_replaced(
    node: Node, rollback: Any
) -> None:
    newer = replace(DB, image="new", rollback=rollback)
    node.faults.planned = {1: Fault.REFUSED}
    act(node, Verb.REPLACE, "db", replace(SITE, revision="r2", release="2026.1", containers=(newer,)))
    assert node.state.memory().schema_release == ("2026.1" if rollback == "never" else "")


def test_the_gate_looks_before_what_works_is_changed_and_not_where_drift_is_healed(node: Node) -> None:
    asked: list[str] = []
    node.gate = cast(Any, _Gate(asked))
    for verb in (Verb.REPLACE, Verb.RESTART, Verb.START, Verb.STOP, Verb.UPDATE):
        act(node, verb, "db")
    assert asked == ["db"] * 3
    act(node, Verb.RESTART, "db", drift=True)
    assert asked == ["db"] * 3


@dataclass
class _Gate:
    asked: list[str]

    def before(self, container: Container) -> None:
        self.asked.append(container.name)

    def is_open(self, container: str) -> bool:
        return False

    def settled(self, container: str) -> None: ...
