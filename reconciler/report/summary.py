"""One-line summaries of a report: for commit statuses, the history and the terminal. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from reconciler.model import Outcome
from reconciler.report.cause import Cause
from reconciler.report.cycle import Report, about
from reconciler.text import printable


@dataclass(frozen=True, slots=True)
class StatusText:
    """What a commit status says. `key` is equal when nothing new is said, so that it is not posted again."""

    commit: str
    state: Literal["pending", "success", "failed"]
    description: str
    key: str
    branch: str = ""  # the testing branch that the commit is on; "": the branch


def status_text(report: Report) -> tuple[StatusText, ...]:
    """The statuses that a report asks for: one for the enforced revision, one more for a refused commit."""
    texts = []
    if report.refusal:
        description = f"refused: {_line(report.refusal.message)}"
        texts.append(
            StatusText(
                report.refusal.commit, "failed", description, f"refused {report.refusal.reason}", report.refusal.branch
            )
        )
    if report.revision and (text := _enforced(report)):
        if report.testing:
            text = replace(
                text, description=f"testing branch {report.testing}: {text.description}", branch=report.testing
            )
        texts.append(text)
    return tuple(texts)


def pending(report_revision: str, changes: int, testing: str = "") -> StatusText:
    """Said before applying begins. `testing`: the testing branch that the revision is from."""
    plural = "" if changes == 1 else "s"
    where = f"testing branch {testing}: " if testing else ""
    description = f"{where}applying {changes} change{plural}"
    return StatusText(report_revision, "pending", description, f"applying {changes}", testing)


def _enforced(report: Report) -> StatusText | None:
    """First match wins; None when the cycle has nothing to say about the revision."""
    commit = report.revision
    if report.failure:
        reason, message = report.failure
        return StatusText(commit, "failed", _line(message), f"failed {reason}")
    if report.plan is None:
        return None
    if report.suspended and not report.failed:
        return StatusText(commit, "pending", f"suspended: {_line(report.suspended)}", "suspended")
    if cause := report.cause:
        return _wrong(report, cause)
    if report.waiting:
        return StatusText(commit, "pending", f"waiting {report.window}", f"waiting {report.window}")
    if not report.converged:
        return None
    healed = sum(1 for outcome in report.changed if outcome.action.drift)
    changed = len(report.changed)
    what = f"{healed} drifted healed" if healed and healed == changed else f"{changed} changed"
    description = f"{report.containers} containers, {what} in {report.seconds:.1f} s"
    # A pass that changed nothing says no more than the success before it.
    return StatusText(commit, "success", description, "converged")


def _wrong(report: Report, cause: Cause) -> StatusText:
    root = cause.root
    for outcome in report.failed:
        if root.item in (outcome.action.container, outcome.action.target):
            return _failure(report, outcome)
    drifted = sorted({held.target for held in report.drift})
    if root.item in drifted:
        names = ", ".join(drifted[:3])
        message = next(held.message for held in report.drift if held.target == root.item)
        return StatusText(report.revision, "failed", f"drift: {names}: {_line(message)}", f"drift {names}")
    return StatusText(report.revision, "failed", cause.text, f"failed {root.item} {root.reason}")


def _failure(report: Report, first: Outcome) -> StatusText:
    back = " (rolled back)" if first.result == "rolled-back" else ""
    more = f", {len(report.failed) - 1} more failed" if len(report.failed) > 1 else ""
    # The service's own last line explains more than the engine's "unhealthy".
    lines = [line for line in first.message.splitlines() if line.strip()]
    text = lines[0] if lines else f"{first.action.verb} failed"
    if len(lines) > 1:
        text = f"{text[:110]} | {lines[-1].strip()[:110]}"
    target = first.action.container or first.action.target
    return StatusText(
        report.revision, "failed", f"{about(target, text)}{back}{more}", f"failed {target} {first.reason}"
    )


def history_entry(report: Report, *, new: bool = False) -> dict[str, Any] | None:
    """The history line of a cycle, None when nothing happened that anybody would look for. `new`: its revision is another than
    that of the cycle before."""
    something = report.outcomes or report.refusal or report.failure or report.happened
    if not something and not (new and report.revision):
        return None
    return {
        "at": report.started_at.isoformat(timespec="seconds"),
        "revision": report.revision,
        "subject": report.subject,
        "author": report.author,
        "testing": report.testing,
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
    }


def _cause_of_failures(report: Report) -> str:
    """What is behind the actions that failed; "" when nothing failed, or nothing but itself is behind it."""
    cause = report.cause
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
    said = [(a["line"], a["result"], a["reason"], _gist(a["message"])) for a in entry.get("actions", ())]
    refused, failure = entry.get("refused") or {}, entry.get("failure") or ("", "")
    return (
        entry.get("revision"),
        (refused.get("commit"), refused.get("reason")),
        (failure[0], _gist(failure[1])),
        sorted(said),
    )


def _gist(message: str) -> str:
    return _NUMBERS.sub("#", message.partition("\n")[0])


def _line(text: str) -> str:
    return printable(" ".join(text.split()))
