"""Containers of which one takes another's place under another name: what both would use alone, the one lets go before the other is begun."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from reconciler.model import Action, Container, Verb
from reconciler.options.wire import port_bindings

_BEGINS = frozenset({Verb.CREATE, Verb.REPLACE})
_ANYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


def one_after_the_other(
    actions: Iterable[Action], wanted: Mapping[str, Container], leaving: Mapping[str, Container]
) -> list[Action]:
    """The actions, where a container that goes (of `leaving`) is removed before one that comes (of `wanted`) is begun with what they cannot
    both have: a port, or a writable volume or folder of theirs alone. What checks the newcomer comes before that, so that a commit which is
    refused leaves everything as it is.
    """
    given = list(actions)
    doomed = [action for action in given if action.verb is Verb.REMOVE and action.target in leaving]
    begun = [action for action in given if action.verb in _BEGINS and action.target in wanted]
    pairs = [
        (new, old)
        for new in begun
        for old in doomed
        if _clash(wanted[new.target], leaving[old.target], wanted.values(), beside=new.verb is Verb.REPLACE)
    ]
    checks = {action.target: action.id for action in given if action.verb is Verb.VALIDATE}
    needs: dict[str, tuple[str, ...]] = {}
    for new, old in pairs:
        needs[new.id] = (*needs.get(new.id, ()), old.id)
        if check := checks.get(new.target):
            needs[old.id] = (*needs.get(old.id, ()), check)
    return [replace(action, needs=(*action.needs, *needs.get(action.id, ()))) for action in given]


def _clash(new: Container, old: Container, wanted: Iterable[Container], *, beside: bool) -> bool:
    """Whether they cannot run at the same time. `beside`: they do so now, as far as is known."""
    ports = [(one, other) for one in _published(new) for other in _published(old)]
    if any(_same_port(one, other) for one, other in ports):
        return True
    if beside:
        return False
    if new.service == old.service and new.network_mode == old.network_mode == "host":
        return True  # nothing says which ports they have
    users = Counter(
        source for container in wanted if container.service != new.service for source in _written(container)
    )
    return any(source not in users for source in _written(new) & _written(old))


def _written(container: Container) -> frozenset[str]:
    """Volumes and folders of the host that it may write to."""
    return frozenset(mount.source for mount in container.mounts if "ro" not in mount.mode.split(","))


def _published(container: Container) -> list[tuple[str, str, str]]:
    """(kind, address, port) of the host."""
    return [
        (key.partition("/")[2], binding["HostIp"], binding["HostPort"])
        for key, bindings in port_bindings(container.ports).items()
        for binding in bindings
        if binding["HostPort"]
    ]


def _same_port(one: tuple[str, str, str], other: tuple[str, str, str]) -> bool:
    (kind, address, port), (kind_, address_, port_) = one, other
    everywhere = address in _ANYWHERE or address_ in _ANYWHERE
    return (kind, port) == (kind_, port_) and (everywhere or address == address_)
