"""Order, parallelism and failure in the walk over a plan."""

import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from reconciler import errors
from reconciler.apply import walk
from reconciler.model import Action, Outcome, Plan, Verb
from reconciler.plan.order import ordered
from reconciler.reasons import Reason


def action(name: str, *needs: str) -> Action:
    return Action(Verb.START, name, "", needs=tuple(f"start:{n}" for n in needs))


def plan(*actions: Action) -> Plan:
    return Plan("h", "r", ordered(actions))


def done(a: Action) -> Outcome:
    return Outcome(a, "done")


def results(outcomes: tuple[Outcome, ...]) -> dict[str, str]:
    return {outcome.action.target: outcome.result for outcome in outcomes}


def test_a_failure_skips_its_dependents_only() -> None:
    def perform(a: Action) -> Outcome:
        if a.target == "db":
            raise errors.Terminal("no room", reason=Reason.DiskFull)
        return done(a)

    outcomes = walk(
        plan(action("db"), action("api", "db"), action("ui", "api"), action("cron")), perform, stop=threading.Event()
    )
    assert results(outcomes) == {"db": "failed", "api": "skipped", "ui": "skipped", "cron": "done"}
    reasons = {o.action.target: o.reason for o in outcomes}
    assert (reasons["db"], reasons["ui"]) == ("DiskFull", "DependencyFailed")


def test_independent_branches_run_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=5)  # passes only when three are inside at once

    def perform(a: Action) -> Outcome:
        together.wait()
        return done(a)

    outcomes = walk(plan(action("a"), action("b"), action("c")), perform, stop=threading.Event())
    assert set(results(outcomes).values()) == {"done"}


def test_no_more_than_the_limit_at_once() -> None:
    inside, most, guard = 0, 0, threading.Lock()

    def perform(a: Action) -> Outcome:
        nonlocal inside, most
        with guard:
            inside += 1
            most = max(most, inside)
        time.sleep(0.01)
        with guard:
            inside -= 1
        return done(a)

    walk(plan(*(action(str(i)) for i in range(12))), perform, stop=threading.Event(), parallel=3)
    assert most <= 3


def test_stopping_ends_what_runs_and_begins_nothing() -> None:
    stop = threading.Event()

    def perform(a: Action) -> Outcome:
        stop.set()
        return done(a)

    outcomes = walk(plan(action("a"), action("b", "a"), action("c", "b")), perform, stop=stop)
    assert results(outcomes) == {"a": "done", "b": "skipped", "c": "skipped"}
    assert {o.reason for o in outcomes if o.result == "skipped"} == {"Interrupted"}


def test_a_defect_is_a_failure_and_shows_no_text() -> None:
    def perform(a: Action) -> Outcome:
        raise RuntimeError("password=hunter2")

    outcome = walk(plan(action("a")), perform, stop=threading.Event())[0]
    assert (outcome.result, outcome.reason) == ("failed", "InternalError")
    assert "hunter2" not in outcome.message


def test_a_cycle_of_needs_still_ends() -> None:
    outcomes = walk(plan(action("a", "b"), action("b", "a")), done, stop=threading.Event())
    assert results(outcomes) == {"a": "done", "b": "done"}


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=10), st.sets(st.integers(0, 9)))
def test_every_action_ends_and_none_before_its_needs(edges: list[list[int]], failing: set[int]) -> None:
    actions = [action(str(i), *(str(n) for n in needs if n < i)) for i, needs in enumerate(edges)]
    finished: list[str] = []

    def perform(a: Action) -> Outcome:
        assert all(need.removeprefix("start:") in finished for need in a.needs)
        finished.append(a.target)
        return Outcome(a, "failed") if int(a.target) in failing else done(a)

    outcomes = walk(plan(*actions), perform, stop=threading.Event())
    assert len(outcomes) == len(actions)
    bad = {o.action.id for o in outcomes if o.result != "done"}
    for outcome in outcomes:
        assert (outcome.result == "skipped") == any(need in bad for need in outcome.action.needs)
