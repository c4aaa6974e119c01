"""What is kept of a pass for the next ones: what was carried out, what came of it, what could not be achieved."""

from datetime import UTC, datetime

from reconciler.model import Actual, Applied, JobResult, Memory, Plan
from reconciler.node import manifest
from reconciler.node.target import Target
from reconciler.plan import second_look
from reconciler.plan.as_made import ran_before
from reconciler.plan.host import found_as_ours
from reconciler.state import StateDirectory


def remember(state: StateDirectory, target: Target, done: Plan, actual: Actual, memory: Memory) -> None:
    """Note a complete apply, once: from then on differences are drift. What is drift already and only reported may be left.

    And of containers that somebody else started, and that need nothing: with which files they run.
    """
    target = target.bound(actual.identifiers)
    root = target.desired.config_root
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


def overcome(state: StateDirectory, memory: Memory, actual: Actual, planned: Plan) -> None:
    """Forget what was not achievable and is now as it should be."""
    state.unachieved(dict.fromkeys(second_look.overcome(memory, actual, planned), ()))
