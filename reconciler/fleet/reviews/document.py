"""What the page of a fleet shows of reviews, as JSON-able values. Pure. Titles and names are a stranger's: the page makes text of
them, and links come from the settings alone."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from reconciler.fleet.reviews.queue import STATES
from reconciler.fleet.reviews.reviewer import Entry, Overview
from reconciler.review.escape import clean

_ORDER = ("failed", "invalid", "waiting", "valid")  # what wants somebody's eyes goes first
_SHOWN = 100
_WIDE = 300  # characters of one value


def reviews_document(found: Overview, problem: tuple[str, str], link: Callable[[int], str]) -> dict[str, Any]:
    """`problem`: reason and message of the last round's failure, ("", "") without one. `link`: number of a merge request → its
    page, "" when that is not known."""
    entries = sorted(found.entries, key=lambda entry: (_ORDER.index(entry.known.state), -entry.request.iid))
    return {
        "at": _time(found.at),
        "problem": {"reason": problem[0], "message": clean(problem[1], _WIDE)} if problem[0] else None,
        "counts": {state: sum(1 for entry in entries if entry.known.state == state) for state in STATES},
        "left_out": {"more": found.more, "forks": found.forks, "unshown": max(0, len(entries) - _SHOWN)},
        "requests": [_request(entry, link) for entry in entries[:_SHOWN]],
    }


def _request(entry: Entry, link: Callable[[int], str]) -> dict[str, Any]:
    request, known = entry.request, entry.known
    return {
        "iid": request.iid,
        "title": clean(request.title, _WIDE),
        "author": clean(request.author, 80),
        "fork": not request.branch,
        "draft": request.draft,
        "head": request.head,
        "state": known.state,
        "reason": known.reason or "",
        "text": clean(known.text, _WIDE) if known.state != "waiting" else "",
        "missing": clean(known.missing, _WIDE),
        "at": _time(known.at) if known.state != "waiting" else "",
        "url": link(request.iid),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else ""
