"""Drift that somebody brings back each time: what works is not interrupted for it for ever."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.model import Action, Actual, Container, Desired, File, Plan, Running, State, Verb
from reconciler.plan import recurring
from reconciler.reasons import Reason
from reconciler.report import Report
from tests.faults.node import Bench
from tests.faults.schedule import Judge, quiet

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
HEALS = (
    Action(Verb.WRITE, "db/my.cnf", "edited on the node", container="db", drift=True),
    Action(Verb.RESTART, "db", "my.cnf changed", ("write:db/my.cnf",), container="db", drift=True),
)


def running(health: str = "healthy", state: State = State.RUNNING) -> Actual:
    return Actual({"db": Running(Container("db", "i"), "1", "i", state, None, health=health)}, {}, {})  # type: ignore[arg-type]


def test_the_sixth_time_within_an_hour_it_is_left_and_said() -> None:
    plan, healed = Plan("h", "r", HEALS), dict[str, tuple[datetime, ...]]()
    for minute in range(5):
        now = NOW + timedelta(minutes=minute)
        assert recurring.limit(plan, running(), healed, now) == plan
        healed |= recurring.noted(healed, recurring.interrupted(plan, running()), now)
    left = recurring.limit(plan, running(), healed, NOW + timedelta(minutes=5))
    assert not left.actions
    assert {(one.target, one.reason, one.drift) for one in left.held} == {
        ("db", Reason.DriftReturns, True), ("db/my.cnf", Reason.DriftReturns, True),
    }  # fmt: skip
    assert "(edited on the node, my.cnf changed)" in left.held[0].message and "after 13:00 UTC" in left.held[0].message
    assert recurring.limit(plan, running(), healed, NOW + timedelta(hours=1)) == plan, "the first counts no more"


@pytest.mark.parametrize(
    "actual", [running("unhealthy"), running("none", State.EXITED), running("none", State.RESTARTING)]
)
def test_what_does_not_work_is_healed_however_often(actual: Actual) -> None:
    plan = Plan("h", "r", HEALS)
    assert recurring.limit(plan, actual, {"db": (NOW,) * 5}, NOW) == plan
    assert not recurring.interrupted(plan, actual)


def test_what_a_commit_asks_for_goes_on() -> None:
    asked = Action(Verb.REPLACE, "db", "image differs", container="db")
    plan = Plan("h", "r", (HEALS[0], asked))
    assert recurring.limit(plan, running(), {"db": (NOW,) * 5}, NOW) == plan
    assert not recurring.interrupted(plan, running())


def test_a_clock_that_was_wrong_holds_nothing_up() -> None:
    for ahead in (timedelta(days=300), timedelta(minutes=30)):  # it was set back by as much
        assert recurring.limit(Plan("h", "r", HEALS), running(), {"db": (NOW + ahead,) * 5}, NOW).actions


def test_a_node_whose_file_is_edited_again_and_again(tmp_path: Path) -> None:
    """Whole passes: five heals, then none, and the status says so; another process remembers; a retry heals at once, and so does an hour."""
    site = Desired(
        "site", "here", "r", "/etc/kolla", containers=(Container("api", "image:1", service="one", config_directory="api"),),
        files=(File("api/x.conf", "a", container="api"),),
    )  # fmt: skip
    with Bench(tmp_path) as bench:
        bench.repository.push(bench.of(site))
        quiet(bench, Judge(bench, []))

        def again() -> Report:
            (bench.root / "api/x.conf").write_text("edited")
            report = bench.run(deep=True)
            assert report and report.plan
            return report

        for _ in range(5):
            assert [outcome.action.id for outcome in again().outcomes] == ["write:api/x.conf", "restart:api"]
        bench.leave()
        before = bench.engine.containers["api"].id, bench.engine.containers["api"].started_at
        left = again()
        assert not left.outcomes and {held.reason for held in left.plan.held} == {Reason.DriftReturns}
        assert not any(one.status for one in left.conditions if one.type in ("Ready", "InStep"))
        assert (bench.engine.containers["api"].id, bench.engine.containers["api"].started_at) == before
        assert bench.node
        bench.node.state.release("api")
        assert len(again().outcomes) == 2
        for _ in range(4):
            again()
        assert not again().outcomes
        bench.later(3600)
        assert len(again().outcomes) == 2
