"""This host out of use for a maintenance, and back: everything that other hosts stand in for is taken out of use and stopped, in order."""

from collections.abc import Callable, Iterable, Mapping
from graphlib import TopologicalSorter
from threading import Event
from typing import Final

from reconciler.apply.drain import Drains
from reconciler.engine import Engine
from reconciler.model import Actual, Container, Desired, State
from reconciler.rollout.policy import Rollout

MARK: Final = "drained: "  # begins the reason of a suspension that a drain made

Say = Callable[[str], None]


def stood_in_for(desired: Desired, rollout: Rollout) -> list[Container]:
    """The containers that other hosts have as well and that have a budget, in the order in which they may be stopped: what rests on others first.

    Of the data plane only what holds a virtual address: workloads of this host have no other.
    """
    held = {
        order.name: order
        for order in desired.orders
        if order.at_once and len(rollout.budgets[order.budget].members if order.budget in rollout.budgets else ()) > 1
    }
    found = {
        one.name: one
        for one in desired.containers
        if one.name in held and (held[one.name].address or not one.data_plane)
    }
    graph = TopologicalSorter(
        {name: [other for other in one.depends_on if other in found] for name, one in found.items()}
    )
    return [found[name] for name in reversed(list(graph.static_order()))]


def out(engine: Engine, containers: Iterable[Container], actual: Actual, say: Say) -> list[str]:
    """Take them out of use, each as its service says, and stop it; returns those that ran. Raises errors.ReconcilerError of the engine."""
    owned = frozenset(one.id for one in actual.containers.values() if one.owned)
    drains, stopped = Drains(engine, _Told(say), owned, before={}, wanted=()), []
    for one in containers:
        running = actual.containers.get(one.name)
        if running is None or not running.owned or running.state is not State.RUNNING:
            continue
        drains.out(one, one.name)
        engine.stop(one.name)
        say(f"{one.name} is stopped")
        stopped.append(one.name)
    return stopped


def running(actual: Actual, but: Iterable[str]) -> list[str]:
    """What runs of this node's all the same."""
    own: Mapping[str, object] = {
        name: one for name, one in actual.containers.items() if one.owned and one.state is State.RUNNING
    }
    return sorted(own.keys() - set(but))


class _Told:
    """What a drain waits for, told to an operator. Nothing cuts it short but the operator."""

    def __init__(self, say: Say) -> None:
        self._say, self._never = say, Event()

    def at(self, container: str, text: str) -> None:
        self._say(text)

    def cut(self, container: str) -> Event:
        return self._never
