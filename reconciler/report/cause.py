"""Of everything that is wrong at once, what is the cause of the rest. Pure.

A broken thing is a root when nothing that it rests on is broken as well. The root with the most consequences is the headline,
and stays it for as long as it is broken and a root: what one pass saw by chance does not replace it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reconciler.model import Container, Running, State
from reconciler.phrases import few
from reconciler.reasons import Reason
from reconciler.report.graph import Graph, beneath

_UNPROVED = timedelta(seconds=30)  # how long what has no health check has to run after it was started over and over
_LOOP: Final = 2  # starts by the engine that are no chance


@dataclass(frozen=True, slots=True)
class Symptom:
    """One thing that is wrong. `item` is its name in the graph, `text` says what is wrong in one line that names it. `meant`: it is
    left so on purpose."""

    item: str
    reason: Reason
    text: str
    meant: bool = False


@dataclass(frozen=True, slots=True)
class Cause:
    """The root, what is wrong because of it, and what is wrong besides."""

    root: Symptom
    because: tuple[Symptom, ...] = ()
    others: tuple[Symptom, ...] = ()

    @property
    def text(self) -> str:
        """One line: what is wrong, and how much else."""
        line = self.root.text
        if self.because:
            line += f"; because of it: {few([symptom.item for symptom in self.because])}"
        if self.others:
            line += f"{'; and' if self.because else ' and'} {len(self.others)} more"
        return line

    @property
    def items(self) -> tuple[str, ...]:
        """Everything that is wrong, the root first: what the next pass is to be told of this one."""
        return (self.root.item, *(symptom.item for symptom in (*self.because, *self.others)))


def find(symptoms: Iterable[Symptom], graph: Graph, before: Sequence[str] = ()) -> Cause | None:
    """The cause among `symptoms`, which come in the order of their weight; None when there are none.

    `before` is `Cause.items` of the pass before.
    """
    wrong: dict[str, Symptom] = {}
    for symptom in symptoms:
        wrong.setdefault(symptom.item, symptom)
    if not wrong:
        return None
    below = {item: beneath(graph, item) & wrong.keys() for item in wrong}
    # In a circle each is beneath the other: the first speaks for all of them.
    order = {item: number for number, item in enumerate(wrong)}
    roots = [item for item in wrong if all(item in below[o] and order[item] < order[o] for o in below[item])]
    above = {root: [item for item in wrong if root in below[item]] for root in roots}
    first = max(roots, key=lambda root: len(above[root]))
    chosen = _steady(first, roots, wrong, before)
    because = [item for item in wrong if item != chosen and chosen in below[item]]
    others = [item for item in wrong if item != chosen and item not in because]
    return Cause(wrong[chosen], tuple(wrong[i] for i in because), tuple(wrong[i] for i in others))


def _steady(first: str, roots: Sequence[str], wrong: Iterable[str], before: Sequence[str]) -> str:
    """The root of the pass before while it is one still; when something beneath it is broken now, that has to last first."""
    if not before or before[0] not in wrong:
        return first
    if before[0] in roots or first not in before:
        return before[0]
    return first


def symptom_of(container: Container, running: Running | None, now: datetime) -> Symptom | None:
    """What is wrong with a container that runs; None when nothing is, or it does not run: then the plan speaks of it."""
    if running is None or running.state is not State.RUNNING or running.started_at is None:
        return None
    name = container.name
    if running.health == "unhealthy":
        return Symptom(
            name, Reason.Unhealthy, f"{name}: it runs, and its health check fails (`docker inspect` has the output)"
        )
    looked_at = timedelta(seconds=container.start_timeout) if running.health == "starting" else _UNPROVED
    if running.health == "healthy" or running.restart_count < _LOOP or now - running.started_at > looked_at:
        return None
    return Symptom(
        name,
        Reason.RestartLoop,
        f"{name}: it ends again and again, the engine has started it {running.restart_count} times (`docker logs {name}` says why)",
    )
