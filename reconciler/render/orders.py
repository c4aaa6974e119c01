"""`rollout` of a container or job: what it waits for on other hosts."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from reconciler.catalogue import Service
from reconciler.model import Order
from reconciler.render import placement
from reconciler.render.evaluate import World
from reconciler.render.fields import Fields
from reconciler.rollout import policy

# As the grammar has it, of what an expression gives.
_AT_ONCE: Final = re.compile(r"[1-9][0-9]{0,5}|(?:[1-9][0-9]?|100)%")
# What holds where a service says nothing: of those behind a load balancer half go on, of what workloads feel nine of ten hosts.
_HALF: Final = "50%"
_DATA_PLANE: Final = "10%"
First = Callable[[Service, str], str]  # the first host that has a container of a service, "" when nobody does


def order(
    world: World, host: str, fields: Fields, name: str, key: str, first: First, service: Service | None = None
) -> Order:
    """That of the container or job `name` on `host`; `key` is the repeated entry that it is of, `service` that of a container. Problems
    go to `fields`."""
    part = fields.below("rollout")
    groups = tuple(placement.listed(fields.value("group", "all")))
    of = placement.cluster(world, host, service, key or name) if service else None
    every = placement.union(world.groups, groups)
    hosts = placement.peers(world, host, service, key or name, every) if service else every
    after = part.texts("after")
    at_once = _at_once(part, len(hosts))
    restarts = part.flag("upgrade_restart")
    if service is None and restarts:
        part.problem("upgrade_restart", "a job runs and ends: say it of the container that is to be restarted")
    implied = service is not None and "at_once" not in part
    if service and implied:
        at_once, key = _implied(fields, service, len(hosts), groups, key, restarts)
    if of and at_once:
        key = f"{key or name}_{of}"
    return Order(
        name,
        after,
        at_once,
        part.texts("ready"),
        part.text("address_last"),
        groups if at_once else (),
        key,
        *_comes_after(world, after, first),
        implied=implied and at_once > 0,
        upgrade_after=part.texts("upgrade_after"),
        upgrade_hosts=_comes_after(world, part.texts("upgrade_after"), first)[0],
        members=tuple(hosts) if part.flag("quorum") else (),
        upgrade_restart=restarts,
    )


def _implied(
    fields: Fields, service: Service, hosts: int, groups: Iterable[str], key: str, restarts: bool
) -> tuple[int, str]:
    """How many hosts may change a container that does not say so itself, and its budget where that is not its own. `restarts`: after an upgrade.

    Everything in the group of a frontend shares one: it is a host that is a backend, whichever of its containers is stopped. One host
    alone is nobody's backup and waits for nobody. What every host restarts as soon as the last one has a release would be down everywhere.
    """
    if hosts < 2:
        return 0, key
    behind = {group for one in service.section("frontends").values() for group in placement.listed(one.get("group"))}
    if shared := [group for group in groups if group in behind]:
        return policy.places(_HALF, hosts), shared[0]
    if fields.flag("data_plane"):
        return policy.places(_DATA_PLANE, hosts), key
    return (policy.places(_HALF, hosts) if restarts else 0), key


def _comes_after(world: World, names: Iterable[str], first: First) -> tuple[tuple[str, ...], dict[str, str]]:
    """The hosts that have containers of these names, and of those that are jobs who runs each."""
    hosts: list[str] = []
    found: dict[str, str] = {}
    for name in names:
        for service in world.site.catalogue.services.values():
            if name in service.section("containers"):
                hosts += placement.holders(world, service, name)
            elif isinstance(entry := service.section("jobs").get(name), dict):
                target = str(entry.get("container", ""))
                if target not in service.section("containers"):
                    continue
                if "cluster" in service.section("containers")[target]:
                    owners = placement.clusters(world, service, target)
                    found |= {f"{name}_{of}" if of else name: owner for of, owner in owners.items()}
                elif owner := first(service, target):
                    found[name] = owner
    return tuple(dict.fromkeys(hosts)), found


def _at_once(part: Fields, hosts: int) -> int:
    """How many of so many hosts may change it at the same time; 0: any number."""
    if "at_once" not in part:
        return 0
    value = part.text("at_once")
    if not _AT_ONCE.fullmatch(value):
        if value:  # "" says nothing, or what is wrong with it is said already
            part.problem("at_once", f"must be a number of hosts, or a percentage such as '10%', is {value[:80]!r}")
        return 0
    return policy.places(value, hosts) if value.endswith("%") else int(value)
