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
First = Callable[[Service, str], str]  # the first host that has a container of a service, "" when nobody does


def order(world: World, fields: Fields, name: str, key: str, first: First) -> Order:
    """That of the container or job `name`; `key` is the repeated entry that it is of. Problems go to `fields`."""
    part = fields.below("rollout")
    groups = tuple(placement.listed(fields.value("group", "all")))
    after = part.texts("after")
    return Order(
        name,
        after,
        _at_once(part, world, groups),
        part.texts("ready"),
        part.text("address_last"),
        groups if "at_once" in part else (),
        key,
        *_comes_after(world, after, first),
    )


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
                if target in service.section("containers") and (owner := first(service, target)):
                    found[name] = owner
    return tuple(dict.fromkeys(hosts)), found


def _at_once(part: Fields, world: World, groups: tuple[str, ...]) -> int:
    """How many hosts may change it at the same time; 0: any number."""
    if "at_once" not in part:
        return 0
    value = part.text("at_once")
    if not _AT_ONCE.fullmatch(value):
        if value:  # "" says nothing, or what is wrong with it is said already
            part.problem("at_once", f"must be a number of hosts, or a percentage such as '10%', is {value[:80]!r}")
        return 0
    return policy.places(value, len(placement.union(world.groups, groups))) if value.endswith("%") else int(value)
