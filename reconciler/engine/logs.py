"""The last lines of what a container wrote: to the engine's log, and to files in it or in its volumes."""

import contextlib
import errno
import fnmatch
import io
import os
import posixpath
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler import errors
from reconciler.engine.connection import Connection
from reconciler.foreign import said, whole_lines
from reconciler.model import Container

_TAIL_BYTES = 64 << 10
_ARCHIVE_BYTES = 8 << 20  # of a file that only the engine can reach, and that has to be read from its beginning
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def last_words(connection: Connection, container: Container, name: str, lines: int = 20) -> str:
    """The last lines of the container's log files and of the engine's log, each part under its own heading.

    Files that hold nothing are left out. Never raises: it explains a failure and must not become one.
    """
    try:
        data = connection.inspect(name)
        if data is None:
            return ""
        parts = [(pattern, _file(connection, data, pattern, lines)) for pattern in container.log_files]
        parts.append(("container output", output(connection, name, lines)))
    except errors.ReconcilerError:
        return ""
    found = [(title, text) for title, text in parts if text.strip()]
    if len(found) == 1:
        return found[0][1]
    return "\n".join(f"{title}:\n{text}" for title, text in found)


def output(connection: Connection, name: str, lines: int = 20) -> str:
    """The last lines in the engine's log, both streams; "" when the log driver cannot be read."""
    try:
        with connection.asking(f"read the log of {name}"):
            text = connection.api.logs(name, stdout=True, stderr=True, tail=lines, stream=False)
    except errors.ReconcilerError:
        return ""
    return said(whole_lines(bytes(text), _TAIL_BYTES)).strip()


def _file(connection: Connection, data: Mapping[str, Any], pattern: str, lines: int) -> str:
    folder, glob = posixpath.split(posixpath.normpath(pattern))
    for mount in sorted(data.get("Mounts") or (), key=lambda m: -len(m["Destination"])):
        target = mount["Destination"].rstrip("/")
        if mount.get("Source") and (folder == target or folder.startswith(target + "/")):
            content = _from_host(Path(mount["Source"]), folder[len(target) :].strip("/"), glob)
            if content is not None:
                return _last(content, lines)
    return _last(_from_archive(connection, str(data["Id"]), folder, glob), lines)


def _from_host(root: Path, folder: str, glob: str) -> bytes | None:
    """The end of the newest file that matches; None when the folder cannot be read here.

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
            newest: tuple[float, int, int] | None = None
            for name in fnmatch.filter(os.listdir(handle), glob):  # noqa: PTH208 - of a handle
                with contextlib.suppress(OSError):
                    file = os.open(name, _OPEN, dir_fd=handle)
                    stack.callback(os.close, file)
                    found = os.fstat(file)
                    if stat.S_ISREG(found.st_mode) and (newest is None or found.st_mtime > newest[0]):
                        newest = (found.st_mtime, file, found.st_size)
            if newest is None:
                return b""
            return os.pread(newest[1], _TAIL_BYTES, max(newest[2] - _TAIL_BYTES, 0))
        except OSError as error:
            # The engine would follow the link, so it is not asked either.
            return b"" if error.errno in (errno.ELOOP, errno.ENOTDIR) else None


def _from_archive(connection: Connection, identity: str, folder: str, glob: str) -> bytes:
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
        return b""
    newest, content = -1.0, b""
    with (
        contextlib.suppress(tarfile.TarError, EOFError, OSError),
        tarfile.open(fileobj=io.BytesIO(bytes(data))) as archive,
    ):
        for member in archive:
            if member.isfile() and member.mtime > newest and fnmatch.fnmatch(posixpath.basename(member.name), glob):
                source = archive.extractfile(member)
                content = source.read()[-_TAIL_BYTES:] if source else b""
                newest = member.mtime
    return content


def _last(content: bytes, lines: int) -> str:
    return "\n".join(said(whole_lines(content, _TAIL_BYTES)).splitlines()[-lines:])
