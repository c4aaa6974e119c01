"""Files of a site that are changed where they stand: one change at a time, encrypted ones on a copy (ciphertext), and whole or not at all."""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler import errors
from reconciler.model import LEFTOVER_SUFFIX
from reconciler.reasons import Reason
from reconciler.system import files

_LOCK_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Replacement:
    """A file's content as it was read, and as it is to be."""

    path: Path
    before: bytes
    after: bytes


@contextlib.contextmanager
def locked(*folders: Path) -> Iterator[None]:
    """One change at a time per folder. The folders themselves are locked: no lock file to leave, or to commit.

    Raises errors.Terminal (FileReadFailed), errors.Transient (FileBusy).
    """
    with contextlib.ExitStack() as stack:
        for folder in sorted(set(folders)):  # in one order, so that no two processes wait for each other
            stack.enter_context(_locked(folder))
        yield


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise errors.Terminal(f"cannot open {folder}: {error.strerror}", reason=Reason.FileReadFailed) from None
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"another process is changing the passwords in {folder} (wait for it, or end it)"
                    raise errors.Transient(message, reason=Reason.FileBusy) from None
                time.sleep(0.05)
        files.sweep(folder)
        yield
    finally:
        os.close(directory)


@contextlib.contextmanager
def copy(path: Path, content: bytes) -> Iterator[Path]:
    """A private copy (ciphertext) in the same directory, gone afterwards; a kill leaves one that the next run removes."""
    made = path.with_name(f".{secrets.token_hex(8)}.{path.name}{LEFTOVER_SUFFIX}")
    files.write_atomic(made, content, mode=0o600)
    try:
        yield made
    finally:
        made.unlink(missing_ok=True)


def replace(replacements: Sequence[Replacement]) -> None:
    """Put all of them in their places, in this order, or none: where one fails those before it get back what they had.

    A kill in between leaves some changed: whatever was asked for has to be asked again. Raises errors.Transient (FileChanged) when one is
    not as it was read, and as files.write_atomic.
    """
    modes = {}
    for one in replacements:
        now, found = files.read_nofollow(one.path.parent, one.path.name)
        if now != one.before:
            raise changed(one.path)
        modes[one.path] = found
    done: list[Replacement] = []
    try:
        for one in replacements:
            _write(one.path, one.after, modes[one.path])
            done.append(one)
    except BaseException:
        _back(done, modes)
        raise


def _back(done: Iterable[Replacement], modes: dict[Path, os.stat_result]) -> None:
    for one in done:
        with contextlib.suppress(errors.ReconcilerError, OSError):
            _write(one.path, one.before, modes[one.path])


def _write(path: Path, content: bytes, like: os.stat_result) -> None:
    owner = {"uid": like.st_uid, "gid": like.st_gid} if os.geteuid() == 0 else {}
    files.write_atomic(path, content, mode=like.st_mode & 0o777, **owner)


def changed(path: Path) -> errors.Transient:
    return errors.Transient(
        f"{path} was changed meanwhile; nothing was written (run it again)", reason=Reason.FileChanged
    )
