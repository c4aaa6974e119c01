"""Jobs of the cluster between two nodes and a real etcd: each with a state of its own, and no engine."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.etcd import Client, Store
from reconciler.model import Action, Actual, Container, Desired, Job, JobResult, Order, Plan, Verb
from reconciler.node.cluster_jobs import ClusterJobs, without_migrations
from reconciler.node.target import Target, make_target
from reconciler.reasons import Reason
from reconciler.rollout.jobs import Self
from reconciler.rollout.policy import Budget, Rollout, Wave
from reconciler.rollout.records import ROLL, JobRecord, Roll, Transaction, fact_key, job_key, proof_key
from reconciler.source.prepare import Prepared
from reconciler.state import StateDirectory
from tests.support.etcd import Cluster

NEW = "b" * 40
HOSTS = ("ctl1", "ctl2", "ctl3")
ROLLOUT = Rollout((Wave("all", HOSTS, 3),), {"db": Budget("db", 1, HOSTS)})


class Node:
    """What a node has of the jobs; ctl1 owns them."""

    def __init__(self, cluster: Cluster, folder: Path, site: str, host: str) -> None:
        (folder / host).mkdir()
        self.host, self.state = host, StateDirectory(folder / host)
        self.client = Client(cluster.urls)
        self.store, self.jobs = Store(self.client, site), ClusterJobs(self.state)
        self.own = Self(host, NEW, f"installation of {host}")
        self.store.be_present(host, 0.0)

    def target(self, inputs: str = "new") -> Target:
        made = Job("make", Container("make", "image"), inputs, creates="data:db", before=("db",), owner="ctl1")
        sync = Job(
            "sync", Container("sync", "image"), inputs, before=("api",), after=("make", "db"), owner="ctl1", migration=True
        )  # fmt: skip
        containers = tuple(Container(name, "image") for name in ("api", "db"))
        orders = (
            Order("db", at_once=1, ready=("members",), groups=("control",)),
            Order("agent", ("api", "elsewhere"), hosts=HOSTS, jobs={"elsewhere": "ctl3"}),
            Order("joiner", ("make",), jobs={"make": "ctl1"}),
        )
        return make_target(
            Prepared(Desired("s", self.host, NEW, "/none", containers, jobs=(made, sync), orders=orders), {})
        )

    def admit(self, planned: Plan, *, has: bool = False, inputs: str = "new") -> Plan:
        actual = Actual({}, {}, {}, created=frozenset({"make"} if has else ()))
        return self.jobs.admit(self.store, self.own, self.target(inputs), ROLLOUT, planned, actual)

    def ran(self, job: str, *, claim: str, ok: bool = True, inputs: str = "new") -> None:
        self.state.job_done(job, JobResult(inputs, ok, datetime.now(UTC), "" if ok else "no such table", claim))
        self.jobs.settle(self.store, self.own, self.target())


RUNS = Plan(
    "ctl1",
    NEW,
    (
        Action(Verb.RUN, "make", "first run", container="make"),
        Action(Verb.CREATE, "db", "new container", ("run:make",), container="db"),
        Action(Verb.RUN, "sync", "first run", ("run:make",), container="sync"),
        Action(Verb.CREATE, "api", "new container", ("run:sync",), container="api"),
    ),
)
OTHERS = Plan(
    "ctl2",
    NEW,
    (
        Action(Verb.CREATE, "db", "new container", container="db"),
        Action(Verb.CREATE, "api", "new container", container="api"),
        Action(Verb.START, "cache", "it is down", container="cache", drift=True),
    ),
)


@pytest.fixture
def nodes(single: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Node, Node, Node]]:
    found = tuple(Node(single, tmp_path, request.node.name, host) for host in HOSTS)
    found[0].store.try_(Transaction({}, {ROLL: Roll(NEW)}))
    yield found  # type: ignore[misc]
    for node in found:
        node.client.close()


def targets(plan: Plan) -> list[str]:
    return [action.target for action in plan.actions]


def test_what_exists_once_is_made_when_all_have_said_that_they_have_none(nodes: tuple[Node, Node, Node]) -> None:
    first, second, third = nodes
    held = first.admit(RUNS)
    assert targets(held) == [] and held.held[0].reason is Reason.WaitsForOthers
    assert "ctl2, ctl3 have not said" in held.held[0].message
    # Whoever joins starts without it, and waits for a member by itself; what needs the other job waits for that.
    joins = second.admit(OTHERS)
    assert targets(joins) == ["db", "cache"]
    assert [(one.target, one.message) for one in joins.held] == [("api", "sync has to run on ctl1 first")]
    assert "ctl3 has not said" in first.admit(RUNS).held[0].message
    third.admit(OTHERS)
    goes = first.admit(RUNS)
    assert targets(goes) == ["make", "db", "sync", "api"] and goes.actions[0].claim and goes.actions[2].claim
    assert [action.claim for action in first.admit(RUNS).actions] == [action.claim for action in goes.actions]
    assert "ctl1 runs sync" in second.admit(OTHERS).held[0].message
    for action in (goes.actions[0], goes.actions[2]):
        first.ran(action.target, claim=action.claim)
    assert targets(second.admit(OTHERS)) == ["db", "api", "cache"]
    asked = second.client.requests
    second.admit(OTHERS)
    assert second.client.requests == asked, "what is done stays done"


def test_a_member_that_has_data_is_not_made_another_of(nodes: tuple[Node, Node, Node]) -> None:
    first, second, third = nodes
    second.admit(OTHERS)
    third.admit(OTHERS, has=True)
    held = first.admit(RUNS)
    assert targets(held) == [] and "ctl3 has run make" in held.held[0].message
    assert first.state.memory().jobs["make"].succeeded and not first.state.memory().jobs["make"].claim


def test_a_host_made_anew_makes_nothing_a_second_time(nodes: tuple[Node, Node, Node], tmp_path: Path) -> None:
    first = nodes[0]
    for node in nodes[1:]:
        node.admit(OTHERS)
    first.ran("make", claim=first.admit(RUNS).actions[0].claim)
    (tmp_path / "made anew").mkdir()
    first.state = StateDirectory(tmp_path / "made anew")
    first.jobs, first.own = ClusterJobs(first.state), replace(first.own, installation="made anew")
    first.jobs.settle(first.store, first.own, first.target("changed since"))
    assert first.state.memory().jobs["make"].succeeded, "the others have it"
    assert "sync" not in first.state.memory().jobs
    planned = replace(RUNS, actions=RUNS.actions[2:])
    assert "another installation of ctl1 has begun sync" in first.admit(planned).held[0].message


JOINS = Plan("ctl2", NEW, (Action(Verb.CREATE, "joiner", "new container", container="joiner"),))


def test_who_would_leave_what_looks_like_it_waits_until_it_is_made(nodes: tuple[Node, Node, Node]) -> None:
    """A member that only joins writes a file, too, so that it starts when the owner has made the real one."""
    first, second, third = nodes
    held = second.admit(JOINS)
    assert targets(held) == [] and held.held[0].message == "make has to run on ctl1 first"
    third.admit(OTHERS)
    claim = first.admit(RUNS).actions[0].claim
    assert second.admit(JOINS).held[0].message == "ctl1 runs make"
    first.ran("make", claim=claim)
    assert second.admit(JOINS) == JOINS
    # It was made once: what it would be made with by another commit keeps nobody waiting for its owner.
    third.own = replace(third.own, commit="c" * 40)
    assert third.admit(JOINS, inputs="another image") == JOINS


@pytest.mark.parametrize("failed", [False, True])
def test_what_was_there_before_there_were_records_is_said_to_be_done(
    nodes: tuple[Node, Node, Node], failed: bool
) -> None:
    first, second, _ = nodes
    if failed:  # it made the thing all the same, and so is never run again
        first.ran("make", claim="", ok=False)
    assert targets(first.admit(replace(RUNS, actions=()), has=True)) == []
    first.jobs.settle(first.store, first.own, first.target())
    assert second.admit(JOINS) == JOINS


def test_what_was_carried_out_without_records_is_said_to_be_done_by_the_next_commit(
    nodes: tuple[Node, Node, Node],
) -> None:
    """The owner may be of a later wave, and only look after what it runs meanwhile."""
    first, second, _ = nodes
    first.state.converged(first.target("as it was made").desired)
    first.jobs.settle(first.store, first.own, first.target())
    assert second.admit(JOINS) == JOINS
    assert "sync has to run on ctl1" in second.admit(OTHERS).held[0].message, "that has other inputs now"


def test_what_failed_is_told_and_may_be_tried_again(nodes: tuple[Node, Node, Node]) -> None:
    first, second, third = nodes
    second.admit(OTHERS), third.admit(OTHERS)
    claims = {action.target: action.claim for action in first.admit(RUNS).actions}
    first.ran("sync", claim=claims["sync"], ok=False)
    assert second.admit(OTHERS).held[0].message == "sync failed on ctl1: no such table"
    again = {action.target: action.claim for action in first.admit(RUNS).actions}
    assert again["sync"] not in ("", claims["sync"]) and again["make"] == claims["make"]
    first.ran("sync", claim=claims["sync"], ok=False)
    assert "ctl1 runs sync" in second.admit(OTHERS).held[0].message, "the old claim's result counts no more"


def test_what_filled_a_database_that_is_made_anew_is_run_anew(nodes: tuple[Node, Node, Node]) -> None:
    owner, *_ = nodes
    (only,) = (action for action in RUNS.actions if action.target == "sync")
    planned = replace(RUNS, actions=(replace(only, needs=()),))
    for round_ in range(2):  # also when it happens again
        (run,) = owner.admit(planned).actions
        owner.ran("sync", claim=run.claim)
        assert owner.store.jobs(["sync"])[1]["sync"].record == JobRecord(
            "new", "ctl1", "done", run.claim, "installation of ctl1", NEW
        )
        # The pass that makes the database anew: what others have read is that it is done.
        owner.state.job_done("sync", JobResult("new", False, datetime.now(UTC), "the database is made anew", lost=True))
        owner.jobs.settle(owner.store, owner.own, owner.target())
        record = owner.store.jobs(["sync"])[1]["sync"].record
        assert record is not None and record.state == "failed", round_
        assert owner.jobs.unsettled(owner.target()) == ("make", "sync")


SYNCS = replace(RUNS, actions=(replace(RUNS.actions[2], needs=()),))
APIS = replace(OTHERS, actions=OTHERS.actions[1:2])


def carries(node: Node, revision: str, *, without: bool) -> None:
    desired = replace(node.target().desired, revision=revision)
    node.state.converged(replace(desired, jobs=(), containers=()) if without else desired)


def test_what_ran_before_its_service_was_switched_off_runs_again_before_others_start_it(
    nodes: tuple[Node, Node, Node],
) -> None:
    owner, canary, third = nodes
    before, off, later = "a" * 40, "c" * 40, "d" * 40
    owner.store.try_(
        Transaction({}, {job_key("sync"): JobRecord("new", "ctl1", "done", "n", owner.own.installation, before)})
    )
    owner.store.try_(
        Transaction({}, {job_key("make"): JobRecord("new", "ctl1", "done", "m", owner.own.installation, before)})
    )
    for node in nodes:
        carries(node, before, without=False)
        carries(node, off, without=True)
    for _ in range(2):
        owner.jobs.settle(owner.store, owner.own, owner.target())
        assert owner.jobs.unsettled(owner.target()) == ("sync",), "the owner goes ahead of its wave for it"
        assert canary.admit(APIS).held[0].message == "sync has to run on ctl1 first"
    (run,) = owner.admit(SYNCS).actions
    assert run.claim and canary.admit(APIS).held[0].message == "ctl1 runs sync"
    owner.ran("sync", claim=run.claim)
    assert canary.admit(APIS) == APIS and owner.jobs.unsettled(owner.target()) == ()
    # By the next commit it is done for who has not carried this one out, as soon as its owner says so.
    owner.store.try_(Transaction({}, {ROLL: Roll(later)}))
    for node in nodes:
        node.own = replace(node.own, commit=later)
    owner.jobs.settle(owner.store, owner.own, owner.target())
    assert third.admit(APIS) == APIS


@pytest.mark.parametrize("said", ["of the commit before", "of this commit", "long ago"])
def test_who_becomes_the_owner_takes_what_was_run_up_to_the_commit_before(
    nodes: tuple[Node, Node, Node], said: str
) -> None:
    owner, before = nodes[0], "a" * 40
    commit = {"of the commit before": before, "of this commit": NEW, "long ago": "d" * 40}[said]
    owner.store.try_(Transaction({}, {job_key("sync"): JobRecord("new", "ctl9", "done", "n", "there", commit)}))
    carries(owner, before, without=True)  # the service was there, and this host had nothing of it
    owner.jobs.settle(owner.store, owner.own, owner.target())
    assert ("sync" in owner.jobs.unsettled(owner.target())) == (said == "long ago")


def test_silence_is_not_empty(nodes: tuple[Node, Node, Node]) -> None:
    """What a host said goes with its presence."""
    first, second, third = nodes
    second.admit(OTHERS), third.admit(OTHERS)
    key = first.store.everything()[fact_key("make", "ctl3")]
    first.client._ask("/v3/lease/revoke", {"ID": str(key.lease)}, bool)
    assert "ctl3 has not said" in first.admit(RUNS).held[0].message


def test_without_etcd_no_job_of_the_cluster_begins(nodes: tuple[Node, Node, Node]) -> None:
    first, second, _ = nodes
    away = Store(Client(["http://127.0.0.1:9"]), "away")
    with pytest.raises(errors.Transient):
        first.jobs.admit(away, first.own, first.target(), ROLLOUT, RUNS, Actual({}, {}, {}))
    held = first.jobs.without_store(first.target(), RUNS, "etcd is away")
    assert targets(held) == [] and {one.reason for one in held.held} == {Reason.EtcdUnavailable}
    assert targets(second.jobs.without_store(second.target(), OTHERS, "etcd is away")) == ["db", "cache"]


def test_a_foreign_record_is_no_answer(nodes: tuple[Node, Node, Node]) -> None:
    first, second, third = nodes
    second.admit(OTHERS), third.admit(OTHERS)
    for content in (b"{}", b'{"inputs": "new", "host": "x", "state": "perhaps"}', b"["):
        first.client.transact({}, {first.store._prefix + job_key("sync"): (content, 0)}, [])
        with pytest.raises(errors.Transient, match="job/sync holds something"):
            first.admit(RUNS)


def test_what_goes_after_others_waits_until_all_of_them_are_proved(nodes: tuple[Node, Node, Node]) -> None:
    node = nodes[1]
    agent = Plan("ctl2", NEW, (Action(Verb.RESTART, "agent", "its image differs", container="agent"),))
    drifted = replace(agent, actions=(replace(agent.actions[0], drift=True),))
    for host, left in (("ctl1", "ctl1, ctl2, ctl3 have"), ("ctl3", "ctl2, ctl3 have"), ("ctl2", "ctl2 has")):
        held = node.admit(agent)
        assert (held.held[0].reason, targets(held)) == (Reason.WaitsForOthers, [])
        assert held.held[0].message == f"goes after api, elsewhere, which {left} not finished with"
        assert node.jobs.late == {"agent"} and node.admit(drifted) == drifted
        node.store.try_(Transaction({}, {proof_key(NEW, 0, host): {}}))
    held = node.admit(agent)
    assert held.held[0].message == "elsewhere has to run on ctl3 first" and not node.jobs.late
    done = JobRecord("as ctl3 renders it", "ctl3", "done", commit=NEW)
    node.store.try_(Transaction({}, {job_key("elsewhere"): done}))
    assert node.admit(agent) == agent
    assert targets(node.jobs.without_store(node.target(), agent, "etcd is away")) == []


def test_what_goes_after_others_only_to_another_release_waits_only_then(nodes: tuple[Node, Node, Node]) -> None:
    node = nodes[1]
    changed = Plan("ctl2", NEW, (Action(Verb.REPLACE, "compute", "its image differs", container="compute"),))
    carried = replace(node.target().desired, release="2025.1")
    node.state.converged(carried, (), ())
    made = replace(
        carried, release="2026.1", orders=(Order("compute", upgrade_after=("api",), upgrade_hosts=("ctl1",)),)
    )

    def admit(release: str) -> Plan:
        target = make_target(Prepared(replace(made, release=release), {}))
        return node.jobs.admit(node.store, node.own, target, ROLLOUT, changed, Actual({}, {}, {}))

    assert admit("2025.1") == changed
    held = admit("2026.1")
    assert (targets(held), held.held[0].message) == ([], "goes after api, which ctl1 has not finished with")
    assert node.jobs.late == {"compute"}
    node.store.try_(Transaction({}, {proof_key(NEW, 0, "ctl1"): {}}))
    assert admit("2026.1") == changed and not node.jobs.late


def test_a_check_before_an_upgrade_waits_for_nobody_though_a_job_has_its_name(nodes: tuple[Node, Node, Node]) -> None:
    """Else the upgrade waits for the check, and the check for the upgrade."""
    node = nodes[1]
    check = Action(Verb.PRECHECK, "agent", "before 2025.1 → 2026.1")
    later = Action(Verb.RUN, "agent", "its inputs changed", container="agent")
    assert targets(node.admit(Plan("ctl2", NEW, (check,)))) == ["agent"]
    held = node.admit(Plan("ctl2", NEW, (check, later)))
    assert [action.id for action in held.actions] == ["precheck:agent"] and held.held[0].target == "agent"


def test_what_waits_itself_where_it_is_left_is_waited_for(nodes: tuple[Node, Node, Node]) -> None:
    node = nodes[1]
    agent = Plan("ctl2", NEW, (Action(Verb.RESTART, "agent", "its image differs", container="agent"),))
    done = JobRecord("as ctl3 renders it", "ctl3", "done", commit=NEW)
    proofs = {proof_key(NEW, 0, host): {"left": ["agent", "api"]} for host in ("ctl1", "ctl3")}
    node.store.try_(Transaction({}, {job_key("elsewhere"): done, proof_key(NEW, 0, "ctl2"): {}, **proofs}))
    assert node.admit(agent).held[0].message == "goes after api, elsewhere, which ctl1, ctl3 have not finished with"
    node.store.try_(Transaction({}, {proof_key(NEW, 0, "ctl3"): {"left": ["agent"]}}))
    assert node.admit(agent).held[0].message == "goes after api, elsewhere, which ctl1 has not finished with"
    node.store.try_(Transaction({}, {proof_key(NEW, 0, "ctl1"): {}}))
    assert node.admit(agent) == agent
    view = nodes[2].store.view("ctl3", NEW, ROLLOUT, (), ())
    assert (view.is_proved, view.left) == (True, frozenset({"agent"}))
    assert node.store.left(NEW, HOSTS) == {"ctl3"}, "the commit is not everywhere before nothing is left"
    for said in (3, ["agent", 3]):
        node.store.try_(Transaction({}, {proof_key(NEW, 0, "ctl1"): {"left": said}}))
        with pytest.raises(errors.Transient, match="holds something that this program did not write"):
            node.admit(agent)


def test_no_schema_changes_while_a_member_copies_the_data(nodes: tuple[Node, Node, Node]) -> None:
    """It would get a part of the change without what that rests on, and leave the cluster for it."""
    first, second, _ = nodes
    held = without_migrations(
        first.target(), ROLLOUT, RUNS, lambda budgets: dict.fromkeys(budgets, "2 of 3 are in step")
    )
    assert targets(held) == ["make", "db"]
    assert {one.target for one in held.held} == {"sync", "api"} and held.held[0].reason is Reason.WaitsForOthers
    assert "every member of db is well: 2 of 3 are in step" in held.held[0].message

    def nothing(budgets: Collection[str]) -> dict[str, str]:
        return dict.fromkeys(budgets, "")

    assert without_migrations(first.target(), ROLLOUT, RUNS, nothing) is RUNS
    alone = Rollout(ROLLOUT.waves, {"db": Budget("db", 1, HOSTS[:1])})
    never: dict[str, str] = {}
    assert without_migrations(first.target(), alone, RUNS, lambda _: never) is RUNS, "one member alone copies nothing"
    assert without_migrations(second.target(), ROLLOUT, RUNS, lambda _: never) is RUNS, "its owner is another host"
