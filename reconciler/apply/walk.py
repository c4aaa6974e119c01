"""Walks the DAG of a plan: independent branches in parallel, a failure skips its dependents only."""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event

from reconciler import errors
from reconciler.model import Action, Outcome, Plan

Perform = Callable[[Action], Outcome]


def walk(
    plan: Plan,
    perform: Perform,
    *,
    stop: Event,
    parallel: int = 4,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> tuple[Outcome, ...]:
    """Carry out every action of the plan, each after what it needs. Returns outcomes in the order of their end.

    When `stop` is set no further action begins; those under way are ended, not abandoned. Errors of the hierarchy
    become failed outcomes; any other exception does too, with the reason InternalError.
    """
    outcomes: dict[str, Outcome] = {}
    waiting = {action.id: action for action in plan.actions}
    running: dict[Future[Outcome], Action] = {}

    def finish(outcome: Outcome) -> None:
        outcomes[outcome.action.id] = outcome
        on_outcome(outcome)

    with ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="apply") as pool:
        while waiting or running:
            for action in list(waiting.values()):
                if stop.is_set():
                    finish(Outcome(waiting.pop(action.id), "skipped", "Interrupted", "the program was asked to stop"))
                elif culprit := _failed_need(action, outcomes):
                    message = f"{culprit.action.id} {culprit.result}"
                    finish(Outcome(waiting.pop(action.id), "skipped", "DependencyFailed", message))
                elif all(need in outcomes for need in action.needs) and len(running) < parallel:
                    running[pool.submit(_guarded, perform, waiting.pop(action.id))] = action
            if running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    del running[future]
                    finish(future.result())
    return tuple(outcomes.values())


def _failed_need(action: Action, outcomes: dict[str, Outcome]) -> Outcome | None:
    return next((outcomes[n] for n in action.needs if n in outcomes and outcomes[n].result != "done"), None)


def _guarded(perform: Perform, action: Action) -> Outcome:
    started = time.monotonic()
    try:
        return perform(action)
    except errors.ReconcilerError as error:
        return Outcome(action, "failed", error.reason, str(error), time.monotonic() - started)
    except Exception as error:
        # A defect in one action must not stop the others; only its type is shown, its text may hold anything.
        message = f"{type(error).__name__} in {action.id}; see the log with --debug"
        return Outcome(action, "failed", "InternalError", message, time.monotonic() - started)
