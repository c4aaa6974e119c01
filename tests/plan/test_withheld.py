"""What of a plan waits because something that runs must not be stopped now."""

import pytest

from reconciler.model import Action, Actual, Container, Plan, Running, State, Verb
from reconciler.plan.withheld import stops, withhold
from reconciler.reasons import Reason

ACTIONS = (
    Action(Verb.PULL, "image", "for db"),
    Action(Verb.WRITE, "db/my.cnf", "content changed", container="db"),
    Action(Verb.RESTART, "db", "my.cnf changed", ("write:db/my.cnf",), container="db"),
    Action(Verb.RUN, "db_sync", "new inputs", ("restart:db",)),
    Action(Verb.REPLACE, "api", "image differs", ("run:db_sync",), container="api"),
    Action(Verb.START, "web", "it is down", container="web"),
    Action(Verb.RESTART, "cache", "options differ", ("restart:db",), container="cache", drift=True),
)


def test_what_concerns_them_and_what_needs_that_is_held() -> None:
    found = withhold(Plan("h", "r", ACTIONS), {"db"}, Reason.WaitsForBudget, "two holds it")
    assert [action.target for action in found.actions] == ["image", "web", "cache"], "drift is healed all the same"
    assert [(held.target, held.reason, held.message) for held in found.held] == [
        (target, Reason.WaitsForBudget, "two holds it") for target in ("db/my.cnf", "db", "db_sync", "api")
    ]


@pytest.mark.parametrize(
    ("state", "health", "stopped"),
    [
        (State.RUNNING, "healthy", True),
        (State.RUNNING, "none", True),
        (State.RUNNING, "unhealthy", False),
        (State.EXITED, "none", False),
        (State.RESTARTING, "none", False),
    ],
)
def test_only_what_runs_and_works_is_stopped(state: State, health: str, stopped: bool) -> None:
    running = Running(Container("db", "image"), "1", "image", state, None, health=health)  # type: ignore[arg-type]
    actual = Actual({"db": running}, {}, {})
    assert stops(ACTIONS, actual) == ({"db"} if stopped else frozenset())
    assert stops(ACTIONS) == {"db", "api", "cache"}
