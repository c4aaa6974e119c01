"""What is kept of a pass for the next ones: what was carried out, what came of it, what could not be achieved."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime

from reconciler.model import ASIDE, Actual, Applied, JobResult, Memory, Outcome, Plan, Worked
from reconciler.node import manifest
from reconciler.node.target import Target
from reconciler.plan import release_step, second_look
from reconciler.plan.as_made import ran_before
from reconciler.plan.host import found_as_ours
from reconciler.state import StateDirectory


def remember(
    state: StateDirectory, target: Target, done: Plan, actual: Actual, memory: Memory, is_with_all: Callable[[], bool]
) -> None:
    """Note a complete apply, once: from then on differences are drift. What is drift already and only reported may be left. `is_with_all`: whether
    every host has it.

    And of containers that somebody else started, and that need nothing: with which files they run.
    """
    target = target.bound(actual)
    root = target.desired.config_root
    if release_step.crossed(memory, target.desired):
        state.upgraded()  # before it counts as carried out: from then on nothing tells that it was an upgrade
    elif memory.upgraded and done.empty and is_with_all():
        state.upgrade_ended(_pinned(target, actual))
    known = memory.last_good == target.desired
    if not known or state.begun or state.written(root) is None:
        state.converged(target.desired, target.prepared.locked, [held.target for held in done.held])
        before = manifest.known(state.written(root), root, actual, memory)
        for setting in found_as_ours(target.desired, actual, memory):
            state.host_set(setting, {})
        state.note_written(root, manifest.after_converging(before, done, target.contents, actual))
    for job in target.desired.jobs:
        here = job.owner == target.desired.host
        if here and ran_before(job, target.desired.containers, actual.containers, memory, theirs=False):
            state.job_done(
                job.name, JobResult(job.inputs, True, datetime.now(UTC), "the tool that made its containers had run it")
            )
    changed = {action.container for action in done.actions} | {held.target for held in done.held if held.drift}
    changed |= {file.container for file in target.desired.files if file.path in changed}
    for name, wanted in target.files_digest.items():
        running, applied = actual.containers.get(name), memory.applied.get(name)
        if running is None or applied is None or name in changed or applied.id != running.id:
            continue
        if not applied.files or applied.started_at != running.started_at:
            state.applied(name, Applied(running.id, running.started_at, wanted))


def remember_part(
    state: StateDirectory,
    target: Target,
    planned: Plan,
    memory: Memory,
    outcomes: Sequence[Outcome],
    in_flight: Collection[str],
) -> None:
    """Of a revision that is not carried out whole, note the containers that are as it says and have proved themselves: that is what worked last.

    `planned` is what was to be done, `outcomes` what came of it in this pass.
    """
    if memory.last_good is None or not (touched := state.touched):
        return
    done = {outcome.action.id for outcome in outcomes if outcome.result == "done"}
    undone = {name for a in planned.actions if a.id not in done for name in (a.target, a.container)}
    undone |= {held.target for held in planned.held if not held.reason.harmless}
    undone = {name.removeprefix(ASIDE) for name in undone} | {*in_flight}
    undone |= {file.container for file in target.desired.files if file.path in undone}
    found = {
        c.name: Worked(c, target.part_digest[c.name]) for c in target.desired.containers if c.name in touched - undone
    }
    state.worked({name: one for name, one in found.items() if memory.worked.get(name) != one})


def _pinned(target: Target, actual: Actual) -> dict[str, datetime]:
    """When what is to be restarted after an upgrade was started, where it runs."""
    names = [order.name for order in target.desired.orders if order.upgrade_restart]
    found = {name: actual.containers[name].started_at for name in names if name in actual.containers}
    return {name: at for name, at in found.items() if at is not None}


def overcome(state: StateDirectory, memory: Memory, actual: Actual, planned: Plan) -> None:
    """Forget what was not achievable and is now as it should be."""
    state.unachieved(dict.fromkeys(second_look.overcome(memory, actual, planned), ()))
