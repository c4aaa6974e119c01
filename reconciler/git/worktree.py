"""The files of a plain directory, read as those of a commit are: nothing followed, everything bounded. Needs no libgit2."""

import os
import stat
from pathlib import Path

from reconciler import errors
from reconciler.git.reading import Budget, Exhausted, Reading, mode_problem, name_problem
from reconciler.reasons import Reason


def read(directory: Path, budget: Budget | None = None) -> dict[str, bytes]:
    """The files of a directory as `tree.read` gives those of a commit; `.git` at its top is left out, nothing else is.

    Raises errors.SiteInvalid with every refused entry, errors.Terminal (SitePathMissing) when there is no such directory.
    """
    reading = Reading(budget or Budget())
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise errors.Terminal(
            f"cannot read the site directory {directory}: {error.strerror} (give the directory that holds inventory.yml)",
            reason=Reason.SitePathMissing,
        ) from None
    try:
        _walk_directory(descriptor, "", 0, reading)
    except Exhausted:
        pass
    finally:
        os.close(descriptor)
    return reading.result()


def _walk_directory(descriptor: int, prefix: str, depth: int, reading: Reading) -> None:
    for name in sorted(os.fsencode(name) for name in os.listdir(descriptor)):
        if not prefix and name == b".git":
            continue
        path = prefix + name.decode(errors="backslashreplace")
        problem = name_problem(name, reading.budget)
        if problem:
            reading.refuse(path, *problem)
            continue
        reading.count_entry(path)
        try:
            _read_entry(descriptor, name.decode(), path, depth, reading)
        except OSError as error:
            reading.refuse(path, f"cannot be read: {error.strerror}", "correct its permissions")


def _read_entry(parent: int, name: str, path: str, depth: int, reading: Reading) -> None:
    mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        reading.refuse(path, *(mode_problem(b"120000") or ("", "")))
        return
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        reading.refuse(path, "neither a file nor a directory", "remove it")
        return
    # O_NONBLOCK: should a pipe take the file's place just now, opening it must not wait for a writer.
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    try:
        if stat.S_ISDIR(mode):
            if reading.enter(path, depth + 1):
                _walk_directory(descriptor, f"{path}/", depth + 1, reading)
        elif reading.may_read(path, os.fstat(descriptor).st_size):
            with os.fdopen(os.dup(descriptor), "rb") as stream:
                content = stream.read(reading.budget.file_bytes + 1)
            if len(content) > reading.budget.file_bytes:
                reading.refuse(path, "the file grew over the limit while it was read", "try again")
            reading.files[path] = content
    finally:
        os.close(descriptor)
