"""What the page of a fleet shows, as JSON-able values. Pure. It holds what hosts would post as commit statuses, and no more."""

from collections.abc import Collection
from typing import Any

from reconciler.fleet.judge import STATES, View, differing
from reconciler.fleet.reporter import Round
from reconciler.text import printable

VERSION = 1
_ORDER = ("failed", "unknown", "waiting", "converged")  # what wants somebody's eyes goes first
_WIDE = 400  # characters of one value


def fleet_document(found: Round | None, site: str = "") -> dict[str, Any]:
    """The newest round; None before the first one has ended. What the script of the page draws for kind "fleet"."""
    document: dict[str, Any] = {
        "kind": "fleet",
        "version": VERSION,
        "site": site,
        "summary": "",
        "state": "unknown",
        "headline": "",
        "revision": {"commit": "", "subject": ""},
        "counts": dict.fromkeys(STATES, 0),
        "stale": 0,
        "mode": "",
        "problem": None,
        "hosts": [],
    }
    if found is None:
        return document
    document["at"] = found.at.isoformat(timespec="seconds")
    document["problem"] = _problem(found)
    if found.fleet is None or found.whole is None:
        return document
    whole = found.whole
    others = {one.member.host for one in differing(found.views)}
    state = {"success": "converged", "failed": "failed", "pending": "waiting"}[whole.state]
    document |= {
        "site": found.fleet.site,
        "summary": whole.text,
        "state": state,
        "headline": _cut(found.subject),
        "revision": {"commit": found.head, "subject": _cut(found.subject)},
        "counts": dict(whole.counts),
        "stale": sum(1 for one in found.views if one.stale),
        "mode": "one status per group" if found.fleet.aggregated else "one status per host",
        "hosts": [_host(one, others) for one in sorted(found.views, key=lambda one: _ORDER.index(one.state))],
    }
    return document


def _problem(found: Round) -> dict[str, str] | None:
    if found.refusal:
        return {
            "reason": f"Commit {found.refusal.commit[:12]} is refused here: {found.refusal.reason}",
            "message": _cut(found.refusal.message),
        }
    if not found.source.ok:
        return {
            "reason": f"The repository cannot be read: {found.source.reason}",
            "message": _cut(found.source.message),
        }
    return None


def _host(one: View, others: Collection[str]) -> dict[str, Any]:
    """`others` run another program than most: theirs is named."""
    return {
        "program": f"reconciler {one.program} ({one.catalogue[:12]})" if one.member.host in others else "",
        "host": one.member.host,
        "group": one.member.group,
        "state": one.state,
        "stale": one.stale,
        "commit": one.commit,
        "reason": one.reason or "",
        "message": _cut(one.message),
        "at": one.at.isoformat(timespec="seconds") if one.at else "",
    }


def _cut(value: str) -> str:
    return printable(value, keep_newlines=True, limit=_WIDE)
