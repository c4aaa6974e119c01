"""What of a plan waits because something that runs must not be stopped now."""

from dataclasses import replace

import pytest

from reconciler.model import Action, Actual, Container, Plan, Running, State, Verb
from reconciler.plan.withheld import ahead, stops, withhold
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


def test_what_drifted_waits_for_nothing_that_is_held() -> None:
    """But for what else drifted, and is put right before it."""
    more = Action(Verb.WRITE, "cache/x.conf", "edited", container="cache", drift=True)
    cache = replace(ACTIONS[-1], needs=("restart:db", more.id))
    plan = Plan("h", "r", (*ACTIONS[:-1], more, cache))
    actual = Actual({}, {}, {})
    for found in (withhold(plan, {"db"}, Reason.WaitsForBudget, ""), ahead(plan, [], actual, Reason.WaitsForWave, "")):
        needs = {action.id: action.needs for action in found.actions}
        assert needs[cache.id] == (more.id,) and all(need in needs for ids in needs.values() for need in ids)


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


JOBS = (
    *ACTIONS[:3],
    Action(Verb.PULL, "new", "for db_sync"),
    Action(Verb.REGISTER, "mariadb:database:api", "does not exist", ("restart:db",)),
    Action(Verb.WRITE, "db-sync/api.conf", "new", container="db_sync"),
    Action(
        Verb.RUN, "db_sync", "new inputs", ("restart:db", "register:mariadb:database:api", "write:db-sync/api.conf", "pull:new"),
        container="db_sync",
    ),
    *ACTIONS[4:],
)  # fmt: skip


def test_a_job_goes_ahead_with_what_it_needs_and_stops_nothing() -> None:
    db = Running(Container("db", "image"), "1", "image", State.RUNNING, None, health="healthy")
    found = ahead(Plan("h", "r", JOBS), ["run:db_sync"], Actual({"db": db}, {}, {}), Reason.WaitsForWave, "later")
    assert [action.id for action in found.actions] == [
        "pull:new", "register:mariadb:database:api", "write:db-sync/api.conf", "run:db_sync", "start:web", "restart:cache",
    ]  # fmt: skip
    assert found.actions[3].needs == ("register:mariadb:database:api", "write:db-sync/api.conf", "pull:new")
    assert [(one.target, one.message) for one in found.held] == [
        (target, "later") for target in ("db/my.cnf", "db", "api")
    ]
    # What it needs does not work before the change: it waits for the change.
    broken = Actual({"db": Running(db.spec, "1", "image", State.EXITED, None)}, {}, {})
    assert [one.id for one in ahead(Plan("h", "r", JOBS), ["run:db_sync"], broken, Reason.WaitsForWave, "").actions] == [
        "start:web", "restart:cache",
    ]  # fmt: skip


def test_checks_before_an_upgrade_are_made_ahead() -> None:
    """The jobs that go ahead wait for them, and other hosts for the jobs."""
    asked = (*ACTIONS[:1], Action(Verb.PULL, "new", "for db"), Action(Verb.PRECHECK, "version", "", ("pull:new",)))
    found = ahead(Plan("h", "r", asked), ["run:db_sync"], Actual({}, {}, {}), Reason.WaitsForWave, "later")
    assert [action.id for action in found.actions] == ["pull:new", "precheck:version"] and not found.held


def test_images_may_come_ahead_and_nothing_that_needs_them() -> None:
    actual = Actual({}, {}, {})
    found = ahead(Plan("h", "r", JOBS), [], actual, Reason.WaitsForWave, "later", pulls=True)
    assert [action.id for action in found.actions] == ["pull:image", "pull:new", "start:web", "restart:cache"]
    kept = ahead(Plan("h", "r", JOBS), [], actual, Reason.WaitsForWave, "later")
    assert [action.id for action in kept.actions] == ["start:web", "restart:cache"]


def test_the_check_of_a_configuration_waits_with_all_that_it_is_for() -> None:
    made = (
        Action(Verb.VALIDATE, "api", "new", container="api"),
        Action(Verb.WRITE, "api/api.conf", "new file", ("validate:api", "run:db_sync"), container="api"),
        Action(Verb.CREATE, "api", "new container", ("validate:api", "run:db_sync"), container="api"),
        Action(Verb.RUN, "db_sync", "first run"),
    )
    assert withhold(Plan("h", "r", made), {"db_sync"}, Reason.WaitsForBudget, "another runs it").actions == ()
    free = Action(Verb.WRITE, "api/other.conf", "new file", ("validate:api",), container="api")
    found = withhold(Plan("h", "r", (*made, free)), {"db_sync"}, Reason.WaitsForBudget, "another runs it")
    assert [action.id for action in found.actions] == ["validate:api", "write:api/other.conf"]
