"""Containers: adopt, make, replace, or the smallest thing that does it."""

from collections.abc import Sequence
from dataclasses import replace

from reconciler.model import (
    RUNNING_CONFIGURATION,
    Action,
    Container,
    Difference,
    Failure,
    File,
    Hazard,
    Held,
    Running,
    State,
    Verb,
    aside,
)
from reconciler.phrases import few
from reconciler.plan import adoptable, as_made
from reconciler.plan.differences import differences, is_mutable
from reconciler.plan.draft import Draft
from reconciler.plan.files import plan_files
from reconciler.plan.validation import plan_validation
from reconciler.reasons import Blame, Reason


def plan_container(draft: Draft, container: Container) -> None:
    """One container with its files."""
    name = container.name
    if name in draft.basis.denied:
        draft.held.append(Held(name, Reason.PolicyDenied, draft.basis.denied[name]))
        return
    for item in (f"container:{name}", f"container:{aside(name)}", f"image:{container.image}"):
        if reason := draft.why_unknown(item):
            draft.held.append(Held(name, Reason.Unknown, f"cannot be observed: {reason}"))
            return
    running = draft.actual.containers.get(name)
    spare = draft.actual.containers.get(aside(name))
    if message := draft.somebody_elses(container):
        draft.held.append(Held(name, Reason.NotOwned, message))
        return
    if spare is not None and not spare.owned:
        message = f"{aside(name)}, which is where its spare would be, was made by somebody else: remove or rename it"
        draft.held.append(Held(name, Reason.NotOwned, message))
        return
    if name in draft.failed:
        _keep_what_worked(draft, container, running, spare)
        return
    if why := draft.unidentified(name):
        draft.held.append(Held(name, Reason.Unknown, why))
        return
    if running is not None and not running.owned and not _adopt(draft, container, running):
        return
    if running is not None and running.owned and name in draft.actual.units:
        _take_back(draft, container)
    needs = (f"{Verb.ADOPT}:{name}", *draft.dependencies(container))
    first = len(draft.actions)
    changed, before = plan_files(draft, container.name, container, needs)
    _change(draft, container, running, spare, (*needs, *before), changed)
    plan_validation(draft, container, first)


def _change(
    draft: Draft,
    container: Container,
    running: Running | None,
    spare: Running | None,
    needs: tuple[str, ...],
    changed: Sequence[File],
) -> None:
    """The container itself, once its files are planned."""
    if running is None or (spare is not None and not _works(running)):
        _make(draft, container, spare, needs, changed)
        return
    found = draft.running_differences(container, running)
    if made := draft.as_made(container):
        if held := as_made.told(
            container, made, found, draft.actual.files, draft.files.get(container.name, ()), draft.basis.contents
        ):
            draft.held.append(held)
        found = tuple(difference for difference in found if difference not in made.differences)
    outdated = _copies_once(container) and (changed or (draft.staleness(container, running) and not made))
    if outdated or any(not is_mutable(d) for d in found):
        _replace(draft, container, found, changed, needs)
        return
    count = len(draft.actions)
    _touch(draft, container, running, found, changed, needs)
    if spare is not None:
        needs = (*needs, *(action.id for action in draft.actions[count:]))
        cause = "left over from an interrupted replace"
        drift = _is_healed(draft, container)
        draft.add(draft.action(Verb.REMOVE, spare.spec.name, cause, container, needs, drift=drift))


def _keep_what_worked(draft: Draft, container: Container, running: Running | None, spare: Running | None) -> None:
    """What worked before is kept running, and an interrupted rollback is finished; nothing else is done.

    The previous files are on the disk already, or are put there when the container is started: what they contain is
    not known here without their secrets.
    """
    name = container.name
    draft.held.append(_given_up(name, draft.memory.failures.get(name)))
    good = draft.in_force[name]
    needs = draft.dependencies(good)
    if running is not None and not running.owned:
        return
    if spare is not None:
        cause = "finish an interrupted rollback: it had been moved aside"
        draft.add(draft.action(Verb.RENAME, name, cause, good, needs))
        return
    if not draft.was_applied(name):
        return  # nothing of it ever worked here
    if running is None:
        _make(draft, good, None, needs, ())
        return
    _limit_as_before(draft, container, good, running, needs)
    if name in draft.basis.kept:
        draft.add(draft.action(Verb.RESTART, name, "finish an interrupted rollback", good, needs))
    elif not _works(running):
        _revive(draft, good, running, needs, changed=False)


