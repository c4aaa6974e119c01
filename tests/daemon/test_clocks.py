"""What a node waits for, and for how long, while the clock of the day is set under its hands."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler import settings
from reconciler.daemon.service import Daemon
from reconciler.daemon.triggers import Trigger
from reconciler.engine import health
from reconciler.engine.health import Waiter
from reconciler.model import Asked, Container, Desired, Memory, Plan, Precheck, Running, State
from reconciler.node import flight as flights_module
from reconciler.node.aims import Aims
from reconciler.node.flight import Flight, Flights, Landed
from reconciler.node.planning import Planner

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Moved(datetime):
    """The time of day as a module reads it, set by `by`."""

    by = timedelta()

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) + cls.by


@pytest.fixture
def by(monkeypatch: pytest.MonkeyPatch) -> Any:
    for module in (flights_module, health):
        monkeypatch.setattr(module, "datetime", Moved)

    def move(step: timedelta) -> None:
        monkeypatch.setattr(Moved, "by", Moved.by + step)

    return move


@pytest.mark.parametrize("step", [-10 * HOUR, 10 * HOUR])
def test_what_is_in_flight_is_as_old_as_it_is(step: timedelta, by: Any) -> None:
    """A clock that went forward by more than a pass may take withheld the sign of life, and systemd ended the daemon in the middle of it."""

    @contextlib.contextmanager
    def hold() -> Iterator[None]:
        yield

    target, go_on = cast(Any, SimpleNamespace(desired=SimpleNamespace(revision="r", containers=()))), Event()
    flight, flights = Flight(target, Plan("h", "r"), cast(Any, None)), Flights(hold)

    def carry_out(flight: Flight) -> Landed:
        go_on.wait(60)
        return Landed()

    flights.begin(flight, carry_out, apart=True)
    by(step)
    try:
        assert not flights.overdue(3600.0) and 0 <= flight.seconds < 600
        assert flights.overdue(-1.0)
    finally:
        go_on.set()
        flights.end()


@pytest.mark.parametrize(
    ("ago", "holds"),
    [
        (timedelta(0), True),
        (timedelta(seconds=59), True),
        (timedelta(minutes=1), False),
        (-timedelta(seconds=1), False),  # noted before the clock was set back
        (-HOUR, False),
    ],
)
def test_an_upgrade_is_held_by_what_was_found_lately(ago: timedelta, holds: bool) -> None:
    found = Memory(prechecks={"room": Asked("2026.1", "a" * 40, NOW - ago, "too small")})
    state = cast(Any, SimpleNamespace(memory=lambda: found))
    aims = Aims(cast(Any, None), state, lambda: NOW)
    desired = Desired("s", "h", "a" * 40, "/none", prechecks=(Precheck("room", "", ()),))
    assert aims._unready(desired) == ("too small" if holds else None)


@pytest.mark.parametrize(("ago", "counts"), [(timedelta(0), True), (HOUR, True), (2 * HOUR, False), (-HOUR, False)])
def test_a_check_that_passed_counts_for_an_hour_and_not_from_the_future(ago: timedelta, counts: bool) -> None:
    memory = Memory(prechecks={"room": Asked("2026.1", "a" * 40, NOW - ago)})
    desired = Desired("s", "h", "a" * 40, "/none", release="2026.1")
    planner = Planner.__new__(Planner)
    planner._clock = lambda: NOW
    assert (planner._prechecked(memory, desired) == {"room"}) is counts


@pytest.mark.parametrize("step", [-HOUR, timedelta(0), HOUR])
def test_a_slow_start_has_its_time_whatever_the_clock_says(step: timedelta, by: Any) -> None:
    """A member that copies a database may be called unhealthy by Docker for as long as its service allows."""
    waiter = Waiter(cast(Any, None), Container("db", "image", start_timeout=900.0), "db", patient=True)
    started = Running(Container("db", "image"), "1", "1", State.RUNNING, datetime.now(UTC), health="unhealthy")
    assert waiter._failure(started, 900.0) is None
    by(step)
    assert waiter._failure(started, 900.0) is None
    assert 0 <= waiter._up(started) < 600


def test_the_main_loop_says_that_this_host_is_there_and_comes_round_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.toml").write_text(
        f'host = "one"\nstate_dir = "{tmp_path}/state"\n[git]\nurl = "file://{tmp_path}/site.git"\n'
    )
    daemon = Daemon(settings.load(tmp_path / "settings.toml"))
    said, waits, passes = [390.0, 0.5, float("inf")], list[float](), list[int]()

    def next_(timeout: float) -> Trigger | None:
        waits.append(timeout)
        if not said:
            daemon.node.stop.set()
        return Trigger("interval", polls=True)

    monkeypatch.setattr(daemon.node.permits, "stay_present", lambda: said.pop(0))
    monkeypatch.setattr(daemon._triggers, "next", next_)
    monkeypatch.setattr(daemon, "_pass", lambda trigger: passes.append(len(said)))
    daemon._notify.period = None
    daemon._loop()
    assert waits == [390.0, 0.5, 3600.0]
    assert passes == [2, 1, 0], "while a pass goes on nobody says it: one that hangs must not count as there"
