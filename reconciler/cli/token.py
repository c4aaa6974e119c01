"""The forge's token of a CI job: in no process's memory or environment while anything of a branch is looked at.

A process cannot change the environment that the kernel shows of it. So a program that finds the token there starts itself anew
without it, at once; the token waits in an anonymous file, which only this process can open, and goes with it.
"""

import os
import sys
from pathlib import Path
from typing import Final

VARIABLE: Final = "RECONCILER_TOKEN"
_FILE_VARIABLE: Final = "RECONCILER_TOKEN_FILE"
_DESCRIPTOR: Final = "RECONCILER_TOKEN_DESCRIPTOR"


def leave_environment() -> None:
    """Start this program anew when its environment holds the token. Called before anything else happens."""
    token = os.environ.get(VARIABLE)
    if not token:
        return
    rest = {name: value for name, value in os.environ.items() if name != VARIABLE}
    held = _held(token)
    os.set_inheritable(held, True)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**rest, _DESCRIPTOR: str(held)})  # noqa: S606


def take() -> Path | None:
    """The file that holds the token, None when there is none. From here on nothing in the environment leads to it."""
    named = os.environ.pop(_FILE_VARIABLE, "")
    descriptor = os.environ.pop(_DESCRIPTOR, "")
    token = os.environ.pop(VARIABLE, "")
    if named:
        return Path(named)
    held = int(descriptor) if descriptor.isdecimal() else _held(token) if token else -1
    if held < 0:
        return None
    os.set_inheritable(held, False)
    return Path(f"/proc/self/fd/{held}")


def _held(token: str) -> int:
    held = os.memfd_create("token", os.MFD_CLOEXEC)
    os.write(held, token.encode(errors="surrogateescape"))
    return held
