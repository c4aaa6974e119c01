"""One-line summaries of a report: for commit statuses, the history and the terminal. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from reconciler.codec import to_json
from reconciler.model import Outcome
from reconciler.phrases import count
from reconciler.reasons import Reason
from reconciler.report.cycle import Refusal, Report
from reconciler.report.verdict import State, Verdict, about, doing, first_line, verdict
from reconciler.text import one_line

DRIFT: Final = "drift: "  # begins the description of a status that is failed for drift alone
AHEAD: Final = "before it is merged: "  # begins what is said of a commit that is not
_TESTING: Final = re.compile(r"^testing branch [^:]*: ")


@dataclass(frozen=True, slots=True)
class StatusText:
    """What a commit status says. `key` is equal when nothing new is said, so that it is not posted again."""

    commit: str
    state: Literal["pending", "success", "failed", "canceled"]
    description: str
    key: str
    branch: str = ""  # the testing branch that the commit is on; "": the branch
    reason: Reason | None = None  # None: changes are being made, or a version before this one said it


def status_text(report: Report) -> tuple[StatusText, ...]:
    """The statuses that a report asks for: one for the enforced revision, one more for a refused commit."""
    texts = []
    if report.refusal:
        texts.append(_refused(report.refusal))
    if report.revision and (text := _enforced(report, found := verdict(report))):
        text = replace(text, reason=found.reason)
        if report.testing:
            text = replace(
                text, description=f"testing branch {report.testing}: {text.description}", branch=report.testing
            )
        texts.append(text)
    return tuple(texts)


def _refused(refusal: Refusal) -> StatusText:
    """What is only for another version of this program is not wrong: it waits."""
    key = f"refused {refusal.reason}"
    if refusal.reason == Reason.ProgramPinned:
        return StatusText(refusal.commit, "pending", one_line(refusal.message), key, refusal.branch, refusal.reason)
    description = f"refused: {one_line(refusal.message)}"
    return StatusText(refusal.commit, "failed", description, key, refusal.branch, refusal.reason)


def pending(revision: str, changes: int, testing: str = "") -> StatusText:
    """Said before applying begins. `testing`: the testing branch that the revision is from."""
    where = f"testing branch {testing}: " if testing else ""
    description = f"{where}applying {count(changes, 'change')}"
    return StatusText(revision, "pending", description, f"applying {changes}", testing)


def superseded(commit: str, by: str, testing: str = "", *, whole: bool) -> StatusText:
    """The last word on a commit that a newer one took the place of while something was in flight for it. `whole`: it had been carried out
    completely before, so what was in flight was drift."""
    where = f"testing branch {testing}: " if testing else ""
    when = "after it was carried out" if whole else "before it was carried out completely"
    state: Literal["success", "canceled"] = "success" if whole else "canceled"
    return StatusText(commit, state, f"{where}{by[:12]} took its place {when}", f"superseded by {by}", testing)


def read_status(state: str, description: str) -> State:
    """What a node was that posted a status: a forge keeps no more of it than these two texts. `state` is GitLab's word."""
    if state == "success":
        return State.CONVERGED
    if state in ("pending", "running"):
        return State.WAITING
    return State.DRIFTED if _TESTING.sub("", description).startswith(DRIFT) else State.FAILED


def as_json(report: Report) -> dict[str, Any]:
    """A report for the disk and for programs: without the graph, and with what is wrong in this pass, as the next one wants it."""
    cause = verdict(report).cause
    told: dict[str, Any] = to_json(replace(report, graph={}, wrong=cause.items if cause else ()))
    return told


def _enforced(report: Report, found: Verdict) -> StatusText | None:
    """What the verdict is in the words of a commit status; None when there is nothing to say about the revision."""
    commit = report.revision
    match found.state:
        case State.NOTHING:
            return None
        case State.CONVERGED:
            healed = sum(1 for outcome in report.changed if outcome.action.drift)
            changed = len(report.changed)
            what = f"{healed} drifted healed" if healed and healed == changed else f"{changed} changed"
            description = f"{report.change}{report.containers} containers, {what} in {report.seconds:.1f} s"
            # A pass that changed nothing says no more than the success before it, unless another program made it so.
            return StatusText(commit, "success", description, f"{report.change}converged" if changed else "converged")
        case State.WAITING:
            return _waiting(report, found)
        case State.DRIFTED:
            return _drift(report, found)
        case State.FAILED:
            return _wrong(report, found)


def _waiting(report: Report, found: Verdict) -> StatusText:
    match found.reason:
        case Reason.Suspended:
            return StatusText(report.revision, "pending", f"suspended: {one_line(found.message)}", "suspended")
        case Reason.Progressing:
            return StatusText(report.revision, "pending", doing(report), f"in flight: {doing(report)}")
        case Reason.OutsideWindow | Reason.ProgramPinned:
            text = f"{report.change}waiting {report.window}"
            if report.kept == report.revision:  # it has its result: what waits is this program
                description = f"{report.containers} containers as wanted; {text}"
                return StatusText(report.revision, "success", description, text)
            return StatusText(report.revision, "pending", text, text)
    return StatusText(report.revision, "pending", one_line(found.message), f"waiting {found.reason}")


