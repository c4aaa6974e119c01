"""The one door to subprocesses: clean environment, no shell, always a deadline, never more output than was agreed.

Two kinds of child go through here: other programs (`program`) and our own code in a short-lived walled interpreter
(`python`, whose other side is `run_child`), used for everything that touches what a stranger wrote. What a child answers is a
stranger's text as well: it is bounded while it is read, and checked before it is used.
"""

import contextlib
import functools
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from reconciler import errors
from reconciler.codec import UNREADABLE, from_json
from reconciler.foreign import said
from reconciler.reasons import Reason, known
from reconciler.system import walls
from reconciler.system.run_child import ERROR, EXHAUSTED
from reconciler.text import printable

T = TypeVar("T")

# What a child may know of us. Certificates and time zone; never tokens, HOME or the caller's PATH.
SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSED_ON = ("SSL_CERT_FILE", "SSL_CERT_DIR", "TZ")

_running: set[subprocess.Popen[bytes]] = set()

_MOST_STDOUT = 64 << 20
_MOST_STDERR = 16 << 20
_KEPT_STDERR = 64 << 10
_MOST_ANSWER = 32 << 20  # bytes of JSON
_MOST_PARTS = 2_000_000  # commas, colons and brackets in it: each may become an object of ours
_MOST_PROGRESS = 1 << 20


@dataclass(frozen=True, slots=True)
class Completed:
    """What a program left: its exit code, and both outputs as bytes (of stderr at most the last 64 KiB)."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def message(self) -> str:
        """The last 2,000 characters of stderr, for an error message."""
        return said(self.stderr.strip(), last=2000)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use: `seconds` of wall clock, `cpu_seconds` of processor time, `memory` in bytes.

    Wall clock is against what hangs, and much more than processor time: a busy machine is not the child's fault.

    For our own code the processor time counts once its walls stand, on the machine that budgets are measured on (a slower
    one gets more), and for each byte that it then reads come `memory_per_byte`, for each mebibyte `cpu_per_mib`.
    """

    seconds: float = 60.0
    cpu_seconds: int = 60
    memory: int = 2 << 30
    memory_per_byte: int = 0
    cpu_per_mib: float = 0.0


@dataclass(frozen=True, slots=True)
class Confined:
    """The wall of another program: no network, and of files these, beside the system's libraries. `files` False: any."""

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    files: bool = True


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
    confined: Confined | None = None,
) -> Completed:
    """Run a program to its end and return what it left; a non-zero exit code is the caller's to judge.

    With `confined` it has no network and only some files. Raises errors.Terminal (ProgramMissing when it does not exist,
    LimitExceeded when it writes too much, WallMissing), errors.Transient (DeadlineExceeded) when it did not end in time; its
    whole process group is then killed.
    """
    words = [str(word) for word in argv]
    before = functools.partial(_before, words[0], limits, confined, walls.lowered()) if limits or confined else None
    return _run(words, stdin, env, cwd, limits.seconds if limits else seconds, before)


