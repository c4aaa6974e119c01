"""Containers of which one takes another's place under another name: what both would use alone, the one lets go before the other is begun."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import product

from reconciler.model import ASIDE, Action, Container, Held, Job, Running, State, Verb
from reconciler.options.normal import normal
from reconciler.options.wire import port_bindings
from reconciler.reasons import Reason

_BEGINS = frozenset({Verb.CREATE, Verb.REPLACE})
_ALIVE = frozenset({State.RUNNING, State.PAUSED, State.RESTARTING})
_ANYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


def one_after_the_other(
    actions: Iterable[Action],
    wanted: Mapping[str, Container],
    jobs: Iterable[Job],
    leaving: Mapping[str, Running],
    mending: Collection[str],
) -> list[Action]:
    """The actions, where a container that goes (of `leaving`) is removed before one that comes (of `wanted`), or a job before that, is begun with
    what they cannot both have: a port, or a writable volume or folder of theirs alone. What checks the newcomer comes before that, so that a
    commit which is refused leaves everything as it is.

    What only brings back what ran here (the ids in `mending`) waits for nobody: it ran beside the others.
    """
    given = list(actions)
    parts = _Parts(wanted.values())
    removed = [action for action in given if action.verb is Verb.REMOVE and action.target in leaving]
    doomed = [action for action in removed if action.target.removeprefix(ASIDE) not in wanted]
    begun = [action for action in given if action.verb in _BEGINS and action.id not in mending]
    checks = {action.target: action.id for action in given if action.verb is Verb.VALIDATE}
    before = [(job, f"{Verb.RUN}:{job.name}") for job in jobs if not job.inside]
    needs: dict[str, set[str]] = {}
    for new, old in product(begun, doomed):
        container, gone = wanted[new.target], leaving[old.target].spec
        if parts.clash(container, gone, beside=new.verb is Verb.REPLACE):
            needs.setdefault(new.id, set()).add(old.id)
            if check := checks.get(new.target):
                needs.setdefault(old.id, set()).add(check)
        for job, id_ in before:
            if new.target in job.before and parts.data(job.container, gone):
                needs.setdefault(id_, set()).add(old.id)
    return [replace(action, needs=(*action.needs, *sorted(needs.get(action.id, ())))) for action in given]


def beside(
    actions: Iterable[Action],
    held: Iterable[Held],
    wanted: Mapping[str, Container],
    jobs: Iterable[Job],
    there: Mapping[str, Running],
    mending: Collection[str],
) -> dict[str, tuple[Reason, str]]:
    """The containers and jobs that would be begun beside one that stays (of `there`, what is ours and there now) on data that no container of the
    site has now: name → the reason for which that stays, and a message. Two servers on one folder of data ruin it."""
    gone = {action.target for action in actions if action.verb is Verb.REMOVE}
    staying = {name: one for name, one in there.items() if name not in wanted and name not in gone}
    shared = [source for name in there.keys() & wanted.keys() for source in _written(wanted[name])]
    why = {one.target: one for one in held if not one.drift}
    found: dict[str, tuple[Reason, str]] = {}
    for action in actions:
        if action.verb is not Verb.CREATE or action.id in mending:
            continue
        uses = [(action.target, wanted[action.target])]
        uses += [(job.name, job.container) for job in jobs if not job.inside and action.target in job.before]
        for (name, container), (old, running) in product(uses, staying.items()):
            if running.state in _ALIVE and (source := _common(container, running.spec, shared)):
                reason, message = (why[old].reason, why[old].message) if old in why else (Reason.NotOwned, "")
                found[name] = reason, f"{old} has {source} as well, and stays: {message or 'stop or remove it'}"
    return found


class _Parts:
    """What containers cannot both have, in a site with these."""

    def __init__(self, wanted: Iterable[Container]) -> None:
        self._writers = [(container.service, source) for container in wanted for source in _written(container)]

    def clash(self, new: Container, old: Container, *, beside: bool) -> bool:
        """Whether they cannot run at the same time. `beside`: they do so now, as far as is known."""
        if any(_same_port(one, other) for one, other in product(_published(new), _published(old))):
            return True
        if not beside and new.service == old.service and new.network_mode == old.network_mode == "host":
            return True  # nothing says which ports they have
        return not beside and bool(self.data(new, old))

    def data(self, new: Container, old: Container) -> str:
        """The volume or folder that both may write to, and no container of another service; "" when there is none."""
        return _common(new, old, [source for service, source in self._writers if service != new.service])


def _common(new: Container, old: Container, shared: Iterable[str]) -> str:
    """The volume or folder that both may write to and that is none of `shared`; "" when there is none."""
    everybodys = frozenset(shared)
    return next(
        (
            mine
            for mine, theirs in product(sorted(_written(new)), _written(old))
            if _overlap(mine, theirs) and not any(_overlap(mine, source) for source in everybodys)
        ),
        "",
    )


def _written(container: Container) -> frozenset[str]:
    """Volumes and folders of the host that it may write to."""
    mounts = normal(container).mounts
    return frozenset(mount.source for mount in mounts if "ro" not in mount.mode.split(","))


def _overlap(one: str, other: str) -> bool:
    """Whether they are the same, or folders of which one lies in the other."""
    first, second = (f"{source.rstrip('/')}/" for source in (one, other))
    return one == other or (one.startswith("/") and (first.startswith(second) or second.startswith(first)))


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
