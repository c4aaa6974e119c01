"""What is there: the engine, the disk, registrars and checks, looked at as closely as is due."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from threading import Event
from typing import Final

from reconciler import report
from reconciler.apply import blame
from reconciler.engine import Engine
from reconciler.host.machine import Machine
from reconciler.model import (
    Actual,
    Check,
    CheckResult,
    Desired,
    File,
    InFlight,
    Memory,
    Plan,
    Registrar,
    State,
    Verb,
    is_asked,
)
from reconciler.node import health_gate, host, probe
from reconciler.node.aims import Aims, registry_of
from reconciler.node.findings import Findings
from reconciler.node.flight import Flights
from reconciler.node.target import Target
from reconciler.registrations.registry import Registry
from reconciler.settings import Settings
from reconciler.state import StateDirectory

_LONG: Final = 15.0  # seconds after which it is asked what something in flight waits for


@dataclass(frozen=True, slots=True)
class _Registrars:
    """The registrars of a target, and the target whose credentials may count before it is carried out here."""

    target: Target
    later: Target | None
    registry: Registry


class Observer:
    """Looks, and knows how long ago it looked how closely. Not thread-safe."""

    def __init__(
        self,
        settings: Settings,
        state: StateDirectory,
        engine: Engine,
        aims: Aims,
        flights: Flights,
        clock: Callable[[], datetime],
        stop: Event,
    ) -> None:
        self._settings, self._state, self._engine = settings, state, engine
        self._aims, self._flights, self._clock, self._stop = aims, flights, clock, stop
        self._registries: tuple[_Registrars, ...] = ()  # of the targets that are in use
        # What it runs is the program's own, and looks at a switch that is taken over later as well.
        self.machine = Machine(settings.root, partial(engine.execute, anybodys=True))
        self._looked = 0.0  # at registrations and checks, and
        self._looked_inside = 0.0  # into containers
        self._deep_origin = ("", "", "")  # of the desired state that was looked at in depth
        self._identified: tuple[tuple[Registrar, ...], dict[str, str]] = (
            (),
            {},
        )  # by whom, and Registration.id → identifier
        self._lacking = False  # files wait for identifiers that were not there
        self._failing: frozenset[str] = frozenset()  # checks that failed the last time
        self._found: Findings | None = None  # what the last deep pass found, as long as it counts
        self._acted = False  # the last cycle did something: the next looks closely

    def observe(self, target: Target, memory: Memory, *, deep: bool, inside: bool = True) -> Actual:
        """Actual state: containers, images, volumes, files, the host itself; with `deep` registrations and the insides of containers. Without
        `inside` the latter are what they were found to be, as long as that is known."""
        self._aims.require_root(target.desired.config_root)  # what was a folder may be a link by now
        if owner := self._state.owner:
            self._engine.also = owner.also  # an operator may have claimed another's meanwhile
        wanted = with_previous_files(target.desired, memory, self._state.written(target.desired.config_root))
        # Adopted containers carry no label of ours, so they are looked for by name as long as we know of them.
        found = self._found if self._found and self._found.origin == target.desired.origin else None
        inside = deep and (inside or found is None)
        actual = host.observe(self._engine, wanted, deep=inside, extra_names=memory.applied)
        adopted = {applied.id for applied in memory.applied.values()}
        containers = {
            name: replace(running, owned=True) if running.id in adopted else running
            for name, running in actual.containers.items()
        }
        settings = {kept.setting.id: kept.setting for kept in memory.host_settings.values()}
        settings |= {setting.id: setting for setting in target.desired.host_settings}
        running = {name for name, one in actual.containers.items() if one.state is State.RUNNING}
        due = (s for s in settings.values() if not s.inside or (deep and s.inside in running))
        on_host, unseen = self.machine.observe(due)
        unknown = {**actual.unknown, **{f"host:{name}": why for name, why in unseen.items()}}
        actual = replace(actual, containers=containers, host_settings=on_host, unknown=unknown)
        if deep:
            if found and not inside:
                actual = found.inside(actual)
            mine = [r for r in target.desired.registrations if r.owner == target.desired.host]
            observed, unknown = self.registry(target).observe(mine, actual)
            identifiers, unidentified = self._identify(target, actual)
            unknown = {**actual.unknown, **unknown, **unidentified}
            actual = replace(actual, registrations=observed, identifiers=identifiers, unknown=unknown)
            self._looked, self._deep_origin = time.monotonic(), target.desired.origin
            self._looked_inside = self._looked if inside else self._looked_inside
            self._found = Findings.of(target.desired.origin, actual)
            return actual
        actual = replace(actual, identifiers=self._known(target))
        return found.added_to(actual) if found else actual

    def _identify(self, target: Target, actual: Actual) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """The identifiers that files of `target` hold, and which registrars could not be asked. What one said before still counts
        while it cannot be asked."""
        wanted = {name for names in target.identifiers.values() for name in names}
        asked = [registration for registration in target.desired.registrations if registration.id in wanted]
        answers, unknown = self.registry(target).identify(asked, actual)
        known = {**self._known(target), **answers}
        self._lacking = any(value is None for value in answers.values())
        self._identified = (target.desired.registrars, {name: value for name, value in known.items() if value})
        return self._known(target), unknown

    def _known(self, target: Target) -> Mapping[str, str]:
        """The identifiers as last found; those of other registrars mean nothing."""
        registrars, known = self._identified
        return known if registrars == target.desired.registrars else {}

    def memory(self, target: Target) -> Memory:
        """What is remembered, without the quarantine of what may be tried once more."""
        memory, now = self._state.memory(), self._clock()
        containers = {container.name: container for container in target.desired.containers}
        due = {
            name
            for name, failure in memory.failures.items()
            if name in containers and blame.is_due(failure, containers[name], self._engine.data_root, now)
        }
        return replace(memory, quarantine={k: v for k, v in memory.quarantine.items() if k not in due})

    def needs_deep_look(self, planned: Plan) -> bool:
        """Whether a plan of a pass that did not look everywhere does something for what was found before: look again first."""
        return any(
            action.verb in (Verb.REGISTER, Verb.UNREGISTER)
            or is_asked(action.target)
            or any(difference.inside for difference in action.differences)
            for action in planned.actions
        )

    def wants_deep(self, desired: Desired, memory: Memory) -> tuple[bool, bool]:
        """Whether this pass should be a deep one, and whether that should look into containers: both for a new desired state and
        after a pass that did something; else each at its own interval, for a look into a container starts a program there.
        Whatever did not let itself be looked at is asked in every pass. Beside what is in flight no pass takes the time."""
        if self._flights.flying:
            return False, False
        now, daemon = time.monotonic(), self._settings.daemon
        good = memory.last_good
        new = self._deep_origin != desired.origin and (good is None or good.origin != desired.origin)
        unseen = self._found is not None and bool(self._found.unseen)
        again = daemon.interval if unseen else daemon.deep_interval
        inside = new or self._acted or not self._looked_inside or now - self._looked_inside >= again
        blind = self._lacking or (self._found is not None and bool(self._found.unknown))
        patience = daemon.interval if blind else min(daemon.look_interval, daemon.deep_interval)
        return inside or now - self._looked >= patience, inside

    def pass_ended(self, *, acted: bool) -> None:
        """After a pass that did something the next looks closely: at what was done, and at its neighbourhood."""
        self._acted = acted
        if acted:
            self._found = None

    def forget(self) -> None:
        """Begin anew: the state is another one."""
        self._found, self._identified = None, ((), {})

    def not_working(
        self, target: Target, actual: Actual, planned: Plan, in_flight: Iterable[str]
    ) -> tuple[report.Symptom, ...]:
        """Containers that run, do not work, and that nothing is done about in this pass, nor in what is in flight."""
        touched, now = {action.container for action in planned.actions} | {*in_flight}, self._clock()
        seen = [(c, actual.containers.get(c.name)) for c in target.desired.containers if c.name not in touched]
        return tuple(found for container, running in seen if (found := report.symptom_of(container, running, now)))

    def check(
        self, target: Target, settled: Iterable[CheckResult], in_flight: Iterable[str], *, deep: bool
    ) -> tuple[CheckResult, ...]:
        """Whether this host's services answer. All checks are made in a deep pass; else those that failed the last time. Those that
        were made, with time to settle, at the end of what was in flight are `settled`. What rests on something in flight is not
        asked."""
        beside = self.checks_beside(target, in_flight)
        made = {result.name: result for result in settled}
        due = [c for c in beside if c.name not in made and (deep or c.name in self._failing)]
        asked = probe.make(due, self._engine, self.registry(target), patience=0.0, stop=self._stop)
        results = (*(made[c.name] for c in beside if c.name in made), *asked)
        unasked = self._failing - {result.name for result in results}
        self._failing = frozenset({*unasked, *(result.name for result in results if not result.ok)})
        return results

    def explained(self, target: Target, in_flight: Sequence[InFlight]) -> tuple[InFlight, ...]:
        """The same; what has been waited for long is told in the words of the container's own checks, which run in it and know what it lacks."""
        now = self._clock()
        long = {one.target for one in in_flight if (now - one.since).total_seconds() >= _LONG}
        due = [check for check in target.desired.checks if check.routine and check.container in long]
        if not due:
            return tuple(in_flight)
        made = probe.make(due, self._engine, self.registry(target), patience=0.0, stop=self._stop)
        whys: dict[str, str] = {}
        for check, result in zip(due, made, strict=True):
            if not result.ok:
                whys.setdefault(check.container, result.message)
        return tuple(replace(o, text=f"{o.text}: {whys[o.target]}") if o.target in whys else o for o in in_flight)

    def checks_beside(self, target: Target, in_flight: Iterable[str]) -> list[Check]:
        """The checks that say something while `in_flight` is being changed: of what does not rest on it."""
        flying = frozenset(in_flight)
        services = {c.service for c in target.desired.containers if c.name in flying}
        below = health_gate.services_below(target.desired.containers)
        return [c for c in target.desired.checks if services.isdisjoint({c.service, *below.get(c.service, ())})]

    def registry(self, target: Target) -> Registry:
        """The registrars of a target; connections are kept as long as it, or what is in flight for it, is in use."""
        used = [target, *(flight.target for flight in self._flights.flying)]
        later = self._aims.later(target)
        kept = [
            one
            for one in self._registries
            if any(one.target is wanted for wanted in used) and (one.target is not target or one.later is later)
        ]
        for one in self._registries:
            if one not in kept:
                one.registry.close()
        if not any(one.target is target for one in kept):
            kept.append(_Registrars(target, later, registry_of(target, self._aims.former(target), later)))
        self._registries = tuple(kept)
        return next(one.registry for one in kept if one.target is target)

    def close(self) -> None:
        """Let go of the registrars' connections."""
        for one in self._registries:
            one.registry.close()
        self._registries = ()


def with_previous_files(desired: Desired, memory: Memory, written: Iterable[str] | None) -> Desired:
    """So that files of containers that are no longer wanted are observed, and can be deleted with them. `written` are the paths of all that
    this program ever wrote below the config root, which a commit that was never carried out to its end may have had alone."""
    files = {file.path: file for file in (memory.last_good.files if memory.last_good else ())}
    files |= {path: File(path, "") for path in written or () if path not in files}
    paths = {file.path for file in desired.files}
    return replace(desired, files=(*desired.files, *(file for path, file in files.items() if path not in paths)))
