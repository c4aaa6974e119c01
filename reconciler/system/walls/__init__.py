"""The second wall: what a child process can reach, whatever runs in it. docs/security.md tells what it keeps out.

`Wall` says what one child may have. Its walls go up in steps: `isolate` (namespaces) before the program's own modules are
imported; `hold` (Landlock, limits, a filter under which files can be read) before the first foreign byte; `seal` (nothing is
left but to compute and to answer) before any of it is interpreted. `confine` is the wall of another program, between fork and
exec.

Fails closed: where neither the filter nor Landlock can be had, no child runs (`WallMissing`), unless an operator says so.
"""

import os
import resource
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from reconciler import errors
from reconciler.reasons import Reason
from reconciler.system.walls import kernel, landlock, namespaces, seccomp, syscalls

LOWERED: Final = "RECONCILER_WALL"  # the environment variable that an operator sets to "lowered"

# What loading Python's and the C library's own parts takes: no settings, no keys, nothing that a service put there.
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/localtime",
                     "/usr/share/zoneinfo", "/dev/null", "/dev/urandom")  # fmt: skip
# What finding a server by its name, and judging its certificate, takes.
_NETWORK: Final = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services",
                   "/etc/protocols", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/ca-certificates",
                   "/usr/share/pki", "/usr/share/ssl")  # fmt: skip
_CAN_READ_ANY: Final = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root reads what others own, as before
_MOST_FILES: Final = 512
_LARGEST_FILE: Final = 2 << 30


@dataclass(frozen=True, slots=True)
class Wall:
    """What a child may have: files below `read` and, unless it is `sealed` before it works, below `write`; IP connections to
    `ports` (None: any) with `network`. `lowered`: an operator accepts that it runs without a filter and Landlock."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    sealed: bool = True
    network: bool = False
    ports: tuple[int, ...] | None = ()
    lowered: bool = False

    def to_json(self) -> dict[str, Any]:
        """For handing over; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Wall":
        given: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in data.items()}
        return cls(**given)


@dataclass(frozen=True, slots=True)
class Standing:
    """Which walls stand: the namespaces by their words, Landlock's version (0: none), whether the filter can be had."""

    namespaces: frozenset[str] = frozenset()
    landlock: int = 0
    filter: bool = False


def lowered() -> bool:
    """Whether the operator accepts children without a filter and Landlock."""
    return os.environ.get(LOWERED, "") == "lowered"


def hide() -> None:
    """Let no other process of this user look into this one's memory, environment and descriptors. Never raises."""
    try:
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    except OSError:
        return


def isolate(wall: Wall, parent: int) -> frozenset[str]:
    """Move into namespaces, in a process that has imported next to nothing and will not start another one.

    Returns, with their words, in the process that does the work, which may be a child of the one that called: that one only
    waits, and ends as it ends. `parent` is the process that asked; when it is gone, this one goes.
    """
    _end_with(parent)
    words = namespaces.enter(network=wall.network, fork=True)
    if "pid" in words:
        _fork()
    return words


def hold(wall: Wall, words: frozenset[str]) -> Standing:
    """Let nothing new be loaded or executed from now on, nothing be reached but what `wall` says, and files be read.

    `words` are those of `isolate`. Raises errors.Terminal (WallMissing) when what stands then is not enough.
    """
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
        (resource.RLIMIT_FSIZE, _LARGEST_FILE if wall.write else 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        *([(resource.RLIMIT_NPROC, 0)] if wall.sealed else []),
    ):
        resource.setrlimit(kind, (most, most))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    try:
        version = _restrict(wall)
    except OSError:
        version = 0
    kernel.keep_capabilities(_CAN_READ_ANY)
    try:
        seccomp.install(syscalls.READING if wall.sealed else syscalls.CONNECTED)
        return Standing(words, version, True)
    except OSError:
        if wall.lowered or (version and (wall.network or "network" in words)):
            return Standing(words, version)
    raise errors.Terminal(
        "the kernel gives children of this program no seccomp filter, and not both Landlock and a network namespace: what a "
        "stranger wrote is not looked at without a wall around it (allow the system calls seccomp and landlock_* to this "
        f"container or service, or use Linux 5.13 or later on x86_64 or aarch64; {LOWERED}=lowered in the environment accepts "
        "what docs/security.md says is lost)",
        reason=Reason.WallMissing,
    )


def _restrict(wall: Wall) -> int:
    own = ["/dev/null", "/dev/urandom"] if wall.sealed else [*_program_paths(), *_network_paths()]
    return landlock.restrict(
        read=[Path(path) for path in (*own, *wall.read)],
        write=map(Path, wall.write),
        ports=wall.ports if wall.network else (),
    )


def seal(standing: Standing, kept: tuple[int, ...] = (0, 1, 2)) -> None:
    """Close everything but `kept`, and leave nothing but to compute and to answer there. Nothing is loaded after this."""
    last = 0
    for descriptor in (*sorted(kept), _MOST_FILES):
        if last < descriptor:
            os.closerange(last, descriptor)
        last = descriptor + 1
    kernel.keep_capabilities(0)
    if standing.filter:
        seccomp.install(syscalls.SEALED)


def confine(
    *, read: tuple[Path, ...], write: tuple[Path, ...], execute: tuple[Path, ...], files: bool, lowered: bool
) -> None:
    """The wall of another program that works for us without a network, for the moment between fork and exec.

    `files`: hold it to these paths beside the system's libraries. Raises OSError when neither wall can be had.
    """
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    words = namespaces.enter(network=False, fork=False)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    found = 0
    try:
        if files:
            libraries = tuple(map(Path, _LIBRARIES))
            found = landlock.restrict(read=(*libraries, *read), write=write, execute=(*libraries, *execute))
    except OSError:
        found = 0
    try:
        seccomp.deny(syscalls.DENIED_TO_PROGRAMS)
    except OSError:
        if not (lowered or "network" in words or found >= 4):
            raise


def examine() -> Standing:
    """Which walls the kernel offers to this process, tried in one that ends at once. Never raises."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            words = namespaces.enter(network=False, fork=True)
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
            text = f"{landlock.abi()} {' '.join(words)}"
            os.write(writer, text.encode())
            seccomp.install(syscalls.READING)
            os.write(writer, b" filter")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        version, *found = stream.read(200).decode().split() or ["0"]
    os.waitpid(child, 0)
    return Standing(frozenset(found) - {"filter"}, int(version), "filter" in found)


def _end_with(parent: int) -> None:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it was gone before it could be tied to us


def _fork() -> None:
    """Go on in a child, the first process of its namespace. This one waits, and ends as the child ends."""
    child = os.fork()
    if child == 0:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    os.closerange(3, _MOST_FILES)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)


def _program_paths() -> list[str]:
    """The interpreter, its libraries, and the program's own modules: what a child that stays connected may still load."""
    own = Path(__file__).resolve().parents[2]
    # A checkout's own folder is on the path; what lies beside the package there is nobody's to read.
    beside = str(own.parent) if (own.parent / "pyproject.toml").exists() else ""
    return [str(own), sys.base_prefix, *(place for place in sys.path if place not in ("", beside)), *_LIBRARIES]


def _network_paths() -> list[str]:
    named = [os.environ.get(name, "") for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")]
    return [*_NETWORK, *(name for name in named if name)]


def forget() -> None:
    """Drop the means to call the kernel by number: the walls that stand are all there will be."""
    kernel.forget()
