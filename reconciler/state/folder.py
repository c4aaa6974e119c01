"""The folder that the state is in: whether it can be reached, whether it is still the same one, and who else works with it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from filelock import FileLock, Timeout

from reconciler import errors
from reconciler.reasons import Reason

_WRITING_WAIT = 60.0  # seconds: who has that lock writes a small file or two
_ASK_AGAIN = 0.01  # seconds between two tries for a lock


class Folder:
    """One folder by its path; once taken, that very one. `cycle` keeps other cycles out, `alone` other writers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / "lock", mode=0o600)
        self._guard = RLock()  # held while files are read together, and while they are written
        # Between processes. The thread whose turn it is asks for it, without `_guard`: who only reads waits for no other process.
        self._writing, self._turn = FileLock(path / "writing.lock", mode=0o600, thread_local=False), RLock()
        self._handle: int | None = None  # the folder itself, once taken

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Turns what the system answers about the folder itself into errors.Transient (StateReadOnly)."""
        try:
            yield
        except OSError as error:
            raise errors.Transient(
                f"the state in {self.path} cannot be used: {error.strerror or error}. Nothing is changed until it can (is its disk well? "
                "see `dmesg`)",
                reason=Reason.StateReadOnly,
            ) from None

    @contextmanager
    def locked(self, lock: FileLock, wait: float, busy: str) -> Iterator[None]:
        """Hold a lock in it. Raises errors.Transient (Busy, saying `busy`, after `wait` seconds; StateReadOnly), and as `require_same`."""
        self.require_same()  # first: a lock would be made in whatever is there
        with self.reached():
            try:
                lock.acquire(timeout=wait, poll_interval=_ASK_AGAIN)
            except Timeout:
                raise errors.Transient(busy, reason=Reason.Busy) from None
        try:
            yield
        finally:
            lock.release()

    def take(self) -> None:
        """From now on this object is about the very folder that is there now, and writes to no other. Raises as `reached`."""
        self.let_go()
        with self.reached():
            self._handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def let_go(self) -> None:
        """Forget which folder that was."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def exchanged(self) -> str:
        """How the folder that was taken is not the one at its path any more; "" when it is."""
        if self._handle is None:
            return ""
        try:
            found = self.path.stat()
        except OSError as error:
            return "is gone" if isinstance(error, FileNotFoundError) else f"cannot be reached ({error.strerror})"
        kept = os.fstat(self._handle)
        if (kept.st_dev, kept.st_ino) == (found.st_dev, found.st_ino):
            return ""
        return "is another directory than the one that this process began with"

    def require_same(self) -> None:
        """Raises errors.Terminal (StateLost) when the folder that was taken is not the one at its path any more."""
        if how := self.exchanged():
            raise errors.Terminal(
                f"the state in {self.path} {how}: nothing is changed until it is back", reason=Reason.StateLost
            )

    @contextmanager
    def cycle(self, wait: float = 0.0) -> Iterator[None]:
        """Keep every other cycle on this node out. Raises errors.Transient (Busy) when one is still under way
        after `wait` seconds, (StateReadOnly) when nobody can tell."""
        with self.locked(self._lock, wait, "another reconciliation is under way on this node"):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other threads and other processes out between reading a file and writing what is made of it. It may be entered again
        within, and within `cycle`; nobody who has it waits for anything but the disk. The kernel frees it when its process dies.

        Raises as `locked`.
        """
        busy = (
            f"another process has been writing to the state in {self.path} for {_WRITING_WAIT:.0f} s "
            "(`lslocks` says which has writing.lock; is it stopped, or its disk?)"
        )
        with self._turn, self.locked(self._writing, _WRITING_WAIT, busy), self._guard:
            yield
