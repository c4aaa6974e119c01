"""Temporary folders of ours. None ever holds a secret; a kill leaves one only until the next one is made."""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_YOUNG: Final = 60.0  # seconds in which a folder may be made and not locked yet


@contextlib.contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """A private folder, gone afterwards. It is locked while it is in use: what others of this prefix left is removed."""
    _sweep(Path(tempfile.gettempdir()), prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as made:
        held = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield Path(made)
        finally:
            os.close(held)


def _sweep(place: Path, prefix: str) -> None:
    for left in place.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            found = left.lstat()
            old = time.time() - found.st_mtime > _YOUNG
            if old and stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                held = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)
                finally:
                    os.close(held)
