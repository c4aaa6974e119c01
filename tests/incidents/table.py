"""What was played, as text and as the table of docs/operations.md."""

import re
from collections.abc import Sequence

from tests.incidents.bed import DEEP, INTERVAL, LOOK
from tests.incidents.play import Played
from tests.support.paths import CHECKOUT

_BEGIN, _END = "<!-- by `python -m tests.incidents` -->\n", "<!-- until here -->\n"
_WIDE = 150  # characters of a cell


def told(row: Played) -> str:
    """One incident on a few lines."""
    lines = [f"{'' if row.expected else 'NOT AS EXPECTED '}{row.name}: {row.text}"]
    lines += [f"  {_seconds(row.after)} ({row.by}) {row.first[:400]}"] if row.first else ["  nothing is said"]
    lines += [f"  then: {row.later[:400]}"] if row.later else []
    lines += [f"  does: {line[:200]}" for line in row.did]
    lines += [f"  well again after {_seconds(row.well_after)}" + ("" if row.alone else " from mending")]
    lines += [f"  {row.error[:1500]}"] if row.error else []
    return "\n".join(lines)


def markdown(rows: Sequence[Played]) -> str:
    """The table."""
    head = (
        f"Played with `interval = {INTERVAL}`, `look_interval = {LOOK}`, `deep_interval = {DEEP}`; by default these are 60, 120 and 600, "
        "so what only a look shows comes later by the difference. What an event or a changed file shows does not.\n\n"
        "| somebody | says first | after | does | well again |\n|---|---|--:|---|---|\n"
    )
    return head + "".join(
        f"| {row.text} | {_cell(row.first)} | {_seconds(row.after)}, {_by(row.by)} | {_did(row)} | {_well(row)} |\n"
        for row in rows
    )


def into_docs(rows: Sequence[Played]) -> None:
    """Replace the table in docs/operations.md."""
    path = CHECKOUT / "docs" / "operations.md"
    before, rest = path.read_text().split(_BEGIN)
    path.write_text(f"{before}{_BEGIN}\n{markdown(rows)}\n{_END}{rest.split(_END)[1]}")


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def _by(trigger: str) -> str:
    return {"event": "event", "interval": "pass", "look": "look", "retry": "pass"}.get(trigger, trigger)


def _cell(text: str) -> str:
    one = " ".join(text.split()).replace("|", "\\|")
    one = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", one)
    for place, shown in (("etc-kolla", "/etc/kolla"), ("disk/state", "/var/lib/reconciler")):
        one = re.sub(rf"/[^ ]*/{place}\b", shown, one)  # where the lab has it
    return f"{one[:_WIDE]}{'…' if len(one) > _WIDE else ''}"


def _did(row: Played) -> str:
    if not row.did:
        return "nothing"
    shown = [
        " ".join(line.partition("  (")[0].split()[:2]) + (f": {line.rpartition(': ')[2]}" if "): " in line else "")
        for line in row.did
    ]
    return "; ".join(shown[:4]) + (f" … ({len(shown)} in all)" if len(shown) > 4 else "")


def _well(row: Played) -> str:
    return f"{_seconds(row.well_after)}" if row.alone else f"{_seconds(row.well_after)} after it was mended"
