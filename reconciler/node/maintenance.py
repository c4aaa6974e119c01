"""This host out of use for a maintenance, and back: what only it has goes elsewhere where a service knows how, then everything that other hosts
stand in for is taken out of use and stopped, in order."""

from collections.abc import Callable, Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from threading import Event
from typing import Final

from reconciler import errors
from reconciler.apply import OneShot, maintenance
from reconciler.apply.drain import Drains
from reconciler.engine import Engine
from reconciler.model import Actual, Container, Desired, Maintenance, State
from reconciler.node.target import Target
from reconciler.reasons import Reason
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


def out(engine: Engine, containers: Iterable[Container], actual: Actual, note: Say, say: Say) -> list[str]:
    """Take them out of use, each as its service says, and stop it; returns those that ran. `note` keeps the name of one that is about to
    be stopped. Raises errors.ReconcilerError of the engine."""
    owned = frozenset(one.id for one in actual.containers.values() if one.owned)
    drains, stopped = Drains(engine, _Told(say), owned, before={}, wanted=()), []
    for one in containers:
        running = actual.containers.get(one.name)
        if running is None or not running.owned or running.state is not State.RUNNING:
            continue
        drains.out(one, one.name)
        note(one.name)
        engine.stop(one.name)
        say(f"{one.name} is stopped")
        stopped.append(one.name)
    return stopped


class Elsewhere:
    """What services of this host do beside that: virtual machines go to other hosts, agents hand over. `engine` admits what the host's
    settings allow, `target` has the files with their identifiers."""

    def __init__(self, engine: Engine, target: Target, say: Say) -> None:
        self._engine, self._target, self._say = engine, target, say
        self._containers = {one.name: one for one in target.desired.containers}
        self.steps = target.desired.maintenance

    def out(self, reason: str) -> None:
        """All of them, or none: where one cannot go, those before it come back. Raises errors.ReconcilerError."""
        begun: list[Maintenance] = []
        try:
            for step in self.steps:
                begun.append(step)
                self._say(f"{step.name}: {step.words}")
                self._have_image(step)
                maintenance.out(self._engine, step, self._wanted(step), reason, self._say)
        except errors.ReconcilerError as error:
            stays = [line for step in reversed(begun) for line in self._undone(step)]
            if stays:
                raise errors.Terminal("\n".join((str(error), *stays)), reason=error.reason) from error
            raise

    def back(self) -> None:
        """All of them. Raises errors.ReconcilerError."""
        for step in reversed(self.steps):
            self._have_image(step)
            maintenance.back(self._engine, step, self._wanted(step), self._say)

    def _undone(self, step: Maintenance) -> list[str]:
        """What could not be undone of it."""
        try:
            maintenance.back(self._engine, step, self._wanted(step), self._say)
        except errors.ReconcilerError as error:
            return [f"and it is not as it was: {error}"]
        return []

    def _have_image(self, step: Maintenance) -> None:
        image = self._containers[step.container].image
        if self._engine.image(image) is None:
            self._engine.pull(image)

    def _wanted(self, step: Maintenance) -> OneShot:
        target, container = self._target, self._containers[step.container]
        own = [file for file in target.desired.files if file.container == container.name]
        if absent := sorted(file.path for file in own if file.path not in target.contents):
            raise errors.Transient(
                f"{step.name}: {', '.join(absent)} cannot be written, as an identifier in it is not known",
                reason=Reason.Unknown,
            )
        digest = target.part_digest.get(container.name, "")
        return OneShot(
            container, own, target.contents, part_digest=digest, config_root=Path(target.desired.config_root)
        )


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
