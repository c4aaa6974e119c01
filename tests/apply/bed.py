"""A node whose executor, rollback, state directory and files are the real ones, on a fake engine (`fake.py`).

Time is the model's: what was written to the disk since one looked last counts as written at the next moment.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

from reconciler import apply, errors, plan
from reconciler.apply import Actions, Rollback, Slots, Validator
from reconciler.apply.ports import Gate, Progress
from reconciler.host.machine import Machine
from reconciler.host.sysctl import BOOT, path_of
from reconciler.model import (
    Action,
    Actual,
    Applied,
    AsMade,
    Container,
    Desired,
    FileState,
    HostSetting,
    Image,
    Memory,
    Outcome,
    Plan,
    Precheck,
    Running,
)
from reconciler.node import applying, host, manifest, remembering
from reconciler.node.observing import with_previous_files
from reconciler.node.target import Target, make_target
from reconciler.source.prepare import Prepared
from reconciler.state import StateDirectory
from reconciler.system import files
from tests.apply.fake import FakeEngine, FakeRegistrars, Faults
from tests.scenarios.world import HARMLESS, KERNEL, World, digests

START = datetime(2000, 1, 1, tzinfo=UTC)
_LATER = datetime(2015, 1, 1, tzinfo=UTC).timestamp()  # after every moment of the model, before every real one


class NoGate:
    """Nothing but health is asked for; `tests/apply/test_gate.py` is about the rest."""

    def before(self, container: Container) -> None: ...
    def is_open(self, container: str) -> bool:
        return False

    def after(self, container: Container) -> apply.Health:
        raise AssertionError(container)

    def settled(self, container: str) -> None: ...


class Unhurried:
    """Nobody cuts a gate short."""

    def at(self, container: str, text: str) -> None: ...
    def cut(self, container: str) -> Event:
        return Event()


class _Noting(Event):
    """Is never set, and notes for how long somebody would have waited."""

    def __init__(self, waited: list[float | None]) -> None:
        super().__init__()
        self._waited = waited

    def wait(self, timeout: float | None = None) -> bool:
        self._waited.append(timeout)
        return False


@dataclass
class Told(Unhurried):
    """What was told on the way, and for how long something was waited for."""

    told: list[str] = field(default_factory=list)
    waited: list[float | None] = field(default_factory=list)

    def at(self, container: str, text: str) -> None:
        assert container in text
        self.told.append(text)

    def cut(self, container: str) -> Event:
        return _Noting(self.waited)


@dataclass
class NoUnits:
    """The service manager: which units were switched off."""

    disabled: list[str] = field(default_factory=list)

    def take_over(self, unit: str) -> None:
        self.disabled.append(unit)


class Disk:
    """The files below a root, with the model's moments as their times."""

    def __init__(self, root: Path, clock: "Clock") -> None:
        self.root, self._clock = root, clock
        root.mkdir(parents=True)

    def put(self, path: str, state: FileState) -> None:
        """As the model has it."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if state.kind == "symlink":
            place.symlink_to("/nonexistent")
        else:
            place.write_bytes(state.content or b"")
            place.chmod(state.mode)
        moment = state.modified.timestamp()
        os.utime(place, (moment, moment), follow_symlinks=False)

    def settle(self) -> None:
        """What was written since the last time was written now."""
        fresh = [p for p in self.root.rglob("*") if not p.is_dir() and p.lstat().st_mtime > _LATER]
        if fresh:
            moment = self._clock.tick().timestamp()
            for path in fresh:
                os.utime(path, (moment, moment), follow_symlinks=False)


@dataclass
class Clock:
    """Moments of the model, one after the other."""

    now: int = 0

    def tick(self) -> datetime:
        self.now += 1
        return START + timedelta(seconds=self.now)


class Node:
    """One node, begun where `world` is. `base` is what it had converged to, if it had."""

    def __init__(self, place: Path, world: World) -> None:
        self.clock, self.faults = Clock(world.now), Faults()
        self.root = place / "kolla"
        self.disk = Disk(self.root, self.clock)
        for path, file in world.files.items():
            self.disk.put(path, file)
        self.engine = FakeEngine(self._moment, self.faults, dict(world.containers), dict(world.images))
        self.registrars = FakeRegistrars(self.faults, dict(world.registrations))
        self.machine = Machine(_kernel(place / "machine", world))
        self.units, self._present_units = NoUnits(), frozenset(world.units)
        self.state = StateDirectory(place / "state")
        self.progress: Progress = Unhurried()
        self.gate: Gate = NoGate()
        self.slots: Slots | None = None
        self.validator = Validator()
        self.fitness: Callable[[Precheck], str] = lambda check: ""
        self.who: Callable[[str, Container], str] = lambda message, container: ""
        self.as_made: Mapping[str, AsMade] = {}  # of containers that are to be taken over as they are
        self.with_all = True  # whether every host of the site has what this one was converged to
        self.state.create()
        self._remember(world)

    def _remember(self, world: World) -> None:
        memory = world.memory
        good = memory.last_good and self.of(memory.last_good)
        translated = self._digests(memory.last_good) if memory.last_good else {}
        applied = {
            name: replace(found, files=translated.get((name, found.files), ""))
            for name, found in memory.applied.items()
        }
        if good:
            self.state.converged(good)
        self.state._change(lambda _: replace(memory, applied=applied, last_good=None))
        self.state.note_written(str(self.root), world.written)

    def _moment(self) -> datetime:
        self.disk.settle()
        return self.clock.tick()

    def of(self, desired: Desired) -> Desired:
        """The same with its files on this disk."""
        return replace(desired, config_root=str(self.root))

    def target(self, desired: Desired) -> Target:
        return make_target(Prepared(self.of(desired), {}))

    def _digests(self, desired: Desired) -> dict[tuple[str, str], str]:
        """(container, the model's digest of its files) → ours."""
        ours = self.target(desired).files_digest
        return {(name, theirs): ours[name] for name, theirs in digests(desired).items()}

    @property
    def rollback(self) -> Rollback:
        return Rollback(self.state.rollback, self.root, self.state.written(str(self.root)) or {})

    def settings(self) -> dict[str, dict[str, str]]:
        """What there is to set on the host, as it is."""
        every = [HostSetting("sysctl", name.partition(":")[2]) for name in KERNEL]
        found, unknown = self.machine.observe(every)
        assert not unknown
        return {name: dict(fields) for name, fields in found.items()}

    # --- what a cycle does -----------------------------------------------------------------------------------------------

    def actual(self, desired: Desired) -> Actual:
        """What can be seen, as the engine and the disk show it."""
        self.disk.settle()
        adopted = {applied.id for applied in self.state.memory().applied.values()}
        with_before = with_previous_files(self.of(desired), self.state.memory(), self.state.written(str(self.root)))
        found, unknown = host.observe_files(with_before, self.root)
        assert not unknown
        return Actual(
            containers={
                name: replace(running, owned=running.owned or running.id in adopted)
                for name, running in self.engine.containers.items()
            },
            images=dict(self.engine.images),
            files=found,
            registrations={item.id: self.registrars.content.get(item.id) for item in desired.registrations},
            host_settings=self.settings(),
            units=self._present_units - {unit.removeprefix("kolla-").removesuffix("-container.service") for unit in self.units.disabled},
            deep=True,
        )  # fmt: skip

    def plan(self, desired: Desired, actual: Actual | None = None) -> Plan:
        """What would be done now."""
        target, actual, memory = self.target(desired), actual or self.actual(desired), self.state.memory()
        kept = self.rollback.kept()
        proved = {applied.id for applied in memory.applied.values()}
        unproved = kept | {name for name, running in actual.containers.items() if running.id not in proved}
        root = str(self.root)
        basis = plan.Basis(
            contents=target.contents,
            files_digest=target.files_digest,
            part_digest=target.part_digest,
            kept=kept,
            unproved=frozenset(unproved),
            written=manifest.known(self.state.written(root), root, actual, memory),
            touched=self.state.touched,
        )
        return plan.diff(target.desired, actual, memory, basis)

    def act(self, desired: Desired, *actions: Action) -> list[Outcome]:
        """What becomes of these actions, planned or not. May raise Killed."""
        return self.carry_out(Plan(desired.host, desired.revision, actions), desired, self.actual(desired))

    def carry_out(self, wanted: Plan, desired: Desired, actual: Actual) -> list[Outcome]:
        """The plan's actions one by one, as the walker would: what fails skips what needs it. May raise Killed."""
        target, memory = self.target(desired), self.state.memory()
        root = str(self.root)
        ours = manifest.known(self.state.written(root), root, actual, memory)
        ours = manifest.before_writing(ours, wanted, target.contents, actual)
        self.state.note_written(root, ours)
        if target.desired.revision != memory.revision:
            changes = [action for action in wanted.actions if not action.drift]
            self.state.begin(target.desired.revision, {n for a in changes for n in (a.target, a.container) if n})
        actions = Actions(
            wanted,
            target.desired,
            replace(applying._apply_basis(target, actual, memory), written=ours, as_made=self.as_made),
            contents=target.contents,
            files_digest=target.files_digest,
            part_digest=target.part_digest,
            engine=self.engine,
            registrations=self.registrars,
            host=self.machine,
            store=self.state,
            rollback=self.rollback,
            units=self.units,
            validator=self.validator,
            gate=self.gate,
            progress=self.progress,
            slots=self.slots,
            fitness=self.fitness,
            who=self.who,
        )
        done: dict[str, Outcome] = {}
        for action in wanted.actions:
            if any(need in done and done[need].result != "done" for need in action.needs):
                done[action.id] = Outcome(action, "skipped")
                continue
            try:
                done[action.id] = actions(action)
            except errors.ReconcilerError as error:
                done[action.id] = Outcome(action, "failed", error.reason, str(error))
            self.disk.settle()
        self.last = [(o.action.line, o.result, o.message) for o in done.values()]
        return list(done.values())

    def converge(self, desired: Desired) -> tuple[Plan, list[Outcome]]:
        """One whole cycle. May raise Killed."""
        actual, memory = self.actual(desired), self.state.memory()
        wanted = self.plan(desired, actual)
        outcomes = self.carry_out(wanted, desired, actual)
        settled = all(
            held.reason in HARMLESS or (held.drift and held.reason == "DriftReported") for held in wanted.held
        )
        if settled and all(outcome.result == "done" for outcome in outcomes):
            remembering.remember(self.state, self.target(desired), wanted, actual, memory, lambda: self.with_all)
        return wanted, outcomes

    # --- how it is, comparable with the model ----------------------------------------------------------------------------

    def summary(self, *sites: Desired) -> dict[str, Any]:
        """What the node is like but for its ids and moments. `sites`: by whose contents digests are told in the model's words."""
        words = {ours: f"{name}:{theirs}" for site in sites for (name, theirs), ours in self._digests(site).items()}
        actual = self.actual(sites[-1])
        memory = self.state.memory()
        return summary(
            actual.containers.values(),
            actual.files,
            memory,
            self.rollback.kept(),
            self.registrars.content,
            words,
            actual.host_settings,
        )


def of_model(world: World, *sites: Desired) -> dict[str, Any]:
    """The same of a model."""
    words = {theirs: f"{name}:{theirs}" for site in sites for name, theirs in digests(site).items()}
    actual = world.actual(sites[-1])
    whole = with_previous_files(sites[-1], world.memory, world.written)
    wanted = {f.path.rpartition("/")[0] for f in whole.files} | {c.config_directory for c in whole.containers}
    wanted |= {job.container.config_directory for job in whole.jobs}
    seen = {path: state for path, state in actual.files.items() if path.rpartition("/")[0] in wanted}
    return summary(
        actual.containers.values(), seen, world.memory, world.kept, world.registrations, words, actual.host_settings
    )


def summary(
    containers: Iterable[Running],
    found: Any,
    memory: Memory,
    kept: Iterable[str],
    registered: Any,
    words: dict[str, str],
    settings: Any,
) -> dict[str, Any]:
    """What is the same of two nodes that are the same."""
    by_id = {running.id: running for running in containers}
    return {
        "containers": {
            c.spec.name: (replace(c.spec, stop_timeout=None), c.image_id, c.state, c.owned) for c in by_id.values()
        },
        "order": _order(by_id.values(), found),
        "files": {p: (f.kind, f.content if f.kind == "file" else None, f.mode if f.kind == "file" else 0) for p, f in found.items()},
        "applied": {name: _known(applied, by_id, words) for name, applied in memory.applied.items()},
        "kept": sorted(kept),
        "registrations": {key: value for key, value in registered.items() if value is not None},
        "registered": sorted(item.id for item in memory.registered),
        "settings": settings,
        "set": {name: dict(kept.before) for name, kept in memory.host_settings.items()},
        "jobs": {name: (job.inputs, job.succeeded) for name, job in memory.jobs.items()},
        "revision": memory.revision,
        "quarantine": dict(memory.quarantine),
    }  # fmt: skip


def _kernel(root: Path, world: World) -> Path:
    """What a host shows of the settings that the model has."""
    for name, fields in world.kernel.items():
        path = root / path_of(name.partition(":")[2]).lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(fields["live"] + "\n")
    (root / "etc/sysctl.d").mkdir(parents=True)
    lines = [
        f"{name.partition(':')[2]} = {fields['boot']}\n" for name, fields in world.kernel.items() if "boot" in fields
    ]
    if lines:
        (root / BOOT.lstrip("/")).write_text("".join(lines))
    return root


def _known(applied: Applied, by_id: dict[str, Running], words: dict[str, str]) -> tuple[str, bool, str]:
    running = by_id.get(applied.id)
    same = running is not None and running.started_at == applied.started_at
    return (running.spec.name if running else "gone", same, words.get(applied.files, applied.files))


def _order(containers: Iterable[Running], found: dict[str, FileState]) -> dict[str, list[str]]:
    """Container → its files that were written after it was started: what planning sees of times."""
    return {
        c.spec.name: sorted(
            path
            for path, state in found.items()
            if state.kind == "file" and c.started_at and path.startswith(f"{c.spec.name}/") and state.modified > c.started_at
        )
        for c in containers
        if c.started_at
    }  # fmt: skip


def rooted(path: Path) -> Path:
    """A fresh folder for a node, which only root can write to."""
    files.make_dirs(path.parent, path.name, 0o700)
    return path


def settled(place: Path, desired: Desired, *images: str) -> Node:
    """A node that has converged to `desired`, of which nothing is noted yet. `images` are there: `i` and `new`, unless said otherwise."""
    made = Node(place, World(images={name: Image(name) for name in images or ("i", "new")}))
    made.converge(desired)
    made.faults.calls.clear()
    return made
