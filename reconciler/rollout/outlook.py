"""What a change means for a rollout, before it is merged: which wave each host is in, what holds it up, how long it takes at least. Pure.

It counts as hosts do (`decide.py`): one that changes nothing is proved at once, one that is new waits for nobody.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from reconciler.rollout.policy import Budget, Rollout, Wave


@dataclass(frozen=True, slots=True)
class Turn:
    """A wave of which something changes. `hosts`: those of it that do, in its order, `others`: how many do not; `steps`: how often
    one host at least has to be proved before the next may begin; `narrow`: the budget that makes them more than `at_once` does."""

    wave: str
    hosts: tuple[str, ...]
    others: int
    at_once: int
    in_order: bool
    steps: int
    narrow: str = ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """`new`: hosts that the rollout has not met before. `touched`: each budget that is touched, with the hosts that claim a place of it, the
    scarcest first."""

    turns: tuple[Turn, ...]
    touched: tuple[tuple[Budget, tuple[str, ...]], ...]
    new: tuple[str, ...]
    bake: float  # seconds

    @property
    def steps(self) -> int:
        """How many times the rollout waits for `bake` at least."""
        return sum(turn.steps for turn in self.turns) or int(bool(self.new))

    @property
    def seconds(self) -> float:
        """How long it takes at least; what the hosts do in their steps comes on top."""
        return self.steps * self.bake


def outlook(
    rollout: Rollout, changed: Collection[str], touched: Mapping[str, Collection[str]], new: Collection[str] = ()
) -> Outlook:
    """`changed`: hosts for which the commit has something to do; `touched`: budget → those that stop a member of it; `new`: hosts that
    carry out their first commit."""
    waits = frozenset(changed) - frozenset(new)
    everybody = [host for wave in rollout.waves for host in wave.hosts]
    stops = {name: waits & frozenset(hosts) for name, hosts in touched.items()}
    claims = {name: tuple(host for host in everybody if host in hosts) for name, hosts in stops.items()}
    turns = (_turn(rollout, wave, waits, claims) for wave in rollout.waves)
    scarce = sorted(claims, key=lambda name: (rollout.budgets[name].at_most, name))
    return Outlook(
        tuple(turn for turn in turns if turn.hosts),
        tuple((rollout.budgets[name], claims[name]) for name in scarce if claims[name]),
        tuple(host for host in everybody if host in new and host in changed),
        rollout.bake,
    )


def _turn(rollout: Rollout, wave: Wave, waits: Collection[str], claims: Mapping[str, Collection[str]]) -> Turn:
    hosts = tuple(host for host in wave.hosts if host in waits)
    steps, narrow = math.ceil(len(hosts) / wave.at_once), ""
    for name, members in sorted(claims.items()):
        here = len(set(hosts) & set(members))
        if (needed := math.ceil(here / rollout.budgets[name].at_most)) > steps:
            steps, narrow = needed, name
    return Turn(wave.name, hosts, len(wave.hosts) - len(hosts), wave.at_once, wave.in_order, steps, narrow)
