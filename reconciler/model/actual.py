"""What is there now, as engine, disk and registrars say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from reconciler.model.desired import Container
from reconciler.options.values import Healthcheck


class State(StrEnum):
    """A container's state, Docker's words."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Running:
    """A container as the engine reports it, brought into the same shape as `Container`."""

    spec: Container
    id: str
    image_id: str
    state: State
    started_at: datetime | None
    finished_at: datetime | None = None
    health: Literal["none", "starting", "healthy", "unhealthy"] = "none"
    exit_code: int = 0
    error: str = ""
    pid: int = 0
    restart_count: int = 0
    owned: bool = False  # carries this installation's key
    owner: str = ""  # the key on its label, whoever's; "": it carries none
    explicit: frozenset[str] = frozenset()  # environment keys that the container has and its image does not
    out_of_memory: bool = False  # the kernel ended it, because it had used up what it may

    @property
    def ended(self) -> str:
        """With which code its process ended, and why where the engine knows."""
        why = ": the kernel killed it, because it had used up its memory (`mem_limit`)" if self.out_of_memory else ""
        return f"code {self.exit_code}{why}"


@dataclass(frozen=True, slots=True)
class Volume:
    """A named volume that the engine has. `owned` and `owner` as in Running; `options` are its driver's."""

    driver: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)
    owned: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """An image the engine has. `defaults` is the part of its config that containers inherit."""

    id: str
    digests: tuple[str, ...] = ()  # "registry/name@sha256:…"
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    user: str = ""
    working_dir: str = ""
    stop_signal: str | None = None
    healthcheck: Healthcheck | None = None


@dataclass(frozen=True, slots=True)
class FileState:
    """A file on disk. `content` is None when it was too large to be one of ours (then it differs)."""

    content: bytes | None
    mode: int
    owner: int
    group: int
    modified: datetime
    kind: Literal["file", "directory", "symlink", "other"] = "file"


@dataclass(frozen=True, slots=True)
class Actual:
    """What is there now. Everything that could not be read is missing from the maps *and* named in `unknown`."""

    containers: Mapping[str, Running]
    images: Mapping[str, Image]  # by the reference that desired state uses
    files: Mapping[str, FileState]  # path relative to the config root
    volumes: frozenset[str] = frozenset()  # those that are ours
    # Every volume of the engine by name, as far as this pass looked.
    engine_volumes: Mapping[str, Volume] = field(default_factory=dict)
    stale: Mapping[str, str] = field(default_factory=dict)  # container → what kolla_set_configs --check said
    # Registration.id → fields as observed; None: does not exist. Absent: not observed in this pass.
    registrations: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    # Registration.id → the identifier that the registrar gave it, as last found. Absent: not known, or it does not exist.
    identifiers: Mapping[str, str] = field(default_factory=dict)
    # HostSetting.id → its fields as they are. Absent: not observed.
    host_settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    created: frozenset[str] = frozenset()  # Job.name whose `creates` is there
    units: frozenset[str] = frozenset()  # kolla-ansible's systemd units: container names
    unknown: Mapping[str, str] = field(default_factory=dict)  # item → why it could not be read
    deep: bool = False  # whether stale and registrations were looked at