def python(
    function: str,
    argument: object,
    *,
    limits: Limits,
    answers: type[T] | None = None,
    wall: walls.Wall | None = None,
    modules: Sequence[str] = (),
    progress: Callable[[bytes], None] | None = None,
) -> Any:
    """Call `package.module:function` with one JSON-able argument in a walled child, and return its JSON-able result.

    The child reaches what `wall` names and nothing else (docs/security.md), and is sealed before the function sees what was
    read (`run_child` says how a module brings that along) unless `wall` says otherwise. `answers` is the type that the
    result must have, as `codec.from_json` builds it. `modules` are loaded before the walls stand, beside what the function's own module
    brings along: what this argument alone takes. `progress` is called with what the function writes to the descriptor
    that is the argument's `progress`.

    Errors of the hierarchy raised in the child are raised again here with their class, reason and problems. Raises
    errors.Transient (DeadlineExceeded), errors.Terminal: WallMissing; LimitExceeded, ChildFailed when the child does not live to
    answer, or answers what it should not.
    """
    hide()
    name = function.rpartition(":")[2]
    watch = None
    if progress:
        reader, writer = os.pipe()
        watch = (reader, writer, progress)
        argument = {**cast(Mapping[str, object], argument), "progress": writer}
    request = {
        "parent": os.getpid(),
        "limits": asdict(limits),
        "wall": replace(wall or walls.Wall(), lowered=walls.lowered()).to_json(),
        "kept": [watch[1]] if watch else [],
        "modules": list(modules),
    }
    text = f"{json.dumps(request)}\n{json.dumps(argument)}".encode()
    started = time.monotonic()
    words = [sys.executable, "-I", "-m", "reconciler.system.run_child", function]
    done = _run(words, text, None, None, limits.seconds, None, most=_MOST_ANSWER, watch=watch)
    if done.code == 0:
        return _checked(done.stdout, answers, name)
    if done.code == ERROR:
        raise _revive(_checked(done.stdout, _Described, name))
    if done.code in (EXHAUSTED, -signal.SIGXCPU, -signal.SIGKILL):
        raise errors.Terminal(
            f"{name} needed more than its limits allow ({limits.memory >> 20} MiB, {limits.cpu_seconds} s of processor time) "
            f"after {time.monotonic() - started:.1f} s: the content is too large or made to be slow",
            reason=Reason.LimitExceeded,
        )
    raise errors.Terminal(
        f"{name} failed in its child process (exit {done.code}): {done.message}", reason=Reason.ChildFailed
    )


def end_all() -> None:
    """Kill every process that this one waits for, whichever thread does: this one is about to end. Safe in a signal handler."""
    for process in list(_running):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@functools.cache
def hide() -> None:
    """Once: let no process of this user look into this one, as one that starts walled children."""
    walls.hide()


# --- a process and its pipes ----------------------------------------------------------------------------------------


def _run(
    words: list[str],
    stdin: bytes,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    seconds: float,
    before: Callable[[], None] | None,
    *,
    most: int = _MOST_STDOUT,
    watch: tuple[int, int, Callable[[bytes], None]] | None = None,
) -> Completed:
    """`watch`: a pipe, both ends this function's to close, and what takes the bytes that come through."""
    with contextlib.ExitStack() as stack:
        if watch:
            stack.callback(os.close, watch[0])
        process = _started(words, env, cwd, before, watch[1] if watch else -1)
        _running.add(process)
        try:
            pipes = _Pipes(process, stdin, most)
            if watch:
                pipes.watch(watch[0], watch[2])
            return pipes.drain(time.monotonic() + seconds)
        except subprocess.TimeoutExpired:
            raise errors.Transient(
                f"{_called(words)} did not end within {seconds:g} s and was stopped",
                reason=Reason.DeadlineExceeded,
            ) from None
        except _TooMuch as error:
            raise errors.Terminal(
                f"{_called(words)} wrote more than {error.args[0] >> 20} MiB and was stopped",
                reason=Reason.LimitExceeded,
            ) from None
        finally:
            _running.discard(process)
            _end(process)


def _started(
    words: list[str], env: Mapping[str, str] | None, cwd: Path | None, before: Callable[[], None] | None, passed: int
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=before,
            pass_fds=(passed,) if passed >= 0 else (),
        )
    except (FileNotFoundError, PermissionError) as error:
        raise errors.Terminal(
            f"cannot run {words[0]!r}: {error.strerror} (install it or correct its path)",
            reason=Reason.ProgramMissing,
        ) from None
    except subprocess.SubprocessError:
        raise errors.Terminal(
            f"the kernel gives {Path(words[0]).name} no wall: neither a seccomp filter nor a network namespace (allow the "
            f"system calls seccomp and landlock_* to this container or service; {walls.LOWERED}=lowered accepts it)",
            reason=Reason.WallMissing,
        ) from None
    finally:
        if passed >= 0:
            os.close(passed)


def _called(words: Sequence[str]) -> str:
    return words[-1].rpartition(":")[2] if "reconciler.system.run_child" in words else Path(words[0]).name


class _TooMuch(Exception):
    """More was written than is read; the argument is the limit in bytes."""