def _limit_as_before(
    draft: Draft, container: Container, good: Container, running: Running, needs: tuple[str, ...]
) -> None:
    """What was changed in the container that stayed goes back as well; what nobody asked for is drift. What stays as another tool made it has
    its own."""
    made = draft.memory.as_made.get(good.name)
    if made and made.id == running.id:
        return
    found = tuple(d for d in draft.running_differences(good, running) if is_mutable(d))
    by_hand = {d.field for d in differences(container, running, draft.actual.images.get(container.image))}
    drift = all(d.field in by_hand for d in found)
    if found:
        names = ", ".join(d.field for d in found)
        cause = f"drift: {names}" if drift else f"back to what worked: {names}"
        draft.add(draft.action(Verb.UPDATE, good.name, cause, good, needs, found, drift=drift))


def _given_up(name: str, failure: Failure | None) -> Held:
    if failure is None or failure.blames is Blame.CONFIGURATION:
        why = f"{failure.message} ({failure.reason})" if failure else "this configuration did not become healthy here"
        return Held(
            name,
            Reason.Quarantined,
            f"{why}; it was rolled back, and waits for a commit that changes it (or `reconciler retry {name}` on the host)",
        )
    return Held(
        name,
        failure.reason,
        f"{failure.message}; the configuration before it is back. This one is not at fault ({failure.blames} is), and is tried "
        f"again when that is mended, or at {failure.again:%H:%M} UTC (or `reconciler retry {name}` on the host)",
    )


def _adopt(draft: Draft, container: Container, running: Running) -> bool:
    """Plan taking over a container that carries no label of ours. Returns whether planning may go on with it."""
    name = container.name
    found = draft.running_differences(container, running)
    fits = draft.as_made(container) is not None or all(is_mutable(d) for d in found)
    policy = draft.desired.policy.get("adoption", "equal")
    if policy == "never":
        message = "a container of this name was made by another tool, and reconciler.yml says `adoption: never`"
        draft.held.append(Held(name, Reason.NotOwned, message, found))
        return False
    if not fits and policy != "replace":
        message = (
            f"a container of this name was made by another tool and differs in {adoptable.words(name, [d for d in found if not is_mutable(d)])}: "
            "give these the values that it has, remove it, or set `adoption: replace` in reconciler.yml (it is made anew), or "
            "`adoption: as-made` (it is taken over as it is)"
        )
        draft.held.append(Held(name, Reason.NotOwned, message, found))
        return False
    if reason := draft.why_unknown("units"):
        draft.held.append(Held(name, Reason.Unknown, f"cannot tell whether another tool's unit starts it: {reason}"))
        return False
    if not fits:
        cause = "made by another tool, to be replaced as reconciler.yml says"
    elif draft.as_made(container) is not None:
        cause = "made by another tool, and taken over as it is"
    elif found:
        cause = "made by another tool, and it need not be made anew"
    else:
        cause = "made by another tool, and just as it should be"
    action = draft.action(Verb.ADOPT, name, cause, container)
    if name in draft.actual.units:
        action = _with_unit(action, f"{cause}; takes {_unit(name)} over")
    draft.add(action)
    return True


def _take_back(draft: Draft, container: Container) -> None:
    """Plan to let go what runs, or would start, a container of ours: whoever adopted it meant that nothing else does."""
    name = container.name
    cause = f"drift: kolla-ansible was at work on it, and {_unit(name)} runs or would start it again"
    draft.add(_with_unit(draft.action(Verb.ADOPT, name, cause, container, drift=True), cause))


def _with_unit(action: Action, cause: str) -> Action:
    unit = _unit(action.target)
    return replace(action, cause=cause, differences=(Difference("unit", "inactive and disabled", unit),), disables=unit)


def _unit(name: str) -> str:
    return f"kolla-{name}-container.service"


def _make(
    draft: Draft, container: Container, spare: Running | None, needs: tuple[str, ...], changed: Sequence[File]
) -> None:
    drift = _is_healed(draft, container)
    if spare is not None:
        equal = not changed and not draft.running_differences(container, spare)
        if equal and not draft.staleness(container, spare):
            cause = "an interrupted replace had moved it aside"
            draft.add(draft.action(Verb.RENAME, container.name, cause, container, needs))
            return
        cause = "finish an interrupted replace"
        draft.pull(container)
        draft.add(draft.action(Verb.REPLACE, container.name, cause, container, needs, drift=drift))
        return
    draft.pull(container)
    cause = "the container is gone" if drift else "new container"
    gone = (Difference("state", "running", "absent"),)
    draft.add(draft.action(Verb.CREATE, container.name, cause, container, needs, gone, drift=drift))


def _is_healed(draft: Draft, container: Container) -> bool:
    """Whether what was broken off, or is gone, was as it is to be: it is healed, and was healed. That waits for no wave, and stops something
    only within the budgets."""
    return draft.unchanged(container, *draft.files.get(container.name, ())) and draft.was_applied(container.name)


