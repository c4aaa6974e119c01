"""The report of one cycle, and the conditions that follow from it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from reconciler.model import CheckResult, Condition, Held, Outcome, Plan, Verb, to_json
from reconciler.phrases import count
from reconciler.reasons import Reason, Standing
from reconciler.report.cause import Cause, Symptom, find
from reconciler.report.graph import CHECK, REGISTRAR, Graph


@dataclass(frozen=True, slots=True)
class Source:
    """How the last look at the repository went. `head` is the newest commit seen there, "" when it was never reached."""

    ok: bool
    head: str = ""
    reason: Reason | None = None
    message: str = ""
    retry_after: float | None = None  # seconds the server asked to be left alone for


@dataclass(frozen=True, slots=True)
class Refusal:
    """A commit that was fetched and not accepted; the node stays with the one before."""

    commit: str
    reason: Reason
    message: str
    problems: tuple[str, ...] = ()
    branch: str = ""  # the testing branch it is from; "": the branch


@dataclass(frozen=True, slots=True)
class Report:
    """What one cycle found and did."""

    site: str
    host: str
    revision: str  # the accepted commit that is enforced; "" while there is none
    started_at: datetime
    seconds: float
    trigger: str  # "interval", "event", "hangup", "command", "start", "retry"
    deep: bool
    source: Source
    plan: Plan | None = None
    outcomes: tuple[Outcome, ...] = ()
    refusal: Refusal | None = None
    failure: tuple[Reason, str] | None = None  # (reason, message) of what kept the cycle from planning
    containers: int = 0  # desired on this host
    suspended: str = ""  # the operator's reason
    window: str = ""  # until when changes wait, and why; "" while they need not
    testing: str = ""  # the testing branch that the revision is from; "": the branch
    warnings: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    subject: str = ""  # of the revision's commit
    author: str = ""
    explained: Mapping[str, str] = field(default_factory=dict)  # target → who or what caused its drift
    happened: tuple[Mapping[str, str], ...] = ()  # what others did that left nothing to put right: at, target, text
    checks: tuple[CheckResult, ...] = ()  # those that this pass made
    sick: tuple[Symptom, ...] = ()  # containers that run and do not work
    graph: Graph = field(default_factory=dict)  # what rests on what
    wrong: tuple[str, ...] = ()  # Cause.items of the pass before

    @property
    def failed(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.result in ("failed", "rolled-back", "unknown"))

    @property
    def changed(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.result == "done" and o.action.verb is not Verb.VALIDATE)

    @property
    def drift(self) -> tuple[Held, ...]:
        """Drift that was found and not healed."""
        return tuple(held for held in self.plan.held if held.drift) if self.plan else ()

    @property
    def unknown(self) -> tuple[Held, ...]:
        """What could not be looked at."""
        return tuple(held for held in self.plan.held if held.reason == Reason.Unknown) if self.plan else ()

    @property
    def waiting(self) -> tuple[Held, ...]:
        """What the revision asks for and a maintenance window has to open for."""
        held = self.plan.held if self.plan else ()
        return tuple(h for h in held if h.reason == Reason.OutsideWindow and not h.drift)

    @property
    def quarantined(self) -> tuple[Held, ...]:
        return tuple(held for held in self.plan.held if held.reason == Reason.Quarantined) if self.plan else ()

    @property
    def not_achievable(self) -> tuple[Held, ...]:
        """What was asked for, and the engine or the disk made something else of it."""
        return tuple(held for held in self.plan.held if held.reason == Reason.NotAchievable) if self.plan else ()

    @property
    def not_answering(self) -> tuple[CheckResult, ...]:
        """Checks that failed: everything is as the commit says, and does not answer."""
        return tuple(check for check in self.checks if not check.ok)

    @property
    def cause(self) -> Cause | None:
        """What is wrong, by what is the cause of what; None when nothing is, or nothing could be looked at."""
        return find(_symptoms(self), self.graph, self.wrong) if self.plan and not self.failure else None

    @property
    def converged(self) -> bool:
        """Whether the node is now as the accepted commit says."""
        return self.plan is not None and not self.failed and not self._open and self.failure is None

    @property
    def carried_out(self) -> bool:
        """Whether all that the accepted commit changes is done: what is not as it says is drift that is left on purpose."""
        if self.converged:
            return True
        undone = self.failed or self.failure or any(outcome.result == "skipped" for outcome in self.outcomes)
        held = self.plan.held if self.plan else ()
        left = all(h.reason.harmless or (h.drift and h.reason == Reason.DriftReported) for h in held)
        return self.plan is not None and not undone and left

    @property
    def _open(self) -> bool:
        skipped = any(outcome.result == "skipped" for outcome in self.outcomes)
        waiting = any(not held.reason.harmless for held in (self.plan.held if self.plan else ()))
        return skipped or waiting


def as_json(report: Report) -> dict[str, Any]:
    """A report for the disk and for programs: without the graph, and with what is wrong in this pass, as the next one wants it."""
    told: dict[str, Any] = to_json(replace(report, graph={}, wrong=report.cause.items if report.cause else ()))
    return told


def conditions(report: Report, previous: Sequence[Condition], now: datetime) -> tuple[Condition, ...]:
    """Ready, Stalled, Drifted, Suspended, Testing and SourceReady; `since` is kept while a condition's status does not change."""
    since = {c.type: ((c.status, c.reason == Reason.Unknown), c.since) for c in previous}

    def condition(type_: str, status: bool, reason: Reason, message: str) -> Condition:
        before = since.get(type_)
        lasts = before is not None and before[0] == (status, reason == Reason.Unknown)
        return Condition(type_, status, reason, message, before[1] if before and lasts else now, report.revision)

    ready, reason, message = _readiness(report)
    drifted = _drifted(report)
    stalled = not ready and reason.standing is Standing.WRONG
    return (
        condition("Ready", ready, reason, message),
        condition("Stalled", stalled, reason if stalled else Reason.NotStalled, message if stalled else ""),
        condition("Drifted", *drifted),
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
    if drift := report.drift:
        return True, Reason.Drift, _first_of(drift)
    if report.plan is None and report.revision:
        return (
            False,
            Reason.Unknown,
            f"nothing could be looked at: {report.failure[1] if report.failure else 'no plan'}",
        )
    if unknown := report.unknown:
        return False, Reason.Unknown, _first_of(unknown)
    return False, Reason.InStep, "no unhealed drift"


def _first_of(held: Sequence[Held]) -> str:
    more = f" and {len(held) - 1} more" if len(held) > 1 else ""
    return f"{about(held[0].target, held[0].message)}{more}"


def _readiness(report: Report) -> tuple[bool, Reason, str]:
    """First match wins."""
    if report.failure:
        return False, report.failure[0], report.failure[1]

    if report.plan is None:
        reason = report.refusal.reason if report.refusal else report.source.reason or Reason.NoRevision
        return False, reason, report.refusal.message if report.refusal else report.source.message
    if report.suspended and not report.failed:
        return False, Reason.Suspended, report.suspended
    if cause := report.cause:
        return False, cause.root.reason, cause.text
    if waiting := report.waiting:
        return False, Reason.OutsideWindow, f"{count(len(waiting), 'change')} waiting {report.window}"
    if any(outcome.result == "skipped" for outcome in report.outcomes):
        return False, Reason.Interrupted, "stopped before everything was done; the next cycle goes on"
    return True, Reason.Converged, f"{report.containers} containers as wanted"


def _symptoms(report: Report) -> Iterator[Symptom]:
    """What is wrong, by weight: what was tried and failed, what is held back, what does not answer or does not work."""
    for outcome in report.failed:
        action = outcome.action
        text = f"{action.target}: {first_line(outcome.message).removeprefix(f'{action.target}: ')}"
        yield Symptom(action.container or action.target, outcome.reason or Reason.ActionFailed, text)
    for held in report.plan.held if report.plan else ():
        if not held.reason.harmless and held not in report.waiting:
            yield _held(held, report.graph)
    yield from (found for found in report.sick if found.reason != Reason.Unhealthy)
    for check in report.not_answering:
        yield Symptom(f"{CHECK}{check.name}", Reason.NotAnswering, f"check {check.name}: {first_line(check.message)}")
    # A check in the container says more than that its health check fails.
    yield from (found for found in report.sick if found.reason == Reason.Unhealthy)
    for stuck in report.not_achievable:
        yield Symptom(stuck.target, Reason.NotAchievable, f"{stuck.target}: {stuck.message}")


def _held(held: Held, graph: Graph) -> Symptom:
    """All registrations of a registrar that does not answer are one symptom."""
    registrar = next((item for item in graph.get(held.target, ()) if item.endswith(REGISTRAR)), "")
    if held.reason == Reason.Unknown and registrar:
        return Symptom(registrar, held.reason, f"{registrar} cannot be looked at: {first_line(held.message)}")
    return Symptom(held.target, held.reason, about(held.target, first_line(held.message)))


def about(target: str, text: str) -> str:
    """What a text is about, unless it begins with that anyway."""
    return text if text.startswith((f"{target}:", f"{target} ")) else f"{target}: {text}"


def first_line(text: str) -> str:
    """Up to the end of its first line."""
    return text.partition("\n")[0]
