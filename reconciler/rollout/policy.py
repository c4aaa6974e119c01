"""What Git declares about a rollout: waves, budgets, and how long to wait. Pure.

Capacity is never stored in the engine: changing it in Git changes it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

# The budget that every host of the open wave claims a place of. Its size is the wave's `at_once`.
WAVE: Final = "wave"


@dataclass(frozen=True, slots=True)
class Wave:
    """An ordered set of hosts. At most `at_once` of them are unproven at any time."""

    name: str
    hosts: tuple[str, ...]
    at_once: int
    in_order: bool = False  # a host waits for those before it


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `at_most` of `members` are unproven at once. `address_last`: of a wave's members, whoever holds the address goes last."""

    name: str
    at_most: int
    members: tuple[str, ...]
    address_last: bool = False


@dataclass(frozen=True, slots=True)
class Rollout:
    """Everything that decides when a host may act. Times in seconds.

    `tolerate`: failures after which a rollout still goes on. `max_absent`: hosts of a wave that may be missing without it waiting for
    them; none of the first wave's.
    """

    waves: tuple[Wave, ...]
    budgets: Mapping[str, Budget]
    bake: float = 60.0
    deadline: float = 1800.0
    tolerate: int = 0
    max_absent: int = 0

    def wave_of(self, host: str) -> int | None:
        """The number of the wave that a host is in; None: it is in no inventory."""
        return next((number for number, wave in enumerate(self.waves) if host in wave.hosts), None)

    def size(self, budget: str, opened: int) -> int:
        """How many places a budget has while wave `opened` is the last open one."""
        return self.waves[opened].at_once if budget == WAVE else self.budgets[budget].at_most

    def members(self, budget: str) -> Sequence[str]:
        """Who may hold a place of a budget, in the same order everywhere."""
        if budget == WAVE:
            return [host for wave in self.waves for host in wave.hosts]
        return self.budgets[budget].members

    def before(self, host: str) -> tuple[str, ...]:
        """Whom a host waits for in its wave. The holder of an address goes last, whatever the order: no other member waits for it."""
        wave = next(wave for wave in self.waves if host in wave.hosts)
        if not wave.in_order:
            return ()
        beside = {
            member
            for budget in self.budgets.values()
            if budget.address_last and host in budget.members
            for member in budget.members
        }
        return tuple(other for other in wave.hosts[: wave.hosts.index(host)] if other not in beside)

    def goes_early(self, host: str) -> bool:
        """Whether a host is one of those that can have a place as soon as its wave opens. The others come with their next pass: all at
        once they would only take the places from each other."""
        number = self.wave_of(host)
        return number is not None and self.waves[number].hosts.index(host) < self.waves[number].at_once

    def address_group(self, host: str) -> frozenset[str]:
        """Who has to be proved before a host that holds an address: the other members, as far as they are in its wave or an earlier
        one. Those of a later wave would never be."""
        own = self.wave_of(host)
        return frozenset(
            member
            for budget in self.budgets.values()
            if budget.address_last and host in budget.members
            for member in budget.members
            if member != host and own is not None and (number := self.wave_of(member)) is not None and number <= own
        )

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset(host for wave in self.waves for host in wave.hosts)


def places(at_once: int | str, hosts: int) -> int:
    """`at_once` as a number of hosts: `3`, or `"10%"` of `hosts`, rounded down, at least one."""
    if isinstance(at_once, str):
        return max(1, math.floor(hosts * int(at_once.rstrip("%")) / 100))
    return at_once


def together(one: Mapping[str, Budget], other: Mapping[str, Budget]) -> dict[str, Budget]:
    """The budgets of several hosts. Where they do not agree how large one is, the least that any of them allows."""
    shared = {
        name: min(one[name], other[name], key=lambda budget: budget.at_most) for name in one.keys() & other.keys()
    }
    return {**one, **other, **shared}


def of(
    policy: Mapping[str, Any],
    hosts: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    budgets: Mapping[str, Budget],
    labels: Mapping[str, Mapping[str, Any]] | None = None,
) -> Rollout:
    """The rollout of a site. `policy`: the `rollout` section of reconciler.yml with its defaults; `hosts`: all, in the inventory's
    order; `labels`: variable → host → value, of those that `labels` names.

    A host counts in the first wave that selects it. Those that no wave selects come last, at `rest`.
    """
    left, waves = list(hosts), list[Wave]()
    for entry in policy["waves"]:
        chosen = [host for choice in entry["hosts"] for host in _chosen(choice, left, groups, labels or {})]
        chosen = list(dict.fromkeys(chosen))
        left = [host for host in left if host not in chosen]
        if chosen:
            waves.append(Wave(entry["name"], tuple(chosen), places(entry["at_once"], len(chosen)), entry["in_order"]))
    if left:
        waves.append(Wave("the rest", tuple(left), places(policy["rest"], len(left))))
    absent = places(policy["max_absent"], len(hosts)) if policy["max_absent"] else 0
    return Rollout(tuple(waves), budgets, policy["bake"], policy["deadline"], policy["tolerate"], absent)


def labels(policy: Mapping[str, Any]) -> frozenset[str]:
    """The variables by which a `rollout` section selects hosts."""
    choices = (choice for wave in policy["waves"] for choice in wave["hosts"] if not isinstance(choice, str))
    return frozenset(choice["variable"] for choice in choices if "variable" in choice)


def _chosen(
    choice: str | Mapping[str, Any],
    left: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    labels: Mapping[str, Mapping[str, Any]],
) -> Sequence[str]:
    """Whom one selector chooses of the hosts that are left, in the order that it names them in, else in the inventory's."""
    if isinstance(choice, str):
        return [choice] if choice in left else []
    if "variable" in choice:
        values = labels.get(choice["variable"], {})
        found = [host for host in left if host in values and str(values[host]) == str(choice["is"])]
    else:
        found = [host for host in groups.get(choice["group"], ()) if host in left]
    if "first" in choice:
        return found[: choice["first"]]
    return found[-choice["last"] :] if "last" in choice else found
