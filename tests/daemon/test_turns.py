"""Passes that come by themselves, while the clock of the day is set under the scheduler's hands."""

import datetime
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from apscheduler.schedulers import base

from reconciler.daemon.triggers import Kind
from reconciler.daemon.turns import Turns
from tests.daemon.node import wait_for

HOUR, DAY = 3600.0, 86400.0
SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets the time of day as the program and APScheduler read it; the clock that nobody sets goes on."""
    real, off = time.time, [0.0]

    class Moved(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Moved":
            return cls.fromtimestamp(time.time(), tz)

    monkeypatch.setattr(base, "datetime", Moved)
    monkeypatch.setattr(time, "time", lambda: real() + off[0])

    def by(seconds: float) -> None:
        off[0] += seconds

    return by


class Heard:
    """What was put in, and when by the clock that nobody sets."""

    def __init__(self) -> None:
        self.kinds: list[tuple[Kind, float]] = []

    def put(self, kind: Kind) -> None:
        self.kinds.append((kind, time.monotonic()))

    def count(self, kind: Kind) -> int:
        return sum(one == kind for one, _ in self.kinds)

    def moment(self, kind: Kind) -> float:
        wait_for(lambda: self.count(kind), kind)
        return next(at for one, at in self.kinds if one == kind)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def started() -> Iterator[Callable[[Turns], Turns]]:
    running: list[Turns] = []

    def start(turns: Turns) -> Turns:
        turns.start()
        running.append(turns)
        return turns

    yield start
    for turns in running:
        turns.shutdown(wait=False)


@pytest.mark.parametrize("step", [-DAY, -HOUR, -2.0, 2.0, HOUR, DAY])
def test_turns_come_as_often_whatever_is_done_to_the_clock(
    step: float, set_clock: SetClock, heard: Heard, started: Callable[[Turns], Turns]
) -> None:
    started(Turns(heard.put, 0.3, 0.0))
    wait_for(lambda: heard.count("interval") >= 2, "turns")
    set_clock(step)
    before, began = heard.count("interval"), time.monotonic()
    wait_for(lambda: heard.count("interval") >= before + 4, "turns after the clock was set")
    assert time.monotonic() - began > 0.8, "not more often either"
    set_clock(-step)
    before = heard.count("interval")
    wait_for(lambda: heard.count("interval") >= before + 2, "turns after it was set right again")


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_what_was_asked_for_comes_in_that_time(
    step: float, set_clock: SetClock, heard: Heard, started: Callable[[Turns], Turns]
) -> None:
    """Asked for before the clock was set, and right after, when the scheduler has not seen it yet."""
    turns = started(Turns(heard.put, HOUR, 0.0))
    began = time.monotonic()
    turns.later(1.0)
    set_clock(step)
    assert heard.moment("retry") - began >= 0.9
    set_clock(step)
    began, before = time.monotonic(), heard.count("retry")
    turns.later(0.5)
    wait_for(lambda: heard.count("retry") > before, "retry")
    assert heard.kinds[-1][1] - began >= 0.4
    assert heard.count("interval") == 0, "an hour has not passed, whatever the clock says"


def test_a_clock_that_is_set_while_it_is_read_stops_nothing_for_long(
    set_clock: SetClock, heard: Heard, started: Callable[[Turns], Turns], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.daemon.turns._LONGEST", 0.2)
    turns = Turns(heard.put, 0.3, 0.0)
    process = super(Turns, turns)._process_jobs
    seen = threading.Event()

    def late() -> float | None:
        """The scheduler looked whether the clock was set; it is now, and then it sees when its next job is."""
        if heard.count("interval") >= 2 and not seen.is_set():
            set_clock(-HOUR)
            seen.set()
        found: float | None = process()
        return found

    monkeypatch.setattr("apscheduler.schedulers.base.BaseScheduler._process_jobs", lambda _: late())
    started(turns)
    assert seen.wait(30)
    before = heard.count("interval")
    wait_for(lambda: heard.count("interval") >= before + 2, "turns")
