"""Order, parallelism and failure in the walk over a plan."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import errors
from reconciler.apply import Slots, walk
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


def test_what_needs_something_that_is_not_in_the_plan_ends_as_a_defect() -> None:
    """A daemon that waited for it would do nothing else ever again."""
    wanted = Plan("h", "r", (action("a"), action("b", "a", "nowhere"), action("c", "b")))
    found = walk(wanted, done, stop=threading.Event())
    assert [(o.action.target, o.result, o.reason) for o in found] == [
        ("a", "done", None), ("b", "failed", Reason.InternalError), ("c", "failed", Reason.InternalError),
    ]  # fmt: skip
    assert "needs start:nowhere, which nothing of this plan does" in found[1].message, found[1].message


def test_what_is_said_of_what_was_not_done() -> None:
    def perform(a: Action) -> Outcome:
        if a.target == "late":
            raise errors.Transient("was not waited for", reason=Reason.Interrupted)
        raise errors.Terminal("no room", reason=Reason.DiskFull)

    outcomes = walk(plan(action("db"), action("late"), action("api", "db")), perform, stop=threading.Event())
    assert {o.action.target: (o.result, o.reason, o.message) for o in outcomes} == {
        "db": ("failed", Reason.DiskFull, "no room"),
        "late": ("skipped", Reason.Interrupted, "was not waited for"),
        "api": ("skipped", Reason.DependencyFailed, "start:db failed"),
    }
    stop = threading.Event()
    stop.set()
    (outcome,) = walk(plan(action("a")), perform, stop=stop)
    assert (outcome.result, outcome.reason, outcome.message) == ("skipped", Reason.Interrupted, "it was not begun")


def test_what_was_rolled_back_is_no_ground_for_others() -> None:
    outcomes = walk(
        plan(action("db"), action("api", "db")), lambda a: Outcome(a, "rolled-back"), stop=threading.Event()
    )
    assert (
        results(outcomes) == {"db": "rolled-back", "api": "skipped"} and outcomes[1].message == "start:db rolled-back"
    )


def test_a_defect_is_told_by_its_kind_and_place() -> None:
    def perform(a: Action) -> Outcome:
        raise KeyError("x")

    (outcome,) = walk(plan(action("a")), perform, stop=threading.Event())
    assert outcome.message == "KeyError in start:a; see the log with --debug"


@pytest.mark.parametrize("error", [errors.Terminal("no", reason=Reason.DiskFull), KeyError("x")])
def test_what_failed_has_the_time_that_it_took_and_not_that_it_waited(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]

    def perform(a: Action) -> Outcome:
        now[0] += 5.0
        raise error

    monkeypatch.setattr("time.monotonic", lambda: now[0])
    outcomes = walk(plan(action("a"), action("b")), perform, stop=threading.Event(), parallel=1)
    assert [outcome.seconds for outcome in outcomes] == [5.0, 5.0]


def test_who_watches_hears_of_every_action_when_it_begins_and_when_it_ends() -> None:
    heard: list[tuple[str, str, str]] = []
    here = threading.current_thread().name

    def begins(a: Action) -> None:
        heard.append(("begins", a.target, threading.current_thread().name.partition("_")[0]))

    def ends(outcome: Outcome) -> None:
        heard.append((outcome.result, outcome.action.target, threading.current_thread().name))

    def perform(a: Action) -> Outcome:
        return Outcome(a, "failed") if a.target == "db" else done(a)

    chain = plan(action("net"), action("db", "net"), action("api", "db"))
    outcomes = walk(chain, perform, stop=threading.Event(), on_begin=begins, on_outcome=ends)
    assert heard == [
        ("begins", "net", "apply"), ("done", "net", here), ("begins", "db", "apply"), ("failed", "db", here),
        ("skipped", "api", here),
    ]  # fmt: skip
    assert [outcome.action.target for outcome in outcomes] == ["net", "db", "api"], "in the order of their end"


def test_of_those_that_wait_there_are_eight_for_each_place() -> None:
    """What is beyond these would only wait until what it made is healthy."""
    slots, together = Slots(2), threading.Barrier(16, timeout=60)
    inside, most, guard = 0, 0, threading.Lock()

    def perform(a: Action) -> Outcome:
        nonlocal inside, most
        with slots.lent():
            with guard:
                inside += 1
                most = max(most, inside)
            together.wait()  # passes only when sixteen are inside at once
            with guard:
                inside -= 1
            together.wait()
        return done(a)

    outcomes = walk(plan(*(action(str(number)) for number in range(32))), perform, stop=threading.Event(), slots=slots)
    assert set(results(outcomes).values()) == {"done"} and most == 16
