"""Services that a site switches on and that run on no host."""

import re
from collections.abc import Iterator
from typing import Final

from reconciler.document.literals import truth
from reconciler.errors import Problem
from reconciler.site.types import Layer, Site

# What service.yml says of a service that one variable switches on.
_SWITCH: Final = re.compile(r"\{\{ (\w+) \}\}")


def warnings(site: Site) -> Iterator[Problem]:
    """A service is told when globals.yml, or a file of a group or a host, says that it is on, and none of its groups has a host."""
    told: set[str] = set()
    for service in site.catalogue.services.values():
        document = service.document.data
        switch = _SWITCH.fullmatch(str(document.get("enabled", ""))) if isinstance(document, dict) else None
        groups = list(service.section("groups"))
        if switch is None or switch[1] in told or not groups or any(site.groups.get(name) for name in groups):
            continue
        if on := _switched_on(site, switch[1]):
            told.add(switch[1])
            message = f"{service.name} is on and runs nowhere: no host is in {', '.join(groups)}"
            yield on.place.warning(message, "put hosts into these groups in inventory.yml, or leave it off")


def _switched_on(site: Site, name: str) -> Layer | None:
    """The first place of the site's own that says yes to it."""
    for host in site.hosts:
        layered = site.layers(host).get(name)
        if layered and layered.layers[-1].origin != "catalogue" and truth(layered.value):
            return layered.layers[-1]
    return None
