"""The engine, registrars, host and repository of a modelled node: what they do is in dictionaries, how they fail is real.

`tests/apply/fake.py` has what an engine does when nothing fails, measured against the real one. Here it is observed as well, every
operation is a failpoint, and what was done to whom is kept, so that a schedule can be judged.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

from reconciler import errors
from reconciler.apply.ports import Health
from reconciler.engine import EngineView
from reconciler.git.commits import CommitInfo
from reconciler.host.machine import Machine
from reconciler.model import ASIDE, Actual, Container, Desired, HostKept, HostSetting, Job, Registration, Running, State
from reconciler.reasons import Reason
from tests.apply.fake import FakeEngine
from tests.faults.points import Faults, answer
from tests.scenarios.world import World

REF = "refs/heads/main"


@dataclass
class _Around:
    """What the engine of `tests/apply` asks at each call, as failpoints."""

    faults: Faults

    def around(self, what: str, act: Callable[[], None], half: Callable[[], None] | None = None) -> None:
        self.faults.call(f"engine.{what.partition(' ')[0]}", act, half)


@dataclass(frozen=True)
class Deed:
    """Something done to a container that was there: whose it was, and whether the pass had seen it."""

    verb: str
    name: str
    id: str
    ours: bool
    seen: bool


class Engine(FakeEngine):
    """What `Node` needs of an engine. `ours` tells whether an id was taken over by the state that the node has now."""

    def __init__(self, clock: Callable[[], datetime], faults: Faults) -> None:
        super().__init__(clock, _Around(faults))  # type: ignore[arg-type]
        self.points = faults
        self.owner, self.also, self.site, self.data_root = "", frozenset[str](), "", "/nonexistent"
        self.deeds: list[Deed] = []
        self.settle: Callable[[], None] = lambda: None
        self.ours: Callable[[str], bool] = lambda identity: False
        self.unseen: frozenset[str] = frozenset()
        self.folder: Callable[[Container], Mapping[str, bytes]] = lambda container: {}
        self.read: dict[str, Mapping[str, bytes]] = {}  # id → the files that its process read, by path
        self.ran: set[tuple[str, str]] = set()  # jobs that came to their end, with their inputs

    # --- what a node asks besides what an apply does -----------------------------------------------------------------

    def admitting(self, admit: Any) -> "Engine":
        return self

    def close(self) -> None: ...

    def made_for(self, site: str) -> Mapping[str, str]:
        return {}

    def name_of(self, identity: str) -> str:
        return ""

    def observe(self, desired: Desired, *, deep: bool, extra_names: Iterable[str] = ()) -> EngineView:
        self.settle()
        self.points.call("engine.list", lambda: None)
        wanted = {c.name for c in desired.containers} | {job.name for job in desired.jobs} | {*extra_names}
        unknown: dict[str, str] = {}
        seen = {}
        for name, running in self.containers.items():
            if not running.owned and name.removeprefix(ASIDE) not in wanted:
                continue
            if self.points.hit("engine.inspect"):
                unknown[f"container:{name}"] = "the engine did not answer"
            else:
                seen[name] = running
        images = {}
        for reference in sorted({c.image for c in desired.containers} | {job.container.image for job in desired.jobs}):
            if self.points.hit("engine.image"):
                unknown[f"image:{reference}"] = "the engine did not answer"
            elif reference in self.images:
                images[reference] = self.images[reference]
        self.unseen = frozenset(item.partition(":")[2] for item in unknown if item.startswith("container:"))
        return EngineView(containers=seen, images=images, unknown=unknown)

    def exists(self, name: str) -> bool:
        self.points.call("engine.exists", lambda: None)
        return super().exists(name)

    def identity(self, name: str) -> tuple[str, datetime | None]:
        self.points.call("engine.identity", lambda: None)
        return super().identity(name)

    def wait_healthy(
        self, container: Container, *, stop: Event | None = None, usual: float | None = None, patient: bool = False
    ) -> Health:
        kind = self.points.hit("engine.healthy")
        if kind in ("unreachable", "hang"):
            error = answer("engine.healthy", kind)
            return Health(False, error.reason, str(error))
        if kind == "sick":
            return Health(False, Reason.Unhealthy, "fails its health check")
        if kind == "ended" and container.name in self.containers:
            self._set(container.name, state=State.EXITED)
        health = super().wait_healthy(container, stop=stop, usual=usual, patient=patient)
        if kind == "killed-after":
            self.points.die("engine.healthy")
        return health

    def become(self, world: World) -> None:
        """What somebody did by hand: here the world's containers and images are this engine's own."""

    # --- whose what is that is changed ---------------------------------------------------------------------------------

    def _changes(self, verb: str, name: str) -> None:
        running = self.containers.get(name)
        if running is not None:
            ours = running.owned or self.ours(running.id)
            self.deeds.append(Deed(verb, name, running.id, ours, name not in self.unseen))

    def start(self, name: str) -> None:
        if self.containers.get(name) and self.containers[name].state is not State.RUNNING:
            self._changes("start", name)
        super().start(name)

    def stop(self, name: str, timeout: int | None = None) -> None:
        self._changes("stop", name)
        super().stop(name, timeout)

    def restart(self, name: str, timeout: int | None = None) -> None:
        self._changes("restart", name)
        super().restart(name, timeout)

    def remove(self, name: str, adopted: Collection[str] = ()) -> None:
        self._changes("remove", name)
        super().remove(name, adopted)

    def rename(self, name: str, new_name: str) -> None:
        self._changes("rename", name)
        super().rename(name, new_name)

    def update(self, container: Container) -> None:
        self._changes("update", container.name)
        super().update(container)

    def signal(self, name: str, signal: str) -> None:
        self._changes("signal", name)
        self._require(name)
        self.faults.around(f"signal {name}", lambda: self._reads(name))

    def run_once(self, job: Job, claim: str = "") -> tuple[int, str]:
        self.faults.around(f"run {job.name}", lambda: self.ran.add((job.name, job.inputs)))
        return 0, ""

    def _run(self, name: str) -> None:
        super()._run(name)
        running = self.containers[name]
        if running.id not in self.read or running.spec.environment.get("KOLLA_CONFIG_STRATEGY") != "COPY_ONCE":
            self._reads(name)

    def _reads(self, name: str) -> None:
        self.read[self.containers[name].id] = self.folder(self.containers[name].spec)


@dataclass
class Registrars:
    """What is registered, by id."""

    faults: Faults
    content: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)

    def observe(self, registrations: Iterable[Registration], actual: Actual) -> tuple[dict[str, Any], dict[str, str]]:
        wanted = [item.id for item in registrations]
        if wanted and self.faults.hit("registrar.look"):
            return {}, {"registrar:mariadb": "it does not answer"}
        return {name: self.content.get(name) for name in wanted}, {}

    def identify(self, registrations: Iterable[Registration], actual: Actual) -> tuple[dict[str, Any], dict[str, str]]:
        return {}, {}

    def converge(self, registration: Registration, *, overlap: bool = False) -> None:
        fields = dict(registration.fields)

        def half() -> None:  # it is there, and one of two statements did not come through
            self.content[registration.id] = {**fields, "value": "half"}

        self.faults.call("registrar.converge", lambda: self.content.update({registration.id: fields}), half)

    def is_there(self, registration: Registration) -> bool:
        if self.faults.hit("registrar.look"):
            raise errors.Transient("it does not answer", reason=Reason.RegistrarUnreachable)
        return self.content.get(registration.id) is not None

    def withdraw(self, registration: Registration) -> None:
        self.faults.call("registrar.withdraw", lambda: self.content.update({registration.id: None}))

    def close(self) -> None: ...


@dataclass
class Host:
    """The settings of the host, really in files."""

    faults: Faults
    machine: Machine

    def observe(self, settings: Iterable[HostSetting]) -> Any:
        return self.machine.observe(settings)

    def tidy(self, settings: Iterable[HostSetting]) -> None:
        self.machine.tidy(settings)

    def before(self, setting: HostSetting) -> Mapping[str, str]:
        return self.machine.before(setting)

    def put(self, setting: HostSetting) -> str:
        return self._said("host.put", lambda: self.machine.put(setting))

    def back(self, kept: HostKept) -> str:
        return self._said("host.back", lambda: self.machine.back(kept))

    def _said(self, point: str, act: Callable[[], str]) -> str:
        said: list[str] = []
        self.faults.call(point, lambda: said.append(act()))
        return said[0]


class Repository:
    """A branch of commits, one after the other: what `source/follow.py` asks of git."""

    def __init__(self, faults: Faults) -> None:
        self.faults, self.head = faults, 0
        self.commits: list[Desired] = []
        self.pushed: Callable[[str], None] = lambda commit: None

    def push(self, desired: Desired) -> str:
        """The id of the commit that has it."""
        name = f"{len(self.commits) + 1:040x}"
        self.commits.append(replace(desired, revision=name))
        self.head = len(self.commits)
        self.pushed(name)
        return name

    def desired(self, commit: str) -> Desired:
        return self.commits[int(commit, 16) - 1]

    def poll(self, refs: Sequence[str] | None = None) -> dict[str, str]:
        kind = self.faults.hit("git.poll")
        if kind == "rewritten":
            return {REF: f"{1:040x}"}
        if kind == "garbage":
            raise errors.Transient("what answers is no git server", reason=Reason.GitProtocolError)
        if kind:
            raise answer("git.poll", kind)
        return {REF: f"{self.head:040x}"}

    def close(self) -> None: ...

    def fetch(self, *_: Any, **__: Any) -> None:
        kind = self.faults.hit("git.fetch")
        if kind == "garbage":
            raise errors.Terminal("an object is damaged", reason=Reason.GitObjectCorrupt)
        if kind == "killed-after":
            self.faults.die("git.fetch")
        if kind:
            raise answer("git.fetch", kind)

    @staticmethod
    def is_ancestor(_: Path, older: str, newer: str) -> bool:
        return int(older, 16) <= int(newer, 16)

    @staticmethod
    def info(_: Path, commit: str) -> CommitInfo:
        return CommitInfo(commit, (), "somebody", "", datetime(2000, 1, 1, tzinfo=UTC), "a change", "")


def outside(running: Running) -> tuple[str, datetime | None]:
    """What an unchanged container keeps."""
    return running.id, running.started_at
