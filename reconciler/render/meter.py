"""What rendering one host may take, counted: steps of work, and bytes of what is made, whatever becomes of it.

Counting is deterministic: a merge request's review and the node come to the same result, however fast or busy they are. A
step is half a microsecond or so. Every operation pays before it is carried out (`spend`), so that nothing has to be stopped halfway.

A `World` keeps variables for many hosts. What evaluating one took is kept beside it (`Cost`), and charged to every host
that uses it as if it had been evaluated for that host alone.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.errors import Problem

MAX_STEPS: Final = 3_000_000  # a controller of every service takes 1.3 million
MAX_BYTES: Final = 96 << 20
MAX_CALLS: Final = 30  # macros and recursive loops inside one another
_STEPS_PER_TOKEN: Final = 60  # compiling
_BYTES_PER_TOKEN: Final = 2000


class Exhausted(Exception):
    """The templates of a host take more than they may. Ends the rendering of the site: every further host would, too."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.problem = Problem("", 0, 0, message, "make it smaller, or its loops fewer")

    def at(self, file: str, line: int, column: int) -> None:
        """Say where it happened, unless that is known already."""
        if not self.problem.file:
            self.problem = Problem(file, line, column, self.problem.message, self.problem.hint)


@dataclass(eq=False, slots=True)
class Cost:
    """What evaluating something took by itself, the sources that it compiled, and what else it evaluated."""

    steps: int = 0
    size: int = 0
    sources: dict[str, int] = field(default_factory=dict)  # text → tokens
    needs: dict["Cost", None] = field(default_factory=dict)
    charged: "Meter | None" = None


@dataclass(slots=True)
class _Frame:
    cost: Cost
    steps: int
    size: int
    other_steps: int = 0  # spent meanwhile on what has a cost of its own
    other_size: int = 0


class Meter:
    """Counts what one host takes. `steps` and `size` are what it took so far."""

    def __init__(self) -> None:
        self.steps = 0
        self.size = 0
        self.nesting = 0  # templates inside one another at present
        self._sources: set[str] = set()
        self._frames: list[_Frame] = []

    def spend(self, steps: int, size: int = 0) -> None:
        """Pay for `steps` of work and `size` bytes. Raises Exhausted."""
        self.steps += steps
        self.size += size
        if self.steps > MAX_STEPS or self.size > MAX_BYTES:
            self.stop()

    def stop(self) -> None:
        """Raise Exhausted, which says of what there was too much."""
        if self.steps > MAX_STEPS:
            raise Exhausted(f"the templates of one host may take {MAX_STEPS} steps, and here they need more")
        raise Exhausted(f"the templates of one host may make {MAX_BYTES >> 20} MiB of data, and here they make more")

    def source(self, text: str, tokens: int) -> None:
        """Pay for compiling a text, once for each text."""
        if self._frames:
            self._frames[-1].cost.sources[text] = tokens
        if text not in self._sources:
            self._sources.add(text)
            self._elsewhere(tokens * _STEPS_PER_TOKEN, tokens * _BYTES_PER_TOKEN + len(text))

    def again(self, cost: Cost) -> None:
        """Pay for something that is known already, unless this host has paid for it."""
        if self._frames:
            self._frames[-1].cost.needs[cost] = None
        self._charge(cost)

    def record(self, *, part: bool = False) -> "Recording":
        """A context that gives the cost of what is done inside; complete at its end, also when that is an error. With `part` it
        counts as the own cost of what is recorded around it, too."""
        return Recording(self, part)

    def _charge(self, cost: Cost) -> None:
        waiting = [cost]
        while waiting:
            item = waiting.pop()
            if item.charged is not self:
                item.charged = self
                self._elsewhere(item.steps, item.size)
                for text, tokens in item.sources.items():
                    if text not in self._sources:
                        self._sources.add(text)
                        self._elsewhere(tokens * _STEPS_PER_TOKEN, tokens * _BYTES_PER_TOKEN + len(text))
                waiting += item.needs

    def _elsewhere(self, steps: int, size: int) -> None:
        if self._frames:
            self._frames[-1].other_steps += steps
            self._frames[-1].other_size += size
        self.spend(steps, size)


class Recording:
    """See `Meter.record`."""

    __slots__ = ("_frame", "_meter", "_part")

    def __init__(self, meter: Meter, part: bool) -> None:
        self._meter = meter
        self._part = part
        self._frame = _Frame(Cost(charged=meter), meter.steps, meter.size)

    def __enter__(self) -> Cost:
        self._meter._frames.append(self._frame)
        return self._frame.cost

    def __exit__(self, *_: object) -> None:
        meter, frame = self._meter, self._frame
        meter._frames.pop()
        steps, size = meter.steps - frame.steps, meter.size - frame.size
        frame.cost.steps, frame.cost.size = steps - frame.other_steps, size - frame.other_size
        if meter._frames and self._part:
            above = meter._frames[-1]
            above.cost.needs.update(frame.cost.needs)
            above.cost.sources.update(frame.cost.sources)
            above.other_steps += frame.other_steps
            above.other_size += frame.other_size
        elif meter._frames:
            above = meter._frames[-1]
            above.cost.needs[frame.cost] = None
            above.other_steps += steps
            above.other_size += size


@dataclass(slots=True)
class Run:
    """One rendering: who pays for it, the names it sees, and how deep its calls are."""

    meter: Meter
    names: Mapping[str, Any]
    depth: int = 0


_current: ContextVar[Run | None] = ContextVar("rendering", default=None)


class Running:
    """A context in which `run` is the rendering that `spend` and `current` are about."""

    __slots__ = ("_run", "_token")

    def __init__(self, run: Run) -> None:
        self._run = run

    def __enter__(self) -> None:
        self._token = _current.set(self._run)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def spend(steps: int, size: int = 0) -> None:
    """Pay for work and memory of the present rendering; outside of one nothing is counted. Raises Exhausted."""
    run = _current.get()
    if run is not None:
        meter = run.meter
        meter.steps += steps
        meter.size += size
        if meter.steps > MAX_STEPS or meter.size > MAX_BYTES:
            meter.stop()


def text(result: str) -> str:
    """Pay for a text that was made."""
    spend(1 + (len(result) >> 8), 50 + (len(result) if result.isascii() else 4 * len(result)))
    return result


def current() -> Run:
    """The present rendering."""
    run = _current.get()
    assert run is not None, "filters that look at a host's names run inside a rendering"
    return run
