"""Containers of which one takes another's place under another name: what both would use alone, the one lets go before the other is begun."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import product

from reconciler.model import Action, Container, Desired, Job, Plan, Running, State, Verb, below
from reconciler.options.normal import normal
from reconciler.options.wire import port_bindings
from reconciler.reasons import Reason

_BEGINS = frozenset({Verb.CREATE, Verb.REPLACE})
_ALIVE = frozenset({State.RUNNING, State.PAUSED, State.RESTARTING})
_ANYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


def one_after_the_other(
    actions: Sequence[Action], desired: Desired, unwanted: Mapping[str, Running], mending: Collection[str]
) -> list[Action]:
    """The actions, where a container that goes (of `unwanted`) is removed before one that comes, or a job before that, is begun with what they
    cannot both have: a port, or a writable volume or folder of theirs alone. What checks the newcomer comes before that, so that a commit
    which is refused leaves everything as it is.

    What only brings back what ran here (the ids in `mending`) waits for nobody: it ran beside the others.
    """
    doomed = [action for action in actions if action.verb is Verb.REMOVE and action.target in unwanted]
    begun = [action for action in actions if action.verb in _BEGINS and action.id not in mending]
    if not (doomed and begun):
        return list(actions)
    wanted = {container.name: container for container in desired.containers}
    writers = [(container.service, source) for container in desired.containers for source in _written(container)]
    checks = {action.target: action.id for action in actions if action.verb is Verb.VALIDATE}
    needs: dict[str, set[str]] = {}
    for new, old in product(begun, doomed):
        container, gone = wanted[new.target], unwanted[old.target].spec
        others = frozenset(source for service, source in writers if service != container.service)
        if _clash(container, gone, others, runs=new.verb is Verb.REPLACE):
            needs.setdefault(new.id, set()).add(old.id)
            if check := checks.get(new.target):
                needs.setdefault(old.id, set()).add(check)
        for job in _before(desired, new.target):
            if _common(job.container, gone, others):
                needs.setdefault(f"{Verb.RUN}:{job.name}", set()).add(old.id)
    return [replace(action, needs=(*action.needs, *sorted(needs.get(action.id, ())))) for action in actions]


def beside(
    plan: Plan, desired: Desired, unwanted: Mapping[str, Running], there: Collection[str], mending: Collection[str]
) -> dict[str, tuple[Reason, str]]:
    """The containers and jobs that would be begun beside one of `unwanted` that stays, on data that no container of the site has now (`there`:
    the names of all that are there): name → the reason for which that stays, and a message. Two servers on one folder of data ruin it."""
    begun = [action.target for action in plan.actions if action.verb is Verb.CREATE and action.id not in mending]
    gone = {action.target for action in plan.actions if action.verb is Verb.REMOVE}
    staying = {name: one.spec for name, one in unwanted.items() if name not in gone and one.state in _ALIVE}
    if not (begun and staying):
        return {}
    wanted = {container.name: container for container in desired.containers}
    shared = frozenset(source for name in wanted.keys() & {*there} for source in _written(wanted[name]))
    why = {one.target: one for one in plan.held if not one.drift}
    found: dict[str, tuple[Reason, str]] = {}
    for target in begun:
        uses = [(target, wanted[target]), *((job.name, job.container) for job in _before(desired, target))]
        for (name, container), (old, spec) in product(uses, staying.items()):
            if source := _common(container, spec, shared):
                reason, message = (why[old].reason, why[old].message) if old in why else (Reason.NotOwned, "")
                found[name] = reason, f"{old} has {source} as well, and stays: {message or 'stop or remove it'}"
    return found


def _before(desired: Desired, container: str) -> list[Job]:
    """The jobs that a container waits for, but for those that run in one that is there."""
    return [job for job in desired.jobs if container in job.before and not job.inside]


def _clash(new: Container, old: Container, others: Collection[str], *, runs: bool) -> bool:
    """Whether they cannot run at the same time. `runs`: the new one does so beside the old one now, as far as is known; `others`: what
    containers of other services write to as well."""
    if any(_same_port(one, other) for one, other in product(_published(new), _published(old))):
        return True
    if runs:
        return False
    if new.service == old.service and new.network_mode == old.network_mode == "host":
        return True  # nothing says which ports they have
    return bool(_common(new, old, others))


def _common(new: Container, old: Container, shared: Collection[str]) -> str:
    """The volume or folder that both may write to and that is none of `shared`; "" when there is none."""
    return next(
        (
            mine
            for mine, theirs in product(sorted(_written(new)), _written(old))
            if _overlap(mine, theirs) and not any(_overlap(mine, source) for source in shared)
        ),
        "",
    )


def _written(container: Container) -> frozenset[str]:
    """Volumes and folders of the host that it may write to."""
    return frozenset(mount.source for mount in normal(container).mounts if not mount.read_only)


def _overlap(one: str, other: str) -> bool:
    return below(one, other) or below(other, one)


def _published(container: Container) -> list[tuple[str, str, str]]:
    """(kind, address, port) of the host."""
    return [
        (key.partition("/")[2], binding["HostIp"], binding["HostPort"])
        for key, bindings in port_bindings(normal(container).ports).items()
        for binding in bindings
        if binding["HostPort"]
    ]


def _same_port(one: tuple[str, str, str], other: tuple[str, str, str]) -> bool:
    (kind, address, port), (kind_, address_, port_) = one, other
    everywhere = address in _ANYWHERE or address_ in _ANYWHERE
    return (kind, port) == (kind_, port_) and (everywhere or address == address_)
