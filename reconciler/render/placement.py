"""Which hosts have a service and its containers: those of their groups on which they are enabled, as each of them sees it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from reconciler.catalogue import Service
from reconciler.document.keywords import is_expression
from reconciler.document.words import show
from reconciler.errors import SiteInvalid
from reconciler.render import repeat
from reconciler.render.ansible import to_bool
from reconciler.render.view import World

# Jobs and budgets are called by it.
_CLUSTER: Final = re.compile(r"[A-Za-z0-9_.-]{0,64}")


def listed(group: Any) -> list[str]:
    """The names in an evaluated `group`: one, or a list of which empty texts are dropped."""
    return [str(name) for name in (group if isinstance(group, list) else [group]) if name not in (None, "")]


def union(groups: Mapping[str, Sequence[str]], names: Iterable[str]) -> list[str]:
    """The hosts of several groups, in the order of the groups, each once. Groups that do not exist have none."""
    return list(dict.fromkeys(chain.from_iterable(groups.get(name, ()) for name in names)))


def enabled(world: World, host: str, service: Service) -> bool:
    """Whether a service is switched on, as `host` sees it, and has a host to run on.

    One whose groups are all empty is not part of the site: it registers nothing, and nothing has to be set for it.
    """
    key, name = (host, service.name), ("enabled", service.name)
    if key not in world.enabled:
        with world.shared.ledger.about(host) as reads, world.meter.record(host, name) as cost:
            found = world.shared.alone(lambda: _is_enabled(world, host, service))
        world.enabled[key] = found, cost, reads
    found, cost, reads = world.enabled[key]
    world.meter.again(host, name, cost)
    world.shared.ledger.take(reads)
    world.shared.note("enabled", host, service.name, found)
    return found


def _is_enabled(world: World, host: str, service: Service) -> bool:
    data = service.document.data
    raw = data.get("enabled", True) if isinstance(data, dict) else True
    if not to_bool(world.evaluated(host, service, ("enabled",), raw)):
        return False
    groups = groups_of(world, host, service)
    # A group that does not exist is reported where the container is built.
    return not groups or any(world.groups.get(name, [host]) for name in groups)


def groups_of(world: World, host: str, service: Service) -> list[str]:
    """The groups of all containers of a service, as `host` sees them. Raises SiteInvalid."""
    found = [
        _groups(world, host, service, one)
        for key, raw in service.section("containers").items()
        for one in repeat.instances(world, host, service, ("containers", key), raw)
    ]
    return list(dict.fromkeys(group for groups in found for group in groups))


def has(world: World, host: str, service: Service, container: str) -> bool:
    """Whether `host` has a container (one of them, where it is repeated), in its own eyes. Raises SiteInvalid."""
    raw = service.section("containers")[container]
    for one in repeat.instances(world, host, service, ("containers", container), raw):
        if host in union(world.groups, _groups(world, host, service, one)):
            path = ("containers", container, "enabled")
            if to_bool(world.evaluated(host, service, path, one.raw.get("enabled", True), _names(one))):
                return enabled(world, host, service)
    return False


def holders(world: World, service: Service, container: str) -> list[str]:
    """The hosts of a container's groups; where these are an expression, which hosts may see differently, those that say they have it.
    Raises SiteInvalid."""
    fixed, hosts = _candidates(world, service, container)
    return hosts if fixed else [host for host in hosts if has(world, host, service, container)]


def cluster(world: World, host: str, service: Service, container: str) -> str | None:
    """Which of a container's clusters a host is in, as it says itself; None where the container says none: all of its hosts are one.
    Raises SiteInvalid."""
    raw = service.section("containers")[container]
    if not isinstance(raw, dict) or "cluster" not in raw:
        return None
    path = ("containers", container, "cluster")
    found = world.evaluated(host, service, path, raw["cluster"], {"container": container})
    if not isinstance(found, str) or not _CLUSTER.fullmatch(found):
        message = f"{show(found)} is not a name for a cluster of {container}, on {host}"
        raise SiteInvalid([service.document.place(path).problem(message, "letters, digits, _, . and -, 64 at most")])
    return found


def clusters(world: World, service: Service, container: str) -> dict[str, str]:
    """The clusters that a container has, and the first host of each, in their order. Raises SiteInvalid."""
    found: dict[str, str] = {}
    for host in _candidates(world, service, container)[1]:
        if has(world, host, service, container):
            found.setdefault(cluster(world, host, service, container) or "", host)
    return found


def peers(world: World, host: str, service: Service, container: str, hosts: list[str]) -> list[str]:
    """Those of the `hosts` of a container's groups that are in the same cluster as `host`. Raises SiteInvalid."""
    if (mine := cluster(world, host, service, container)) is None:
        return hosts
    return [member for member in hosts if cluster(world, member, service, container) == mine]


def first(world: World, service: Service, container: str, of: str | None = None) -> str:
    """The first host that has a container, the same one whoever asks; empty when nobody has it. `of`: in this one of its clusters.
    Raises SiteInvalid.

    The order is that of the groups, and where they are an expression, which hosts may see differently, that of the inventory.
    """

    def work() -> str:
        _, hosts = _candidates(world, service, container)
        return next((host for host in hosts if fits(host)), "")

    def fits(host: str) -> bool:
        return has(world, host, service, container) and of in (None, cluster(world, host, service, container))

    key = (service.name, container) if of is None else (service.name, container, of)
    return _once(world, key, work)


def owner(world: World, service: Service) -> str:
    """The host that converges what a service registers: the first one that has its first container that anybody has. Where nobody has any, as
    of a service that is somebody else's, the first host of its groups, or of all where these have none, on which it is switched on; empty
    where it is on nowhere. Raises SiteInvalid."""

    def work() -> str:
        hosts = union(world.groups, service.section("groups")) or world.site.hosts
        return next((host for host in hosts if enabled(world, host, service)), "")

    found = (first(world, service, name) for name in service.section("containers"))
    return next(filter(None, found), "") or _once(world, (service.name, ""), work)


def _once(world: World, key: tuple[str, ...], work: Callable[[], str]) -> str:
    """A host that all ask for, worked out for the first of them; it takes of each what it took of that one."""
    name = ("first", *key)
    if key not in world.first:
        with world.shared.ledger.about("") as reads, world.meter.record("", name) as cost:
            found = work()
        world.first[key] = found, cost, reads
    found, cost, reads = world.first[key]
    world.meter.again("", name, cost)
    world.shared.ledger.take(reads)
    return found


def _candidates(world: World, service: Service, container: str) -> tuple[bool, list[str]]:
    """Whether a container's groups are fixed, and so alike for all that are repeated, and the hosts that may have it: those of the groups,
    or all."""
    groups = listed(service.section("containers")[container].get("group", "all"))
    fixed = not any(map(is_expression, groups))
    return fixed, union(world.groups, groups) if fixed else list(world.site.hosts)


def _groups(world: World, host: str, service: Service, one: repeat.Instance) -> list[str]:
    group = one.raw.get("group", "all") if isinstance(one.raw, dict) else "all"
    if not any(map(is_expression, listed(group))):
        return listed(group)

    def work() -> list[str]:
        return listed(world.evaluated(host, service, path, group, _names(one)))

    path = ("containers", one.key, "group")
    # Every host is asked, and most see the same.
    return work() if one.names else world.shared.unit(("groups", service.name, one.key), host, world.meter, work)


def _names(one: repeat.Instance) -> dict[str, Any]:
    return {"container": one.name, **one.names}
