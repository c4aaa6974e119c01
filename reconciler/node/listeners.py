"""Who has a port of this host: process and, when it is in one, container. Reads /proc, and changes nothing."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

_PROC = Path("/proc")
_LISTENING = "0A"
_CONTAINER = re.compile(r"\b[0-9a-f]{64}\b")


def holder(port: int, name_of: Callable[[str], str] = lambda identity: "") -> str:
    """Who listens on a TCP port: `httpd (process 812, container web)`; "" when nobody does.

    `name_of` gives the name of a container by its id, "" when it knows none. Whose process may not be looked at is told by its user.
    """
    for inode, uid in _sockets(port):
        for pid in _with_socket(inode):
            return _described(pid, name_of)
        return f"a process of user {uid} (`ss -ltnp 'sport = :{port}'` names it)"
    return ""


def _sockets(port: int) -> Iterator[tuple[str, int]]:
    """Inode and user of every listening socket."""
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROC / "net" / name).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                    yield words[9], int(words[7])


def _with_socket(inode: str) -> Iterator[int]:
    wanted = f"socket:[{inode}]"
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it ended, or is not ours to look at
                if any(os.readlink(entry) == wanted for entry in (folder / "fd").iterdir()):  # noqa: PTH115
                    yield int(folder.name)


def _described(pid: int, name_of: Callable[[str], str]) -> str:
    name, container = "?", ""
    with contextlib.suppress(OSError):
        name = (_PROC / str(pid) / "comm").read_text().strip()
    with contextlib.suppress(OSError):
        found = _CONTAINER.search((_PROC / str(pid) / "cgroup").read_text())
        container = (name_of(found[0]) or found[0][:12]) if found else ""
    return f"{name} (process {pid}{f', container {container}' if container else ''})"
