"""Carrying a plan out on this node: what an apply needs is put together, and what it did is looked at once more."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import structlog

from reconciler import apply, plan
from reconciler.apply import FILE_VERBS, Rollback, blame
from reconciler.engine import Engine
from reconciler.model import Action, Actual, Check, CheckResult, Container, Desired, Memory, Outcome, Plan, Verb
from reconciler.node import fitness, health_gate, listeners, manifest, probe
from reconciler.node.admission import Admission
from reconciler.node.flight import Flight, Flights, Landed
from reconciler.node.observing import Observer, with_previous_files
from reconciler.node.target import Target
from reconciler.options.normal import normal
from reconciler.options.requests import updated
from reconciler.render import digest
from reconciler.report import Report
from reconciler.settings import Settings
from reconciler.state import StateDirectory
from reconciler.system import files

log = structlog.get_logger()


_CHANGE_NOTHING = (Verb.PULL, Verb.PRECHECK)  # what a host may do and still be as it was
# Seconds that services have to answer after a change: load balancers take a backend back in their own time.
_SETTLE = health_gate.PATIENCE


class Executor:
    """Carries plans out, each as a flight. Its methods are for the passes' thread; what they begin touches nothing but what is safe
    from several."""

    def __init__(
        self, settings: Settings, state: StateDirectory, engine: Engine, observer: Observer, flights: Flights
    ) -> None:
        self._settings, self._state, self._engine = settings, state, engine
        self._observer, self._flights = observer, flights
        self._validator = apply.Validator()
        self._tidied = False

    def begin(
        self,
        target: Target,
        wanted: Plan,
        actual: Actual,
        memory: Memory,
        admission: Admission,
        about: Report,
        *,
        apart: bool,
        ahead: Callable[[Flight], None] | None = None,
    ) -> Flight | None:
        """Begin to carry out the plan that was made of `actual` and `memory`; every outcome is logged as it comes. None when there is
        nothing to do. `about` is the report of the pass, `apart` as in `Flights.begin`, `ahead` as in `Flight`."""
        self._tidy(target, memory)
        if wanted.empty:
            return None
        bound = target.bound(actual)
        root = target.desired.config_root
        if any(action.verb in FILE_VERBS for action in wanted.actions):
            files.require_unexchangeable(Path(root))
        ours = manifest.known(self._state.written(root), root, actual, memory)
        ours = manifest.before_writing(ours, wanted, bound.contents, actual)
        self._state.note_written(root, ours)
        self._engine.site = f"{target.desired.site}/{target.desired.host}"
        good = memory.last_good
        only_pulls = all(action.verb is Verb.PULL for action in wanted.actions)  # which touches nothing
        if not only_pulls and (good is None or good.origin != target.desired.origin):
            changes = [action for action in wanted.actions if not action.drift]
            touches = {name for action in changes for name in (action.target, action.container) if name}
            if any(action.verb not in _CHANGE_NOTHING for action in changes):
                self._state.begin(target.desired.revision, touches)
        flight = Flight(target, wanted, replace(about, plan=wanted), ahead)
        made = plan.taken_as_made(target.desired, wanted, actual, bound.files_digest)
        basis = replace(_apply_basis(target, actual, memory), written=ours, as_made=made)
        self._flights.begin(flight, self._carrying_out(flight, bound, basis, memory, admission), apart=apart)
        return flight

    def _carrying_out(
        self, flight: Flight, bound: Target, basis: apply.Basis, memory: Memory, admission: Admission
    ) -> Callable[[Flight], Landed]:
        """What carries out a flight, in whatever thread. `bound` is its target with the identifiers that its plan was made with."""
        target, wanted, parallel = flight.target, flight.plan, self._settings.engine.parallel
        slots = apply.Slots(min(parallel, self._flights.slots or parallel))
        engine, registry = self._engine.admitting(admission.require), self._observer.registry(target)
        beside = self._observer.checks_beside(target, self._flights.items())
        touches = any(action.verb not in _CHANGE_NOTHING for action in wanted.actions)
        settles = touches and not any(not held.reason.harmless for held in wanted.held)

        def make(checks: Sequence[Check], patience: float, stop: Event) -> tuple[CheckResult, ...]:
            return probe.make(checks, self._engine, registry, patience=patience, stop=stop)

        changed = [action.container for action in wanted.actions if action.container]
        actions = apply.Actions(
            wanted,
            target.desired,
            basis,
            contents=bound.contents,
            files_digest=bound.files_digest,
            part_digest=target.part_digest,
            engine=engine,
            registrations=registry,
            host=self._observer.machine,
            store=self._state,
            rollback=kept_files(self._state, target),
            units=apply.Systemd(),
            validator=self._validator,
            gate=health_gate.Gate(target.desired, memory, changed, make, self._state.answered, flight.cut),
            progress=flight,
            slots=slots,
            who=self._holders,
            fitness=partial(
                fitness.lacking,
                desired=target.desired,
                engine=self._engine,
                root=self._settings.root,
                local=self._settings.engine.url.startswith("unix://"),
            ),
        )

        def perform(action: Action) -> Outcome:
            self._state.require_same()  # what cannot be remembered is not done
            return actions(action)

        def ended(outcome: Outcome) -> None:
            flight.end(outcome)
            _log_outcome(outcome)

        def carry_out(flight: Flight) -> Landed:
            self._state.plain(no_more=files_touched(wanted, target.desired))
            outcomes = apply.walk(
                wanted, perform, stop=flight.stop, slots=slots, on_begin=flight.begin, on_outcome=ended
            )
            self._state.plain(now=files_plain(outcomes, target.desired, memory))
            if not settles or any(outcome.result != "done" for outcome in outcomes):
                return Landed(outcomes)
            checks = make(beside, _SETTLE, flight.stop)
            return Landed(outcomes, None if flight.stop.is_set() else checks)

        return carry_out

    def _holders(self, message: str, container: Container) -> str:
        """Who has the ports that a message names."""
        found = {port: listeners.holder(port, self._engine.name_of) for port in blame.ports(message, container)}
        return ", ".join(f"port {port} is held by {who}" for port, who in sorted(found.items()) if who)

    def _tidy(self, target: Target, memory: Memory) -> None:
        """Once per process, within a cycle: remove what a killed one left half written."""
        if self._tidied or self._state.suspension or self._settings.mode == "report":
            return
        self._tidied = True
        root = Path(target.desired.config_root)
        self._state.tidy()
        apply.tidy_one_shots(root)
        kept_ones = (kept.setting for kept in memory.host_settings.values())
        self._observer.machine.tidy((*target.desired.host_settings, *kept_ones))
        kept_files(self._state, target).tidy({container.name for container in target.desired.containers})
        wanted = with_previous_files(target.desired, memory, self._state.written(target.desired.config_root)).files
        for directory in {file.path.rpartition("/")[0] for file in wanted}:
            swept = files.sweep(root, directory)
            log.debug("files.swept", directory=directory, files=swept)


def kept_files(state: StateDirectory, target: Target) -> Rollback:
    """The previous files of containers that have not proved themselves yet."""
    root = target.desired.config_root
    return Rollback(state.rollback, Path(root), state.written(root) or {})


def _apply_basis(target: Target, actual: Actual, memory: Memory) -> apply.Basis:
    failed = plan.quarantined(target.desired, memory, target.part_digest)
    good = memory.last_good
    parts = {(c.name, digest.part_digest(good, c.name)) for c in good.containers} if good else set()
    parts |= {(name, one.part) for name, one in memory.worked.items()}
    before = {
        name: container
        for name, container in plan.worked(memory).items()
        if (running := actual.containers.get(name)) and running.spec.image == container.image
    }
    return apply.Basis(
        worked=frozenset(name for name, part in parts if part == target.part_digest.get(name)),
        proved=frozenset(memory.applied),
        shown=frozenset(applied.id for applied in memory.applied.values()),
        before=before,
        limits=_limits(target.desired, actual, memory, before),
        failures=memory.failures,
        took=memory.took,
        in_force=plan.in_force(target.desired, memory, failed),
        quarantined=failed,
        migrated=plan.migrated(target.desired, memory),
        observed={name: running.id for name, running in actual.containers.items()},
        owned=frozenset(running.id for running in actual.containers.values() if running.owned),
        registered={registration.id: registration for registration in memory.registered},
        host_settings=memory.host_settings,
    )


def _limits(desired: Desired, actual: Actual, memory: Memory, before: Mapping[str, Container]) -> dict[str, Container]:
    """What containers were like whose options a commit changes in place; those that another tool made are what they are."""
    asked = {container.name: container for container in desired.containers}
    changed = {name: c for name, c in before.items() if name in asked and updated(normal(asked[name]), normal(c))}
    made = {name: actual.containers[name] for name in changed if name in memory.as_made}
    return changed | {name: one.spec for name, one in made.items() if one.id == memory.as_made[name].id}


def files_touched(wanted: Plan, desired: Desired) -> frozenset[str]:
    """Files that an apply may write, or bring back in a rollback."""
    containers = {action.container for action in wanted.actions} | {action.target for action in wanted.actions}
    return frozenset(file.path for file in desired.files if file.container in containers) | {
        action.target for action in wanted.actions
    }


def files_plain(outcomes: Iterable[Outcome], desired: Desired, memory: Memory) -> frozenset[str]:
    """Of those, the files that hold no secret for certain now: written without one or known before, and nothing went wrong."""
    seen = list(outcomes)
    failed = {name for o in seen if o.result != "done" for name in (o.action.container, o.action.target)}
    written = {o.action.target for o in seen if o.action.verb is Verb.WRITE and o.result == "done"}
    return frozenset(
        file.path
        for file in desired.files
        if not file.secrets and file.container not in failed and (file.path in written or file.path in memory.plain)
    )


def _log_outcome(outcome: Outcome) -> None:
    fields: dict[str, Any] = {"action": outcome.action.id, "cause": outcome.action.cause, "seconds": outcome.seconds}
    if outcome.result == "done":
        log.info("action.done", **fields)
    elif outcome.result == "skipped":
        log.info("action.skipped", **fields, reason=outcome.reason, message=outcome.message)
    else:
        log.error(f"action.{outcome.result}", **fields, reason=outcome.reason, message=outcome.message)
