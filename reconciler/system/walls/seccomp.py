"""A seccomp filter of an allow-list, as the kernel's BPF, and how it is installed. Nothing lifts it again."""

import ctypes
import struct
from collections.abc import Iterable
from typing import Final

from reconciler.system.walls import kernel
from reconciler.system.walls.syscalls import NUMBERS, Only, Stage

_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050001  # the call fails with EPERM
_UNKNOWN: Final = 0x00050026  # the call fails with ENOSYS, and the C library takes an older one that can be looked into
_KILL: Final = 0x80000000  # the whole process, for a foreign way of calling the kernel
_LOAD, _EQUAL, _BITS, _AT_LEAST, _ANSWER = 0x20, 0x15, 0x45, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32: Final = 0x40000000

# AUDIT_ARCH_… , and the column of NUMBERS. Both are little-endian: the low half of an argument comes first.
_MACHINES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def program(stage: Stage, machine: str, *, otherwise: int = _REFUSE) -> bytes:
    """The filter for a stage: what it does not name gets the answer `otherwise`. Raises KeyError for a machine whose numbers
    are not known."""
    architecture, column = _MACHINES[machine]
    listed = _ALLOW if otherwise == _REFUSE else _REFUSE
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_ANSWER, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_ANSWER, 0, 0, _KILL),
    ]
    code += [(_EQUAL, 0, 1, NUMBERS["clone3"][column] or 0), (_ANSWER, 0, 0, _UNKNOWN)]
    for name, only in stage.items():
        number = NUMBERS[name][column]
        if number is not None:
            block = _checked(only) if only else [(_ANSWER, 0, 0, listed)]
            code += [(_EQUAL, 0, len(block), number), *block]
    code.append((_ANSWER, 0, 0, otherwise))
    return b"".join(struct.pack("<HBBI", *row) for row in code)


def _checked(only: Only) -> list[Instruction]:
    load: Instruction = (_LOAD, 0, 0, _ARGUMENTS + 8 * only.index)
    ends: list[Instruction] = [(_ANSWER, 0, 0, _REFUSE), (_ANSWER, 0, 0, _ALLOW)]
    if only.without:
        return [load, (_BITS, 0, 1, only.without), *ends]
    if only.having:
        return [load, (_BITS, 1, 0, only.having), *ends]
    count = len(only.among)
    tests: list[Instruction] = [(_EQUAL, count - i, 0, value) for i, value in enumerate(only.among)]
    return [load, *tests, *ends]


def install(stage: Stage) -> None:
    """Hold this process to a stage from now on. Needs no_new_privs. Raises OSError where the kernel has no filters."""
    _install(stage, _REFUSE)


def deny(names: Iterable[str]) -> None:
    """Take these calls from this process and from what it executes; all others stay. Raises as `install`."""
    _install(dict.fromkeys(names), _ALLOW)


def _install(stage: Stage, otherwise: int) -> None:
    if kernel.MACHINE not in _MACHINES:
        raise OSError(38, f"no filter for {kernel.MACHINE}")
    code = program(stage, kernel.MACHINE, otherwise=otherwise)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: a count, then (aligned) where the instructions lie.
    described = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
    kernel.call("seccomp", 1, 1, described)  # SECCOMP_SET_MODE_FILTER, for all threads (TSYNC)
