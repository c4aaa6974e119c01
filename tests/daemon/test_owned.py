"""What a flight owns, action by action."""

from types import SimpleNamespace
from typing import Any, cast

from reconciler.model import Action, Outcome, Plan, Verb
from reconciler.node.flight import Flight

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
