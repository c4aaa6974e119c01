"""Which items of a report are alerts, and for which items a report can say that all is well."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from reconciler.alerts import Alert, Rules, alerts_of, ledger
from reconciler.alerts.items import NODE, REVISION, SOURCE, SUSPENSION, coverage
from reconciler.model import InFlight, Verb
from reconciler.reasons import Reason
from reconciler.report import OTHER_TOOL, Refusal, Report
from tests.alerts import reports
from tests.alerts.reports import AWAY, START, held, outcome, report

MINUTE = timedelta(minutes=1)


def kinds(found: tuple[Alert, ...]) -> list[tuple[str, str, str]]:
    return [(alert.kind, alert.item, alert.reason) for alert in found]


def later(first: Report, minutes: float, **changes: Any) -> Report:
    """The same again, `minutes` later: conditions keep their time."""
    return report(*changes.pop("held", ()), now=START + minutes * MINUTE, before=first.conditions, **changes)  # type: ignore[arg-type,misc]


def test_a_converged_node_has_nothing_to_tell() -> None:
    assert alerts_of(report(), START) == ()
    assert alerts_of(report(outcomes=[outcome("keystone", "done")]), START) == (), "healed drift is no alert"


def test_unhealed_drift_says_who_did_it() -> None:
    found = alerts_of(report(held(), explained={"keystone": "stopped by hand at 03:12:00"}), START)
    assert kinds(found) == [("drift", "keystone", "DriftReported")]
    assert found[0].cause == "stopped by hand at 03:12:00"
    assert found[0].title == "ctl1: keystone drifted"
    assert "state: is exited, should be running" in found[0].text


def test_what_a_suspension_holds_back_is_no_drift_alert() -> None:
    assert alerts_of(report(held(reason=Reason.Suspended), suspended="disk swap"), START) == ()


def test_giving_way_to_another_tool_is_one_alert_at_once_whatever_it_holds_back() -> None:
    taken_back = [held(name, Reason.OtherTool) for name in ("keystone", "mariadb", "rabbitmq", "haproxy")]
    given = report(*taken_back, held("cron"), gave_way="kolla-ansible was run here 2 times")
    told, drifted = alerts_of(given, START + 60 * MINUTE)
    assert kinds((told, drifted)) == [("other-tool", OTHER_TOOL, "OtherTool"), ("drift", "cron", "DriftReported")]
    assert told.severity == "high" and not told.patience and "keystone, mariadb, rabbitmq and 1 more" in told.text
    # Also where nothing differs any more; and only a pass that planned can say that it is over.
    (alone,) = alerts_of(report(gave_way="kolla-ansible was run here 2 times"), START)
    assert (alone.kind, alone.item) == ("other-tool", OTHER_TOOL) and "held back" not in alone.text
    assert coverage(report()).covers(OTHER_TOOL, deep_only=False)
    assert not coverage(report(failure=(Reason.EngineUnreachable, "down"))).covers(OTHER_TOOL, deep_only=False)


def test_what_is_held_back_without_drift_is_no_drift_alert() -> None:
    assert alerts_of(report(held("old", Reason.PruneGuard, "6 would go", drift=False)), START) == ()


@pytest.mark.parametrize(("result", "patience"), [("rolled-back", 0.0), ("failed", 300.0), ("unknown", 300.0)])
def test_failed_actions(result: str, patience: float) -> None:
    (alert,) = alerts_of(report(outcomes=[outcome("keystone", result, verb=Verb.REPLACE)]), START)
    assert (alert.kind, alert.item, alert.reason, alert.patience) == ("failing", "keystone", "StartFailed", patience)
    assert "no such file" in alert.text and "replace" in alert.title


def test_one_alert_for_an_item_however_much_is_wrong_with_it() -> None:
    broken = report(
        held("keystone"),
        held("keystone", Reason.Quarantined, drift=False),
        outcomes=[outcome("keystone", "rolled-back"), outcome("keystone/a.conf", "failed", container="keystone")],
    )
    assert kinds(alerts_of(broken, START)) == [("failing", "keystone", "StartFailed")]


def test_a_rolled_back_container_stays_an_alert_while_it_is_quarantined() -> None:
    first = alerts_of(report(outcomes=[outcome("keystone", "rolled-back", Reason.Unhealthy)]), START)
    then = alerts_of(report(held("keystone", Reason.Quarantined, "waits", drift=False)), START)
    assert first[0].item == then[0].item and then[0].kind == "failing"


def test_a_refused_commit() -> None:
    refused = report(
        refusal=Refusal(reports.NEWER, Reason.SiteInvalid, "globals.yml:3:1: no", ("globals.yml:3:1: no",))
    )
    assert kinds(alerts_of(refused, START)) == [("refused", REVISION, "SiteInvalid")]


@pytest.mark.parametrize(("minutes", "alerts"), [(14, []), (15, [("source", SOURCE, "GitUnreachable")])])
def test_a_source_that_fails_for_some_time(minutes: int, alerts: list[tuple[str, str, str]]) -> None:
    first = report(source=AWAY)
    assert kinds(alerts_of(later(first, minutes, source=AWAY), START + minutes * MINUTE)) == alerts


@pytest.mark.parametrize(
    ("back", "alerts"),
    [(4, []), (6, [("source", SOURCE, "GitUnreachable")]), (600, [("source", SOURCE, "GitUnreachable")])],
)
def test_a_clock_that_was_set_back_makes_nobody_silent(back: int, alerts: list[tuple[str, str, str]]) -> None:
    """What has failed since a time to come may have for long; a clock that is corrected by a little says nothing."""
    assert kinds(alerts_of(report(source=AWAY), START - back * MINUTE)) == alerts


@pytest.mark.parametrize(("hours", "alerts"), [(23, []), (24, [("suspended", SUSPENSION, "Suspended")])])
def test_suspended_too_long(hours: int, alerts: list[tuple[str, str, str]]) -> None:
    first = report(suspended="disk swap")
    now = START + timedelta(hours=hours)
    found = alerts_of(later(first, hours * 60, suspended="disk swap"), now)
    assert kinds(found) == alerts
    assert not found or "disk swap" in found[0].text


@pytest.mark.parametrize(
    "changes",
    [
        {"failure": (Reason.EngineUnreachable, "down")},
        {"held": (held("old", Reason.PruneGuard, "6 would go", drift=False),)},
    ],
    ids=["no plan", "held back"],
)
def test_a_node_that_does_not_converge_for_another_reason(changes: dict[str, object]) -> None:
    first = later(report(), 0, **dict(changes))
    assert alerts_of(later(first, 4, **dict(changes)), START + 4 * MINUTE) == ()
    (alert,) = alerts_of(later(first, 5, **dict(changes)), START + 5 * MINUTE)
    assert (alert.kind, alert.item) == ("stalled", NODE)


def test_thresholds_are_settings() -> None:
    assert alerts_of(report(source=AWAY), START, Rules(source_after=0)) != ()


def test_a_cycle_that_could_not_plan_speaks_for_no_container() -> None:
    seen = coverage(report(failure=(Reason.EngineUnreachable, "down")))
    assert not seen.covers("keystone", deep_only=False) and not seen.covers(SUSPENSION, deep_only=False)
    assert seen.covers(SOURCE, deep_only=False) and seen.covers(NODE, deep_only=False)


def test_what_was_not_read_or_left_undone_is_not_well() -> None:
    seen = coverage(
        report(held("nova", Reason.Unknown, drift=False), outcomes=[outcome("a/b.conf", "skipped", container="a")])
    )
    assert [seen.covers(item, deep_only=False) for item in ("nova", "a", "a/b.conf", "keystone")] == [
        False,
        False,
        False,
        True,
    ]


def test_only_a_deep_pass_speaks_for_what_only_deep_passes_see() -> None:
    item = "mariadb:database:keystone"
    assert not coverage(report()).covers(item, deep_only=True)
    assert coverage(report(deep=True)).covers(item, deep_only=True)
    assert coverage(report()).covers("keystone", deep_only=False)


def test_a_source_that_fails_says_nothing_about_a_refused_commit() -> None:
    assert not coverage(report(source=AWAY)).covers(REVISION, deep_only=False)


def test_an_alert_says_what_it_is_because_of() -> None:
    broken = report(outcomes=[outcome("mariadb", "failed"), outcome("keystone", "failed")])
    broken = dataclasses.replace(broken, graph={"keystone": ("mariadb",)})
    alone, consequence = sorted(alerts_of(broken, START), key=lambda alert: alert.item, reverse=True)
    assert alone.item == "mariadb" and "Because of" not in alone.text
    assert consequence.text.startswith("Because of something else: mariadb: no such file\n")


def test_what_is_in_flight_is_neither_well_nor_ill() -> None:
    """An alert about it lasts until it has ended; one about something else may end."""
    flying = InFlight("keystone", "waiting for keystone to become healthy", START)
    waits = held("horizon", Reason.InFlight, "needs keystone, which is in flight", drift=False)
    found = coverage(dataclasses.replace(report(waits), in_flight=(flying,)))
    assert not any(found.covers(item, deep_only=False) for item in ("keystone", "horizon", NODE))
    assert found.covers("memcached", deep_only=False)
    assert alerts_of(report(waits), START) == ()


@pytest.mark.parametrize(
    "changes",
    [{"source": AWAY}, {"suspended": "disk swap"}, {"failure": (Reason.EngineUnreachable, "down")}],
    ids=["source", "suspended", "stalled"],
)
def test_an_alert_begins_when_that_began_of_which_it_tells(changes: dict[str, Any]) -> None:
    """Not when it had lasted long enough: whoever looks for the cause looks around that time."""
    days, book = 3 * 24 * 60, ledger.Ledger()
    lasting = later(report(**changes), days, **changes)
    now = START + days * MINUTE
    for seen in (lasting, later(lasting, days + 1, **changes)):
        book = ledger.observe(book, alerts_of(seen, now), coverage(seen), now, identity="here", deep=True)
    (entry,) = book.entries.values()
    assert entry.since == START < now
