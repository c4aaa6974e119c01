"""Wishes for a pass: gathered, so that many become one, and held back when something keeps on happening."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from reconciler.system.pacing import Bucket

Kind = Literal["stop", "hangup", "start", "retry", "webhook", "interval", "landed", "file", "event"]
# The first of these that is among the wishes gives the pass its name. What has landed comes last: it may have been collected already.
_RANK: Final[tuple[Kind, ...]] = ("stop", "hangup", "start", "retry", "webhook", "interval", "file", "event", "landed")
_POLLS: Final = frozenset({"hangup", "start", "retry", "webhook", "interval"})
_NOISY: Final = frozenset({"file", "event"})

QUIET, PATIENCE = 0.1, 0.3  # seconds without a further event that end a burst; the longest a burst is waited for
_BURSTS, _REFILL = 10, 6.0  # passes for events alone at full speed; seconds until one more is granted after that


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
        self._pending: set[Kind] = set()  # taken out, and not granted a pass yet
        self._granted = Bucket(_BURSTS, _REFILL, clock())

    def put(self, kind: Kind) -> None:
        """Wish for a pass. Never blocks."""
        self._queue.put(kind)

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def next(self, timeout: float) -> Trigger | None:
        """Wait for a wish; None after `timeout` seconds without one, or when events come too often to follow each.

        What is wished for while a pass runs is found here after it: however much it was, it becomes one pass. Nothing is
        lost: wishes that come too often wait for their pass, and go along with any other.
        """
        if not self._pending:
            try:
                self._pending = {self._queue.get(timeout=timeout)}
            except queue.Empty:
                return None
            self._gather()
        if self._is_noise() and (wait := self._granted.wait(self._clock())) > 0:
            with contextlib.suppress(queue.Empty):
                self._pending.add(self._queue.get(timeout=min(wait, timeout)))
            if self._is_noise() and self._granted.wait(self._clock()) > 0:
                return None
        self._drain()
        kinds, self._pending = self._pending, set()
        if kinds <= _NOISY:
            self._granted.take()
        return Trigger(next(kind for kind in _RANK if kind in kinds), bool(kinds & _POLLS))

    def wait(self, ended: threading.Event, timeout: float) -> None:
        """Within a pass: wait until `ended` is set, for `timeout` seconds at most, or until somebody wishes for another pass."""
        deadline, before = self._clock() + timeout, frozenset(self._pending)
        # Whoever sets `ended` puts a wish in right after. What came too often before waits on for its turn.
        while self._pending == before and (left := deadline - self._clock()) > 0:
            with contextlib.suppress(queue.Empty):
                self._pending.add(self._queue.get(timeout=left))
        if ended.is_set():
            self._drain()
            self._pending.discard("landed")

    def _gather(self) -> None:
        """Wait for the end of a burst of events."""
        deadline = self._clock() + PATIENCE
        while self._is_noise() and (left := min(QUIET, deadline - self._clock())) > 0:
            try:
                self._pending.add(self._queue.get(timeout=left))
            except queue.Empty:
                return

    def _drain(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._pending.add(self._queue.get_nowait())

    def _is_noise(self) -> bool:
        return self._pending <= _NOISY
