"""Landlock: which files a process may open from now on, and whether it may connect. Works without any privilege."""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from reconciler.system.walls import kernel

_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_EXECUTE: Final = 1 << 0
_OF_FILES: Final = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 14) | (1 << 15)  # all that a rule about a file may hold
_SPECIAL: Final = (
    (1 << 6) | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 15)
)  # making devices, sockets, pipes; device ioctl
_CONNECT: Final = 2
_BY_PATH, _BY_PORT = 1, 2


def abi() -> int:
    """The version of the interface that the kernel offers; 0 when it has none or it is switched off."""
    try:
        return kernel.call("landlock_create_ruleset", None, 0, 1)
    except OSError:
        return 0


def restrict(
    *,
    read: Iterable[Path],
    write: Iterable[Path] = (),
    execute: Iterable[Path] = (),
    ports: Sequence[int] | None = (),
) -> int:
    """Leave this process nothing but reading below `read`, changing below `write`, executing `execute`, connecting to
    TCP `ports` (None: any). What does not exist is left out.

    No process outside can be signalled or reached by an abstract socket, where the kernel knows how to refuse that. Needs
    no_new_privs. Returns the interface's version. Raises OSError where there is none.
    """
    version = abi()
    if not version:
        raise OSError(95, "Landlock is not available")
    files = (1 << (13, 13, 14, 15, 15, 16)[min(version, 5)]) - 1
    network = 3 if version >= 4 else 0
    if ports is None:
        network &= ~_CONNECT
    attributes = struct.pack("=QQQ", files, network, 3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = kernel.call("landlock_create_ruleset", ctypes.create_string_buffer(attributes[:size], size), size, 0)
    try:
        for path in read:
            _allow(rules, path, (_READ_FILE | _READ_DIR) & files)
        for path in write:
            _allow(rules, path, files & ~_EXECUTE & ~_SPECIAL)
        for path in execute:
            _allow(rules, path, (_READ_FILE | _READ_DIR | _EXECUTE) & files)
        if network & _CONNECT:
            for port in ports or ():
                rule = struct.pack("=QQ", _CONNECT, port)
                kernel.call("landlock_add_rule", rules, _BY_PORT, ctypes.create_string_buffer(rule, len(rule)), 0)
        kernel.call("landlock_restrict_self", rules, 0)
    finally:
        os.close(rules)
    return version


def _allow(rules: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not there, or not for us: nothing to allow
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        kernel.call("landlock_add_rule", rules, _BY_PATH, ctypes.create_string_buffer(rule, len(rule)), 0)
    finally:
        os.close(descriptor)
