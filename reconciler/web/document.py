"""What the status page of a node shows, as JSON-able values. Pure. Nothing here holds a secret: reports do not."""

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.model import Action, Difference, Held, Outcome
from reconciler.report import Agreed, Cause, Report, text, verdict
from reconciler.text import printable

VERSION = 1
_ROWS = 400  # of one list
_WIDE = 400  # characters of one value


def node_document(
    report: Report | None, history: Sequence[Mapping[str, Any]], about: Mapping[str, Any]
) -> dict[str, Any]:
    """The report of the last pass, and what came before. `about` is what the daemon says of itself: host, branch, mode …"""
    document: dict[str, Any] = {"kind": "node", "version": VERSION, **about, "history": [_entry(e) for e in history]}
    if report is None:
        return document
    plan = report.plan
    outcomes = {outcome.action.id: outcome for outcome in report.outcomes}
    found = verdict(report)
    document |= {
        "host": report.host,
        "site": report.site,
        "at": report.started_at.isoformat(),
        "seconds": round(report.seconds, 3),
        "trigger": report.trigger,
        "deep": report.deep,
        "state": found.state,
        "containers": report.containers,
        "revision": {
            "commit": report.revision,
            "subject": _cut(report.subject),
            "author": _cut(report.author),
            "testing": report.testing,
        },
        "source": {
            "ok": report.source.ok,
            "head": report.source.head,
            "reason": report.source.reason or "",
            "message": _cut(report.source.message),
        },
        "refusal": {
            "commit": report.refusal.commit,
            "reason": report.refusal.reason,
            "message": _cut(report.refusal.message),
            "problems": [_cut(problem) for problem in report.refusal.problems[:50]],
        }
        if report.refusal
        else None,
        "failure": {"reason": report.failure[0], "message": _cut(report.failure[1])} if report.failure else None,
        "cause": _cause(found.cause) if found.cause else None,
        "suspended": _cut(report.suspended),
        "gave_way": _cut(report.gave_way),
        "window": report.window,
        "fleet": _agreed(report.fleet) if report.fleet else None,
        "warnings": [_cut(warning) for warning in report.warnings[:50]],
        "conditions": [
            {
                "type": c.type,
                "status": c.status,
                "reason": c.reason,
                "message": _cut(c.message),
                "since": c.since.isoformat(),
            }
            for c in report.conditions
        ],
        "plan": {
            "summary": text.summary(plan),
            "actions": [_action(action, outcomes.get(action.id)) for action in plan.actions[:_ROWS]],
            "held": [_held(held) for held in plan.held[:_ROWS]],
            "leftovers": list(plan.leftovers[:_ROWS]),
            "more": max(0, len(plan.actions) - _ROWS) + max(0, len(plan.held) - _ROWS),
        }
        if plan
        else None,
        "in_flight": [{"text": _cut(item.text), "since": item.since.isoformat()} for item in report.in_flight[:50]],
        "explained": {target: _cut(why) for target, why in report.explained.items()},
    }
    return document


def _agreed(fleet: Agreed) -> dict[str, Any]:
    return {
        "fault": _cut(fleet.fault),
        "rolling": fleet.rolling,
        "halt": _cut(fleet.halt),
        "holds": [_cut(name) for name in fleet.holds[:50]],
        "lent": _cut(fleet.lent),
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "item": cause.root.item,
        "text": _cut(cause.root.text),
        "because": [_cut(symptom.text) for symptom in cause.because[:50]],
        "others": [_cut(symptom.text) for symptom in cause.others[:50]],
    }


def _action(action: Action, outcome: Outcome | None) -> dict[str, Any]:
    return {
        "line": _cut(action.line),
        "target": action.target,
        "drift": action.drift,
        "risks": list(action.risks),
        "differences": [_difference(found) for found in action.differences[:50]],
        "result": outcome.result if outcome else "",
        "reason": (outcome.reason or "") if outcome else "",
        "message": _cut(outcome.message) if outcome else "",
    }


def _held(held: Held) -> dict[str, Any]:
    return {
        "target": held.target,
        "reason": held.reason,
        "message": _cut(held.message),
        "drift": held.drift,
        "differences": [_difference(found) for found in held.differences[:50]],
    }


def _difference(found: Difference) -> dict[str, str]:
    return {"field": found.field, "desired": _cut(found.desired), "actual": _cut(found.actual)}


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the history; only what is known here is shown, however old the version that wrote it."""
    refused, failure = entry.get("refused"), entry.get("failure")
    return {
        "at": entry.get("at", ""),
        "revision": entry.get("revision", ""),
        "subject": _cut(entry.get("subject", "")),
        "author": _cut(entry.get("author", "")),
        "testing": entry.get("testing", ""),
        "trigger": entry.get("trigger", ""),
        "seconds": entry.get("seconds", 0),
        "refused": {name: _cut(refused.get(name, "")) for name in ("commit", "reason", "message")} if refused else None,
        "failure": {"reason": failure[0], "message": _cut(failure[1])} if failure else None,
        "actions": [
            {name: _cut(action.get(name, "")) for name in ("line", "result", "reason", "message")}
            | {"drift": bool(action.get("drift"))}
            for action in entry.get("actions", ())[:100]
        ],
        "cause": _cut(entry.get("cause", "")),
        "explained": {str(target): _cut(why) for target, why in entry.get("explained", {}).items()},
        "happened": [
            {name: _cut(found.get(name, "")) for name in ("at", "target", "text")}
            for found in entry.get("happened", ())
        ],
        "again": entry.get("again", 0),
        "last": entry.get("last", ""),
    }


def _cut(value: object) -> str:
    return printable(str(value), keep_newlines=True, limit=_WIDE)
