"""One daemon per node, found by its lock: a process id alone could be somebody else's by now."""

import contextlib
import fcntl
import os
import signal
from pathlib import Path

from reconciler import errors

_NAME = "daemon.lock"


class Presence:
    """Held by the daemon as long as it lives. Raises errors.Terminal (AlreadyRunning)."""

    def __init__(self, state_dir: Path) -> None:
        self._handle = os.open(state_dir / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(self._handle, 20, 0).decode(errors="replace").strip()
            os.close(self._handle)
            raise errors.Terminal(
                f"another daemon (process {other}) runs with the state in {state_dir} (stop it first: systemctl stop "
                "reconciler)",
                reason="AlreadyRunning",
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give the place free."""
        os.close(self._handle)


def find(state_dir: Path) -> int | None:
    """The process id of the daemon, None when none runs."""
    try:
        handle = os.open(state_dir / _NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(handle, 20, 0).strip()
        return int(text) if text.isdigit() else None
    else:
        return None
    finally:
        os.close(handle)


def wake(state_dir: Path) -> bool:
    """Ask the daemon for a pass now. False when there is none."""
    pid = find(state_dir)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGHUP)
        return True
    return False
