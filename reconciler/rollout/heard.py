"""What a host heard of the others that it obeys: a halt and its end, who is excused, that its places were given back for it. Pure.

Each is news once; what was heard before is remembered over restarts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.rollout.records import View

Heard = Mapping[str, str]  # what it is about → what was said


@dataclass(frozen=True, slots=True)
class News:
    """`text` goes on where "TARGET was" ends."""

    target: str
    text: str


def news(view: View, host: str, before: Heard) -> tuple[tuple[News, ...], Heard]:
    """What `host` did not know before, with who said it and why; and all that it has heard now."""
    said = _said(view, host)
    after = {about: identity for about, (_, identity) in said.items()}
    if view.partial:  # who is excused was not read
        after |= {about: text for about, text in before.items() if about.startswith("excused ")}
    if "released" in before:
        after.setdefault("released", before["released"])
    return tuple(found for about, (found, identity) in said.items() if before.get(about) != identity), after


def _said(view: View, host: str) -> dict[str, tuple[News, str]]:
    """What it is about → the news that it would be, and what tells it from another of its kind."""
    found: dict[str, tuple[News, str]] = {}
    roll = view.roll
    if roll and roll.halt:
        halt = roll.halt
        found["halt"] = (
            News("the rollout", f"halted by {halt.by}: {halt.why}"),
            f"{roll.commit} {halt.by} {halt.at} {halt.why}",
        )
    if roll and roll.resumed:
        found["resumed"] = News("the rollout", f"resumed by {roll.resumed}"), f"{roll.commit} {roll.resumed}"
    for other, one in sorted(view.excuses.items()):
        found[f"excused {other}"] = News(other, f"excused by {one.by}: {one.why}"), f"{one.at} {one.by} {one.why}"
    if view.released:
        one = view.released
        found["released"] = News(host, f"released by {one.by}: {one.why}"), f"{one.at} {one.by} {one.why}"
    return found
