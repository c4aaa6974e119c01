"""Phrases that messages of all parts share. Pure."""

from collections.abc import Callable, Sequence
from typing import Final

_SHOWN: Final = 3


def count(number: int, word: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def few(names: Sequence[str], show: Callable[[str], str] = str) -> str:
    """`a, b, c and 4 more`; each name as `show` makes it."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(show, names[:_SHOWN])) + more
