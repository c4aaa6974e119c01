"""What rendering one host may take, counted: steps of work, and bytes of what is made, whatever becomes of it.

Counting is deterministic: a merge request's review and the node come to the same result, however fast or busy they are. A
step is half a microsecond or so. Every operation pays before it is carried out (`spend`), so that nothing has to be stopped halfway.

A `World` keeps variables for many hosts. What evaluating one took is kept beside it (`Cost`), and charged to every host
that uses it as if it had been evaluated for that host alone.
"""

from collections.abc import Hashable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.errors import Problem

# A controller of every service takes 1.5 million and 33 MiB, and for each host of the site 1,400 and 25 KiB more.
MAX_STEPS: Final = 3_000_000
MAX_BYTES: Final = 96 << 20
_STEPS_PER_HOST: Final = 3_000
_BYTES_PER_HOST: Final = 64 << 10
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


# What something is that is paid for once: the host that it is of (None: of the same one as what needs it), and its name.
Named = tuple[str | None, Hashable]


@dataclass(eq=False, slots=True)
class Cost:
    """What evaluating something took by itself, the sources that it compiled, and what else it evaluated. It says nothing of its own
    host, so that it counts for every host for which the same was done."""

    steps: int = 0
    size: int = 0
    sources: dict[str, int] = field(default_factory=dict)  # text → tokens
    needs: dict[Named, "Cost"] = field(default_factory=dict)


@dataclass(slots=True)
class _Frame:
    cost: Cost
    host: str
    steps: int
    size: int
    other_steps: int = 0  # spent meanwhile on what has a cost of its own
    other_size: int = 0

    def need(self, host: str, name: Hashable, cost: Cost) -> None:
        self.cost.needs[None if host == self.host else host, name] = cost


class Meter:
    """Counts what one host takes, of a site of so many. `steps` and `size` are what it took so far."""

    def __init__(self, hosts: int = 0) -> None:
        self.steps = 0
        self.size = 0
        self.most_steps = MAX_STEPS + _STEPS_PER_HOST * hosts
        self.most_bytes = MAX_BYTES + _BYTES_PER_HOST * hosts
        self.nesting = 0  # templates inside one another at present
        self._sources: set[str] = set()
        self._paid: dict[tuple[str, Hashable], Cost] = {}
        self._frames: list[_Frame] = []

    def spend(self, steps: int, size: int = 0) -> None:
        """Pay for `steps` of work and `size` bytes. Raises Exhausted."""
        self.steps += steps
        self.size += size
        if self.steps > self.most_steps or self.size > self.most_bytes:
            self.stop()

    def stop(self) -> None:
        """Raise Exhausted, which says of what there was too much."""
        if self.steps > self.most_steps:
            raise Exhausted(f"the templates of one host may take {self.most_steps} steps, and here they need more")
        raise Exhausted(
            f"the templates of one host may make {self.most_bytes >> 20} MiB of data, and here they make more"
        )

    def source(self, text: str, tokens: int) -> None:
        """Pay for compiling a text, once for each text."""
        if self._frames:
            self._frames[-1].cost.sources[text] = tokens
        if text not in self._sources:
            self._sources.add(text)
            self._elsewhere(tokens * _STEPS_PER_TOKEN, tokens * _BYTES_PER_TOKEN + len(text))

    def again(self, host: str, name: Hashable, cost: Cost) -> None:
        """Pay for something of `host` that is known already, unless that is paid for."""
        if self._frames:
            self._frames[-1].need(host, name, cost)
        if (host, name) not in self._paid:
            self._charge(host, name, cost)

    def reuse(self, host: str, cost: Cost) -> None:
        """Pay for a part of what is done for `host` that has been done before, as if it were done now."""
        self.spend(cost.steps, cost.size)
        for text, tokens in cost.sources.items():
            self.source(text, tokens)
        for (whose, name), needed in cost.needs.items():
            self.again(whose or host, name, needed)

    def record(self, host: str, name: Hashable = None) -> "Recording":
        """A context that gives the cost of what is done inside for `host`; complete at its end, also when that is an error. Under a
        `name` it is paid for once; without one it is a part of what is recorded around it, and counts as its own cost, too."""
        return Recording(self, host, name)

    def _charge(self, host: str, name: Hashable, cost: Cost) -> None:
        waiting = [(host, name, cost)]
        while waiting:
            host, name, cost = waiting.pop()
            if (host, name) in self._paid:
                continue
            self._paid[host, name] = cost
            self._elsewhere(cost.steps, cost.size)
            for text, tokens in cost.sources.items():
                if text not in self._sources:
                    self._sources.add(text)
                    self._elsewhere(tokens * _STEPS_PER_TOKEN, tokens * _BYTES_PER_TOKEN + len(text))
            waiting += [(whose or host, what, needed) for (whose, what), needed in cost.needs.items()]

    def _elsewhere(self, steps: int, size: int) -> None:
        if self._frames:
            self._frames[-1].other_steps += steps
            self._frames[-1].other_size += size
        self.spend(steps, size)


_NOTHING: Final = Cost()


class Recording:
    """See `Meter.record`."""

    __slots__ = ("_before", "_frame", "_meter", "_name")

    def __init__(self, meter: Meter, host: str, name: Hashable) -> None:
        self._meter = meter
        self._name = name
        self._frame = _Frame(Cost(), host, 0, 0)
        self._before = _NOTHING  # what of it is paid for already, by something that needed it and was not worked out

    def __enter__(self) -> Cost:
        meter, frame = self._meter, self._frame
        if self._name is not None:
            self._before = meter._paid.get((frame.host, self._name), self._before)
        meter.steps -= self._before.steps
        meter.size -= self._before.size
        frame.steps, frame.size = meter.steps, meter.size
        meter._frames.append(frame)
        return frame.cost

    def __exit__(self, *_: object) -> None:
        meter, frame, cost = self._meter, self._frame, self._frame.cost
        meter._frames.pop()
        steps, size = meter.steps - frame.steps, meter.size - frame.size
        cost.steps, cost.size = steps - frame.other_steps, size - frame.other_size
        if self._name is not None:
            meter._paid[frame.host, self._name] = cost
        if not meter._frames:
            return
        above = meter._frames[-1]
        if self._name is None:
            for (whose, name), needed in cost.needs.items():
                above.need(whose or frame.host, name, needed)
            above.cost.sources.update(cost.sources)
            above.other_steps += frame.other_steps
            above.other_size += frame.other_size
        else:
            above.need(frame.host, self._name, cost)
            above.other_steps += steps - self._before.steps
            above.other_size += size - self._before.size


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
        if meter.steps > meter.most_steps or meter.size > meter.most_bytes:
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
