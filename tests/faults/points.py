"""The failpoints: every place where a pass touches the world, and the ways in which that fails.

A failpoint is called `port.operation.kind` (`engine.create.lost`). The wrappers around the program's ports (`ports.py`, `disk.py`) ask `Faults.hit`
at each operation; nothing in the program itself knows of them, so they cost nothing where it runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from reconciler import errors
from reconciler.reasons import Reason

KINDS: Final[Mapping[str, str]] = {
    "unreachable": "nobody answers: nothing was done",
    "hang": "half open: it is taken, nothing is done, no answer comes",
    "refused": "an answer in the 400s: nothing was done",
    "error": "an answer in the 500s: nothing was done",
    "full": "no space left there: nothing was done",
    "lost": "it was done, and the answer is lost",
    "half": "half of it was done, and the answer is lost",
    "slow": "it was done, and ten minutes have passed",
    "killed-before": "kill -9 right before",
    "killed-after": "kill -9 right after",
    "unknown": "it can be listed and not be looked at",
    "sick": "what runs fails its health check this once",
    "ended": "what runs ends by itself, exit code 1",
    "enospc": "ENOSPC",
    "eio": "EIO",
    "erofs": "EROFS",
    "emfile": "EMFILE",
    "eperm": "EPERM",
    "short": "half of the bytes are written, as write(2) may",
    "garbage": "an answer that is no answer",
    "rewritten": "the branch is at an older commit",
    "deadlock": "a statement is refused and rolled back: try again",
    "read-only": "it takes no writes",
    "conflict": "409: somebody else was faster, nothing was done",
    "busy": "429: nothing was done, and later is said",
    "forward": "the clock goes forward by a day",
    "back": "the clock goes back by a day",
}
_CALL: Final = ("unreachable", "hang", "refused", "error", "lost", "slow", "killed-before", "killed-after")
_LOOK: Final = ("unreachable", "hang", "error", "killed-before")
_WEB: Final = (
    "unreachable",
    "hang",
    "refused",
    "conflict",
    "busy",
    "error",
    "garbage",
    "lost",
    "killed-before",
    "killed-after",
)
_DISK: Final[Mapping[str, tuple[str, ...]]] = {
    "create": ("enospc", "eio", "erofs", "emfile", "killed-before", "killed-after"),
    "open": ("eio", "emfile"),
    "list": ("eio", "emfile"),
    "write": ("enospc", "eio", "short", "killed-before", "killed-after"),
    "sync": ("eio", "enospc", "killed-before"),
    "rename": ("enospc", "eio", "erofs", "killed-before", "killed-after"),
    "remove": ("eio", "erofs", "killed-before", "killed-after"),
    "folder": ("enospc", "erofs", "killed-after"),
    "mode": ("eperm", "erofs"),
}
AREAS: Final[Mapping[str, str]] = {
    "config": "files of containers",
    "state": "the state directory",
    "kept": "previous files, for going back",
    "host": "files of the host itself",
}
POINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "engine.list": (*_LOOK, "slow"),
    "engine.inspect": ("unknown",),
    "engine.image": ("unknown",),
    "engine.exists": _LOOK,
    "engine.identity": _LOOK,
    "engine.healthy": ("unreachable", "hang", "sick", "ended", "killed-before", "killed-after"),
    "engine.pull": (*_CALL, "full"),
    "engine.create": (*_CALL, "full"),
    "engine.start": (*_CALL, "full", "half"),
    "engine.stop": _CALL,
    "engine.restart": (*_CALL, "half"),
    "engine.remove": (*_CALL, "half"),
    "engine.rename": _CALL,
    "engine.update": _CALL,
    "engine.signal": _CALL,
    "engine.run": _CALL,
    "registrar.look": ("unreachable", "hang", "killed-before"),
    "registrar.converge": (
        "unreachable",
        "hang",
        "deadlock",
        "read-only",
        "lost",
        "half",
        "killed-before",
        "killed-after",
    ),
    "registrar.withdraw": ("unreachable", "hang", "deadlock", "read-only", "lost", "killed-before", "killed-after"),
    "git.poll": ("unreachable", "hang", "error", "garbage", "rewritten", "killed-before"),
    "git.fetch": ("unreachable", "hang", "garbage", "full", "killed-before", "killed-after"),
    "sops.decrypt": ("hang", "refused", "error", "killed-before"),
    "host.put": ("refused", "error", "lost", "killed-before", "killed-after"),
    "host.back": ("refused", "error", "lost", "killed-before", "killed-after"),
    "forge.find": ("unreachable", "hang", "refused", "busy", "error", "garbage", "killed-before"),
    "forge.post": _WEB,
    "alert.send": _WEB,
    "etcd.read": ("unreachable", "hang", "error", "garbage", "killed-before"),
    "etcd.transact": ("unreachable", "hang", "error", "garbage", "lost", "killed-before", "killed-after"),
    "etcd.lease": ("unreachable", "hang", "error", "garbage", "lost", "killed-before"),
    "clock.step": ("forward", "back"),
    **{f"{area}.{operation}": kinds for area in AREAS for operation, kinds in _DISK.items()},
}
NAMES: Final = tuple(f"{point}.{kind}" for point, kinds in POINTS.items() for kind in kinds)


class Killed(BaseException):
    """This process ends here. No handler of it runs either: whatever they ask for meets the same."""


@dataclass
class Faults:
    """Which operations fail, and how. `at` maps the number of an operation of this pass to a choice among its kinds; `named` are failpoints and
    how many of their operations are left until it is their turn, in this pass or a later one. `happened` is what came of it, `count` the
    operations of this pass so far."""

    at: dict[int, int] = field(default_factory=dict)
    named: list[tuple[str, int]] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)
    count: int = 0
    armed: bool = False
    dead: bool = False
    slow: Callable[[], None] = lambda: None

    def begin(self, at: Mapping[int, int], named: Sequence[tuple[str, int]]) -> None:
        """A pass begins, in a process that lives."""
        self.at, self.count, self.armed, self.dead = dict(at), 0, True, False
        self.named += named

    def end(self) -> None:
        """Nothing fails until the next pass."""
        self.armed = self.dead = False

    def over(self) -> None:
        """Nothing fails any more."""
        self.end()
        self.named.clear()

    def hit(self, point: str) -> str:
        """The kind of fault that this operation meets; "": none. Raises Killed."""
        if self.dead:
            raise Killed(point)
        if not self.armed:
            return ""
        self.count += 1
        kinds = POINTS[point]
        kind = self._named(point)
        if not kind and self.count in self.at:
            kind = kinds[self.at[self.count] % len(kinds)]
        if kind:
            self.happened.append(f"{point}.{kind}")
            if kind == "killed-before":
                self.die(point)
        return kind

    def _named(self, point: str) -> str:
        found, left = "", []
        for name, turn in self.named:
            about = name.rpartition(".")[0] == point
            if about and turn <= 1 and not found:
                found = name.rpartition(".")[2]
            else:
                left.append((name, turn - about))
        self.named = left
        return found

    def die(self, point: str) -> None:
        """kill -9."""
        self.dead = True
        raise Killed(point)

    def call(self, point: str, act: Callable[[], None], half: Callable[[], None] | None = None) -> None:
        """Do `act`, or what the fault of this operation leaves of it; the errors are those of the program's own adapters."""
        kind = self.hit(point)
        if kind in ("", "lost", "slow", "killed-after"):
            act()
        elif kind == "half":
            (half or act)()
        if kind == "slow":
            self.slow()
        elif kind == "killed-after":
            self.die(point)
        elif kind:
            raise answer(point, kind)


