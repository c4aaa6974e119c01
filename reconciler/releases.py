"""The releases of OpenStack in their order, and the steps between them that OpenStack supports. Pure.

OpenStack has two releases a year, `2026.1` and `2026.2`. A cloud goes to the next one; from a first release of a year, which may be skipped
from ("SLURP"), it may go to the first one of the next year as well.
"""

import re
from typing import Final

RELEASE_STEP: Final = "release-step"  # what `accept:` calls a step that is refused
_RELEASE: Final = re.compile(r"(20\d\d)\.([1-9])")
FIRST_SKIPPED_FROM: Final = (2023, 1)  # before that every release had to be gone through


def order(release: str) -> tuple[int, int] | None:
    """What releases are compared by; None where it is none."""
    found = _RELEASE.fullmatch(release)
    return (int(found[1]), int(found[2])) if found else None


def refusal(before: str, after: str) -> str:
    """Why a cloud of release `before` cannot become one of `after`, and what to do instead; "" when it can, or when one of them is no
    release, so that nothing can be said."""
    old, new = order(before), order(after)
    if old is None or new is None or old == new:
        return ""
    if new < old:
        return (
            f"goes back from {before} to {after}, and there is no way back: {before} has migrated its databases. Keep {before}, and mend what "
            'made you go back; or restore the databases from a backup of before the upgrade, and say so (docs/upgrading.md, "Going back")'
        )
    way = _way(old, new)
    if len(way) == 1:
        return ""
    stops = ", then ".join(f"{year}.{half}" for year, half in way)
    return f"goes from {before} to {after}, a step that OpenStack does not support: go to {stops}, and let each be carried out before the next"


def _way(old: tuple[int, int], new: tuple[int, int]) -> list[tuple[int, int]]:
    """The releases to go to, one after another, the last of them `new`: the fewest."""
    way = []
    while old < new:
        year, half = old
        skips = half == 1 and old >= FIRST_SKIPPED_FROM and (year + 1, 1) <= new
        old = (year + 1, 1) if skips or half > 1 else (year, half + 1)
        way.append(old)
    return way
