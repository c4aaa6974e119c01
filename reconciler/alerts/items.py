"""What of a report somebody should be told: one alert per item of this host. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from reconciler.model import Condition, Difference, Outcome
from reconciler.phrases import few
from reconciler.reasons import FLEET, Reason
from reconciler.report import OTHER_TOOL, Report, State, verdict
from reconciler.text import cut

Kind = Literal["failing", "drift", "other-tool", "refused", "source", "stalled", "suspended", "etcd", "rollout"]
Severity = Literal["critical", "high", "medium", "low", "info"]  # GitLab's words

LEAP = timedelta(minutes=5)  # more than a clock is ever corrected by while it is watched
_DIFFERENCES = 8  # shown of each item
_VALUE = 200  # characters of a value
# Items that are no container, file or registration. None of those can hold a blank.
SOURCE, REVISION, NODE, SUSPENSION = "the source", "the newest commit", "the node", "the suspension"
ETCD, ROLLOUT = "the etcd", "the rollout"
_OURS = frozenset({SOURCE, REVISION, NODE, SUSPENSION, ETCD, ROLLOUT})


@dataclass(frozen=True, slots=True)
class Rules:
    """How long something may last before it is an alert, in seconds."""

    source_after: float = 900.0
    failing_after: float = 300.0
    suspended_after: float = 86_400.0
    waiting_after: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is wrong on one host. `cause` says who or what did it, where that is known."""

    kind: Kind
    item: str
    host: str
    site: str
    severity: Severity
    reason: Reason
    title: str  # one line, the same for as long as the item has this reason
    text: str
    revision: str = ""
    cause: str = ""
    patience: float = 0.0  # seconds it has to last before anybody is told
    since: datetime | None = None  # when it began, where that was before it became an alert


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which items a report can speak for: only of these does "not among the alerts" mean that all is well again."""

    plan: bool  # containers, files, registrations and jobs
    deep: bool  # also what only a deep pass sees
    revision: bool
    suspension: bool
    etcd: bool
    unknown: frozenset[str]  # items of the plan of which nothing is known in this pass

    def covers(self, item: str, *, deep_only: bool) -> bool:
        """Whether the report can say that `item` is well. `deep_only`: only deep passes ever saw it otherwise."""
        if item == REVISION:
            return self.revision
        if item == SUSPENSION:
            return self.suspension
        if item in (OTHER_TOOL, ROLLOUT):
            return self.plan
        if item == ETCD:
            return self.etcd
        if item in _OURS:
            return item not in self.unknown
        return self.plan and item not in self.unknown and (self.deep or not deep_only)


def alerts_of(report: Report, now: datetime, rules: Rules = Rules()) -> tuple[Alert, ...]:
    """What is wrong according to a report that has its conditions; at most one alert per item, in order of items."""
    found: dict[str, Alert] = {}
    # Where several are about one item the first one says more.
    for alert in (*_failing(report, rules), *_drift(report), *_node(report, now, rules)):
        found.setdefault(alert.item, alert)
    return tuple(found[item] for item in sorted(found))


def coverage(report: Report) -> Coverage:
    """What `report` can speak for: what could not be read, or was left undone, is neither well nor ill."""
    planned = report.plan is not None and report.failure is None
    held = report.plan.held if report.plan else ()
    unknown = {h.target for h in held if h.reason in (Reason.Unknown, Reason.InFlight)}
    unknown |= {item.target for item in report.in_flight} | ({NODE} if report.under_way else set())
    unknown |= {_item(o) for o in report.outcomes if o.result == "skipped"}
    unknown |= {o.action.target for o in report.outcomes if o.result == "skipped"}
    return Coverage(planned, report.deep, report.source.ok, planned, report.fleet is not None, frozenset(unknown))


def _failing(report: Report, rules: Rules) -> Iterator[Alert]:
    for outcome in report.failed:
        back = ", rolled back" if outcome.result == "rolled-back" else ""
        # What was rolled back waits for a commit; everything else is tried again and often heals by itself.
        yield _alert(
            report,
            "failing",
            _item(outcome),
            outcome.reason or Reason.ActionFailed,
            f"{outcome.action.verb} {outcome.action.target} failed{back}",
            f"{outcome.action.line}\n{outcome.message}",
            "high",
            target=outcome.action.target,
            patience=0.0 if back else rules.failing_after,
        )
    for held in report.quarantined:
        title = f"{held.target} does not work with this revision and was rolled back"
        yield _alert(
            report, "failing", held.target, held.reason, title, _details(held.message, held.differences), "high"
        )


def _drift(report: Report) -> Iterator[Alert]:
    """Drift that is still there: held back, or with an action that did not succeed (then `_failing` was first)."""
    # Whoever suspends a node to work on it knows that it differs.
    for held in () if verdict(report).reason is Reason.Suspended else report.drift:
        if held.reason is Reason.OtherTool:
            continue  # told once, for all of them
        text = _details(held.message, held.differences)
        yield _alert(report, "drift", held.target, held.reason, f"{held.target} drifted", text, "medium")


def _node(report: Report, now: datetime, rules: Rules) -> Iterator[Alert]:
    conditions = {condition.type: condition for condition in report.conditions}
    if report.refusal:
        refusal = report.refusal
        problems = "".join(f"\n- {problem}" for problem in refusal.problems[:20])
        text = f"{refusal.message}{problems}\nThe node stays with {report.revision[:12] or 'no revision'}."
        title = f"commit {refusal.commit[:12]} was refused"
        yield _alert(report, "refused", REVISION, refusal.reason, title, text, "high")
    if not report.source.ok and _lasts(conditions.get("SourceReady"), False, now, rules.source_after):
        text = f"{report.source.message}\nThe node keeps to {report.revision[:12] or 'no revision'}."
        yield _alert(
            report,
            "source",
            SOURCE,
            report.source.reason or Reason.GitUnreachable,
            "the repository cannot be read",
            text,
            "high",
            since=conditions["SourceReady"].since,
        )
    if report.gave_way:
        waits = [held.target for held in report.plan.held if held.reason is Reason.OtherTool] if report.plan else []
        waiting = f" (held back by that: {few(waits)})" if waits else ""
        text = f"{report.gave_way}\nNothing is changed or healed{waiting}."
        title = "kolla-ansible manages this host again, and the node gave way"
        yield _alert(report, "other-tool", OTHER_TOOL, Reason.OtherTool, title, text, "high")
    suspended = conditions.get("Suspended")
    if report.suspended and suspended and _lasts(suspended, True, now, rules.suspended_after):
        text = (
            f"{report.suspended}\nNothing is changed or healed since {suspended.since.astimezone():%Y-%m-%d %H:%M %Z}."
        )
        title = "still suspended"
        yield _alert(report, "suspended", SUSPENSION, Reason.Suspended, title, text, "low", since=suspended.since)
    yield from _fleet(report, rules)
    stalled = conditions.get("Stalled")
    found = verdict(report)
    alone = {OTHER_TOOL, *map(_item, report.failed), *(held.target for held in report.quarantined)}
    told = (found.cause is not None and found.cause.root.item in alone) or found.state is State.NOTHING
    if stalled and not told and _lasts(stalled, True, now, rules.failing_after):
        title, text = "the node does not converge", stalled.message
        yield _alert(report, "stalled", NODE, stalled.reason, title, text, "high", since=stalled.since)


def _fleet(report: Report, rules: Rules) -> Iterator[Alert]:
    """What the other hosts have a part in. Waiting for them is what a rollout is made of, so it counts when it lasts."""
    if report.fleet and report.fleet.fault:
        text = f"{report.fleet.fault}\nNothing begins here that other hosts have to agree to; what drifted is healed where that stops nothing."
        title, patience = "etcd does not answer", rules.failing_after
        yield _alert(report, "etcd", ETCD, Reason.EtcdUnavailable, title, text, "high", patience=patience)
    waits = [held for held in report.waiting if held.reason in FLEET and held.reason is not Reason.EtcdUnavailable]
    if not waits:
        return
    first = waits[0]
    title = "waits for other hosts, and goes on waiting"
    severity: Severity = "low"
    patience = rules.waiting_after
    if first.reason is Reason.RolloutHalted:
        title, severity, patience = "the rollout is halted", "medium", rules.failing_after
    text = f"{first.message}\nHeld back by that: {few([held.target for held in waits])}."
    yield _alert(report, "rollout", ROLLOUT, first.reason, title, text, severity, patience=patience)


def _lasts(condition: Condition | None, status: bool, now: datetime, seconds: float) -> bool:
    if condition is None or condition.status != status:
        return False
    lasted = now - condition.since
    return lasted >= timedelta(seconds=seconds) or lasted < -LEAP  # a clock that was set back makes nobody silent


def _item(outcome: Outcome) -> str:
    return outcome.action.container or outcome.action.target


def _alert(
    report: Report,
    kind: Kind,
    item: str,
    reason: Reason,
    title: str,
    text: str,
    severity: Severity,
    *,
    target: str = "",
    patience: float = 0.0,
    since: datetime | None = None,
) -> Alert:
    explained, cause = report.explained, verdict(report).cause
    if cause and item in {symptom.item for symptom in cause.because}:
        text = f"Because of something else: {cause.root.text}\n{text}"
    return Alert(
        kind=kind,
        item=item,
        host=report.host,
        site=report.site,
        severity=severity,
        reason=reason,
        title=f"{report.host}: {title}",
        text=text.strip(),
        revision=report.revision,
        cause=explained.get(target) or explained.get(item, ""),
        patience=patience,
        since=since,
    )


def _details(message: str, differences: Iterable[Difference]) -> str:
    shown = [*differences]
    lines = [f"{d.field}: is {cut(d.actual, _VALUE)}, should be {cut(d.desired, _VALUE)}" for d in shown[:_DIFFERENCES]]
    if len(shown) > _DIFFERENCES:
        lines.append(f"and {len(shown) - _DIFFERENCES} more fields")
    return "\n".join((message, *lines))