_ANSWERS: Final[Mapping[str, tuple[type[errors.ReconcilerError], Reason]]] = {
    "unreachable": (errors.Transient, Reason.EngineUnreachable),
    "hang": (errors.Transient, Reason.EngineTimeout),
    "lost": (errors.Transient, Reason.EngineTimeout),
    "half": (errors.Transient, Reason.EngineTimeout),
    "refused": (errors.Terminal, Reason.EngineRefused),
    "error": (errors.Transient, Reason.EngineRefused),
    "full": (errors.Transient, Reason.DiskFull),
}


def answer(point: str, kind: str) -> errors.ReconcilerError:
    """What an adapter of the program raises for a fault."""
    port = point.partition(".")[0]
    error, reason = _ANSWERS.get(kind, (errors.Transient, Reason.EngineTimeout))
    if port == "registrar":
        reason = Reason.RegistrarUnreachable if kind in ("unreachable", "hang") else Reason.RegistrarRefused
        error = errors.Transient
    elif port == "git":
        reason = {"hang": Reason.GitTimeout, "full": Reason.DiskFull}.get(kind, Reason.GitUnreachable)
    elif port == "sops":
        reason = Reason.SopsFailed
    elif port == "host":
        reason = Reason.HostFailed
    return error(f"{point}: {KINDS[kind]}", reason=reason)
