"""Wishes for a pass: gathered, so that many become one, and held back when something keeps on happening."""

import queue
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["stop", "hangup", "start", "retry", "interval", "file", "event"]
# The first of these that is among the wishes gives the pass its name.
_RANK: Final[tuple[Kind, ...]] = ("stop", "hangup", "start", "retry", "interval", "file", "event")
_POLLS: Final = frozenset({"hangup", "start", "retry", "interval"})
_NOISY: Final = frozenset({"file", "event"})

QUIET, PATIENCE = 0.1, 0.3  # seconds without a further event that end a burst; the longest a burst is waited for
_BURSTS, _WINDOW = 10, 60.0  # passes for events alone, per seconds: a container that dies again and again


@dataclass(frozen=True, slots=True)
class Trigger:
    """Why the next pass runs. `polls`: whether it should ask the git server."""

    kind: Kind
    polls: bool


class Triggers:
    """Many threads, and signal handlers, put wishes in; the main loop takes them out, all at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        # SimpleQueue, because its put may be called in a signal handler that interrupted a put.
        self._queue: queue.SimpleQueue[Kind] = queue.SimpleQueue()
        self._clock = clock
        self._passes: deque[float] = deque(maxlen=_BURSTS)

    def put(self, kind: Kind) -> None:
        """Wish for a pass. Never blocks."""
        self._queue.put(kind)

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def next(self, timeout: float) -> Trigger | None:
        """Wait for a wish; None after `timeout` seconds without one, or when events come too often to follow each.

        What is wished for while a pass runs is found here after it: however much it was, it becomes one pass.
        """
        try:
            kinds = {self._queue.get(timeout=timeout)}
        except queue.Empty:
            return None
        deadline = self._clock() + PATIENCE
        while True:
            left = min(QUIET, deadline - self._clock()) if kinds <= _NOISY else 0.0
            try:
                kinds.add(self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait())
            except queue.Empty:
                break
        if kinds <= _NOISY and self._too_often():
            return None  # the next interval's pass sees it
        return Trigger(next(kind for kind in _RANK if kind in kinds), bool(kinds & _POLLS))

    def _too_often(self) -> bool:
        now = self._clock()
        if len(self._passes) == _BURSTS and now - self._passes[0] < _WINDOW:
            return True
        self._passes.append(now)
        return False
