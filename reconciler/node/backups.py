"""Backups that services of this host keep: asked for, listed, and tried.

A service keeps them in a container with the label LABEL, whose value is a program in it. What the program is asked for it takes as words
(`list`, `now KIND`), or, where it is a container's whole work, from the environment variable VARIABLE (`verify NAME`). It answers
`list` with a JSON list of Backup's fields, the newest first, and `verify` with a JSON object of Verified's in its last line.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from reconciler import errors, text
from reconciler.codec import UNREADABLE, from_json
from reconciler.engine import Engine
from reconciler.foreign import said
from reconciler.model import Container, Memory
from reconciler.node import beside
from reconciler.reasons import Reason

T = TypeVar("T")

LABEL: Final = "io.reconciler-backup"
VARIABLE: Final = "RECONCILER_BACKUP"
_LIST_SECONDS: Final = 60.0
_LIST_BYTES: Final = 1 << 20  # some 3,000 backups: one every hour for four months
_MOST: Final = 1 << 63
_LATEST: Final = int(datetime.max.replace(tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup. Times are seconds since the epoch, sizes bytes; `base` is what an incremental one is about, "": it is whole.

    Raises ValueError for times and sizes that there cannot be.
    """

    name: str
    kind: str
    base: str
    server: str
    digest: str
    started: int
    ended: int
    size: int
    packed: int
    verified: int | None = None

    def __post_init__(self) -> None:
        if not all(0 <= moment <= _LATEST for moment in (self.started, self.ended, self.verified or 0)):
            raise ValueError("a time that no calendar has")
        if not all(0 <= size < _MOST for size in (self.size, self.packed)):
            raise ValueError("a size that no disk has")

    @property
    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.started, UTC)


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read of a backup that was restored on trial: rows of a database; or, where it is only kept, the files that it is made of, which
    are the ones that were taken. Raises ValueError for numbers that there cannot be."""

    name: str
    seconds: int
    databases: int = 0
    tables: int = 0
    rows: int = 0
    files: int = 0
    bytes: int = 0

    def __post_init__(self) -> None:
        if not all(
            0 <= one < _MOST for one in (self.seconds, self.databases, self.tables, self.rows, self.files, self.bytes)
        ):
            raise ValueError("a number that no disk has room for")


def keepers(memory: Memory, name: str | None = None) -> tuple[Container, ...]:
    """The containers that keep backups on this host; with a name that one only.

    Raises errors.Terminal (NoBackups).
    """
    found = tuple(one for one in beside.carried_out(memory) if one.labels.get(LABEL))
    chosen = tuple(one for one in found if name in (None, one.name))
    if not chosen:
        known = f"here are {', '.join(one.name for one in found)}" if found else "no container here has any"
        raise errors.Terminal(
            f"{name or 'this host'} keeps no backups: {known} (MariaDB's are kept on mariadb_backup_host, where the site says "
            "`enable_mariadb_backup_schedule: yes`)",
            reason=Reason.NoBackups,
        )
    return chosen


def listed(engine: Engine, keeper: Container) -> tuple[Backup, ...]:
    """What is there, the newest first. Raises errors.ReconcilerError (BackupFailed)."""
    code, output = engine.execute(keeper.name, _words(keeper, "list"), _LIST_SECONDS, limit=_LIST_BYTES)
    if code:
        raise _failed(keeper, "tells nothing of its backups", output)
    return _read(keeper, output, tuple[Backup, ...])


def take(engine: Engine, keeper: Container, kind: str, seconds: float) -> str:
    """Have one taken now; what was said of it. Raises errors.ReconcilerError (BackupFailed; EngineTimeout: it goes on)."""
    code, output = engine.execute(keeper.name, _words(keeper, "now", kind), seconds)
    if code:
        raise _failed(keeper, "took no backup", output)
    return said(output.strip().encode(), last=300)


def verify(engine: Engine, keeper: Container, name: str, seconds: float) -> Verified:
    """Restore one in a container of its own, which is removed afterwards, and read it.

    The image is that of the container which keeps them. Raises errors.ReconcilerError (BackupFailed, JobTimeout).
    """
    environment = {**keeper.environment, VARIABLE: f"verify {name}".strip()}
    labels = {key: value for key, value in keeper.labels.items() if key != LABEL}
    code, output = engine.run_once(beside.once(keeper, "verify", seconds, environment=environment, labels=labels))
    if code:
        raise _failed(keeper, f"cannot be restored from {name or 'its newest backup'}", output)
    return _read(keeper, output.strip().rpartition("\n")[2], Verified)


def _words(keeper: Container, *words: str) -> list[str]:
    return [keeper.labels[LABEL], *words]


def _read(keeper: Container, output: str, kind: type[T]) -> T:
    try:
        made: T = from_json(kind, json.loads(output))
    except UNREADABLE:
        raise _failed(keeper, "answers what is not understood", output) from None
    return made


def _failed(keeper: Container, what: str, output: str) -> errors.Terminal:
    return errors.Terminal(f"{keeper.name} {what}: {text.last_line(output, limit=500)}", reason=Reason.BackupFailed)
