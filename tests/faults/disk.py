"""File operations that fail: the system calls of one process, as far as they are about a node's files.

They are wrapped where every module of the program finds them, in `os` and `io`, and only while a pass goes on, so that what does not use
`system/files.py` fails as well.
"""

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

from tests.faults.points import Faults

_ERRNO: Final = {
    "enospc": errno.ENOSPC,
    "eio": errno.EIO,
    "erofs": errno.EROFS,
    "emfile": errno.EMFILE,
    "eperm": errno.EPERM,
}
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Disk:
    """The folders of one node: `place/kolla`, `place/state`, `place/machine`."""

    def __init__(self, place: Path, faults: Faults) -> None:
        self._place, self._faults = str(place), faults
        self._areas = (("/kolla", "config"), ("/state/rollback", "kept"), ("/state", "state"), ("/machine", "host"))
        self._real: dict[str, Callable[..., Any]] = {}

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Within it, system calls about these folders are failpoints."""
        wrapped: dict[str, Callable[..., Any]] = {
            "open": self._open, "write": self._write, "fsync": self._at_handle("sync", "fsync"), "fchmod": self._at_handle("mode", "fchmod"), "fchown": self._at_handle("mode", "fchown"),
            "rename": self._rename, "replace": self._rename, "unlink": self._at_path("remove", "unlink"), "rmdir": self._at_path("remove", "rmdir"),
            "mkdir": self._at_path("folder", "mkdir"), "listdir": self._listdir, "symlink": self._symlink,
        }  # fmt: skip
        self._real = {name: getattr(os, name) for name in wrapped}
        with contextlib.ExitStack() as stack:
            for name, function in wrapped.items():
                stack.enter_context(mock.patch.object(os, name, function))
            stack.enter_context(mock.patch.object(io, "open", self._stream(io.open)))
            yield

    def _area(self, path: Any, folder: int | None = None) -> str:
        """Whose a path is, or a handle's file; "": not the node's."""
        if isinstance(path, int):
            text = self._of_handle(path)
        else:
            text = os.fsdecode(path)
            if not text.startswith("/"):
                text = f"{self._of_handle(folder)}/{text}" if folder is not None else text
        if not text.startswith(self._place):
            return ""
        rest = text[len(self._place) :]
        return next((area for prefix, area in self._areas if rest.startswith(prefix)), "")

    @staticmethod
    def _of_handle(handle: int) -> str:
        try:
            return os.readlink(f"/proc/self/fd/{handle}")
        except OSError:
            return ""

    def _hit(self, area: str, operation: str) -> str:
        """Raises OSError, Killed; returns what is left to the operation itself: "short", "killed-after"."""
        kind = self._faults.hit(f"{area}.{operation}") if area else ""
        if kind in _ERRNO:
            raise OSError(_ERRNO[kind], os.strerror(_ERRNO[kind]))
        return kind

    def _done(self, kind: str, area: str, operation: str) -> None:
        if kind == "killed-after":
            self._faults.die(f"{area}.{operation}")

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        area = self._area(path, dir_fd)
        operation = "create" if flags & _WRITING else "open"
        kind = self._hit(area, operation)
        handle: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        if kind == "killed-after":
            os.close(handle)
            self._faults.die(f"{area}.create")
        return handle

    def _write(self, handle: int, data: Any) -> int:
        area = self._area(handle)
        kind = self._hit(area, "write")
        written: int = self._real["write"](handle, data[: (len(data) + 1) // 2] if kind == "short" else data)
        self._done(kind, area, "write")
        return written

    def _rename(
        self, source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        area = self._area(target, dst_dir_fd)
        kind = self._hit(area, "rename")
        self._real["rename"](source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        self._done(kind, area, "rename")

    def _at_path(self, operation: str, name: str) -> Callable[..., None]:
        def call(path: Any, *arguments: Any, dir_fd: int | None = None, **more: Any) -> None:
            area = self._area(path, dir_fd)
            kind = self._hit(area, operation)
            self._real[name](path, *arguments, dir_fd=dir_fd, **more)
            self._done(kind, area, operation)

        return call

    def _at_handle(self, operation: str, name: str) -> Callable[..., None]:
        def call(handle: Any, *arguments: Any) -> None:
            area = self._area(handle)
            kind = self._hit(area, operation)
            self._real[name](handle, *arguments)
            self._done(kind, area, operation)

        return call

    def _symlink(self, target: Any, path: Any, *arguments: Any, dir_fd: int | None = None, **more: Any) -> None:
        area = self._area(path, dir_fd)
        kind = self._hit(area, "create")
        self._real["symlink"](target, path, *arguments, dir_fd=dir_fd, **more)
        self._done(kind, area, "create")

    def _listdir(self, path: Any = ".") -> list[Any]:
        self._hit(self._area(path), "list")
        found: list[Any] = self._real["listdir"](path)
        return found

    def _stream(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
            area = "" if isinstance(file, int) else self._area(file)
            self._hit(area, "open" if mode in ("r", "rb", "rt") else "create")
            return real(file, mode, *arguments, **more)

        return call
