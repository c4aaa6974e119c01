"""Walks the DAG of a plan: independent branches in parallel, a failure skips its dependents only."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event, Semaphore
from typing import Literal

from reconciler import errors
from reconciler.model import Action, Outcome, Plan
from reconciler.phrases import few
from reconciler.reasons import Reason

Perform = Callable[[Action], Outcome]
_WAITING = 8  # actions under way for each that is at work: those beyond only wait until what they made is healthy


class Slots:
    """Places for actions at work. An action that only waits can give its place to another for that time."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = Semaphore(count)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Work: waits for a place first."""
        with self._free:
            yield

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Within `taken`: another may work meanwhile; goes on only when there is a place again."""
        self._free.release()
        try:
            yield
        finally:
            self._free.acquire()


def walk(
    plan: Plan,
    perform: Perform,
    *,
    stop: Event,
    parallel: int = 4,
    slots: Slots | None = None,
    on_begin: Callable[[Action], None] = lambda action: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> tuple[Outcome, ...]:
    """Carry out every action of the plan, each after what it needs. Returns outcomes in the order of their end.

    As many actions are at work at the same time as there are `slots` (default: `parallel`). When `stop` is set no further
    action begins; those under way are ended, not abandoned. `on_begin` is called in the action's thread, `on_outcome` in the caller's.
    Errors of the hierarchy become failed outcomes, and skipped ones when the action was interrupted; any other exception becomes a
    failed one, with the reason InternalError.
    """
    places = slots or Slots(parallel)
    most = places.count * _WAITING
    outcomes: dict[str, Outcome] = {}
    waiting = {action.id: action for action in plan.actions}
    running: dict[Future[Outcome], Action] = {}

    def begun(action: Action) -> Outcome:
        on_begin(action)
        return perform(action)

    def finish(outcome: Outcome) -> None:
        outcomes[outcome.action.id] = outcome
        on_outcome(outcome)

    with ThreadPoolExecutor(max_workers=most, thread_name_prefix="apply") as pool:
        while waiting or running:
            left = len(waiting)
            for action in list(waiting.values()):
                if stop.is_set():
                    finish(_interrupted(waiting.pop(action.id)))
                elif culprit := _failed_need(action, outcomes):
                    message = f"{culprit.action.id} {culprit.result}"
                    finish(Outcome(waiting.pop(action.id), "skipped", Reason.DependencyFailed, message))
                elif all(need in outcomes for need in action.needs) and len(running) < most:
                    running[pool.submit(_guarded, begun, places, stop, waiting.pop(action.id))] = action
            if running:
                wait(running, return_when=FIRST_COMPLETED)
                for future in [one for one in running if one.done()]:  # in the order in which they began
                    del running[future]
                    finish(future.result())
            elif len(waiting) == left:
                for action in list(waiting.values()):
                    missing = sorted(set(action.needs) - outcomes.keys())
                    message = (
                        f"it needs {few(missing)}, which nothing of this plan does: that is a defect of the program"
                    )
                    finish(Outcome(waiting.pop(action.id), "failed", Reason.InternalError, message))
    return tuple(outcomes.values())


def _interrupted(action: Action) -> Outcome:
    return Outcome(action, "skipped", Reason.Interrupted, "it was not begun")


def _failed_need(action: Action, outcomes: dict[str, Outcome]) -> Outcome | None:
    return next((outcomes[n] for n in action.needs if n in outcomes and outcomes[n].result != "done"), None)


def _guarded(perform: Perform, places: Slots, stop: Event, action: Action) -> Outcome:
    started = time.monotonic()
    try:
        with places.taken():
            if stop.is_set():
                return _interrupted(action)
            started = time.monotonic()
            return perform(action)
    except errors.ReconcilerError as error:
        result: Literal["failed", "skipped"] = "skipped" if error.reason == Reason.Interrupted else "failed"
        return Outcome(action, result, error.reason, str(error), time.monotonic() - started)
    except Exception as error:
        # A defect in one action must not stop the others; only its type is shown, its text may hold anything.
        message = f"{type(error).__name__} in {action.id}; see the log with --debug"
        return Outcome(action, "failed", Reason.InternalError, message, time.monotonic() - started)
