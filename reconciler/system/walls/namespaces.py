"""Namespaces of its own for a process: it sees no other process, no network, no message queue, no /proc of the machine."""

import contextlib
import os
from pathlib import Path
from typing import Final

from reconciler.system.walls import kernel

# CLONE_NEW… flags, by the word that `docs/security.md` and `doctor` use.
_FLAGS: Final = {"mount": 0x20000, "uts": 0x4000000, "ipc": 0x8000000, "pid": 0x20000000, "network": 0x40000000}
_USER: Final = 0x10000000
_PRIVATE: Final = 0x40000 | 0x4000  # MS_PRIVATE, MS_REC
_READ_ONLY: Final = 0x1 | 0x2 | 0x4 | 0x8  # read-only, no set-uid, no devices, no programs
# What is laid empty in a mount namespace of its own.
_COVERED: Final = ("/proc", "/sys", "/dev/shm")  # noqa: S108  (it is hidden, not used)


def enter(*, network: bool, fork: bool) -> frozenset[str]:
    """Move this process into as many new namespaces as the kernel grants; the words for those that it did.

    `network`: it keeps the machine's network. `fork`: it will fork before it does anything else, so that a new PID
    namespace counts. Without privilege a user namespace is tried that maps this user alone.
    """
    words = [word for word in _FLAGS if not (word == "network" and network) and not (word == "pid" and not fork)]
    for chosen in (words, [word for word in words if word != "mount"], [w for w in words if w in ("network", "ipc", "uts")],
                   [word for word in words if word == "network"]):  # fmt: skip
        if chosen and _unshare(sum(_FLAGS[word] for word in chosen)):
            if "mount" in chosen:
                _cover()
            return frozenset(chosen)
    return frozenset()


def _unshare(flags: int) -> bool:
    user, group = os.geteuid(), os.getegid()
    with contextlib.suppress(OSError):
        kernel.call("unshare", flags)
        return True
    if user == 0:
        return False  # what root may not do, root of a user namespace would only pretend to
    with contextlib.suppress(OSError):
        kernel.call("unshare", flags | _USER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with contextlib.suppress(OSError):  # without a map files are still readable as they were
                Path("/proc/self", name).write_text(text)
        return True
    return False


def _cover() -> None:
    """Lay something empty over what tells about the machine. What cannot be covered stays behind Landlock and the filter."""
    with contextlib.suppress(OSError):
        kernel.call("mount", b"none\0", b"/\0", None, _PRIVATE, None)
        for path in _COVERED:
            with contextlib.suppress(OSError):
                kernel.call("mount", b"none\0", path.encode() + b"\0", b"tmpfs\0", _READ_ONLY, b"size=4k\0")
