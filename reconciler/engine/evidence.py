"""When a container that fails its check again and again has failed for good: by what it took before and what it says itself. Pure.

A time alone cannot tell a failure from a slow start. So the patience is a multiple of what the container took before, longer when its own log
names no error; and it begins anew whenever something moves: the check answers otherwise, or the log says something new. Time in which
the machine kept everybody waiting counts less: some of that is the container's own doing.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

_NAMED, _NAMED_LEAST = 2.0, 12.0  # times what it took, and seconds, when its log names an error
_SILENT, _SILENT_LEAST = 2.75, 25.0  # when it does not
STEADY = 5.0  # seconds in which nothing may have moved
_FEWEST = 5  # failures of the check
_BUSY = 0.3  # of the time in which the machine kept others waiting is not counted


def patience(usual: float, *, named: bool) -> float:
    """Seconds after which a failing check counts for good. `usual` is what the container took before, `named`: its log names an error."""
    return max(_NAMED * usual, _NAMED_LEAST) if named else max(_SILENT * usual, _SILENT_LEAST)


@dataclass(slots=True)
class Evidence:
    """Gathers what speaks for a failure. Moments are seconds of a clock that only grows; `usual` None: it was never healthy before, so
    nothing is known of it and nothing is decided here."""

    usual: float | None
    began: float
    _own: float = 0.0  # seconds that counted
    _last: float = 0.0
    _stalled: float = 0.0
    _answer: int | None = None
    _failures: int = 0
    _moved: float = 0.0  # on the own clock
    _said: set[str] = field(default_factory=set)

    def begin(self, now: float, stalled: float) -> None:
        """It was started, or started again."""
        self._own, self._last, self._stalled = 0.0, now, stalled
        self._answer, self._failures, self._moved = None, 0, 0.0
        self._said = set()

    def failed(self, code: int | None, now: float, stalled: float) -> None:
        """Its check failed with an exit code (None: it did not answer). `stalled` are the seconds, ever, in which the machine was busy."""
        passed = max(now - self._last, 0.0)
        self._own += passed - _BUSY * min(max(stalled - self._stalled, 0.0), passed)
        self._last, self._stalled = now, stalled
        self._failures += 1
        if code != self._answer:
            self._answer, self._moved = code, self._own

    @property
    def asks_the_log(self) -> bool:
        """Whether what the log says matters by now."""
        return self.usual is not None and self._own >= patience(self.usual, named=True) - STEADY

    def read(self, essences: Collection[str]) -> None:
        """What its log says since the start, each line without its numbers."""
        if set(essences) - self._said:
            self._said |= set(essences)
            self._moved = self._own

    def decides(self, *, named: bool) -> bool:
        """Whether it has failed for good."""
        if self.usual is None or self._failures < _FEWEST:
            return False
        return self._own >= patience(self.usual, named=named) and self._own - self._moved >= STEADY
