"""One daemon per node, found by its lock: a process id alone could be somebody else's by now.

The lock is held twice: in the state directory, which every daemon of that state sees wherever it runs, and in the host's runtime
directory, where it stays when the state directory is removed under the daemon.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reconciler import errors
from reconciler.reasons import Reason

RUNTIME = Path("/run/reconciler")
_NAME = "daemon.lock"
_MOST = 128  # bytes
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that runs. `directory` is the device and inode of the state directory that it began with; `began` and `ended` are
    those of passes: the last pass is under way when it began after it ended. `settings`: the digest of those that it was started with; "": not
    known."""

    pid: int
    directory: tuple[int, int]
    began: datetime | None = None
    ended: datetime | None = None
    settings: str = ""

    def has(self, state_dir: Path) -> bool:
        """Whether its state directory is the one that is at `state_dir` now."""
        return self.directory == _identity(state_dir)


class Presence:
    """Held by the daemon as long as it lives. Raises errors.Terminal (AlreadyRunning)."""

    def __init__(self, state_dir: Path, settings: str = "") -> None:
        self._state_dir, self._directory, self._settings = state_dir, _identity(state_dir), settings
        self._handles: list[int] = []
        self._places: list[Path] = []
        try:
            for path in _places(state_dir, make=True):
                self._handles.append(_lock(path))
                self._places.append(path)
        except BlockingIOError:
            self.close()
            found = find(state_dir)
            raise errors.Terminal(
                f"another daemon (process {found.pid if found else 'unknown'}) runs with the state in {state_dir} (stop it first: "
                "systemctl stop reconciler)",
                reason=Reason.AlreadyRunning,
            ) from None
        self._tell(0.0, 0.0)

    def renew(self) -> None:
        """The state directory was made anew and is the daemon's: hold the lock there. Raises as the constructor."""
        if (directory := _identity(self._state_dir)) == self._directory:
            return
        handle = _lock(self._places[0])
        os.close(self._handles[0])
        self._handles[0], self._directory = handle, directory
        self._tell(0.0, time.time())

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """While a pass is under way."""
        began = time.time()
        self._tell(began, 0.0)
        try:
            yield
        finally:
            self._tell(began, time.time())

    def _tell(self, began: float, ended: float) -> None:
        # Padded: what is there is written over in one step, without a moment in which it is empty.
        device, inode = self._directory
        line = f"{os.getpid()} {device} {inode} {began:.3f} {ended:.3f} {self._settings}".ljust(_MOST - 1) + "\n"
        for handle in self._handles:
            # On a disk that takes nothing any more each pass says so, and has to come to that.
            with contextlib.suppress(OSError):
                os.pwrite(handle, line.encode(), 0)

    def close(self) -> None:
        """Give the place free."""
        for path in self._places[1:]:
            path.unlink(missing_ok=True)
        for handle in self._handles:
            os.close(handle)
        self._handles, self._places = [], []


def find(state_dir: Path) -> Daemon | None:
    """The daemon of that state, None when none runs. Of its two places the one counts that it could write to last."""
    found = [daemon for path in _places(state_dir) if (daemon := _holder(path))]
    return max(found, key=lambda daemon: daemon.ended or daemon.began or _NEVER, default=None)


def _holder(path: Path) -> Daemon | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(handle)
    finally:
        os.close(handle)
    return None


def last(state_dir: Path) -> Daemon | None:
    """The daemon that had that state last, whether it runs or not. One whose pass has not ended, and that does not run, was killed."""
    with contextlib.suppress(OSError), (state_dir / _NAME).open("rb") as file:
        return _read(file.fileno())
    return None


def _read(handle: int) -> Daemon | None:
    with contextlib.suppress(ValueError):
        words = os.pread(handle, _MOST, 0).decode(errors="replace").split()
        pid, device, inode, began, ended = (float(word) for word in words[:5])
        return Daemon(int(pid), (int(device), int(inode)), _moment(began), _moment(ended), "".join(words[5:6]))
    return None


def wake(state_dir: Path) -> bool:
    """Ask the daemon for a pass now. False when there is none."""
    found = find(state_dir)
    if found is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(found.pid, signal.SIGHUP)
        return True
    return False


def _places(state_dir: Path, *, make: bool = False) -> Iterator[Path]:
    yield state_dir / _NAME
    with contextlib.suppress(OSError):  # not root: then the state directory alone has the lock
        if make:
            RUNTIME.mkdir(mode=0o700, exist_ok=True)
        if RUNTIME.stat().st_uid == os.geteuid():
            yield RUNTIME / f"{hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:16]}.lock"


def _lock(path: Path) -> int:
    """Raises BlockingIOError when another process has it."""
    while True:
        handle = _open(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise
        kept = os.fstat(handle)
        if (kept.st_dev, kept.st_ino) == _identity(path):
            return handle
        os.close(handle)  # whoever had it took it away in between


def _open(path: Path) -> int:
    """A lock can be had on a file that can only be read: a daemon whose state is on such a disk lives to say so."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return os.open(path, os.O_RDONLY | flags)


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _identity(path: Path) -> tuple[int, int]:
    """(0, 0): there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino
