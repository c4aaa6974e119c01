"""One-shot jobs: once per changed input."""

from dataclasses import replace
from typing import Final

from reconciler.model import Actual, Applied, Desired, Hazard, Held, Job, Memory, Plan, Running, State, Verb
from reconciler.plan.as_made import ran_before
from reconciler.plan.draft import Draft
from reconciler.plan.files import plan_files
from reconciler.plan.registrations import holds_data
from reconciler.reasons import Reason

# Verbs after which a container has to prove that it works before a job that comes after it is begun.
_PROVES: Final = frozenset({Verb.CREATE, Verb.REPLACE, Verb.UPDATE, Verb.RENAME, Verb.RESTART, Verb.RELOAD, Verb.START})
_UNHEALTHY: Final = {"starting": "was started a moment ago", "unhealthy": "fails its health check"}


def unready(plan: Plan, desired: Desired, actual: Actual, memory: Memory) -> dict[str, str]:
    """The jobs of a plan that come after a container which the engine has started anew, after a power cut say, and which is not healthy yet, and
    what each waits for: it may need long before it answers, and a job would fail on it."""
    proves = {action.container or action.target for action in plan.actions if action.verb in _PROVES}
    runs = {action.target for action in plan.actions if action.verb is Verb.RUN}
    return {
        job.name: f"waits until {name} is healthy, which {state}"
        for job in desired.jobs
        if job.name in runs
        for name in job.after
        if name not in proves and (state := _unhealthy_anew(actual.containers.get(name), memory.applied.get(name)))
    }


def _unhealthy_anew(running: Running | None, applied: Applied | None) -> str:
    """How a container that runs is not healthy; "" also where it has proved itself since it was started: the engine looks at its health only
    now and then."""
    if running is None or running.state is not State.RUNNING or (applied and applied.started_at == running.started_at):
        return ""
    return _UNHEALTHY.get(running.health, "")


def plan_again(draft: Draft) -> None:
    """After the registrations: let jobs run again that filled a database, or whatever else holds data, which is to be made anew. What is
    remembered of them was done to the one before. What a job made in a volume is there still."""
    keepers = {one.id: one for one in draft.desired.registrations if holds_data(one)}
    for index, action in enumerate(draft.actions):
        registration = keepers.get(action.target) if action.verb is Verb.REGISTER else None
        if registration is None:
            continue
        before = [job for job in draft.desired.jobs if job.name in registration.before and not job.creates]
        done = [job for job in before if _is_done(draft, job)]
        draft.actions[index] = replace(action, unmakes=tuple(job.name for job in done))
        if action.is_absent:
            for job in done:
                if all(other.id != f"{Verb.RUN}:{job.name}" for other in draft.actions):
                    plan_job(draft, job, lost=f"the {registration.type} {registration.key} is made anew")


def _is_done(draft: Draft, job: Job) -> bool:
    """Whether it is remembered that this host ran it with these inputs."""
    last = draft.memory.jobs.get(job.name)
    return bool(job.owner == draft.desired.host and last and last.succeeded and last.inputs == job.inputs)


def plan_job(draft: Draft, job: Job, *, lost: str = "") -> None:
    """Run it if it is this host's and has not succeeded with these inputs. `lost`: why what it did before is gone."""
    if job.owner != draft.desired.host:
        return
    last = draft.memory.jobs.get(job.name)
    done = job.name in draft.actual.created or _is_done(draft, job)
    if not lost and (done or ran_before(job, draft.desired.containers, draft.actual.containers, draft.memory)):
        return
    if job.name in draft.basis.denied:
        draft.held.append(Held(job.name, Reason.PolicyDenied, draft.basis.denied[job.name]))
        return
    named = replace(job.container, name=job.name)
    if message := draft.somebody_elses(named):
        draft.held.append(Held(job.name, Reason.NotOwned, message))
        return
    running = draft.actual.containers.get(job.name)
    if running is not None and not running.owned:
        message = "a container of this name was made by another tool: remove or rename it"
        draft.held.append(Held(job.name, Reason.NotOwned, message))
        return
    for item in (f"job:{job.name}", f"container:{job.name}", f"image:{job.container.image}"):
        if reason := draft.why_unknown(item):
            draft.held.append(Held(job.name, Reason.Unknown, f"cannot tell whether it was run, or with what: {reason}"))
            return
    if why := draft.unidentified(job.name):
        draft.held.append(Held(job.name, Reason.Unknown, why))
        return
    if lost:
        cause = lost
    elif last and not last.succeeded and last.inputs == job.inputs:
        failed = f"it failed before: {last.message}" if last.message else "it failed before"
        cause = last.message if last.lost else failed
    elif job.left:
        cause = f"{job.left} left for good: {job.leaves}"
    else:
        cause = "its inputs changed" if last else "first run"
    needs = [f"{Verb.RUN}:{name}" for name in job.after]
    first = (*job.after, job.inside) if job.name in draft.later else job.after
    needs += list(draft.dependencies(replace(named, depends_on=first)))
    if not job.inside:
        _, before = plan_files(draft, job.name, named, tuple(needs))
        draft.pull(job.container)
        needs += before
    risks: tuple[Hazard, ...] = ("migration",) if job.migration else ()
    draft.add(draft.action(Verb.RUN, job.name, cause, job.container, tuple(needs), risks=risks))
