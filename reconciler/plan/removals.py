"""What is ours and no longer wanted."""

from collections.abc import Sequence
from dataclasses import replace

from reconciler.model import ASIDE, MAINTAINING, PRECHECKING, VALIDATING, Action, Difference, Held, Running, Verb
from reconciler.phrases import count
from reconciler.plan.acknowledged import covered, entries, line
from reconciler.plan.draft import Draft
from reconciler.plan.files import delete_files
from reconciler.reasons import Reason


def plan_removals(draft: Draft) -> None:
    """Containers that no commit describes any more, each with its files; guarded."""
    doomed = [*unwanted(draft).values()]
    above = len(doomed) > _limit(draft)
    if held := _spared(draft, doomed):
        draft.held += [replace(held, target=running.spec.name) for running in doomed]
        doomed = []
    good = draft.memory.last_good
    directories = {c.name: c.config_directory for c in good.containers} if good else {}
    for running in doomed:
        name = running.spec.name
        action = Action(
            Verb.REMOVE,
            name,
            "no longer part of the site",
            container=name,
            service=running.spec.service,
            differences=(Difference("state", "absent", running.state.value),),
            risks=("deletion", *(("prune",) if above else ()), *draft.felt(Verb.REMOVE, running.spec)),
        )
        if draft.add(action):
            delete_files(draft, name, directories.get(name, ""), running.spec.service, (action.id,))
    # Of containers that are gone already: removed by hand, or by an apply that was interrupted.
    for name in sorted(directories.keys() - draft.wanted - draft.actual.containers.keys()):
        if f"container:{name}" not in draft.actual.unknown:
            delete_files(draft, name, directories[name], "", ())


def unwanted(draft: Draft) -> dict[str, Running]:
    """The containers of ours that no commit describes any more, by name."""
    return {
        name: running
        for name, running in sorted(draft.actual.containers.items())
        if running.owned and name not in draft.wanted and not _belongs(draft, name)
    }


def plan_strays(draft: Draft) -> None:
    """Files that no complete apply knows of, by what was noted when they were written: a container had them in a commit that was never
    carried out to its end, or had another folder. They go once nothing reads them any more."""
    if any(item.startswith("container:") for item in draft.actual.unknown):
        return  # which folders that one reads is not known
    told = {action.target for action in draft.actions} | {held.target for held in draft.held}
    told |= {file.path for file in draft.desired.files}
    parts = (*draft.desired.containers, *draft.in_force.values(), *(job.container for job in draft.desired.jobs))
    wanted = tuple(f"{part.config_directory}/" for part in parts if part.config_directory)
    ends = {a.target: a.id for a in draft.actions if a.verb in (Verb.REMOVE, Verb.REPLACE)}
    for path in sorted(draft.basis.written.keys() - told):
        if path.startswith(wanted) or not draft.wrote(path):
            continue
        readers = [name for name, running in draft.actual.containers.items() if _reads(draft, running, path)]
        if not all(name in ends for name in readers):
            continue
        if spared := draft.spared:
            draft.held.append(Held(path, *spared))
        else:
            needs = tuple(ends[name] for name in readers)
            draft.add(Action(Verb.DELETE, path, "no longer part of the site", needs))


def _reads(draft: Draft, running: Running, path: str) -> bool:
    """Whether a container that is there may read a file below the config root: it had its folder, or has one mounted that the file is in."""
    folder = running.spec.config_directory or draft.directory_before(running.spec.name.removeprefix(ASIDE))
    absolute = f"{draft.desired.config_root}/{path}"
    mounted = any(f"{absolute}/".startswith(f"{mount.source.rstrip('/')}/") for mount in running.spec.mounts)
    return mounted or bool(folder and path.startswith(f"{folder}/"))


def plan_unseen(draft: Draft) -> None:
    """After everything else: name what could not be looked at and nobody missed so far, so that it is not taken for well."""
    # A registrar that is about to be started is converged to without having been looked at.
    begun = {action.target.partition(":")[0] for action in draft.actions if action.verb is Verb.REGISTER}
    for item, why in draft.actual.unknown.items():
        kind, _, target = item.partition(":")
        if kind == "registrar" and target in begun:
            continue
        named = any(held.target == target and held.reason == Reason.Unknown for held in draft.held)
        if kind in ("container", "file") and not named and item not in draft.named:
            draft.held.append(Held(target, Reason.Unknown, f"{kind} {target} cannot be looked at: {why}"))


def _spared(draft: Draft, doomed: Sequence[Running]) -> Held | None:
    """Why none of these is removed."""
    prune = draft.desired.policy.get("prune", {})
    if prune.get("mode") == "report":
        return Held("", Reason.PruneReported, "no longer part of the site, and left alone (prune.mode is report)")
    if not draft.desired.containers and doomed:
        return Held(
            "",
            Reason.PruneGuard,
            "the site describes no container at all for this host, so those that run stay, whatever `prune.max` says; put the host "
            "back into its groups or, if it is to run nothing, remove them on it by hand (`docker rm --force NAME`)",
        )
    if len(doomed) <= _limit(draft) or _acknowledged(draft, doomed):
        return None
    why = f"{count(len(doomed), 'container')} would go, more than the {_limit(draft)} that one change may remove"
    good = draft.memory.last_good
    if good is None:
        return Held("", Reason.PruneGuard, f"{why}; raise `prune.max` in reconciler.yml if that is meant")
    names = tuple(running.spec.name for running in doomed)
    entry = line(good.revision, names, [draft.desired.host])
    advice = (
        f"if that is meant, acknowledge exactly these, once: add `{entry}` to the list `acknowledge:` in reconciler.yml"
    )
    return Held("", Reason.PruneGuard, f"{why}; {advice}", acknowledge=names)


def _limit(draft: Draft) -> int:
    return int(draft.desired.policy.get("prune", {}).get("max", 5))


def _acknowledged(draft: Draft, doomed: Sequence[Running]) -> bool:
    """Whether the commit names exactly these. Where nothing was ever carried out there is no telling what was used up."""
    good = draft.memory.last_good
    if good is None:
        return False
    before = {container.name for container in good.containers} | draft.basis.touched
    there = draft.actual.containers.keys() | {item.partition(":")[2] for item in draft.actual.unknown}
    return covered(
        entries(draft.desired.policy, draft.desired.host),
        entries(good.policy, good.host),
        [running.spec.name for running in doomed],
        before - there - draft.wanted,
    )


def _belongs(draft: Draft, name: str) -> bool:
    """Whether the container is a job's or a spare of a wanted container."""
    if name.startswith((VALIDATING, PRECHECKING, MAINTAINING)):
        return True  # it is under way, or a kill left it: the next one of that name takes it over
    return any(job.name == name for job in draft.desired.jobs) or name.removeprefix(ASIDE) in draft.wanted


def leftovers(draft: Draft) -> tuple[str, ...]:
    """Volumes that nothing uses any more; they are named and never removed."""
    used = {mount.source for container in draft.desired.containers for mount in container.mounts}
    used |= {mount.source for job in draft.desired.jobs for mount in job.container.mounts}
    return tuple(sorted(draft.actual.volumes - used))
