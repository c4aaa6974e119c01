"""The failpoints and the planted bugs in docs/reliability.md: `python -m tests.faults.table` writes them anew."""

import re
from pathlib import Path
from typing import Final

from tests.faults.bugs import BUGS
from tests.faults.points import AREAS, KINDS, NAMES, POINTS

PAGE: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
_PLACE: Final = re.compile(r"(<!-- failpoints -->\n).*?(<!-- end of failpoints -->)", re.DOTALL)

_BUGS: Final = re.compile(r"(<!-- planted bugs -->\n).*?(<!-- end of planted bugs -->)", re.DOTALL)


def table() -> str:
    """Every point with its kinds; files of the four areas fail in the same ways, and share their rows."""
    first = next(iter(AREAS))
    rows = [f"{len(NAMES)} failpoints, called `point.kind`.", "", "| point | kinds |", "|---|---|"]
    for point, kinds in POINTS.items():
        port, _, operation = point.partition(".")
        shared = f"{first}.{operation}" in POINTS
        if shared and port != first:
            continue
        name = f"`{{{','.join(AREAS)}}}.{operation}`" if shared else f"`{point}`"
        rows.append(f"| {name} | {' '.join(f'`{kind}`' for kind in kinds)} |")
    rows += ["", "| kind | what happens |", "|---|---|", *(f"| `{kind}` | {text} |" for kind, text in KINDS.items())]
    rows += ["", f"Files: {'; '.join(f'`{name}`: {text}' for name, text in AREAS.items())}.", ""]
    return "\n".join(rows)


def planted() -> str:
    """Every bug, and where it is put."""
    rows = ["| what the program does then | where |", "|---|---|"]
    return "\n".join([*rows, *(f"| {bug.name} | `{bug.place.removeprefix('reconciler.')}` |" for bug in BUGS), ""])


def written(page: str) -> str:
    """The page with both tables as they are now."""
    page = _PLACE.sub(lambda found: f"{found[1]}{table()}{found[2]}", page)
    return _BUGS.sub(lambda found: f"{found[1]}{planted()}{found[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
