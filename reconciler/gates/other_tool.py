"""Another tool at work on what was taken over from it: how often, and when it is time to stop undoing its work. Pure."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.model import OtherTool

# One run of kolla-ansible comes to a host's services one after another: what it takes back this soon is the same run.
QUIET = timedelta(minutes=10)
MOST_RUNS = 1  # that are undone


def seen(before: OtherTool | None, holding: Collection[str], now: datetime) -> OtherTool | None:
    """What is known after a look that found the tool's units at work on these containers of ours; None: it was never seen."""
    held = tuple(sorted(holding))
    taken_back = set(held) - set(before.holding if before else ())
    if not taken_back:
        return before and replace(before, holding=held)
    if before and abs(now - before.last) < QUIET:  # what is to come was noted before the clock was set back
        return OtherTool(before.runs, now, tuple(sorted({*before.containers, *taken_back})), held)
    return OtherTool((before.runs if before else 0) + 1, now, tuple(sorted(taken_back)), held)


def gives_way(known: OtherTool | None) -> bool:
    """Whether the two would go on undoing each other's work."""
    return known is not None and known.runs > MOST_RUNS
