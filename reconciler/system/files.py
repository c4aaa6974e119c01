"""Crash-safe files below a trusted root: whole or not at all, never through a link.

A write is a new file in the same directory with its final owner and mode before any content, synced, renamed over the
old one, and the directory synced: after a power cut there is the old file or the new one. Below `root` every directory
is opened relative to its parent without following links, so nobody who may write into a service's directory can
point us elsewhere. The root itself is the caller's choice and may be a link: so it is a folder whose way nobody but root can change,
never one that was made below another root.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from reconciler import errors
from reconciler.model import LEFTOVER_SUFFIX
from reconciler.reasons import Reason

MODES: Final = 0o777  # the bits a file may have: nothing that runs as its owner (setuid, setgid), no sticky bit

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LEFTOVER = re.compile(r"\.[0-9a-f]{16}(?:\..+)?" + re.escape(LEFTOVER_SUFFIX), re.DOTALL)


def write_atomic(path: Path, data: bytes, *, mode: int, uid: int | None = None, gid: int | None = None) -> None:
    """Write the file `path`; its parent directory is trusted. Otherwise like `write_under`."""
    write_under(path.parent, path.name, data, mode=mode, uid=uid, gid=gid)


def write_under(
    root: Path,
    relative: str,
    data: bytes,
    *,
    mode: int,
    uid: int | None = None,
    gid: int | None = None,
    lasting: bool = True,
) -> None:
    """Replace or create root/relative with `data`; None for `uid` or `gid` leaves it to the kernel. What is not `lasting` may be gone, or
    empty, after a power cut.

    Raises errors.Terminal (FileUnsafe) when a directory below the root is a link, the present file is a link, has
    further hard links or is no regular file, or `mode` has bits beyond MODES; errors.Transient (DiskFull, FileWriteFailed)
    when the system refuses.
    """
    if mode & ~MODES:
        raise errors.Terminal(
            f"{PurePosixPath(root) / relative} is not written with mode {mode:04o}: setuid, setgid and sticky bits are refused",
            reason=Reason.FileUnsafe,
        )
    with _answer(root, relative), _parent(root, relative) as (directory, name):
        with contextlib.suppress(FileNotFoundError):
            _require_plain(os.stat(name, dir_fd=directory, follow_symlinks=False), root, relative)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with _replacing(directory, name, lasting) as temporary:
            handle = os.open(temporary, flags, 0o600, dir_fd=directory)
            try:
                _own(handle, mode, uid, gid)
                _write_all(handle, data)
                if lasting:
                    os.fsync(handle)
            finally:
                os.close(handle)


def read_nofollow(root: Path, relative: str) -> tuple[bytes, os.stat_result]:
    """Content of root/relative and the stat of the very file that was read.

    Raises FileNotFoundError when it or a directory above it does not exist, errors.Terminal (FileUnsafe) as
    `write_under` does, errors.Transient (FileReadFailed) for anything else: unknown is not empty.
    """
    with _answer(root, relative, reading=True), _parent(root, relative) as (directory, name):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a FIFO must not hold us
        handle = os.open(name, flags, dir_fd=directory)
        try:
            found = os.fstat(handle)
            _require_plain(found, root, relative)
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(), found
        finally:
            os.close(handle)


def read_link(root: Path, relative: str) -> str | None:
    """Where the link root/relative leads; None when there is something else, or nothing. Raises as `read_nofollow`."""
    with (
        contextlib.suppress(FileNotFoundError),
        _answer(root, relative, reading=True),
        _parent(root, relative) as found,
    ):
        directory, name = found
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            return os.readlink(name, dir_fd=directory)
    return None


def write_link(root: Path, relative: str, target: str) -> None:
    """Make root/relative a link to `target`, in the place of the file that is there. Raises as `write_under`."""
    with (
        _answer(root, relative),
        _parent(root, relative) as (directory, name),
        _replacing(directory, name) as temporary,
    ):
        os.symlink(target, temporary, dir_fd=directory)


def make_dirs(
    root: Path, relative: str, mode: int, uid: int | None = None, gid: int | None = None, *, lasting: bool = True
) -> None:
    """Make root/relative and what is missing above it; all that is made, and the last one always, gets owner and mode. `lasting` as in
    `write_under`.

    Raises as `write_under`.
    """
    with _answer(root, relative), contextlib.ExitStack() as stack:
        directory = _open_root(root)
        stack.callback(os.close, directory)
        parts = _parts(root, relative)
        for index, part in enumerate(parts):
            made = False
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=directory)
                made = True
            child = os.open(part, _DIRECTORY, dir_fd=directory)
            stack.callback(os.close, child)
            if made or (index == len(parts) - 1 and not _is_own(child, mode, uid, gid)):
                _own(child, mode, uid, gid)
                if lasting:
                    os.fsync(child)
            if made and lasting:
                os.fsync(directory)
            directory = child


def remove(root: Path, relative: str, only: Container[str] | None = None) -> bool:
    """Remove the file root/relative; a link is removed, not followed. False when there was none.

    `only`: digests of the contents that may be removed; None: whatever it is.
    Raises errors.Terminal (FileUnsafe) for a directory or a link above it, (NotOwned) for other content than `only` says;
    errors.Transient (FileWriteFailed).
    """
    if only is not None:
        with contextlib.suppress(FileNotFoundError):
            content, _ = read_nofollow(root, relative)
            if digest(content) not in only:
                path = PurePosixPath(root) / relative
                raise errors.Terminal(
                    f"{path} is not what this program wrote there; it is left alone", reason=Reason.NotOwned
                )
    try:
        with _answer(root, relative, absent_ok=True), _parent(root, relative) as (directory, name):
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise _unsafe(root, relative, "is a directory")
            os.unlink(name, dir_fd=directory)
            os.fsync(directory)
    except FileNotFoundError:
        return False
    return True


def remove_dir(root: Path, relative: str) -> bool:
    """Remove the empty directory root/relative. False when there was none. Raises as `remove`."""
    try:
        with _answer(root, relative, absent_ok=True), _parent(root, relative) as (directory, name):
            os.rmdir(name, dir_fd=directory)
            os.fsync(directory)
    except FileNotFoundError:
        return False
    return True


Identity = tuple[int, int, int, int]  # device, inode, time of change in ns, bytes


def identity(path: Path) -> Identity | None:
    """Which file is there, of those that are only ever replaced whole; None: there is none, or nobody can tell."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns, found.st_size


