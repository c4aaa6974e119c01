"""An engine, a disk and a memory in a few dictionaries: the specification of what each verb of a plan does.

Planning is judged against it: a plan is right when carrying it out, in whole or in part, leads to where a plan is empty.
Time is a counter that every change moves on, so that two things never happen at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.model import (
    ASIDE,
    Action,
    Actual,
    Applied,
    Container,
    Desired,
    File,
    FileState,
    HostKept,
    Image,
    JobResult,
    Memory,
    Plan,
    Registration,
    Running,
    State,
    Verb,
    aside,
)
from reconciler.node import manifest
from reconciler.options.requests import is_updated
from reconciler.options.table import TABLE
from reconciler.plan import Basis, diff, in_force, quarantined
from reconciler.render.digest import part_digest

PROVING = {Verb.CREATE, Verb.REPLACE, Verb.RENAME, Verb.RESTART, Verb.RELOAD, Verb.START}
KERNEL = ("sysctl:net.a", "sysctl:net.b")  # settings of the host that there are
HARMLESS = {"HoldsData", "PruneReported", "NotAchievable", "Foreign"}


@dataclass
class World:
    """One node. Mutations by hand are made directly; plans are carried out with `perform`."""

    containers: dict[str, Running] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    files: dict[str, FileState] = field(default_factory=dict)
    registrations: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)
    kernel: dict[str, dict[str, str]] = field(default_factory=lambda: {name: {"live": "0"} for name in KERNEL})
    units: set[str] = field(default_factory=set)
    unknown: dict[str, str] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    written: dict[str, tuple[str, ...]] = field(default_factory=dict)  # path → digests of what we ever wrote there
    memory: Memory = field(default_factory=Memory)
    now: int = 0

    def time(self) -> datetime:
        """The next moment."""
        self.now += 1
        return datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now)

    # --- what a cycle does -------------------------------------------------------------------------------------------

    def actual(self, desired: Desired) -> Actual:
        """What can be seen: nothing of what is unknown."""
        adopted = {applied.id for applied in self.memory.applied.values()}
        seen = {
            name: replace(running, owned=running.owned or running.id in adopted)
            for name, running in self.containers.items()
            if f"container:{name}" not in self.unknown
        }
        return Actual(
            containers=seen,
            images={name: image for name, image in self.images.items() if f"image:{name}" not in self.unknown},
            files={path: state for path, state in self.files.items() if f"file:{path}" not in self.unknown},
            registrations={r.id: self.registrations.get(r.id) for r in desired.registrations},
            host_settings={name: dict(found) for name, found in self.kernel.items()},
            units=frozenset(self.units),
            unknown=dict(self.unknown),
            deep=True,
        )

    def plan(self, desired: Desired, **more: Any) -> Plan:
        """What would be done now."""
        return diff(desired, self.actual(desired), self.memory, self.basis(desired, **more))

    def basis(self, desired: Desired, **more: Any) -> Basis:
        proved = {applied.id for applied in self.memory.applied.values()}
        return Basis(
            contents={file.path: file.content.encode() for file in desired.files},
            files_digest=digests(desired),
            part_digest={c.name: part_digest(desired, c.name) for c in desired.containers},
            kept=frozenset(self.kept),
            written=dict(self.written),
            unproved=frozenset({n for n, r in self.containers.items() if r.id not in proved} | self.kept),
            **more,
        )

    def converge(self, desired: Desired) -> Plan:
        """One whole cycle. Returns what it did."""
        wanted, actual, memory = self.plan(desired), self.actual(desired), self.memory
        for action in wanted.actions:
            self.perform(action, desired, wanted)
        self.conclude(desired, wanted, actual, memory)
        return wanted

    def conclude(self, desired: Desired, done: Plan, actual: Actual, memory: Memory) -> None:
        """The end of a cycle in which every action was done."""
        if any(
            held.reason not in HARMLESS and not (held.drift and held.reason == "DriftReported") for held in done.held
        ):
            return
        names = {container.name for container in desired.containers}
        kept = {name: applied for name, applied in self.memory.applied.items() if name in names}
        jobs = {job.name: self.memory.jobs[job.name] for job in desired.jobs if job.name in self.memory.jobs}
        self.memory = replace(self.memory, revision=desired.revision, last_good=desired, applied=kept, jobs=jobs)
        self.written = dict(manifest.after_converging(self.written, done, self.basis(desired).contents, actual))
        changed = {action.container for action in done.actions}
        for name, digest in digests(desired).items():
            running, applied = actual.containers.get(name), memory.applied.get(name)
            if running and applied and applied.id == running.id and name not in changed:
                self.remember(name, Applied(running.id, running.started_at, digest))

    # --- what each verb does -----------------------------------------------------------------------------------------

    def perform(self, action: Action, desired: Desired, whole: Plan, steps: int = 9) -> None:
        """Carry out one action, or its first `steps` steps: killed after them."""
        for step in [*self.steps(action, desired, whole)][:steps]:
            step()

    def steps(self, action: Action, desired: Desired, whole: Plan) -> list[Any]:
        """The action's steps, each of which happens or does not."""
        verb, target = action.verb, action.target
        base = target.removeprefix(ASIDE)
        failed = quarantined(desired, self.memory, self.basis(desired).part_digest)
        container = in_force(desired, self.memory, failed).get(base)
        digest = "" if base in failed else digests(desired).get(base, "")
        spare = aside(base)

        def proved() -> None:
            self.remember(base, Applied(self.containers[base].id, self.containers[base].started_at, digest))
            self.kept.discard(base)

        def create() -> None:
            assert container is not None
            self.containers[base] = made(container, f"id{self.time()}", self.images[container.image])

        def start() -> None:
            running = self.containers[base]
            if running.state is not State.RUNNING:
                restart()

        def restart() -> None:
            self.containers[base] = replace(self.containers[base], state=State.RUNNING, started_at=self.time())

        def move_aside() -> None:
            if spare in self.containers:
                self.containers.pop(base, None)
            elif base in self.containers:
                self.rename(base, spare)

        def move_back() -> None:
            self.rename(spare, base)

        def stop_spare() -> None:
            if spare in self.containers:
                self.containers[spare] = replace(self.containers[spare], state=State.EXITED)

        def drop_spare() -> None:
            self.containers.pop(spare, None)

        match verb:
            case Verb.PULL:
                return [lambda: self.images.update({target: Image(target)})]
            case Verb.VALIDATE | Verb.PRECHECK:
                return []
            case Verb.WRITE | Verb.CHMOD | Verb.DELETE:
                return self.file_steps(action, desired, whole)
            case Verb.CREATE:
                return [create, start, proved]
            case Verb.REPLACE:
                return [move_aside, create, stop_spare, start, proved, drop_spare]
            case Verb.RENAME:
                return [lambda: self.containers.pop(base, None), move_back, start, proved]
            case Verb.RESTART:
                return [restart, proved]
            case Verb.START:
                return [start, proved]
            case Verb.RELOAD:
                return [proved]
            case Verb.UPDATE:
                return [lambda: self.update(base, container)]
            case Verb.REMOVE:
                return [proved, drop_spare] if target != base and container else [lambda: self.containers.pop(target)]
            case Verb.ADOPT:
                adopted = self.containers[base]
                return [
                    lambda: self.units.discard(base) if action.disables else None,
                    lambda: self.remember(base, Applied(adopted.id, adopted.started_at, "")),
                ]
            case Verb.RUN:
                inputs = next(job.inputs for job in desired.jobs if job.name == target)
                return [lambda: self.note(jobs={**self.memory.jobs, target: JobResult(inputs, True, self.time())})]
            case Verb.REGISTER:
                registration = next(r for r in desired.registrations if r.id == target)
                return [
                    lambda: self.note(registered=(*self.without(target), registration)),
                    lambda: self.lose(action, desired),
                    lambda: self.registrations.update({target: registration.fields}),
                ]
            case Verb.UNREGISTER:
                return [
                    lambda: self.registrations.update({target: None}),
                    lambda: self.note(registered=self.without(target)),
                ]
            case Verb.SET:
                setting = next(s for s in desired.host_settings if s.id == target)
                earlier = self.memory.host_settings.get(target)
                kept = HostKept(setting, earlier.before if earlier else {"live": self.kernel[target]["live"]})
                was = tuple(s for s in (*earlier.earlier, earlier.setting) if s != setting) if earlier else ()
                begun = replace(kept, earlier=was)
                ended = [lambda: self.keep_setting(kept)] if was else []
                return [lambda: self.keep_setting(begun), *self.setting_steps(target, setting.fields), *ended]
            case Verb.RESET:
                gone = self.memory.host_settings[target]
                before = dict(gone.before)
                if self.kernel[target]["live"] != gone.as_found(self.kernel[target]).fields["live"]:
                    before["live"] = self.kernel[target]["live"]  # somebody else's by now
                return [*self.setting_steps(target, before), lambda: self.forget_setting(target)]
        raise AssertionError(verb)

    def lose(self, action: Action, desired: Desired) -> None:
        """Note of the jobs that filled what is made anew that they have to run again."""
        if self.registrations.get(action.target) is None:
            inputs = {job.name: job.inputs for job in desired.jobs if job.name in action.unmakes}
            lost = {name: JobResult(digest, False, self.time(), lost=True) for name, digest in inputs.items()}
            self.note(jobs={**self.memory.jobs, **lost})

    def setting_steps(self, target: str, fields: Mapping[str, str]) -> list[Any]:
        """What counts at boot first, then what counts now."""

        def boot() -> None:
            self.kernel[target].pop("boot", None)
            self.kernel[target] |= {"boot": fields["boot"]} if "boot" in fields else {}

        return [boot, lambda: self.kernel[target].update(live=fields["live"])]

    def keep_setting(self, kept: HostKept) -> None:
        self.note(host_settings={**self.memory.host_settings, kept.setting.id: kept})

    def forget_setting(self, target: str) -> None:
        self.note(host_settings={k: v for k, v in self.memory.host_settings.items() if k != target})

    def file_steps(self, action: Action, desired: Desired, whole: Plan) -> list[Any]:
        tested = any(a.container == action.container and a.verb in PROVING for a in whole.actions)
        file = next((file for file in desired.files if file.path == action.target), None)
        running = self.containers.get(action.container)

        def keep() -> None:
            if tested and any(c.name == action.container for c in desired.containers):
                self.kept.add(action.container)
            elif action.verb is Verb.CHMOD and running:
                digest = digests(desired)[action.container]
                self.remember(action.container, Applied(running.id, running.started_at, digest))

        def note() -> None:
            contents, actual = self.basis(desired).contents, self.actual(desired)
            self.written = dict(manifest.before_writing(self.written, whole, contents, actual))

        def write() -> None:
            assert file is not None
            self.files[file.path] = written(file, self.time())

        return [note, keep, (lambda: self.files.pop(action.target)) if action.verb is Verb.DELETE else write]

    def rename(self, name: str, new_name: str) -> None:
        running = self.containers.pop(name)
        self.containers[new_name] = replace(running, spec=replace(running.spec, name=new_name))

    def update(self, name: str, container: Container | None) -> None:
        assert container is not None
        running = self.containers[name]
        values = {name: value for name in TABLE if is_updated(name, unset=not (value := getattr(container, name)))}
        self.containers[name] = replace(running, spec=replace(running.spec, **values))

    # --- memory ------------------------------------------------------------------------------------------------------

    def note(self, **changes: Any) -> None:
        self.memory = replace(self.memory, **changes)

    def remember(self, name: str, applied: Applied) -> None:
        self.note(applied={**self.memory.applied, name: applied})

    def without(self, registration: str) -> tuple[Registration, ...]:
        return tuple(r for r in self.memory.registered if r.id != registration)


def made(container: Container, identity: str, image: Image) -> Running:
    """A container as it is after it was made."""
    return Running(
        spec=container,
        id=identity,
        image_id=image.id,
        state=State.CREATED,
        started_at=None,
        owned=True,
        explicit=frozenset(container.environment),
    )


def written(file: File, at: datetime) -> FileState:
    return FileState(file.content.encode(), file.mode, file.owner, file.group, at)


def digests(desired: Desired) -> dict[str, str]:
    """Container or job → digest of its files, the part for restarts and the part for reloads."""
    result = {}
    for name in {file.container for file in desired.files}:
        files = sorted((f for f in desired.files if f.container == name), key=lambda f: f.path)
        parts = [
            "+".join(f"{f.path}={f.content}" for f in files if f.on_change == way) for way in ("restart", "reload")
        ]
        result[name] = ".".join(parts)
    return result
