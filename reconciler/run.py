"""The one door to subprocesses: clean environment, no shell, always a deadline.

Two kinds of child go through here: other programs (`program`) and our own code in a short-lived limited
interpreter (`python`), used for everything that touches what a stranger wrote: fetch, decrypt, validate, render.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from reconciler import errors
from reconciler.foreign import said

# What a child may know of us. Certificates and time zone; never tokens, HOME or the caller's PATH.
SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED_ON = ("SSL_CERT_FILE", "SSL_CERT_DIR", "TZ")


@dataclass(frozen=True, slots=True)
class Completed:
    """What a program left: its exit code, and both outputs as bytes."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def message(self) -> str:
        """The last 2,000 characters of stderr, for an error message."""
        return said(self.stderr.strip(), last=2000)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use. `seconds` is wall clock, `cpu_seconds` processor time, `memory` bytes of address space."""

    seconds: float = 60.0
    cpu_seconds: int = 60
    memory: int = 2 << 30


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The clean environment a child starts with, plus `extra`."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"PATH": SAFE_PATH, "LANG": "C.UTF-8", "HOME": "/nonexistent", **kept, **(extra or {})}


def program(
    argv: Sequence[str | Path],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = 60.0,
    limits: Limits | None = None,
    no_network: bool = False,
) -> Completed:
    """Run a program to its end and return what it left; a non-zero exit code is the caller's to judge.

    `no_network` puts it into an empty network namespace where the kernel lets us.

    Raises errors.Terminal (ProgramMissing) when it does not exist, errors.Transient (DeadlineExceeded) when it
    did not end in time; its whole process group is then killed.
    """
    words = [str(word) for word in argv]
    child_env = environment(env)
    if no_network and shutil.which(words[0], path=child_env["PATH"]) and _can_isolate():
        words = ["unshare", "--net", "--", *words]
    deadline = limits.seconds if limits else seconds
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_env,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_apply(limits) if limits else None,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise errors.Terminal(
            f"cannot run {words[0]!r}: {error.strerror} (install it or correct its path)",
            reason="ProgramMissing",
        ) from None
    try:
        stdout, stderr = process.communicate(stdin, timeout=deadline)
    except subprocess.TimeoutExpired:
        _kill_group(process)
        raise errors.Transient(
            f"{Path(argv[0]).name} did not end within {deadline:g} s and was stopped",
            reason="DeadlineExceeded",
        ) from None
    except BaseException:
        _kill_group(process)
        raise
    return Completed(process.returncode, stdout, stderr)


def python(
    function: str,
    argument: object,
    *,
    limits: Limits,
    env: Mapping[str, str] | None = None,
    no_network: bool = False,
) -> Any:
    """Call `package.module:function` with one JSON-able argument in a limited child, and return its JSON-able result.

    Errors of the hierarchy raised in the child are raised again here with their class, reason and problems. Raises
    errors.Transient (DeadlineExceeded) or errors.Terminal (LimitExceeded, ChildFailed) when the child does not live to answer.
    `no_network` puts the child into an empty network namespace where the kernel lets us.
    """
    command: list[str | Path] = [sys.executable, "-I", "-m", "reconciler.run", function]
    started = time.monotonic()
    done = program(command, stdin=json.dumps(argument).encode(), env=env, limits=limits, no_network=no_network)
    if done.code == 0:
        return json.loads(done.stdout)
    if done.code == _CHILD_ERROR:
        raise _revive(json.loads(done.stdout))
    name = function.rpartition(":")[2]
    if b"MemoryError" in done.stderr or done.code in (-signal.SIGXCPU, -signal.SIGKILL):
        raise errors.Terminal(
            f"{name} needed more than its limits allow ({limits.memory >> 20} MiB, {limits.cpu_seconds} s of processor time) "
            f"after {time.monotonic() - started:.1f} s: the content is too large or made to be slow",
            reason="LimitExceeded",
        )
    raise errors.Terminal(
        f"{name} failed in its child process (exit {done.code}): {done.message}", reason="ChildFailed"
    )


@cache
def _can_isolate() -> bool:
    """Whether the kernel lets us put a child into an empty network namespace; in most CI containers it does not."""
    if os.geteuid() != 0:
        return False
    try:
        return program(["unshare", "--net", "--", "true"], seconds=10).code == 0
    except errors.ReconcilerError:
        return False


# --- the child's side -----------------------------------------------------------------------------------------------

_CHILD_ERROR = 70  # sysexits' EX_SOFTWARE: an error of our hierarchy is described on stdout


def _apply(limits: Limits) -> Callable[[], None]:
    def apply() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
        resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return apply


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _describe(error: errors.ReconcilerError) -> dict[str, Any]:
    return {
        "class": type(error).__name__,
        "message": str(error),
        "reason": error.reason,
        "retry_after": getattr(error, "retry_after", None),
        "problems": [[p.file, p.line, p.column, p.message, p.hint, p.severity] for p in getattr(error, "problems", ())],
    }


def _revive(data: Mapping[str, Any]) -> errors.ReconcilerError:
    if data["class"] == "SiteInvalid":
        return errors.SiteInvalid([errors.Problem(*row) for row in data["problems"]])
    if data["class"] == "Transient":
        return errors.Transient(data["message"], reason=data["reason"], retry_after=data["retry_after"])
    return errors.Terminal(data["message"], reason=data["reason"])


def _child(function: str) -> int:
    module, _, name = function.partition(":")
    argument = json.load(sys.stdin.buffer)
    answer = sys.stdout.buffer
    sys.stdout = sys.stderr  # a stray print must not mix with the answer
    try:
        result = getattr(import_module(module), name)(argument)
    except errors.ReconcilerError as error:
        answer.write(json.dumps(_describe(error)).encode())
        return _CHILD_ERROR
    answer.write(json.dumps(result).encode())
    return 0


if __name__ == "__main__":
    sys.exit(_child(sys.argv[1]))
