"""The report of one cycle: what was found and done. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.model import CheckResult, Condition, Held, InFlight, Outcome, Plan, Verb
from reconciler.reasons import Reason, Standing
from reconciler.report.cause import Symptom
from reconciler.report.graph import Graph


@dataclass(frozen=True, slots=True)
class RepositoryStatus:
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
class Agreed:
    """What a node knows of the other hosts of its site after a pass."""

    fault: str = ""  # why etcd, through which they agree, does not answer; "": it does. Then all else is unknown but `holds` and `lent`
    rolling: str = ""  # the commit that is being rolled out
    halt: str = ""  # who halted that, and why; "": nobody did
    holds: tuple[str, ...] = ()  # budgets that this host holds a place of
    lent: str = ""  # for what an operator took them


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
    source: RepositoryStatus
    plan: Plan | None = None
    outcomes: tuple[Outcome, ...] = ()
    refusal: Refusal | None = None
    failure: tuple[Reason, str] | None = None  # (reason, message) of what kept the cycle from planning
    containers: int = 0  # desired on this host
    suspended: str = ""  # the operator's reason
    gave_way: str = ""  # to another tool that manages the same containers, and how that was seen; "" while it did not
    window: str = ""  # until when, or for what, changes wait, and why; "" while they need not
    testing: str = ""  # the testing branch that the revision is from; "": the branch
    warnings: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    subject: str = ""  # of the revision's commit
    author: str = ""
    explained: Mapping[str, str] = field(default_factory=dict)  # target → who or what caused its drift
    happened: tuple[Mapping[str, str], ...] = ()  # what others did that left nothing to put right: at, target, text
    checks: tuple[CheckResult, ...] = ()  # those that this pass made
    not_working: tuple[Symptom, ...] = ()  # containers that run and do not work
    graph: Graph = field(default_factory=dict)  # what rests on what
    wrong: tuple[str, ...] = ()  # Cause.items of the pass before
    program: str = ""  # the version of this program that runs, and
    catalogue: str = ""  # the digest of its catalogue
    kept: str = ""  # the revision that is kept up: the accepted one, or the one before while that waits
    in_flight: tuple[InFlight, ...] = ()  # what goes on beside the passes, the longest first
    fleet: Agreed | None = None  # None: this node agrees with nobody

    @property
    def ended_at(self) -> datetime:
        """When the pass ended."""
        return self.started_at + timedelta(seconds=self.seconds)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.result in ("failed", "rolled-back", "unknown"))

    @property
    def changed(self) -> tuple[Outcome, ...]:
        return tuple(
            o for o in self.outcomes if o.result == "done" and o.action.verb not in (Verb.VALIDATE, Verb.PRECHECK)
        )

    @property
    def drift(self) -> tuple[Held, ...]:
        """Drift that was found and not healed."""
        return tuple(held for held in self.plan.held if held.drift) if self.plan else ()

    @property
    def unhealed(self) -> tuple[Outcome, ...]:
        """Drift that was to be healed and could not be."""
        done = {outcome.action.id for outcome in self.outcomes if outcome.result == "done"}
        return tuple(o for o in self.outcomes if o.action.drift and o.action.id not in done)

    @property
    def unknown(self) -> tuple[Held, ...]:
        """What could not be looked at."""
        return tuple(held for held in self.plan.held if held.reason == Reason.Unknown) if self.plan else ()

    @property
    def waiting(self) -> tuple[Held, ...]:
        """What the revision asks for and is not done yet, on purpose: a maintenance window has to open, the node only reports."""
        held = self.plan.held if self.plan else ()
        return tuple(h for h in held if h.reason.standing is Standing.WAITING and not h.drift)

    @property
    def change(self) -> str:
        """The change of the program as the beginning of a sentence, "" when there is none: "reconciler 0.3.1 → 0.3.2: "."""
        return f"{self.plan.program}: " if self.plan and self.plan.program else ""

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
    def under_way(self) -> bool:
        """Whether something is in flight, or waits for what is."""
        held = self.plan.held if self.plan else ()
        return bool(self.in_flight) or any(item.reason == Reason.InFlight for item in held)

    @property
    def converged(self) -> bool:
        """Whether the node is now as the accepted commit says."""
        if self.under_way:
            return False
        return self.plan is not None and not self.failed and not self._open and self.failure is None

    @property
    def carried_out(self) -> bool:
        """Whether all that the accepted commit changes is done: what is not as it says is drift that is left on purpose."""
        if self.converged:
            return True
        undone = (
            self.under_way
            or self.failed
            or self.failure
            or any(outcome.result == "skipped" for outcome in self.outcomes)
        )
        held = self.plan.held if self.plan else ()
        left = all(h.reason.harmless or (h.drift and h.reason == Reason.DriftReported) for h in held)
        return self.plan is not None and not undone and left

    @property
    def _open(self) -> bool:
        skipped = any(outcome.result == "skipped" for outcome in self.outcomes)
        waiting = any(not held.reason.harmless for held in (self.plan.held if self.plan else ()))
        return skipped or waiting
