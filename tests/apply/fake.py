"""A Docker Engine and registrars in dictionaries, which fail as the real ones do: before, in the middle, after, with a lost answer.

They implement `apply/ports.py`, so that the real executor works on them. What they do when nothing fails is measured against
`tests/scenarios/world.py` and, verb by verb, the real engine (`tests/engine/test_actions.py`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from threading import Event
from typing import Any

from reconciler import errors
from reconciler.apply.ports import Health
from reconciler.model import ASIDE, Container, Image, Job, Registration, Running, State, aside
from reconciler.options.requests import is_updated
from reconciler.options.table import TABLE
from reconciler.reasons import Reason


class Fault(StrEnum):
    """How a call fails."""

    UNREACHABLE = "nobody answers: nothing was done"
    REFUSED = "the engine says no (500): nothing was done"
    LOST = "it was done, and the answer is lost"
    HALF = "half of it was done, and the answer is lost"
    KILLED_BEFORE = "kill -9 before it was done"
    KILLED_AFTER = "kill -9 once it was done"


class Killed(BaseException):
    """This process ends here."""


@dataclass
class Faults:
    """Which call fails, and how. `calls` is what was asked so far, in order."""

    planned: dict[int, Fault] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)

    def around(self, what: str, act: Callable[[], None], half: Callable[[], None] | None = None) -> None:
        """Do `act`, or what the fault of this call leaves of it."""
        self.calls.append(what)
        fault = self.planned.get(len(self.calls))
        if fault is None:
            return act()
        self.happened.append(f"{what}: {fault}")
        if fault in (Fault.LOST, Fault.KILLED_AFTER):
            act()
        elif fault is Fault.HALF and half:
            half()
        if fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER):
            raise Killed(what)
        if fault is Fault.REFUSED:
            raise errors.Terminal(f"{what}: no such thing", reason=Reason.EngineRefused)
        if fault is Fault.UNREACHABLE:
            raise errors.Transient(f"{what}: connection refused", reason=Reason.EngineUnreachable)
        raise errors.Transient(f"{what}: no answer", reason=Reason.EngineTimeout)


@dataclass
class FakeEngine:
    """`clock` gives the next moment; `sick` says of a container that runs why it does not become healthy, `says` what a one-shot or a
    command inside a container comes to: its exit code and its output. `healths` is what the next waits end with, whatever runs, `words`
    what every service wrote last."""

    clock: Callable[[], datetime]
    faults: Faults
    containers: dict[str, Running] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    sick: Callable[[Running], str] = lambda running: ""
    says: Callable[[str, Sequence[str]], tuple[int, str]] = lambda name, command: (0, "")
    healths: list[Health] = field(default_factory=list)
    words: str = ""
    patient: list[bool] = field(default_factory=list)  # of each wait, whether it was
    usual: list[float | None] = field(default_factory=list)  # and how long the container takes otherwise
    granted: list[tuple[str, float | None]] = field(default_factory=list)  # what was stopped or asked, and its time
    jobs: list[tuple[Job, str]] = field(default_factory=list)  # one-shots, and by which claim
    together: list[str] = field(default_factory=list)  # containers that ran beside what they replace

    # --- looking -------------------------------------------------------------------------------------------------------

    def exists(self, name: str) -> bool:
        return name in self.containers

    def runs(self, name: str) -> bool:
        return name in self.containers and self.containers[name].state is State.RUNNING

    def identity(self, name: str) -> tuple[str, datetime | None]:
        running = self._require(name)
        return running.id, running.started_at

    def wait_healthy(
        self, container: Container, *, stop: Event | None = None, usual: float | None = None, patient: bool = False
    ) -> Health:
        self.patient.append(patient)
        self.usual.append(usual)
        if stop is not None and stop.is_set():
            return Health(False, Reason.Interrupted, "was not waited for to the end")
        if self.healths:
            return self.healths.pop(0)
        running = self.containers.get(container.name)
        if running is None:
            return Health(False, Reason.ContainerMissing, "is gone")
        if running.state is not State.RUNNING:
            return Health(False, Reason.ExitedEarly, "ended")
        why = self.sick(running)
        return Health(not why, Reason.Unhealthy if why else None, why)

    def output(self, name: str, lines: int) -> str:
        return ""

    def last_words(self, container: Container, lines: int = 20) -> str:
        return self.words

    # --- changing ------------------------------------------------------------------------------------------------------

    def pull(self, image: str) -> None:
        self.faults.around(f"pull {image}", lambda: self.images.update({image: Image(image)}))

    def create(self, container: Container) -> str:
        name = container.name
        if container.image not in self.images:
            raise errors.Terminal(f"no image {container.image}", reason=Reason.ImageNotFound)
        self._free(name)
        identity = f"id{self.clock():%j%H%M%S}"

        def act() -> None:
            self.containers[name] = Running(
                spec=container,
                id=identity,
                image_id=self.images[container.image].id,
                state=State.CREATED,
                started_at=None,
                owned=True,
                explicit=frozenset(container.environment),
            )

        self.faults.around(f"create {name}", act)
        return identity

    def start(self, name: str) -> None:
        if self._require(name).state is State.RUNNING:
            return
        self.faults.around(f"start {name}", lambda: self._run(name))

    def stop(self, name: str, timeout: int | None = None) -> None:
        self.granted.append((f"stop {name}", timeout))
        if name in self.containers and self.containers[name].state not in (State.EXITED, State.CREATED):
            self.faults.around(f"stop {name}", lambda: self._set(name, state=State.EXITED))

    def finish(self, name: str, signal: str, seconds: float) -> None:
        self._require(name)
        self.granted.append((f"finish {name}", seconds))
        self.faults.around(f"finish {name} {signal}", lambda: self._set(name, state=State.EXITED))

    def restart(self, name: str, timeout: int | None = None) -> None:
        self._require(name)
        self.granted.append((f"restart {name}", timeout))
        self.faults.around(f"restart {name}", lambda: self._run(name), lambda: self._set(name, state=State.EXITED))

    def remove(self, name: str, adopted: Collection[str] = ()) -> None:
        running = self.containers.get(name)
        if running is None:
            return
        if not running.owned and running.id not in adopted:
            raise errors.Terminal(f"{name} is somebody else's", reason=Reason.NotOwned)

        def act() -> None:
            del self.containers[name]

        self.faults.around(f"remove {name}", act, lambda: self._set(name, state=State.EXITED))

    def rename(self, name: str, new_name: str) -> None:
        self._require(name)
        self._free(new_name)

        def act() -> None:
            running = self.containers.pop(name)
            self.containers[new_name] = replace(running, spec=replace(running.spec, name=new_name))

        self.faults.around(f"rename {name} {new_name}", act)

    def update(self, container: Container) -> None:
        spec = self._require(container.name).spec
        wanted = {name: getattr(container, name) for name in TABLE}
        changed = {name: value for name, value in wanted.items() if is_updated(name, unset=not value)}
        self.faults.around(f"update {container.name}", lambda: self._set(container.name, spec=replace(spec, **changed)))

    def signal(self, name: str, signal: str) -> None:
        self._require(name)
        self.faults.around(f"signal {name}", lambda: None)

    def execute(self, name: str, command: Sequence[str], timeout: float = 60.0) -> tuple[int, str]:
        self._require(name)
        self.granted.append((f"execute {name}", timeout))
        self.faults.around(f"execute {name}", lambda: None)
        return self.says(name, command)

    def run_once(self, job: Job, claim: str = "") -> tuple[int, str]:
        self.jobs.append((job, claim))
        self.faults.around(f"run {job.name}", lambda: None)
        return self.says(job.name, job.container.command or ())

    # --- helpers ---------------------------------------------------------------------------------------------------------

    def _require(self, name: str) -> Running:
        if name not in self.containers:
            raise errors.Transient(f"there is no container {name}", reason=Reason.ContainerMissing)
        return self.containers[name]

    def _free(self, name: str) -> None:
        if name in self.containers:
            raise errors.Terminal(f"{name} is taken", reason=Reason.NameInUse)

    def _run(self, name: str) -> None:
        for one, other in ((name, aside(name)), (name, name.removeprefix(ASIDE))):
            if one != other and other in self.containers and self.containers[other].state is State.RUNNING:
                self.together.append(name)
        self._set(name, state=State.RUNNING, started_at=self.clock())

    def _set(self, name: str, **changes: Any) -> None:
        self.containers[name] = replace(self.containers[name], **changes)


@dataclass
class FakeRegistrars:
    """What is registered, by id; None: it is gone."""

    faults: Faults
    content: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)

    def is_there(self, registration: Registration) -> bool:
        return self.content.get(registration.id) is not None

    def end_former(self, registration: Registration) -> None:
        """Nothing: here a user has one password."""

    def converge(self, registration: Registration, *, overlap: bool = False) -> None:
        self.faults.around(
            f"register {registration.id}", lambda: self.content.update({registration.id: registration.fields})
        )

    def withdraw(self, registration: Registration) -> None:
        self.faults.around(f"unregister {registration.id}", lambda: self.content.update({registration.id: None}))
