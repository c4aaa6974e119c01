"""Who withdraws what a host has registered, once it is gone or another one owns that. Pure.

Each host says in the store what it has registered. What another says of itself counts only for what the site's own commits ask for, or asked for
last: whoever writes into the store can have nothing else withdrawn.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Registered:
    """What one host has registered (`Registration.id`), and the store's revision of that."""

    ids: frozenset[str]
    revision: int = 0


def taken_over(
    asked: Collection[str], dropped: Collection[str], hosts: Collection[str], told: Mapping[str, Registered]
) -> frozenset[str]:
    """What a host has to remember as registered, for others have done so. `asked`: what it registers by the commit; `dropped`: what the site
    asked others for before, and asks nobody for by now, which is left to those that the inventory has."""
    by_anybody = frozenset[str]().union(*(one.ids for one in told.values()))
    by_the_gone = frozenset[str]().union(*(one.ids for host, one in told.items() if host not in hosts))
    return (by_anybody & frozenset(asked)) | (by_the_gone & frozenset(dropped))


def settled(hosts: Collection[str], told: Mapping[str, Registered]) -> Mapping[str, Registered]:
    """What the hosts said that the inventory no longer has, where others have taken over all of it."""
    kept = frozenset[str]().union(*(one.ids for host, one in told.items() if host in hosts))
    return {host: one for host, one in told.items() if host not in hosts and one.ids <= kept}
