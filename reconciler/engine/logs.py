"""The last lines of what a container wrote: to the engine's log, and to files in it or in its volumes."""

import contextlib
import errno
import fnmatch
import io
import itertools
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from reconciler import errors, service_log
from reconciler.engine import parse
from reconciler.engine.connection import Connection
from reconciler.foreign import said, whole_lines
from reconciler.model import Container

_TAIL_BYTES = 1 << 20  # of each part: what failed first may be followed by much
_LOOKED_AT = 10_000  # lines
_PIECE_BYTES = 64 << 10
_HEADER = 8
_NAMES = 10_000  # of a folder of logs that are looked at
_SLACK = 1.0  # seconds that the time of a file or a line may be before the start that it belongs to
_ARCHIVE_BYTES = 8 << 20  # of a file that only the engine can reach, and that has to be read from its beginning
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def last_words(
    connection: Connection, container: Container, name: str, lines: int = 20, *, since: datetime | None = None
) -> str:
    """What the container's log files and the engine's log say since a moment (default: the container's start): of each `lines` lines
    at most, what is an error first, each once, under its own heading; the part with the worst line first.

    Files that hold nothing are left out. Never raises: it explains a failure and must not become one.
    """
    try:
        data = connection.inspect(name)
        if data is None:
            return ""
        since = since or parse.moment(data["State"].get("StartedAt"))
        parts = [(pattern, _file(connection, data, pattern, since)) for pattern in container.log_files]
        parts.append(("container output", output(connection, name, _LOOKED_AT, since=since)))
    except errors.ReconcilerError:
        return ""
    told = [(title, service_log.telling(text.splitlines(), lines)) for title, text in parts]
    found = sorted((part for part in told if part[1]), key=lambda part: min(map(service_log.rank, part[1])))
    if len(found) == 1:
        return "\n".join(found[0][1])
    return "\n".join("\n".join((f"{title}:", *rows)) for title, rows in found)


def output(connection: Connection, name: str, lines: int = 20, *, since: datetime | None = None) -> str:
    """The last lines in the engine's log, both streams; "" when the log driver cannot be read."""
    asked = {"stdout": 1, "stderr": 1, "tail": lines, **({"since": since.timestamp() - _SLACK} if since else {})}
    try:
        data = connection.inspect(name)
        if data is None:
            return ""
        with connection.asking(f"read the log of {name}"):
            api: Any = connection.api
            # A line has as many bytes as the container writes before it ends one, so that the client must not keep them all.
            with contextlib.closing(
                api._get(api._url("/containers/{0}/logs", name), params=asked, stream=True)
            ) as answer:
                api._raise_for_status(answer)
                pieces = answer.iter_content(_PIECE_BYTES)
                text = _end(pieces if data["Config"]["Tty"] else _unframed(pieces))
    except errors.ReconcilerError:
        return ""
    return said(whole_lines(text, _TAIL_BYTES)).strip()


def _unframed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Both streams, out of the engine's frames: eight bytes, of which the last four are the length of what follows."""
    pending = bytearray()
    for piece in pieces:
        pending += piece
        while len(pending) >= _HEADER and len(pending) >= (end := _HEADER + int.from_bytes(pending[4:_HEADER], "big")):
            yield bytes(pending[_HEADER:end])
            del pending[:end]


def _end(pieces: Iterable[bytes]) -> bytes:
    kept = bytearray()
    for piece in pieces:
        kept += piece
        if len(kept) > 2 * _TAIL_BYTES:
            del kept[:-_TAIL_BYTES]
    return bytes(kept[-_TAIL_BYTES:])


def _file(connection: Connection, data: Mapping[str, Any], pattern: str, since: datetime | None) -> str:
    """What a file says since a moment."""
    content, modified = _content(connection, data, pattern)
    text = _last(content, _LOOKED_AT)
    if since is None:
        return text
    new = service_log.of_this_start(text, since)
    # Without a time in any line only the file's own can tell.
    return new if new is not None else text if modified >= since.timestamp() - _SLACK else ""


def _content(connection: Connection, data: Mapping[str, Any], pattern: str) -> tuple[bytes, float]:
    """The end of the newest file that matches, and when it was written."""
    folder, glob = posixpath.split(posixpath.normpath(pattern))
    for mount in sorted(data.get("Mounts") or (), key=lambda m: -len(m["Destination"])):
        target = mount["Destination"].rstrip("/")
        if mount.get("Source") and (folder == target or folder.startswith(target + "/")):
            found = _from_host(Path(mount["Source"]), folder[len(target) :].strip("/"), glob)
            if found is not None:
                return found
    return _from_archive(connection, str(data["Id"]), folder, glob)


def _from_host(root: Path, folder: str, glob: str) -> tuple[bytes, float] | None:
    """The end of the newest file that matches and its time; None when the folder cannot be read here.

    What is in a volume was put there by a container, and a bind's folder may have been exchanged by one since: no link is
    followed anywhere on the way, and behind one there is nothing.
    """
    with contextlib.ExitStack() as stack:
        try:
            handle = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, handle)
            for part in (*root.parts[1:], *(folder.split("/") if folder else ())):
                handle = os.open(part, _OPEN | os.O_DIRECTORY, dir_fd=handle)
                stack.callback(os.close, handle)
            newest = _newest(handle, glob)
            if newest is None:
                return b"", 0.0
            file = os.open(newest, _OPEN, dir_fd=handle)
            stack.callback(os.close, file)
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                return b"", 0.0
            return os.pread(file, _TAIL_BYTES, max(found.st_size - _TAIL_BYTES, 0)), found.st_mtime
        except OSError as error:
            # The engine would follow the link, so it is not asked either.
            return (b"", 0.0) if error.errno in (errno.ELOOP, errno.ENOTDIR) else None


def _newest(folder: int, glob: str) -> str | None:
    """The file that matches and was written last, of as many as a folder of logs has."""
    newest: tuple[float, str] | None = None
    with os.scandir(folder) as entries:
        for entry in itertools.islice(entries, _NAMES):
            if fnmatch.fnmatch(entry.name, glob):
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode) and (newest is None or found.st_mtime > newest[0]):
                        newest = (found.st_mtime, entry.name)
    return newest[1] if newest else None


def _from_archive(connection: Connection, identity: str, folder: str, glob: str) -> tuple[bytes, float]:
    """The newest file that matches, out of the container's own file system; works on stopped ones too."""
    path = folder if any(mark in glob for mark in "*?[") else posixpath.join(folder, glob)
    data = bytearray()
    try:
        with connection.asking(f"read {path}"):
            chunks, _ = connection.api.get_archive(identity, path)
            for chunk in chunks:
                data += chunk
                if len(data) > _ARCHIVE_BYTES:
                    break
    except errors.ReconcilerError:
        return b"", 0.0
    newest, content = 0.0, b""
    with (
        contextlib.suppress(tarfile.TarError, EOFError, OSError),
        tarfile.open(fileobj=io.BytesIO(bytes(data))) as archive,
    ):
        for member in archive:
            if member.isfile() and member.mtime > newest and fnmatch.fnmatch(posixpath.basename(member.name), glob):
                source = archive.extractfile(member)
                content = source.read()[-_TAIL_BYTES:] if source else b""
                newest = member.mtime
    return content, newest


def _last(content: bytes, lines: int) -> str:
    return "\n".join(said(whole_lines(content, _TAIL_BYTES)).splitlines()[-lines:])