def _replace(
    draft: Draft,
    container: Container,
    found: tuple[Difference, ...],
    changed: Sequence[File],
    needs: tuple[str, ...],
) -> None:
    drift = draft.unchanged(container, *changed)
    if found:
        names = [d.field for d in found]
        cause = ("drift: " if drift else "") + ", ".join(names[:4]) + (" …" if len(names) > 4 else "")
        cause += " differ" if len(names) > 1 else " differs"
    else:
        cause = "its files changed and it copies them only when made"
    draft.pull(container)
    risks: tuple[Hazard, ...] = ("image",) if any(d.field == "image" for d in found) else ()
    draft.add(draft.action(Verb.REPLACE, container.name, cause, container, needs, found, drift=drift, risks=risks))


def _touch(
    draft: Draft,
    container: Container,
    running: Running,
    found: tuple[Difference, ...],
    changed: Sequence[File],
    needs: tuple[str, ...],
) -> None:
    """Everything short of making the container anew."""
    name = container.name
    if found:
        cause = ", ".join(d.field for d in found)
        draft.add(draft.action(Verb.UPDATE, name, cause, container, needs, found, drift=draft.unchanged(container)))
    if not _works(running):
        _revive(draft, container, running, needs, changed=bool(changed))
        return
    kept = draft.as_made(container) is not None  # with the files that it was started with, whichever they are
    stale, inside = ("", ()) if kept else (draft.staleness(container, running), _inside(draft, name))
    asked = {file.on_change for file in changed} - {"none"} | ({stale} if stale else set())
    cause = _changed_cause(changed) if changed else "its configuration changed since it started"
    if asked:
        reloads = asked == {"reload"} and container.reload and not _keeps_old_files(draft, container)
        verb = Verb.RELOAD if reloads else Verb.RESTART
        drift = draft.unchanged(container, *(changed or draft.files.get(name, ())))
        draft.add(draft.action(verb, name, cause, container, needs, drift=drift))
    elif inside:
        cause = "drift: what runs differs from its files"
        draft.add(draft.action(Verb.RESTART, name, cause, container, needs, inside, drift=True))
    elif running.started_at is not None and draft.memory.pinned.get(name) == running.started_at:
        cause = f"every host has {draft.desired.release} now, and it chose before what it says to others"
        draft.add(draft.action(Verb.RESTART, name, cause, container, needs))
    elif name in draft.basis.unproved and running.owned:
        draft.add(draft.action(Verb.START, name, "it has not proved itself yet", container, needs))


def _inside(draft: Draft, name: str) -> tuple[Difference, ...]:
    """That what runs has not got what its files say. What a restart did not put right is said in every pass, also in those
    that do not look inside."""
    item = f"container:{name}"
    if why := draft.why_unknown(f"stale:{name}"):
        message = f"whether it runs with what its files say cannot be told: {why}"
        draft.held.append(Held(name, Reason.Unknown, message))
        return ()
    if said := draft.actual.stale.get(name):
        return draft.achievable(item, (Difference(RUNNING_CONFIGURATION, "as in its files", said),))
    if not draft.actual.deep:
        draft.achievable(item, tuple(d for d in draft.memory.unachieved.get(item, ()) if d.inside))
    return ()


def _keeps_old_files(draft: Draft, container: Container) -> bool:
    """Whether a file that it is to reload is bound by itself: until it is started again it has the file of before,
    because what is written is a new file of that name."""
    sources = {mount.source for mount in container.mounts}
    files = draft.files.get(container.name, ())
    return any(f.on_change == "reload" and f"{draft.desired.config_root}/{f.path}" in sources for f in files)


def _revive(draft: Draft, container: Container, running: Running, needs: tuple[str, ...], *, changed: bool) -> None:
    """Bring up a container that is there and does not run."""
    state = (Difference("state", "running", running.state.value),)
    # What a new revision asks for may be what brings it back: then it is a change like any other. What is paused is not started.
    verb = Verb.RESTART if changed or running.state is State.PAUSED else Verb.START
    cause, drift = _why_down(running), draft.unchanged(container, *draft.files.get(container.name, ()))
    draft.add(draft.action(verb, container.name, cause, container, needs, state, drift=drift))


def _works(running: Running) -> bool:
    return running.state is State.RUNNING


def _why_down(running: Running) -> str:
    if running.state is State.EXITED:
        return f"it stopped with exit {running.ended}"
    why = f", after it ended with {running.ended}" if running.out_of_memory else ""
    return f"it is {running.state.value}{why}"


def _copies_once(container: Container) -> bool:
    return container.environment.get("KOLLA_CONFIG_STRATEGY") == "COPY_ONCE"


def _changed_cause(changed: Sequence[File]) -> str:
    names = [file.path.rpartition("/")[2] for file in changed if file.on_change != "none"]
    return f"{few(names)} changed"
