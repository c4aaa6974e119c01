"""What applying needs of the rest of the program."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event
from typing import Protocol

from reconciler.model import (
    Applied,
    Asked,
    AsMade,
    Container,
    Failure,
    HostKept,
    HostSetting,
    Job,
    JobResult,
    Registration,
)
from reconciler.reasons import Reason


@dataclass(frozen=True, slots=True)
class Health:
    """What waiting for a container to become healthy ended with. `seconds`: until it was, and answered. `log` is what the service itself
    said, `took` as in `Healthy`."""

    ok: bool
    reason: Reason | None = None
    message: str = ""
    seconds: float = 0.0
    log: tuple[str, ...] = ()
    took: float | None = None


@dataclass(frozen=True, slots=True)
class Basis:
    """What the node knew when the plan was made, as carrying it out needs it.

    `in_force` are the containers as they are to be kept, by name: for those in `quarantined` the last that worked, not what
    the commit says. `migrated` names services whose previous image does not fit their schema any more. `observed` maps
    every container that was looked at to its id, `owned` are the ids that are ours. `registered` is what this node made, `host_settings` what it
    set on its host.
    `written` maps a path to the digests of what this program wrote there: nothing else is deleted.
    `worked` are containers that are to be what they were when everything worked last, `proved` those that ever worked here, `shown` the ids of
    those that run and were seen healthy, `before` says of those that still run with the image of then what they were, `limits` the same of
    those of which the commit changes options in place.
    `as_made` is how containers are that are to be taken over as they are.
    `failures` is why what was tried before was taken back. `took` maps a container to the seconds that it took to become healthy.
    """

    in_force: Mapping[str, Container] = field(default_factory=dict)
    quarantined: frozenset[str] = frozenset()
    migrated: frozenset[str] = frozenset()
    worked: frozenset[str] = frozenset()
    proved: frozenset[str] = frozenset()
    shown: frozenset[str] = frozenset()
    before: Mapping[str, Container] = field(default_factory=dict)
    limits: Mapping[str, Container] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    took: Mapping[str, float] = field(default_factory=dict)
    observed: Mapping[str, str] = field(default_factory=dict)
    owned: frozenset[str] = frozenset()
    registered: Mapping[str, Registration] = field(default_factory=dict)
    host_settings: Mapping[str, HostKept] = field(default_factory=dict)
    written: Mapping[str, Collection[str]] = field(default_factory=dict)
    as_made: Mapping[str, AsMade] = field(default_factory=dict)


class Healthy(Protocol):
    """The same, as the engine gives it. `reason` is a word of the closed set, `message` one line without the name."""

    @property
    def ok(self) -> bool: ...
    @property
    def reason(self) -> Reason | None: ...
    @property
    def message(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def log(self) -> Sequence[str]: ...
    @property
    def took(self) -> float | None:
        """Seconds from its start until it was healthy; None: not known."""
        ...


class Engine(Protocol):
    """The Docker Engine, one method per operation. All raise errors of the hierarchy; a time-out means: look again."""

    def pull(self, image: str) -> None: ...
    def exists(self, name: str) -> bool: ...
    def runs(self, name: str) -> bool: ...
    def create(self, container: Container) -> str: ...
    def start(self, name: str) -> None: ...
    def stop(self, name: str, timeout: int | None = None) -> None: ...
    def finish(self, name: str, signal: str, seconds: float) -> None: ...
    def restart(self, name: str, timeout: int | None = None) -> None: ...
    def remove(self, name: str, adopted: Collection[str] = ()) -> None: ...
    def rename(self, name: str, new_name: str) -> None: ...
    def update(self, container: Container) -> None: ...
    def signal(self, name: str, signal: str) -> None: ...
    def execute(self, name: str, command: Sequence[str], timeout: float = 60.0) -> tuple[int, str]: ...
    def run_once(self, job: Job, claim: str = "") -> tuple[int, str]: ...
    def wait_healthy(
        self,
        container: Container,
        *,
        stop: Event | None = None,
        usual: float | None = None,
        patient: bool = False,
    ) -> Healthy: ...
    def last_words(self, container: Container, lines: int = 20) -> str: ...
    def output(self, name: str, lines: int) -> str: ...
    def identity(self, name: str) -> tuple[str, datetime | None]: ...


class Registrations(Protocol):
    """Where databases, users and endpoints are kept."""

    def converge(self, registration: Registration, *, overlap: bool = False) -> None: ...
    def is_there(self, registration: Registration) -> bool: ...
    def end_former(self, registration: Registration) -> None: ...
    def withdraw(self, registration: Registration) -> None: ...


class Host(Protocol):
    """The host itself. `put` and `back` return what the host refuses of it, "" when nothing. All raise errors of the hierarchy."""

    def before(self, setting: HostSetting) -> Mapping[str, str]: ...
    def put(self, setting: HostSetting) -> str: ...
    def back(self, kept: HostKept) -> str: ...


class Store(Protocol):
    """What the node remembers; every call is on the disk when it returns."""

    def applied(self, container: str, applied: Applied) -> None: ...
    def took(self, container: str, seconds: float) -> None: ...
    def job_done(self, job: str, result: JobResult) -> None: ...
    def quarantine(self, container: str, digest: str, failure: Failure) -> None: ...
    def recovered(self, container: str) -> None: ...
    def interrupted(self, container: str, seconds: float) -> None: ...
    def registered(self, registration: Registration) -> None: ...
    def unregistered(self, registration_id: str) -> None: ...
    def host_set(
        self, setting: HostSetting, before: Mapping[str, str], earlier: tuple[HostSetting, ...] = ()
    ) -> None: ...
    def host_reset(self, setting_id: str) -> None: ...
    def migrating(self, release: str) -> None:
        """A schema, or data that an older program does not read, are about to become those of a release."""
        ...

    def prechecked(self, name: str, asked: Asked) -> None: ...
    def taken(self, container: str, unit: str) -> None: ...
    def as_made(self, container: str, made: AsMade) -> None: ...


class Gate(Protocol):
    """Whether what answered before a change answers after it."""

    def before(self, container: Container) -> None: ...
    def is_open(self, container: str) -> bool: ...
    def after(self, container: Container) -> Health: ...
    def settled(self, container: str) -> None: ...


class Progress(Protocol):
    """What carries out an action says to whom it belongs, and hears from there."""

    def at(self, container: str, text: str) -> None:
        """What it is at now, in words: "waiting for keystone to become healthy"."""
        ...

    def cut(self, container: str) -> Event:
        """Set when nobody needs to know any more whether the container becomes healthy."""
        ...


class Units(Protocol):
    """The host's service manager."""

    def take_over(self, unit: str) -> None:
        """See that it neither runs nor starts at the next boot, without stopping its container. Raises errors.ReconcilerError."""
        ...