class _Pipes:
    """Feeds a process and reads what it says, all at once and never more than agreed."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes, most: int) -> None:
        self.process, self.most = process, most
        self.left = memoryview(stdin)
        self.stdout, self.stderr = bytearray(), bytearray()
        self.said = self.noted = 0
        self.selector = selectors.DefaultSelector()
        for stream, kind, take in (
            (process.stdout, selectors.EVENT_READ, self._out),
            (process.stderr, selectors.EVENT_READ, self._err),
            (process.stdin, selectors.EVENT_WRITE, None),
        ):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self.selector.register(stream, kind, take)

    def watch(self, reader: int, progress: Callable[[bytes], None]) -> None:
        """Also give `progress` what comes out of a pipe."""

        def take(data: bytes) -> None:
            self.noted += len(data)
            if self.noted > _MOST_PROGRESS:
                raise _TooMuch(_MOST_PROGRESS)
            progress(data)

        self.selector.register(reader, selectors.EVENT_READ, take)

    def drain(self, deadline: float) -> Completed:
        """Until all pipes are closed and the process is gone. Raises subprocess.TimeoutExpired, _TooMuch."""
        with self.selector:
            while self.selector.get_map():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise subprocess.TimeoutExpired(self.process.args, 0)
                for key, _ in self.selector.select(left):
                    self._move(key)
        code = self.process.wait(max(0.0, deadline - time.monotonic()))
        return Completed(code, bytes(self.stdout), bytes(self.stderr))

    def _move(self, key: selectors.SelectorKey) -> None:
        if key.data is None:
            with contextlib.suppress(BlockingIOError):
                try:
                    self.left = self.left[os.write(key.fd, self.left[:65536]) :] if self.left else self.left
                except BrokenPipeError:
                    self.left = self.left[:0]
            if not self.left:
                self._end(key)
            return
        with contextlib.suppress(BlockingIOError):
            if data := os.read(key.fd, 1 << 18):
                key.data(data)
            else:
                self._end(key)

    def _end(self, key: selectors.SelectorKey) -> None:
        self.selector.unregister(key.fileobj)
        if not isinstance(key.fileobj, int):
            with contextlib.suppress(BrokenPipeError):
                cast(IO[bytes], key.fileobj).close()

    def _out(self, data: bytes) -> None:
        self.stdout += data
        if len(self.stdout) > self.most:
            raise _TooMuch(self.most)

    def _err(self, data: bytes) -> None:
        self.said += len(data)
        self.stderr += data
        del self.stderr[:-_KEPT_STDERR]
        if self.said > _MOST_STDERR:
            raise _TooMuch(_MOST_STDERR)


def _before(name: str, limits: Limits | None, confined: Confined | None, lowered: bool) -> None:
    """In the new process, before it becomes the program."""
    if limits:
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
        resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if confined:
        walls.confine(
            read=confined.read, write=confined.write, execute=(Path(name),), files=confined.files, lowered=lowered
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of it: neither the process, when it still runs, nor any that it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()


# --- what a child says ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Described:
    """An error as `run_child.describe` writes it."""

    kind: str
    message: str
    reason: str
    retry_after: float | None
    problems: tuple[errors.Problem, ...]


def _checked(data: bytes, kind: Any, name: str) -> Any:
    """The JSON in `data` as a `kind` (None: as it is). Raises errors.Terminal (ChildFailed, LimitExceeded)."""
    if sum(data.count(mark) for mark in (b",", b":", b"[", b"{")) > _MOST_PARTS:
        raise errors.Terminal(f"{name} answers with too many parts to be read", reason=Reason.LimitExceeded)
    try:
        found = json.loads(data)
        return found if kind is None else from_json(kind, found)
    except UNREADABLE as error:
        raise errors.Terminal(
            f"{name} answered from its child process what it never should ({type(error).__name__})",
            reason=Reason.ChildFailed,
        ) from None


def _revive(said: _Described) -> errors.ReconcilerError:
    """The error that a child described, as far as it can be believed: reason and text may be anybody's."""
    if said.kind == Reason.SiteInvalid:
        return errors.SiteInvalid(said.problems)
    reason = known(said.reason) or Reason.ChildFailed
    message = printable(said.message, keep_newlines=True, limit=20_000)
    if said.kind == "Transient":
        wait = said.retry_after
        return errors.Transient(
            message, reason=reason, retry_after=wait if wait is not None and 0 <= wait < 1e6 else None
        )
    return errors.Terminal(message, reason=reason)
