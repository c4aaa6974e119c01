"""Files of the host below its root, which is `/` or where a container has it mounted; and lines in a file of our own."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from reconciler import errors
from reconciler.host.protocol import Refused
from reconciler.reasons import Reason
from reconciler.system import files, run

# What the system answers when it will answer the same the next time.
LASTING: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT, errno.EBUSY, errno.ENOSYS}
)
_HEADER: Final = (
    "# From here on: written by reconciler from the site's `host:` sections. Lines of yours stay above this one."
)
_HEADERS: Final = (
    _HEADER,
    "# Written by reconciler from the site's `host:` sections. Lines that it did not write stay.",
)  # 2: of earlier versions
_EXCHANGE: Final = (
    'set -e; umask 077; cat > "$1.reconciler-new"; chown "$3" "$1.reconciler-new"; chmod "$2" "$1.reconciler-new"; '
    'sync "$1.reconciler-new"; mv -f "$1.reconciler-new" "$1"'
)
_SYSTEMD: Final = Path("/run/systemd/system")
_writing = Lock()  # several actions have lines in the same file


class Place:
    """The host's files."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    @property
    def has_manager(self) -> bool:
        """Whether a service manager runs that does for the whole host what this program may not: the shipped unit is confined."""
        return self.root == Path("/") and _SYSTEMD.is_dir()

    def at(self, path: str) -> Path:
        """`path` ("/etc/hosts") as this program sees it."""
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str | None:
        """The content of a file; None when there is none. Raises errors.Terminal (FileUnsafe), errors.Transient (FileReadFailed)."""
        found = self.status(path)
        return found[0] if found else None

    def status(self, path: str) -> tuple[str, os.stat_result] | None:
        """Content and status of a file; None when there is none. Raises as `text`."""
        try:
            content, found = files.read_nofollow(self.root, path.lstrip("/"))
        except FileNotFoundError:
            return None
        return content.decode(errors="surrogateescape"), found

    def write(self, path: str, text: str, mode: int | None = None) -> None:
        """Replace or create a file of root's; without a `mode` it keeps its own. Raises Refused, errors.Transient (DiskFull …),
        errors.Terminal (FileUnsafe)."""
        relative = path.lstrip("/")
        data = text.encode(errors="surrogateescape")
        found = self.status(path) if mode is None else None
        bits, uid, gid = (
            (found[1].st_mode & files.MODES, found[1].st_uid, found[1].st_gid) if found else (mode or 0o644, 0, 0)
        )
        try:
            folder = os.path.dirname(relative)  # noqa: PTH120 - a part of a path
            if folder and not (self.root / folder).is_dir():
                files.make_dirs(self.root, folder, 0o755)
            self._sweep(path)
            files.write_under(self.root, relative, data, mode=bits, uid=uid, gid=gid)
        except errors.Transient as error:
            cause = error.__context__.errno if isinstance(error.__context__, OSError) else None
            if cause == errno.EROFS and self.has_manager:
                self._hand_over(path, data, bits, uid, gid)
            elif found and cause in (errno.EROFS, errno.EBUSY):
                self._write_into(path, data)
            else:
                raise self._lasting(error) or error from None

    def _hand_over(self, path: str, data: bytes, mode: int, uid: int, gid: int) -> None:
        """What the shipped unit keeps read-only is written by the service manager. A single file that is made writable for the unit
        would be a mount, which goes on showing the old file when an editor has put a new one into its place."""
        asked(self, ["sh", "-c", _EXCHANGE, "sh", path, f"{mode:o}", f"{uid}:{gid}"], stdin=data)

    def _write_into(self, path: str, data: bytes) -> None:
        """A file that is a mount of its own, as /etc/hosts is in a container, cannot be exchanged for another one. It is a page,
        which a kill does not tear."""
        try:
            handle = os.open(self.at(path), os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.pwrite(handle, data, 0)
                os.ftruncate(handle, len(data))
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            if error.errno not in LASTING:
                raise
            raise Refused(f"cannot change {path}: {error.strerror}") from None

    def sweep(self, path: str, older: float = files.LEFTOVER_AGE) -> None:
        """Remove what a write of `path` that was cut short left beside it, if it is `older` (seconds): others may write there. Raises as `write`."""
        with self._removing():
            self._sweep(path, older)

    def remove(self, path: str) -> None:
        """Remove a file, if there is one, and what a write of it that was cut short left. Raises as `write`."""
        with self._removing():
            self._sweep(path)
            files.remove(self.root, path.lstrip("/"))

    def _sweep(self, path: str, older: float = files.LEFTOVER_AGE) -> None:
        files.sweep(self.root, os.path.dirname(path.lstrip("/")), older=older)  # noqa: PTH120 - a part of a path

    @contextmanager
    def _removing(self) -> Iterator[None]:
        try:
            yield
        except errors.Transient as error:
            raise self._lasting(error) or error from None

    @staticmethod
    def _lasting(error: errors.Transient) -> Refused | None:
        cause = error.__context__
        lasting = isinstance(cause, OSError) and cause.errno in LASTING
        return Refused(str(error)) if error.reason == Reason.FileWriteFailed and lasting else None


class Lines:
    """A file with one line for each setting below a header of ours: by its place a line is known as ours, also when the memory of this node is
    lost. What somebody else put above it is never touched. `key` tells which setting a line is of; "": of none."""

    def __init__(self, place: Place, path: str, key: Callable[[str], str]) -> None:
        self._place, self._path, self._key = place, path, key

    def find(self, name: str) -> str | None:
        """The last line of `name`, whoever wrote it: what counts where there are several."""
        above, ours = self._parts()
        return next((line for line in reversed([*above, *ours]) if self._key(line) == name), None)

    def put(self, name: str, line: str) -> None:
        """See that `line` is our one line of `name`."""
        with _writing:
            above, ours = self._parts()
            others = [one for one in ours if self._key(one) != name]
            if [one for one in ours if self._key(one) == name] != [line]:
                self._write(above, [*others, line])

    def drop(self, name: str, written: str) -> None:
        """See that there is no line of ours for `name`; the file goes with its last line. Without our header a line is ours that is as
        `written`."""
        with _writing:
            above, ours = self._parts()
            if not ours:
                above, ours = [one for one in above if one != written], [one for one in above if one == written]
            others = [one for one in ours if self._key(one) != name]
            if others == ours:
                self._place.sweep(self._path)
                return
            if any(one.strip() for one in (*above, *others)):
                self._write(above, others)
            else:
                self._place.remove(self._path)

    def _parts(self) -> tuple[list[str], list[str]]:
        """The lines above our header, and those below it."""
        lines = (self._place.text(self._path) or "").splitlines()
        header = next((number for number, line in enumerate(lines) if line in _HEADERS), len(lines))
        return lines[:header], lines[header + 1 :]

    def _write(self, above: Iterable[str], ours: Sequence[str]) -> None:
        lines = (*above, *((_HEADER, *ours) if ours else ()))
        self._place.write(self._path, "".join(f"{line}\n" for line in lines))


def asked(place: Place, words: list[str], seconds: float = 30.0, stdin: bytes = b"") -> None:
    """Have the host run a program: by its service manager where there is one, which may do what the shipped unit takes away.

    Raises Refused when it fails or is not there, errors.Transient (DeadlineExceeded).
    """
    if place.has_manager:
        words = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--", *words]
    name = next(word for word in words if not word.startswith("-"))
    try:
        done = run.program(words, seconds=seconds, stdin=stdin)
    except errors.Terminal as error:
        if error.reason != Reason.ProgramMissing:
            raise
        raise Refused(f"this host has no {name}") from None
    if done.code != 0:
        raise Refused(done.message)


def cannot_write(place: Place, path: str) -> str:
    """Why a file that is there cannot be written to, for an observed value; "" when it seems that it can."""
    return "" if place.has_manager or os.access(place.at(path), os.W_OK) else " (it cannot be written to here)"
