"""What each host is at the head commit, and what that makes of groups and the whole. Pure: time and reports are arguments."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from reconciler import report
from reconciler.fleet.inventory import Member
from reconciler.reasons import Reason
from reconciler.report import StatusText, read_status
from reconciler.report.signed import Statement

State = Literal["converged", "waiting", "failed", "unknown"]
STATES: Final[tuple[State, ...]] = ("converged", "waiting", "failed", "unknown")
# A host that drifted is one of those that failed: somebody has to look at it.
_STATES: Final[Mapping[report.State, State]] = {
    report.State.CONVERGED: "converged",
    report.State.WAITING: "waiting",
    report.State.DRIFTED: "failed",
    report.State.FAILED: "failed",
}
AHEAD = 120.0  # seconds that a host's clock may be ahead of ours


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of asking one host: its statement, or why there is none that counts."""

    said: Statement | None = None
    reason: Reason | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """One host as of one round. `since`: when it became unknown. `status`: what it would have posted about the head."""

    member: Member
    state: State
    reason: Reason | None
    message: str
    commit: str = ""
    at: datetime | None = None  # of its newest report that counted, now or before
    stale: bool = False
    since: datetime | None = None
    status: StatusText | None = None
    program: str = ""  # the version of this program that runs there, and
    catalogue: str = ""  # the digest of its catalogue; "" where nobody knows
    ahead: StatusText | None = None  # what it said last of a commit that is not merged


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What several hosts are together. `steady`: no host is unknown that may be back in a moment."""

    counts: Mapping[State, int]
    state: Literal["pending", "success", "failed"]
    text: str
    steady: bool

    @property
    def key(self) -> str:
        return " ".join(f"{self.counts[state]}" for state in STATES)


def view(member: Member, answer: Answer, seen: datetime | None, head: str, now: datetime, stale_after: float) -> View:
    """One host at the head commit; `seen` is the time of the newest report of it that ever counted. First match wins."""
    said = answer.said
    if said is None:
        return View(member, "unknown", answer.reason, answer.message, at=seen, stale=seen is not None)
    if seen is not None and said.at < seen:
        message = (
            f"answers with a report of {said.at:%H:%M:%S}, after one of {seen:%H:%M:%S}: an old one is played back"
        )
        return View(member, "unknown", Reason.ReportReplayed, message, at=seen, stale=True)
    if (said.at - now).total_seconds() > AHEAD:
        message = f"its report is of {_ago((said.at - now).total_seconds())} from now: compare the clocks"
        return View(member, "unknown", Reason.ReportAhead, message, at=seen, stale=True)
    if (age := (now - said.at).total_seconds()) > stale_after:
        message = f"its newest report is {_ago(age)} old: does a pass hang there?"
        return View(member, "unknown", Reason.ReportStale, message, said.commit, said.at, stale=True)
    found = _at_head(said, head)
    return replace(
        found,
        member=member,
        commit=said.commit,
        at=said.at,
        program=said.program,
        catalogue=said.catalogue,
        ahead=said.ahead,
    )


def _at_head(said: Statement, head: str) -> View:
    nobody = Member("", "", "", "")
    status = said.status(head)
    if status is None:
        where = f"at {said.commit[:12]}" if said.commit else "no commit accepted yet"
        other = next((text for text in said.statuses if text.branch), None)
        if other is not None:
            return View(nobody, "waiting", Reason.TestingBranch, f"tries {other.branch}, {where}")
        reason = (
            Reason.Progressing if said.busy or said.reason == Reason.Converged else said.reason or Reason.NoRevision
        )
        return View(nobody, "waiting", reason, f"{where}, a pass is under way" if said.busy else where)
    state = _STATES[read_status(status.state, status.description)]
    if state == "converged" and (said.busy or said.commit != head):
        return View(nobody, "waiting", Reason.Progressing, "a pass is under way", status=None)
    return View(nobody, state, status.reason or said.reason, status.description, status=status)


def differing(views: Iterable[View]) -> tuple[View, ...]:
    """Hosts that run another version of this program, or another catalogue, than most that are known to."""
    known = [found for found in views if found.program]
    tally = Counter((found.program, found.catalogue) for found in known)
    most = max(tally, key=lambda made: (tally[made], made), default=None)
    return tuple(found for found in known if (found.program, found.catalogue) != most)


def overdue(found: View, now: datetime, patience: float) -> bool:
    """Whether a host has been unknown for so long that it counts as a failure."""
    return found.state == "unknown" and found.since is not None and (now - found.since).total_seconds() >= patience


def aggregate(views: Sequence[View], now: datetime, patience: float) -> Aggregate:
    """What the hosts are together."""
    tally = Counter(found.state for found in views)
    counts = {state: tally[state] for state in STATES}
    late = sum(1 for found in views if overdue(found, now, patience))
    state: Literal["pending", "success", "failed"] = "pending"
    if counts["failed"] + late > 0:
        state = "failed"
    elif views and counts["converged"] == len(views):
        state = "success"
    return Aggregate(counts, state, text(counts), steady=counts["unknown"] == late)


def text(counts: Mapping[State, int]) -> str:
    """Such as `40/42 converged, 1 waiting, 1 failed`."""
    total = sum(counts.values())
    rest = [f"{counts[state]} {state}" for state in STATES[1:] if counts[state]]
    return ", ".join([f"{counts['converged']}/{total} converged", *rest])


def worst(groups: Mapping[str, Iterable[View]], most: int = 3) -> str:
    """The groups with most failures, for the end of a summary; "" when nothing failed."""
    failed = Counter({group: sum(1 for v in views if v.state == "failed") for group, views in groups.items()})
    found = [f"{group} {count}" for group, count in failed.most_common(most) if count]
    more = sum(1 for count in failed.values() if count) - len(found)
    return ", ".join([*found, *([f"{more} more groups"] if more > 0 else [])])


def _ago(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
    )
