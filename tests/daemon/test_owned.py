"""What a flight owns, action by action."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler.model import Action, Outcome, Plan, Verb
from reconciler.node.flight import Flight, Flights, Landed
from reconciler.reasons import Reason

MAKE = Action(Verb.CREATE, "db", "new container", container="db", service="db")
USER = Action(Verb.REGISTER, "mariadb:user:app@%", "new", service="app")
GRANT = Action(Verb.REGISTER, "mariadb:grant:app@%:app.*", "new", service="app")


def test_registrations_are_owned_to_the_end() -> None:
    """What a pass knew of them is from before the flight: that the database did not answer yet would be said to be wrong."""
    target = cast(Any, SimpleNamespace(desired=SimpleNamespace(revision="r", containers=())))
    flight = Flight(target, Plan("h", "r", (MAKE, USER, GRANT)), cast(Any, None))
    assert set(flight.items()) == {"db", USER.target, GRANT.target}
    for action in (MAKE, USER):
        flight.begin(action)
        flight.end(Outcome(action, "done"))
    assert flight.items() == {USER.target: "registered; to be looked at", GRANT.target: "waiting for its turn"}
    flight.begin(GRANT)
    flight.end(Outcome(GRANT, "done"))
    assert set(flight.items()) == {USER.target, GRANT.target}
    flight.ended.set()
    assert flight.items() == {}


@pytest.mark.parametrize(
    ("result", "reason", "ours"),
    [
        ("unknown", Reason.EngineTimeout, True),
        ("failed", Reason.EngineUnreachable, True),
        ("failed", Reason.PortInUse, False),
        ("done", None, False),
    ],
)
def test_what_the_engine_was_asked_for_and_did_later_was_done_by_nobody_else(
    result: Any, reason: Reason | None, ours: bool
) -> None:
    @contextlib.contextmanager
    def hold() -> Iterator[None]:
        yield

    target = cast(Any, SimpleNamespace(desired=SimpleNamespace(revision="r", containers=())))
    flight, flights = Flight(target, Plan("h", "r", (MAKE,)), cast(Any, None)), Flights(hold)

    def carry_out(flight: Flight) -> Landed:
        flight.begin(MAKE)
        flight.end(Outcome(MAKE, result, reason))
        return Landed()

    flights.begin(flight, carry_out, apart=False)
    over = datetime.now(UTC)
    flights.collect()
    flights.collect()
    later = over + timedelta(minutes=5)
    assert flights.may_have("db", later) is ours and not flights.did("db", later)
    assert not flights.may_have("web", later) and not flights.may_have("db", over + timedelta(hours=1))
    assert not flights.may_have("db", over - timedelta(minutes=1))
