"""One verdict, and five that word it: the conditions, the commit status, the alerts, the summary of CI, and the reporter's judgement.

They are held against each other over every combination of what a pass can find.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.alerts.items import alerts_of
from reconciler.fleet import judge
from reconciler.fleet.inventory import Member
from reconciler.model import Action, CheckResult, Condition, Held, InFlight, Outcome, Plan, Verb
from reconciler.reasons import Reason, Standing
from reconciler.report import (
    Refusal,
    Report,
    RepositoryStatus,
    State,
    Symptom,
    conditions,
    read_status,
    status_text,
    verdict,
)
from reconciler.report.signed import decode, encode, statement
from reconciler.review import ci_summary

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEAD = "a" * 40
MEMBER = Member("ctl1", "control", "10.0.0.1", "key")
HELD = [  # one for each way in which something is held back
    Held("old", Reason.PruneReported, "no longer wanted"),
    Held("old-volume", Reason.HoldsData, "it holds data"),
    Held("x.conf", Reason.NotAchievable, "asked for 1, got 2"),
    Held("web", Reason.OutsideWindow, "waits until 22:00"),
    Held("web", Reason.ReportOnly, "this node's settings say mode = report"),
    Held("web", Reason.ReportOnly, "this node's settings say mode = report", drift=True),
    Held("web", Reason.OutsideWindow, "waits until 22:00", drift=True),
    Held("web", Reason.DriftReported, "stopped (drift mode is report)", drift=True),
    Held("db", Reason.Quarantined, "not healthy here"),
    Held("db", Reason.PolicyDenied, "privileged", drift=True),
    Held("mariadb:user:x", Reason.Unknown, "cannot be looked at"),
    Held("many", Reason.PruneGuard, "6 would go"),
    Held("app", Reason.InFlight, "waiting for app to become healthy"),
]
GAVE_WAY = "kolla-ansible was run here 2 times"
TAKEN_BACK = Held("app", Reason.OtherTool, GAVE_WAY, drift=True)


def outcome(result: Any, reason: Reason | None = None) -> Outcome:
    return Outcome(Action(Verb.REPLACE, "app", "image differs", container="app"), result, reason, "app: it ends")


OUTCOMES = [
    outcome("done"),
    outcome("skipped", Reason.Interrupted),
    outcome("failed", Reason.StartFailed),
    outcome("failed"),
    outcome("rolled-back", Reason.Unhealthy),
    outcome("unknown", Reason.EngineTimeout),
]
FLYING = (InFlight("app", "waiting for app to become healthy", NOW),)
CHECKS = [CheckResult("login", "app", True), CheckResult("api", "app", False, "502")]
NOT_WORKING = [Symptom("app", Reason.RestartLoop, "app: it ends again and again")]
REFUSALS = [None, Refusal("b" * 40, Reason.SiteInvalid, "globals.yml:1:1: no")]
SOURCES = [RepositoryStatus(True, HEAD), RepositoryStatus(False, "", Reason.GitTimeout, "it hangs")]


def report(**given: Any) -> Report:
    made = Report("cloud", "ctl1", HEAD, NOW, 0.5, "interval", True, SOURCES[0], Plan("ctl1", HEAD), containers=3)
    return replace(made, **given)


def finished(found: Report) -> Report:
    """With its conditions, which have lasted for days: every alert that waits for something to last is due."""
    before = conditions(found, (), NOW - timedelta(days=3))
    return replace(found, conditions=conditions(found, before, NOW))


def condition(found: Report, kind: str) -> Condition:
    return next(c for c in found.conditions if c.type == kind)


def agree(given: Report) -> State:
    """Hold the five against each other; the state they agree on."""
    found = finished(given)
    one = verdict(found)
    ready, stalled = condition(found, "Ready"), condition(found, "Stalled")
    statuses = [text for text in status_text(found) if text.commit == found.revision]
    alerts = [alert for alert in alerts_of(found, NOW) if alert.kind in ("failing", "drift", "other-tool", "stalled")]

    # 1: the conditions
    assert ready.status == one.ready == (one.state is State.CONVERGED)
    assert (ready.reason, ready.message) == (one.reason, one.message)
    assert stalled.status == one.stalled and not (stalled.status and ready.status)
    assert stalled.reason == (one.reason if one.stalled else Reason.NotStalled)
    if one.state is State.NOTHING:
        assert not statuses and not alerts
        return one.state

    # 2: the commit status, read back as from a forge
    (status,) = statuses
    assert status.reason == one.reason
    assert read_status(status.state, status.description) is one.state, (status, one)

    # 3: the summary of CI, from the same two texts
    said = {"ctl1": ci_summary.Report("ctl1", read_status(status.state, status.description), status.description)}
    summary = ci_summary.summarise("cloud", HEAD, ["ctl1"], said)
    assert summary.reports[0].state == one.state
    assert summary.well == (one.state in (State.CONVERGED, State.WAITING))

    # 4: the reporter, over the wire
    answer = judge.Answer(decode(encode(statement(found))))
    view = judge.view(MEMBER, answer, None, HEAD, NOW + timedelta(seconds=5), 300.0)
    expected = {State.CONVERGED: "converged", State.WAITING: "waiting"}.get(one.state, "failed")
    assert (view.state, view.reason) == (expected, one.reason)

    # 5: the alerts
    if one.state in (State.DRIFTED, State.FAILED):
        assert alerts, f"nobody is told that {one}"
    if one.state is State.CONVERGED:
        assert not alerts, f"somebody is told of {alerts} while all is well"
    if one.state is State.WAITING:
        assert {alert.kind for alert in alerts} <= {"failing", "other-tool"}, (
            "what waits on purpose is neither drift nor stalled"
        )
    return one.state


@pytest.mark.parametrize(
    ("given", "state", "reason"),
    [
        ({}, State.CONVERGED, Reason.Converged),
        ({"held": HELD[0]}, State.CONVERGED, Reason.Converged),
        # What this began with: an interrupted apply, and something left on purpose.
        ({"held": HELD[0], "outcome": OUTCOMES[1]}, State.WAITING, Reason.Interrupted),
        ({"outcome": OUTCOMES[1]}, State.WAITING, Reason.Interrupted),
        ({"held": HELD[3], "outcome": OUTCOMES[1]}, State.WAITING, Reason.OutsideWindow),
        ({"held": HELD[2]}, State.FAILED, Reason.NotAchievable),
        ({"held": HELD[4]}, State.WAITING, Reason.ReportOnly),
        ({"held": HELD[5]}, State.DRIFTED, Reason.ReportOnly),
        ({"held": HELD[6]}, State.DRIFTED, Reason.OutsideWindow),
        ({"held": HELD[7]}, State.DRIFTED, Reason.DriftReported),
        ({"held": HELD[9]}, State.FAILED, Reason.PolicyDenied),
        ({"held": HELD[10]}, State.FAILED, Reason.Unknown),
        ({"held": HELD[-1]}, State.WAITING, Reason.Progressing),
        ({"held": HELD[3], "in_flight": FLYING}, State.WAITING, Reason.Progressing),
        ({"held": HELD[8], "in_flight": FLYING}, State.FAILED, Reason.Quarantined),
        ({"outcome": OUTCOMES[3]}, State.FAILED, Reason.ActionFailed),
        ({"outcome": OUTCOMES[4]}, State.FAILED, Reason.Unhealthy),
        ({"checks": (CHECKS[1],)}, State.FAILED, Reason.NotAnswering),
        ({"not_working": tuple(NOT_WORKING)}, State.FAILED, Reason.RestartLoop),
        ({"suspended": "rack work", "held": HELD[7]}, State.WAITING, Reason.Suspended),
        ({"suspended": "rack work", "outcome": OUTCOMES[2]}, State.FAILED, Reason.StartFailed),
        ({"gave_way": GAVE_WAY}, State.FAILED, Reason.OtherTool),
        ({"gave_way": GAVE_WAY, "held": TAKEN_BACK}, State.FAILED, Reason.OtherTool),
        ({"gave_way": GAVE_WAY, "held": TAKEN_BACK, "not_working": tuple(NOT_WORKING)}, State.FAILED, Reason.OtherTool),
        ({"gave_way": GAVE_WAY, "held": TAKEN_BACK, "suspended": "rack work"}, State.WAITING, Reason.Suspended),
        ({"failure": (Reason.EngineUnreachable, "down")}, State.FAILED, Reason.EngineUnreachable),
        ({"plan": None, "revision": ""}, State.NOTHING, Reason.NoRevision),
        ({"plan": None, "revision": "", "source": SOURCES[1]}, State.NOTHING, Reason.GitTimeout),
        ({"plan": None, "revision": "", "refusal": REFUSALS[1]}, State.NOTHING, Reason.SiteInvalid),
    ],
)
def test_what_each_case_is(given: dict[str, Any], state: State, reason: Reason) -> None:
    held, one = given.pop("held", None), given.pop("outcome", None)
    given.setdefault("plan", Plan("ctl1", HEAD, held=(held,) if held else ()))
    found = report(**given, outcomes=(one,) if one else ())
    assert agree(found) is state and verdict(found).reason is reason


def test_the_five_agree_on_every_pair() -> None:
    states = set()
    for held, one, checks, suspended, refusal, testing in product(
        [None, *HELD],
        [None, *OUTCOMES],
        [(), *((check,) for check in CHECKS)],
        ["", "rack work"],
        REFUSALS,
        ["", "testing/ctl1"],
    ):
        plan = Plan("ctl1", HEAD, held=(held,) if held else ())
        found = report(
            plan=plan,
            outcomes=(one,) if one else (),
            checks=checks,
            suspended=suspended,
            refusal=refusal,
            testing=testing,
        )
        states.add(agree(found))
    assert states == {State.CONVERGED, State.WAITING, State.DRIFTED, State.FAILED}


@given(
    held=st.lists(st.sampled_from([*HELD, TAKEN_BACK]), max_size=4, unique_by=lambda h: (h.target, h.reason)),
    outcomes=st.lists(st.sampled_from(OUTCOMES), max_size=3),
    checks=st.lists(st.sampled_from(CHECKS), max_size=2, unique=True),
    not_working=st.lists(st.sampled_from(NOT_WORKING), max_size=1),
    suspended=st.sampled_from(["", "rack work"]),
    gave_way=st.sampled_from(["", GAVE_WAY]),
    refusal=st.sampled_from(REFUSALS),
    source=st.sampled_from(SOURCES),
    failure=st.sampled_from([None, (Reason.EngineTimeout, "it hangs"), (Reason.StateLost, "gone")]),
)
@settings(max_examples=200, deadline=None)
def test_the_five_agree_on_anything(held: list[Held], outcomes: list[Outcome], failure: Any, **given: Any) -> None:
    plan = None if failure else Plan("ctl1", HEAD, held=tuple(held))
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    found = report(plan=plan, outcomes=() if failure else tuple(outcomes), failure=failure, **given)
    if agree(found) is State.CONVERGED:
        assert found.converged and not found.drift and all(h.reason.standing is Standing.HARMLESS for h in held)


def test_what_is_refused_at_the_head_is_named_for_what_it_is() -> None:
    """The node is well at the commit before: its reason for that says nothing about the newest one."""
    found = finished(report(refusal=Refusal("b" * 40, Reason.SiteInvalid, "globals.yml:1:1: no")))
    answer = judge.Answer(decode(encode(statement(found))))
    view = judge.view(MEMBER, answer, None, "b" * 40, NOW, 300.0)
    assert (view.state, view.reason) == ("failed", Reason.SiteInvalid)
    assert verdict(found).ready


@pytest.mark.parametrize("result", ["failed", "rolled-back", "unknown", "skipped"])
def test_drift_that_could_not_be_healed_is_drift(result: Any) -> None:
    """As its metric and `reconciler drift` say. A change that failed is none."""
    found = outcome(result, Reason.FileWriteFailed)
    healing = replace(found, action=replace(found.action, drift=True))
    drifted = condition(finished(report(outcomes=(healing,))), "Drifted")
    assert (drifted.status, drifted.reason, drifted.message) == (True, Reason.Drift, "app: it ends")
    again = replace(healing, result="done")  # in flight after what failed was collected
    for outcomes in ((found,), (healing, again), (replace(healing, result="done"),)):
        assert not condition(finished(report(outcomes=outcomes)), "Drifted").status, outcomes