def size(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(file.lstat().st_size for file in folder.rglob("*"))


def remove_tree(root: Path, relative: str) -> None:
    """Remove root/relative with all that is in it; links are removed, not followed. What cannot be removed stays."""
    with contextlib.suppress(OSError), _parent(root, relative) as (directory, name):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            shutil.rmtree(name, ignore_errors=True, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)


def names(root: Path, relative: str) -> frozenset[str]:
    """What there is in the directory root/relative; nothing when it does not exist. Raises as `read_nofollow`."""
    try:
        with _answer(root, relative, reading=True), opened(root, relative) as directory:
            return frozenset(os.listdir(directory))  # noqa: PTH208 - pathlib cannot list an open directory
    except FileNotFoundError:
        return frozenset()


LEFTOVER_AGE: Final = 60.0  # seconds; no write takes as long


def sweep(root: Path, relative: str = "", *, older: float = 0.0) -> int:
    """Remove what killed writes left in the directory root/relative, if it is `older` (seconds); the number of files removed.

    Without an age only while no other process writes there. A missing directory has no leftovers. Raises as `remove`.
    """
    removed, before = 0, time.time() - older
    try:
        with _answer(root, relative, absent_ok=True), opened(root, relative) as directory:
            for name in os.listdir(directory):  # noqa: PTH208 - pathlib cannot list an open directory
                if is_leftover(name) and (
                    not older or os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime < before
                ):
                    os.unlink(name, dir_fd=directory)
                    removed += 1
    except FileNotFoundError:
        return 0
    return removed


def is_leftover(name: str) -> bool:
    """Whether a file of this name is an unfinished write of ours."""
    return _LEFTOVER.fullmatch(name) is not None


def digest(content: bytes) -> str:
    """SHA-256 of a file's content, by which what we wrote is known again."""
    return hashlib.sha256(content).hexdigest()


def leads_to(allowed: Path, path: Path) -> bool:
    """Whether `path` is `allowed` or lies below it with no link on the way; `allowed` itself may be one.

    What does not exist yet leads there: nobody has put anything else in its place.
    """
    if not path.is_relative_to(allowed):
        return False
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        folder = allowed
        for part in path.relative_to(allowed).parts:
            folder = folder / part
            if stat.S_ISLNK(folder.lstat().st_mode):
                return False
    return True


def exchangeable(path: Path) -> str:
    """How somebody besides root could put something else in the place of `path`; "" when nobody can.

    `path` is one without links in it. A folder above it that others own, or may write to, is enough, unless its sticky bit
    keeps them from each other's entries. What is below a component that does not exist is not judged.
    """
    trusted = {0, os.geteuid()}
    folder = Path("/")
    for part in ("", *path.parts[1:]):
        folder = folder / part
        try:
            found = folder.lstat()
        except OSError:
            return ""
        if stat.S_ISLNK(found.st_mode):
            return f"{folder} is a link"
        if found.st_uid not in trusted:
            return f"{folder} belongs to user {found.st_uid}"
        open_to = found.st_mode & 0o002 or (found.st_mode & 0o020 and found.st_gid != 0)
        if folder != path and open_to and not found.st_mode & stat.S_ISVTX:
            return f"{folder} can be written to by others than root (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def require_unexchangeable(root: Path) -> None:
    """Raises errors.Terminal (FileUnsafe): others than root could have files below `root` written elsewhere, or read them first."""
    if how := exchangeable(root.resolve() / "*"):
        raise errors.Terminal(
            f"no file is written below {root}: {how}. Make root its owner and take away the others' right to write there",
            reason=Reason.FileUnsafe,
        )


@contextlib.contextmanager
def _replacing(directory: int, name: str, lasting: bool = True) -> Iterator[str]:
    """The name of a temporary file to make, which then takes the place of `name`; whatever goes wrong removes it."""
    temporary = f".{secrets.token_hex(8)}{LEFTOVER_SUFFIX}"
    try:
        yield temporary
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    if lasting:
        os.fsync(directory)


def _parts(root: Path, relative: str) -> tuple[str, ...]:
    parts = tuple(relative.split("/"))
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise errors.Terminal(f"{relative!r} is not a path below {root}", reason=Reason.FileUnsafe)
    return parts


def _open_root(root: Path) -> int:
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


@contextlib.contextmanager
def opened(root: Path, relative: str) -> Iterator[int]:
    """The directory root/relative ("" for the root itself), opened without following a link below the root."""
    directory = _open_root(root)
    try:
        for part in _parts(root, relative) if relative else ():
            child = os.open(part, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = child
        yield directory
    finally:
        os.close(directory)


@contextlib.contextmanager
def _parent(root: Path, relative: str) -> Iterator[tuple[int, str]]:
    *above, name = _parts(root, relative)
    with opened(root, "/".join(above)) as directory:
        yield directory, name


def _own(handle: int, mode: int, uid: int | None, gid: int | None) -> None:
    if uid is not None or gid is not None:
        os.fchown(handle, -1 if uid is None else uid, -1 if gid is None else gid)
    os.fchmod(handle, mode & MODES)


def _is_own(handle: int, mode: int, uid: int | None, gid: int | None) -> bool:
    """Whether `_own` would change nothing."""
    found = os.fstat(handle)
    return (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (
        mode & MODES,
        found.st_uid if uid is None else uid,
        found.st_gid if gid is None else gid,
    )


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _require_plain(found: os.stat_result, root: Path, relative: str) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _unsafe(root, relative, "is a symbolic link")
    if not stat.S_ISREG(found.st_mode):
        raise _unsafe(root, relative, "is not a regular file")
    if found.st_nlink > 1:
        raise _unsafe(root, relative, f"has {found.st_nlink} hard links")


def _unsafe(root: Path, relative: str, what: str) -> errors.Terminal:
    path = PurePosixPath(root) / relative
    return errors.Terminal(
        f"{path} {what}: not touched (look who put it there, then remove it)", reason=Reason.FileUnsafe
    )


@contextlib.contextmanager
def _answer(root: Path, relative: str, *, reading: bool = False, absent_ok: bool = False) -> Iterator[None]:
    """Turns what the system answers into an error of ours; FileNotFoundError passes where absence is an answer."""
    path = PurePosixPath(root) / relative
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and (reading or absent_ok):
            raise
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise _unsafe(root, relative, "is, or lies below, a link or something special") from None
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"no space left to write {path} (make room on its file system)"
            raise errors.Transient(message, reason=Reason.DiskFull) from None
        verb, reason = ("read", Reason.FileReadFailed) if reading else ("change", Reason.FileWriteFailed)
        # Root may do anything but change what carries this attribute.
        hint = f" (immutable? `lsattr -d {path}`, `chattr -i`)" if error.errno == errno.EPERM and not reading else ""
        raise errors.Transient(f"cannot {verb} {path}: {error.strerror}{hint}", reason=reason) from None
