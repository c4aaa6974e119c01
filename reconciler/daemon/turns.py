"""When the next pass comes by itself, counted in seconds as they pass: a clock that is set neither stops nor hurries one."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Final

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from reconciler.daemon.triggers import Kind

_STEP: Final = 1.0  # seconds; what the two clocks move apart by less is how long it takes to read them
_LONGEST: Final = 60.0  # seconds; a clock may be set at the very moment at which it is read


class Turns(BackgroundScheduler):  # type: ignore[misc]  # without types
    """Calls `put` with "interval" every `interval` seconds, `phase` seconds after whole intervals by the clock at the beginning, and with
    "retry" when that was asked for.

    APScheduler notes jobs by the time of day, and sleeps until then by a clock that nobody sets. So it wakes in time, and finds that
    the time of day is another one when that was set meanwhile: then its jobs are moved by as much.
    """

    def __init__(self, put: Callable[[Kind], None], interval: float, phase: float) -> None:
        super().__init__(timezone=UTC, executors={"default": ThreadPoolExecutor(1)})
        self._put, self._guard = put, Lock()
        now = time.time()
        self._apart = now - time.monotonic()  # as its jobs are noted
        first = now - now % interval + phase
        if first <= now:
            first += interval
        start = datetime.fromtimestamp(first, UTC)
        every = IntervalTrigger(seconds=interval, start_date=start, timezone=UTC)
        self.add_job(put, every, ("interval",), next_run_time=start, coalesce=True, misfire_grace_time=None)

    def later(self, seconds: float) -> None:
        """Have "retry" put in so many seconds."""
        with self._guard:
            moment = datetime.fromtimestamp(time.monotonic() + self._apart + seconds, UTC)
            self.add_job(self._put, "date", ("retry",), run_date=moment, misfire_grace_time=None)

    def _process_jobs(self) -> float:
        """Called by the scheduler's thread whenever it wakes; returns how long it is to sleep."""
        self._follow_clock()
        seconds = super()._process_jobs()
        return _LONGEST if seconds is None else min(seconds, _LONGEST)

    def _follow_clock(self) -> None:
        with self._guard:
            apart = time.time() - time.monotonic()
            step = apart - self._apart
            if abs(step) < _STEP:
                return
            self._apart = apart
            for job in self.get_jobs():
                job.modify(next_run_time=job.next_run_time + timedelta(seconds=step))
