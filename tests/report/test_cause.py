"""What is wrong at once, and which of it is the headline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.model import (
    Action,
    Check,
    CheckResult,
    Container,
    Desired,
    Held,
    Job,
    Outcome,
    Plan,
    Registrar,
    Registration,
    Running,
    State,
    Verb,
)
from reconciler.reasons import Reason
from reconciler.report import (
    Report,
    RepositoryStatus,
    Symptom,
    conditions,
    graph,
    history_entry,
    status_text,
    symptom_of,
    verdict,
)
from reconciler.report.cause import find

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
DB = Container("mariadb", "i", service="mariadb")
MQ = Container("rabbitmq", "i", service="rabbitmq")
LB = Container("haproxy", "i", service="loadbalancer")
ID = Container("keystone", "i", service="keystone", depends_on=("haproxy", "mariadb", "rabbitmq"))
IMG = Container("glance_api", "i", service="glance", depends_on=("keystone", "mariadb"))
SIDE = Container("sidecar", "i", service="side", network_mode="container:glance_api")
CRON = Container("cron", "i", service="cron")
SITE = Desired(
    "s",
    "ctl1",
    "r1",
    "/etc/kolla",
    (DB, MQ, LB, ID, IMG, SIDE, CRON),
    jobs=(Job("keystone_db_sync", DB, "in", before=("keystone",), after=("mariadb",), service="keystone"),),
    registrations=(
        Registration("mariadb", "user", "glance@%", service="glance", owner="ctl1", before=("glance_api",)),
        Registration("keystone", "endpoint", "glance/public/R", service="glance", owner="ctl1"),
        Registration("keystone", "endpoint", "glance/internal/R", service="glance", owner="ctl1"),
    ),
    registrars=(
        Registrar("mariadb", {}, ("mariadb",)),
        Registrar("keystone", {}, ("keystone", "haproxy")),
    ),
    checks=(
        Check("mariadb", "mariadb", tcp="vip:3306"),
        Check("mariadb login of the administrator", "mariadb", login="mariadb"),
        Check("mariadb login of glance", "mariadb", login="mariadb", client="glance"),
        Check("rabbitmq_alarms", "rabbitmq", http="http://rabbitmq", credentials="rabbitmq"),
        Check("haproxy_backends", "loadbalancer", container="haproxy", command=("c",), watches=("keystone", "mariadb")),
        Check("keystone_fernet_keys", "keystone", container="keystone", command=("c",)),
        Check("keystone_api", "keystone", http="http://vip:5000"),
        Check("keystone login of the administrator", "keystone", login="keystone"),
        Check("glance_api", "glance", http="http://vip:9292"),
    ),
)
GRAPH = graph(SITE)
ADMIN, KEYS = "check keystone login of the administrator", "check keystone_fernet_keys"
GLANCE = "check mariadb login of glance"


def symptoms(*items: str) -> list[Symptom]:
    return [Symptom(item, Reason.NotAnswering, f"{item}: bad") for item in items]


@dataclass(frozen=True)
class Case:
    wrong: Sequence[str]
    root: str
    because: Sequence[str] = ()
    before: Sequence[str] = ()


CASES: Mapping[str, Case] = {
    "a container under everything": Case(["check glance_api", "keystone registrations", "keystone", "mariadb"], "mariadb",
                                         ["check glance_api", "keystone registrations", "keystone"]),
    "keys, through the login, to the registrations": Case(["keystone registrations", ADMIN, KEYS, "check glance_api"], KEYS,
                                                          ["keystone registrations", ADMIN, "check glance_api"]),
    "an alarm of the broker is beneath keystone": Case([ADMIN, "check rabbitmq_alarms"], "check rabbitmq_alarms", [ADMIN]),
    "one client's password is nobody else's affair": Case([ADMIN, GLANCE, "check glance_api"], ADMIN, ["check glance_api"]),
    "one client's password explains that client": Case(["check glance_api", GLANCE], GLANCE, ["check glance_api"]),
    "a load balancer that sees a backend down tells of the backend": Case(["keystone", "check haproxy_backends", GLANCE], "keystone",
                                                                          ["check haproxy_backends"]),
    "a load balancer that is down": Case(["check haproxy_backends", "haproxy", ADMIN], "haproxy",
                                         ["check haproxy_backends", ADMIN]),
    "a job explains the container that waits for it": Case(["keystone", "keystone_db_sync"], "keystone_db_sync", ["keystone"]),
    "a registration explains the container that waits for it": Case(["glance_api", "mariadb:user:glance@%"],
                                                                    "mariadb:user:glance@%", ["glance_api"]),
    "a namespace is rested on": Case(["sidecar", "glance_api"], "glance_api", ["sidecar"]),
    "independent: the first": Case(["cron", "rabbitmq"], "cron"),
    "independent: the one with more behind it": Case(["cron", "mariadb", "keystone"], "mariadb", ["keystone"]),
    "what the graph does not know": Case(["cron/crontab", "nowhere"], "cron/crontab"),
    "steady among equals": Case(["cron", "rabbitmq"], "rabbitmq", before=["rabbitmq", "cron"]),
    "steady although another has more behind it": Case(["cron", "mariadb", "keystone"], "cron", before=["cron", "mariadb"]),
    "one pass of something beneath it": Case(["keystone", "mariadb"], "keystone", before=["keystone"]),
    "two passes of something beneath it": Case(["keystone", "mariadb"], "mariadb", ["keystone"], ["keystone", "mariadb"]),
    "the root is well again": Case(["keystone"], "keystone", before=["mariadb", "keystone"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_headline(name: str) -> None:
    case = CASES[name]
    found = find(symptoms(*case.wrong), GRAPH, case.before)
    assert found is not None
    assert (found.root.item, [s.item for s in found.because]) == (case.root, list(case.because))
    assert set(found.items) == set(case.wrong) and found.items[0] == case.root
    if not case.before:
        assert find(symptoms(*case.wrong), GRAPH, found.items) == found, "steady"


def test_nothing_wrong_has_no_cause() -> None:
    assert find([], GRAPH) is None


def test_one_line_names_the_cause_and_counts_the_rest() -> None:
    found = find(symptoms("mariadb", "keystone", ADMIN, KEYS, "check glance_api", "cron"), GRAPH)
    assert found is not None
    assert found.text == f"mariadb: bad; because of it: keystone, {ADMIN}, {KEYS} and 1 more; and 1 more"
    alone = find(symptoms("cron", "rabbitmq"), GRAPH)
    assert alone is not None and alone.text == "cron: bad and 1 more"


def test_a_circle_has_a_headline() -> None:
    circle = {"a": ("b",), "b": ("a",), "c": ("a",)}
    found = find(symptoms("c", "b", "a"), circle)
    assert found is not None and found.root.item in ("a", "b") and len(found.because) == 2


def report(**changes: Any) -> Report:
    made = Report(
        "s", "ctl1", "r1" * 20, NOW, 1.0, "interval", True, RepositoryStatus(True), Plan("ctl1", "r1"), graph=GRAPH
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def held(target: str, reason: Reason = Reason.Unknown, message: str = "it answers 500", **more: bool) -> Held:
    return Held(target, reason, message, **more)  # type: ignore[arg-type]


def test_everybody_is_told_the_same() -> None:
    """The condition, the commit status and the history: what a failing login says of registrations is not the headline."""
    unknown = [held("keystone:endpoint:glance/public/R"), held("keystone:endpoint:glance/internal/R")]
    checks = (
        CheckResult("keystone login of the administrator", "keystone", False, "500"),
        CheckResult("keystone_fernet_keys", "keystone", False, "there is no key in /etc/keystone/fernet-keys"),
    )
    failed = Outcome(
        Action(Verb.START, "glance_api", "it stopped", container="glance_api"),
        "failed",
        Reason.StartTimeout,
        "glance_api: late",
    )
    found = report(plan=Plan("ctl1", "r1", held=tuple(unknown)), checks=checks, outcomes=(failed,))
    ready = next(c for c in conditions(found, (), NOW) if c.type == "Ready")
    assert ready.message == (
        "check keystone_fernet_keys: there is no key in /etc/keystone/fernet-keys; because of it: glance_api, "
        "keystone registrations, check keystone login of the administrator"
    )
    assert ready.reason == "NotAnswering"
    (status,) = status_text(found)
    entry = history_entry(found)
    assert status.description == ready.message and entry is not None and entry["cause"] == ready.message
    assert status.key == "failed check keystone_fernet_keys NotAnswering"
    assert "\n" not in ready.message


def test_what_waits_on_purpose_is_no_cause() -> None:
    waits = Held("keystone", Reason.OutsideWindow, "waits until 22:00")
    found = report(plan=Plan("ctl1", "r1", held=(waits,)), window="until 22:00")
    assert verdict(found).cause is None and status_text(found)[0].state == "pending"
    broken = replace(found, checks=(CheckResult("mariadb", "mariadb", False, "vip:3306 does not answer"),))
    cause = verdict(broken).cause
    assert cause is not None and cause.root.item == "check mariadb"
    assert status_text(broken)[0].state == "failed"


def test_an_operator_who_suspended_the_node_knows() -> None:
    found = report(
        suspended="maintenance", plan=Plan("ctl1", "r1", held=(held("keystone", Reason.Suspended, "maintenance"),))
    )
    ready = next(c for c in conditions(found, (), NOW) if c.type == "Ready")
    assert (ready.reason, ready.message) == ("Suspended", "maintenance")


def running(**changes: Any) -> Running:
    made = Running(ID, "id", "image", State.RUNNING, NOW - timedelta(hours=1), health="healthy")
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (running(), ""),
        (running(health="unhealthy"), "Unhealthy"),
        (running(health="none"), ""),
        (running(health="starting", started_at=NOW), ""),  # started for the first time
        (running(health="starting", started_at=NOW, restart_count=1), ""),
        (running(health="starting", started_at=NOW, restart_count=4), "RestartLoop"),
        (running(health="none", started_at=NOW, restart_count=4), "RestartLoop"),
        (running(restart_count=4), ""),  # it was, and is well
        (running(state=State.EXITED), ""),  # the plan starts it
        (None, ""),
    ],
)
def test_a_container_that_runs_and_does_not_work(seen: Running | None, reason: str) -> None:
    found = symptom_of(ID, seen, NOW)
    assert (found.reason if found else "") == reason
    assert found is None or found.text.startswith("keystone: ")


def test_a_restart_loop_is_the_headline_in_every_pass_of_it() -> None:
    """Docker says `restarting` in one pass and `running` in the next: the words about the rest change, the headline does not."""
    loop = symptom_of(DB, running(health="starting", started_at=NOW, restart_count=5), NOW)
    assert loop is not None
    tried = Outcome(
        Action(Verb.START, "mariadb", "it is restarting", container="mariadb"), "failed", Reason.RestartLoop, "it ends"
    )
    unknown = Plan("ctl1", "r1", held=(held("keystone:endpoint:glance/public/R"),))
    before: tuple[str, ...] = ()
    for seen in (
        report(not_working=(loop,), plan=unknown),
        report(outcomes=(tried,)),
        report(not_working=(loop,), checks=(CheckResult("keystone_api", "keystone", False, "502"),), plan=unknown),
    ):
        seen = replace(seen, wrong=before)
        cause = verdict(seen).cause
        assert status_text(seen)[0].key == "failed mariadb RestartLoop", "posted once"
        assert cause is not None and cause.root.item == "mariadb", cause
        before = cause.items
