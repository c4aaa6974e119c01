"""Which hosts have a service and its containers: those of their groups on which they are enabled, as each of them sees it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from reconciler.catalogue import Service
from reconciler.document.keywords import is_expression
from reconciler.render import repeat
from reconciler.render.ansible import to_bool
from reconciler.render.view import World


def listed(group: Any) -> list[str]:
    """The names in an evaluated `group`: one, or a list of which empty texts are dropped."""
    return [str(name) for name in (group if isinstance(group, list) else [group]) if name not in (None, "")]


def union(groups: Mapping[str, Sequence[str]], names: Iterable[str]) -> list[str]:
    """The hosts of several groups, in the order of the groups, each once. Groups that do not exist have none."""
    return list(dict.fromkeys(host for name in names for host in groups.get(name, ())))


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


def first(world: World, service: Service, container: str) -> str:
    """The first host that has a container, the same one whoever asks; empty when nobody has it. Raises SiteInvalid.

    The order is that of the groups, and where they are an expression, which hosts may see differently, that of the inventory.
    """

    def work() -> str:
        _, hosts = _candidates(world, service, container)
        return next((host for host in hosts if has(world, host, service, container)), "")

    return _once(world, (service.name, container), work)


def owner(world: World, service: Service) -> str:
    """The host that converges what a service registers: the first one that has its first container that anybody has. Where nobody has any, as
    of a service that is somebody else's, the first host of its groups, or of all where these have none, on which it is switched on; empty
    where it is on nowhere. Raises SiteInvalid."""

    def work() -> str:
        hosts = union(world.groups, service.section("groups")) or world.site.hosts
        return next((host for host in hosts if enabled(world, host, service)), "")

    found = (first(world, service, name) for name in service.section("containers"))
    return next(filter(None, found), "") or _once(world, (service.name, ""), work)


def _once(world: World, key: tuple[str, str], work: Callable[[], str]) -> str:
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
    return listed(world.evaluated(host, service, ("containers", one.key, "group"), group, _names(one)))


def _names(one: repeat.Instance) -> dict[str, Any]:
    return {"container": one.name, **one.names}
