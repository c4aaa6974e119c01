"""A figure's parts: what was measured, how often, against what."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock


@dataclass(frozen=True, slots=True)
class Context:
    """What every figure gets: the engine's address, a folder of its own, and whether few runs are enough."""

    engine_url: str
    folder: Path
    quick: bool = False

    def runs(self, full: int, quick: int) -> int:
        """How often to measure."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `values` are single runs in `unit`; so are `floor`, and `budget`, which the median must keep."""

    part: str
    unit: str
    values: tuple[float, ...]
    budget: float | None = None
    floor: tuple[float, ...] = ()
    floor_is: str = ""
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def missed(self) -> bool:
        return self.budget is not None and self.median > self.budget

    def to_json(self) -> dict[str, Any]:
        """For bench-results/."""
        return {
            "part": self.part,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "runs": len(self.values),
            "budget": self.budget,
            "floor": statistics.median(self.floor) if self.floor else None,
            "floor_is": self.floor_is,
            "note": self.note,
        }


Part = Callable[[Context], Iterator[Row]]


@dataclass(frozen=True, slots=True)
class Figure:
    """What is measured, and its parts by name: each has a folder of its own, and what one fails at the others do not feel."""

    about: str
    parts: Mapping[str, Part]


@dataclass(slots=True)
class Measured:
    """The rows of a figure as far as they were measured, and why what is missing was not: the name of a part → what it failed with."""

    rows: list[Row] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def repeat(times: int, call: Callable[[], object], *, scale: float = 1.0) -> tuple[float, ...]:
    """How long each of several calls took, in seconds × `scale`."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * scale)
    return tuple(taken)


@dataclass
class Stopwatch:
    """Adds up how long named calls take while the real ones run."""

    laps: dict[str, list[float]] = field(default_factory=dict)
    _now: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def on(self, parts: Mapping[str, tuple[object, str]]) -> Iterator[None]:
        """Watch the attributes (owner, name), each under its label."""
        with contextlib.ExitStack() as stack:
            for label, (owner, name) in parts.items():
                stack.enter_context(mock.patch.object(owner, name, self._watched(label, getattr(owner, name))))
            yield

    @contextlib.contextmanager
    def lap(self, label: str = "total") -> Iterator[None]:
        """One run: afterwards `laps` has one value more for `label`, and for each part that was called in it."""
        self._now.clear()
        began = time.perf_counter()
        yield
        self._now[label] = time.perf_counter() - began
        for name, seconds in self._now.items():
            self.laps.setdefault(name, []).append(seconds)

    def get(self, label: str, *, scale: float = 1.0) -> tuple[float, ...]:
        """Seconds × `scale` of every lap; 0 when the part never ran."""
        return tuple(seconds * scale for seconds in self.laps.get(label, ())) or (0.0,)

    def _watched(self, label: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self._now[label] = self._now.get(label, 0.0) + time.perf_counter() - began

        return watched