def _wrong(report: Report, found: Verdict) -> StatusText:
    """The action that failed says more than the cause's one line."""
    item = found.cause.root.item if found.cause else ""
    for outcome in report.failed if item else ():
        if item in (outcome.action.container, outcome.action.target):
            return _failure(report, outcome)
    return StatusText(
        report.revision, "failed", one_line(found.message), " ".join(filter(None, ("failed", item, found.reason)))
    )


def _drift(report: Report, found: Verdict) -> StatusText:
    drifted = {held.target: held.message for held in report.drift}
    names = ", ".join(sorted(drifted)[:3])
    message = drifted[found.cause.root.item] if found.cause else found.message
    return StatusText(report.revision, "failed", f"{DRIFT}{names}: {one_line(message)}", f"drift {names}")


def _failure(report: Report, first: Outcome) -> StatusText:
    back = " (rolled back)" if first.result == "rolled-back" else ""
    more = f", {len(report.failed) - 1} more failed" if len(report.failed) > 1 else ""
    text = next((line for line in first.message.splitlines() if line.strip()), f"{first.action.verb} failed")
    target = first.action.container or first.action.target
    by = f"{first.action.origin}: " if first.action.origin else ""
    return StatusText(
        report.revision, "failed", f"{by}{about(target, text)}{back}{more}", f"failed {target} {first.reason}"
    )


def history_entry(report: Report, *, new: bool = False) -> dict[str, Any] | None:
    """The history line of a cycle, None when nothing happened that anybody would look for. `new`: its revision is another than
    that of the cycle before."""
    something = report.outcomes or report.refusal or report.failure or report.happened
    if not something and not (new and report.revision and not report.under_way):
        return None
    return {
        "at": report.started_at.isoformat(timespec="seconds"),
        "revision": report.revision,
        "subject": report.subject,
        "author": report.author,
        "testing": report.testing,
        "program": report.program,
        "change": report.plan.program if report.plan else "",
        "trigger": report.trigger,
        "seconds": round(report.seconds, 2),
        "refused": {"commit": report.refusal.commit, "reason": report.refusal.reason, "message": report.refusal.message}
        if report.refusal
        else None,
        "failure": list(report.failure) if report.failure else None,
        "actions": [
            {
                "line": outcome.action.line,
                "result": outcome.result,
                "reason": outcome.reason or "",
                "message": outcome.message,
                "drift": outcome.action.drift,
                "seconds": round(outcome.seconds, 2),
            }
            for outcome in report.outcomes
        ],
        "cause": _cause_of_failures(report),
        "explained": dict(report.explained),
        "happened": [dict(found) for found in report.happened],
        "waits": _waits(report),
    }


def _waits(report: Report) -> str:
    """What of the revision is held back, and why, in one line; "" when nothing is."""
    held = [h for h in report.plan.held if not h.drift and not h.reason.harmless] if report.plan else []
    if not held:
        return ""
    return f"{count(len(held), 'change')} held back ({held[0].reason}: {about(held[0].target, first_line(held[0].message))})"


def _cause_of_failures(report: Report) -> str:
    """What is behind the actions that failed; "" when nothing failed, or nothing but itself is behind it."""
    cause = verdict(report).cause
    if cause is None or not report.failed:
        return ""
    failed = {name for outcome in report.failed for name in (outcome.action.container, outcome.action.target)}
    return cause.text if cause.because or cause.root.item not in failed else ""


_NUMBERS = re.compile(r"\d+")


def is_repetition(entry: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether a history line tells of the same failure as the one before: the same was tried, and went wrong in the same way."""
    if entry.get("happened"):
        return False
    wrong = entry.get("failure") or entry.get("refused") or any(a["result"] != "done" for a in entry["actions"])
    return bool(wrong) and _what(entry) == _what(before)


def _what(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a history line says, without times, numbers and the services' own last words."""
    said = [(a["line"].partition("  (")[0], a["result"], a["reason"], _said(a)) for a in entry.get("actions", ())]
    refused, failure = entry.get("refused") or {}, entry.get("failure") or ("", "")
    return (
        entry.get("revision"),
        (refused.get("commit"), refused.get("reason")),
        (failure[0], _gist(failure[1])),
        sorted(said),
    )


def _said(action: Mapping[str, Any]) -> str:
    """Of a container between two starts its last words, and whether they are there, tell only when it was looked at. So does the cause."""
    return "" if action["reason"] == Reason.RestartLoop else _gist(action["message"])


def _gist(message: str) -> str:
    return _NUMBERS.sub("#", message.partition("\n")[0])
