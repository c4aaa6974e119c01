"""The verdict on a report as conditions, each with the time since when it is so. Pure."""

from collections.abc import Sequence
from datetime import datetime

from reconciler.model import Condition
from reconciler.reasons import Reason
from reconciler.report.cycle import Report
from reconciler.report.verdict import about, doing, verdict


def conditions(report: Report, previous: Sequence[Condition], now: datetime) -> tuple[Condition, ...]:
    """Ready, Reconciling, Stalled, Drifted, Suspended, Testing and SourceReady; `since` is kept while a condition's status does not change."""
    since = {c.type: ((c.status, c.reason == Reason.Unknown), c.since) for c in previous}

    def condition(type_: str, status: bool, reason: Reason, message: str) -> Condition:
        before = since.get(type_)
        lasts = before is not None and before[0] == (status, reason == Reason.Unknown)
        return Condition(type_, status, reason, message, before[1] if before and lasts else now, report.revision)

    found = verdict(report)
    stalled = (found.reason, found.message) if found.stalled else (Reason.NotStalled, "")
    under_way = (Reason.Progressing, doing(report, report.ended_at)) if report.under_way else (Reason.Idle, "")
    return (
        condition("Ready", found.ready, found.reason, found.message),
        condition("Reconciling", report.under_way, *under_way),
        condition("Stalled", found.stalled, *stalled),
        condition("Drifted", *_drifted(report)),
        condition(
            "Suspended",
            bool(report.suspended),
            Reason.Suspended if report.suspended else Reason.Active,
            report.suspended,
        ),
        condition(
            "Testing",
            bool(report.testing),
            Reason.TestingBranch if report.testing else Reason.Branch,
            f"{report.testing} at {report.revision[:12]}" if report.testing else "",
        ),
        condition(
            "SourceReady",
            report.source.ok and report.refusal is None,
            report.refusal.reason if report.refusal else report.source.reason or Reason.UpToDate,
            report.refusal.message if report.refusal else report.source.message,
        ),
    )


def _drifted(report: Report) -> tuple[bool, Reason, str]:
    """First match wins. What could not be looked at is not in step."""
    if drift := [
        *((o.action.target, o.message) for o in report.unhealed),
        *((h.target, h.message) for h in report.drift),
    ]:
        return True, Reason.Drift, _first_of(drift)
    if report.plan is None and report.revision:
        return (
            False,
            Reason.Unknown,
            f"nothing could be looked at: {report.failure[1] if report.failure else 'no plan'}",
        )
    if unknown := [(held.target, held.message) for held in report.unknown]:
        return False, Reason.Unknown, _first_of(unknown)
    return False, Reason.InStep, "no unhealed drift"


def _first_of(found: Sequence[tuple[str, str]]) -> str:
    """The first of some targets, with what is said of it."""
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{about(*found[0])}{more}"
