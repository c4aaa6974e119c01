"""The child's side of `run.python`: walls up, in the order that `reconciler.system.walls` gives them, then one function is called.

The function's module may have `warm(name)`, which loads whatever is loaded late, and `gather(argument)`, which reads raw bytes;
what that gives is the function's second argument. Between the two nothing can be loaded any more, after them nothing can be
opened. What the module needs is therefore imported at its top, or by `warm`.

Called with the function's name; stdin: one line of JSON that says what it may have, then the argument as JSON; stdout: the
answer, or a described error.
"""

import errno
import gc
import json
import math
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

from reconciler import errors
from reconciler.codec import to_json
from reconciler.reasons import Reason
from reconciler.system import alarm, walls

ERROR: Final = 70  # sysexits' EX_SOFTWARE: an error of our hierarchy is described on stdout
EXHAUSTED: Final = 71  # memory ran out
_BESIDE: Final = 160 << 20  # bytes of address space that are not a process's own data: libraries, files it maps
_COUNTED: Final = 4 << 20  # bytes of content for which there is more memory and time
_READ: Final = 192 << 20  # bytes of memory for reading content itself: of three sources `reading.Budget`


def describe(error: errors.ReconcilerError) -> dict[str, Any]:
    """An error as plain JSON, for `run` to raise again."""
    return {
        "kind": type(error).__name__,
        "message": str(error),
        "reason": error.reason,
        "retry_after": getattr(error, "retry_after", None),
        "problems": to_json(getattr(error, "problems", ())),
    }


def _mistake(function: str, error: Exception) -> errors.Terminal:
    """What nobody foresaw: a defect of the program, or something that its wall denied."""
    name = function.rpartition(":")[2]
    if isinstance(error, PermissionError) and error.errno == errno.EPERM:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return errors.Terminal(
            f"{name} failed in its child process: {type(error).__name__} at {last.filename.rpartition('/')[2]}:{last.lineno} "
            f"({str(error)[:300]}): its wall denies what it tried",
            reason=Reason.ChildFailed,
        )
    return errors.defect(error, name)


if __name__ == "__main__":  # never in a process that stays, which imports this for its names
    gc.disable()  # until all is loaded: little of that is let go of, and each look at it costs more than the one before
_COLLECTED: Final = 20_000  # objects more than were let go of, before Python looks for those that only name each other


def main() -> int:
    """Serve the one request on stdin; returns the exit code."""
    request = json.loads(sys.stdin.buffer.readline())
    wall = walls.Wall.from_json(request["wall"])
    words = walls.isolate(wall, request["parent"])
    answer = sys.stdout.buffer
    sys.stdout = sys.stderr  # a stray print must not mix with the answer
    try:
        try:
            result = _called(request, wall, words)
            answer.write(json.dumps(result).encode())
        except errors.ReconcilerError as error:
            answer.write(json.dumps(describe(error)).encode())
            return ERROR
        except Exception as error:
            if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
                return EXHAUSTED
            traceback.print_exc()
            answer.write(json.dumps(describe(_mistake(sys.argv[1], error))).encode())
            return ERROR
        finally:
            answer.flush()
    except MemoryError:
        return EXHAUSTED
    return 0


def _called(request: Mapping[str, Any], wall: walls.Wall, words: frozenset[str]) -> Any:
    limits = request["limits"]
    _limit(resource.RLIMIT_CPU, limits["cpu_seconds"] + 60)
    module_name, _, name = sys.argv[1].partition(":")
    module = import_module(module_name)
    function: Callable[..., Any] = getattr(module, name)
    for more in request["modules"]:
        import_module(more)
    if warm := getattr(module, "warm", None):
        warm(name)
    gc.freeze()  # what is loaded stays, and a short life makes little that is to be collected
    gc.set_threshold(_COLLECTED, 20, 50)
    gc.enable()
    alarm.install()
    _limit(resource.RLIMIT_DATA, limits["memory"] + limits["memory_per_byte"] * _COUNTED + _READ)
    standing = walls.hold(wall, words)
    argument = json.load(sys.stdin.buffer)
    gather = getattr(module, "gather", None)
    given = [argument] if gather is None else [argument, gather(argument)]
    _tighten(limits, _size(given[1:]))
    if wall.sealed:
        walls.seal(standing, (0, 1, 2, *request["kept"]))
    walls.forget()
    return function(*given)


def _tighten(limits: Mapping[str, Any], size: int) -> None:
    """What may still be used, given the bytes that were read: of those, the first few mebibytes count in full."""
    counted = min(size, _COUNTED)
    memory = int(limits["memory"] + limits["memory_per_byte"] * counted + size)
    _limit(resource.RLIMIT_DATA, memory)
    _limit(resource.RLIMIT_AS, memory + _BESIDE)  # shared memory is nobody's data
    allowed = alarm.scaled(limits["cpu_seconds"] + limits["cpu_per_mib"] * counted / (1 << 20))
    _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + allowed))


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _size(content: Any) -> int:
    if isinstance(content, bytes | str):
        return len(content)
    if isinstance(content, Mapping):
        return sum(len(name) + _size(value) for name, value in content.items())
    return sum(map(_size, content)) if isinstance(content, list | tuple) else 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # what a sealed interpreter does on its way out is of no use, and nothing is left to write
