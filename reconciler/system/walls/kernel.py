"""The kernel's interfaces that Python has no function for: raw system calls, through the C library that is loaded anyway.

Only what builds a wall imports this. A child forgets it, and `ctypes` with it, once its walls stand (`forget`).
"""

import ctypes
import os
import platform
import sys
from typing import Any, Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_VERSION: Final = 0x20080522  # the one with 64 bits

# The C library's constant for "no error": `syscall` answers -1 otherwise.
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

MACHINE: Final = platform.machine()

# What is called by number, beyond what filters name (`syscalls`). The last three have one number everywhere.
NUMBERS: Final[dict[str, dict[str, int]]] = {
    "x86_64": {"mount": 165, "capget": 125, "capset": 126, "prctl": 157, "seccomp": 317, "unshare": 272},
    "aarch64": {"mount": 40, "capget": 90, "capset": 91, "prctl": 167, "seccomp": 277, "unshare": 97},
}
_EVERYWHERE: Final = {"landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446}


def call(name: str, *arguments: Any) -> int:
    """Make a system call. Arguments are int, bytes, None or ctypes objects. Raises OSError, also where there is none."""
    number = _EVERYWHERE.get(name) or NUMBERS.get(MACHINE, {}).get(name)
    if number is None:
        raise OSError(38, f"{name} on {MACHINE}")  # ENOSYS
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    given += [ctypes.c_long(0)] * (6 - len(given))
    answer = int(_LIBC.syscall(ctypes.c_long(number), *given))
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
    return answer


def prctl(option: int, value: int) -> None:
    """Raises OSError."""
    if _LIBC.prctl(ctypes.c_int(option), *(ctypes.c_ulong(v) for v in (value, 0, 0, 0))) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "prctl")


def keep_capabilities(mask: int) -> None:
    """Give up every capability but those of `mask` (bits by number) that this process has. Raises OSError."""
    header, held = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    call("capget", header, held)
    low, high = held[1] & mask & 0xFFFFFFFF, held[4] & mask >> 32
    call("capset", header, (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0))


def forget() -> None:
    """Drop `ctypes` from the modules: nothing finds it by its name, and importing it again would open files."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("ctypes", "_ctypes")]:
        del sys.modules[name]
    sys.modules.pop(__name__, None)
