"""Who only waits for health does not keep others from working; who works does."""

import threading

from reconciler.apply import Slots, walk
from reconciler.model import Action, Outcome, Plan, Verb


def _plan(count: int) -> Plan:
    return Plan("h", "r", tuple(Action(Verb.CREATE, f"c{number}", "new") for number in range(count)))


def test_those_who_wait_lend_their_slot() -> None:
    slots, together = Slots(1), threading.Barrier(4, timeout=5)

    def perform(action: Action) -> Outcome:
        with slots.lent():
            together.wait()  # is broken, and raises, unless all four wait at the same time
        return Outcome(action, "done")

    outcomes = walk(_plan(4), perform, stop=threading.Event(), slots=slots)
    assert [outcome.result for outcome in outcomes] == ["done"] * 4


def test_those_who_work_keep_it() -> None:
    slots, lock = Slots(2), threading.Lock()
    now, most = 0, 0

    def perform(action: Action) -> Outcome:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.02)
        with lock:
            now -= 1
        with slots.lent():
            pass
        return Outcome(action, "done")

    walk(_plan(12), perform, stop=threading.Event(), slots=slots)
    assert most == 2


def test_what_waits_for_a_slot_does_not_begin_after_a_stop() -> None:
    slots, stop, begun = Slots(1), threading.Event(), []

    def perform(action: Action) -> Outcome:
        begun.append(action.target)
        stop.set()
        return Outcome(action, "done")

    outcomes = walk(_plan(4), perform, stop=stop, slots=slots)
    assert len(begun) == 1
    assert sorted(outcome.result for outcome in outcomes) == ["done", "skipped", "skipped", "skipped"]
