"""Values out of a forge's answers, each checked."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from reconciler.forge.client import Client


def commit_id(commit: str) -> str:
    """`commit` when it is a full hexadecimal id (SHA-1 or SHA-256). Raises ValueError."""
    if not is_commit_id(commit):
        raise ValueError(f"not a full commit id: {commit!r}")
    return commit


def is_commit_id(value: object) -> bool:
    """Whether an answer's value is a full commit id."""
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", value) is not None


def number_of(client: Client, row: object, key: str) -> int:
    """An integer of an answer. Raises Transient ForgeUnreachable when it is missing."""
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, int) or isinstance(value, bool):
        raise client.unexpected(f"an object has no number {key!r}")
    return value


def text_of(row: object, key: str) -> str:
    """A text of an answer; "" when there is none, or something else."""
    value = row.get(key) if isinstance(row, dict) else None
    return value if isinstance(value, str) else ""


def part_of(row: object, key: str) -> Mapping[str, Any]:
    """An object within an answer's object; empty where there is none."""
    value = row.get(key) if isinstance(row, dict) else None
    return value if isinstance(value, dict) else {}


def rows_of(row: object, key: str) -> list[Mapping[str, Any]]:
    """The objects of a list within an answer's object."""
    value = row.get(key) if isinstance(row, dict) else None
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def time_of(row: object, key: str) -> datetime | None:
    """A time of an answer; None when there is none. One that does not name its zone is of UTC."""
    try:
        found = datetime.fromisoformat(text_of(row, key))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def seconds(at: datetime | None) -> float:
    """The same in seconds since the epoch; 0.0 when there is none."""
    return at.timestamp() if at else 0.0
