"""Checks before an upgrade whose finding somebody takes upon himself, by name, in reconciler.yml (`accept:`)."""

from collections.abc import Mapping
from datetime import date
from typing import Any


def accepted(policy: Mapping[str, Any], check: str, host: str, today: date | None = None) -> str:
    """Who accepts that a check fails on a host, and why; "" when nobody does. What ended before `today` (UTC) does not count; None: no day is
    known, and every entry counts."""
    for entry in policy.get("accept", ()):
        if entry["check"] != check or (entry.get("hosts") and host not in entry["hosts"]):
            continue
        if today is None or today <= date.fromisoformat(entry["until"]):
            return f"accepted by {entry['who']} until {entry['until']}: {entry['why']}"
    return ""
