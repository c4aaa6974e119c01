"""The thread that statuses and alerts share: nothing before its time, one thing after the other, nothing after the end."""

import threading

from reconciler.system.background import Worker

PATIENCE = 30.0  # seconds; nothing here takes that long


class Work:
    """Steps to do; each is held up until it may end."""

    def __init__(self) -> None:
        self.todo, self.done = 0, 0
        self.asked, self.may_end = threading.Event(), threading.Semaphore(0)
        self.worker = Worker("work", self.seconds, self.step)

    def seconds(self) -> float | None:
        self.asked.set()
        return 0.0 if self.todo else None

    def step(self) -> None:
        assert self.may_end.acquire(timeout=PATIENCE)
        with self.worker.changed:
            self.todo, self.done = self.todo - 1, self.done + 1

    def add(self) -> None:
        with self.worker.changed:
            self.todo += 1
            self.worker.wake()

    def wait(self, done: int) -> bool:
        with self.worker.changed:
            return self.worker.changed.wait_for(lambda: self.done == done and not self.worker.busy, PATIENCE)


def test_what_is_handed_over_is_done_one_after_the_other() -> None:
    work = Work()
    assert not work.worker.began, "no thread before there is something to do"
    work.add()
    work.add()
    work.may_end.release()
    with work.worker.changed:
        assert work.worker.changed.wait_for(lambda: work.done == 1, PATIENCE) and work.todo == 1
    work.may_end.release()
    assert work.wait(2) and work.todo == 0
    work.worker.close()


def test_nothing_begins_after_the_end() -> None:
    work = Work()
    work.add()
    work.may_end.release()
    assert work.wait(1)
    work.worker.close()
    work.add()
    assert work.worker.closed and work.done == 1 and work.todo == 1


def test_waiting_for_later_costs_nothing_and_is_cut_short_by_news() -> None:
    """It sleeps until what is due next, and not a moment longer once something comes that is due now."""
    due = [3600.0]
    ran = threading.Event()

    def step() -> None:
        due[0] = 3600.0
        ran.set()

    worker = Worker("later", lambda: due[0], step)
    with worker.changed:
        worker.wake()
    assert not ran.is_set()
    with worker.changed:
        due[0] = 0.0
        worker.wake()
    assert ran.wait(PATIENCE)
    worker.close()
