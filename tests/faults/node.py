"""A modelled node: the program's own passes, planner, executor and state, on an engine in a dictionary and files in memory.

Real are `node/cycle.py` and all below it but for its ports (`ports.py`): the passes, following the branch, observing, planning, walking,
swapping, the state directory and all files; and what is told afterwards, with the clients of the forge, of etcd and of alerts (`web.py`). Actions that may go on side by side go on one after the other, so that a schedule is the same each
time it is carried out.
"""

import importlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import structlog

from reconciler import errors
from reconciler.alerts import deliver, notifier
from reconciler.codec import Lost, from_json
from reconciler.git import remote
from reconciler.host.machine import Machine
from reconciler.host.sysctl import path_of
from reconciler.model import LEFTOVER_SUFFIX, Container, Desired
from reconciler.node import node as node_module
from reconciler.node.cycle import reconcile
from reconciler.node.node import Node
from reconciler.node.target import make_target
from reconciler.report import Report
from reconciler.rollout.policy import Rollout, Wave
from reconciler.secret import Secret
from reconciler.settings import Alerts, AlertTarget, EngineSettings, Fleet, Forge, Git, Policy, Settings
from reconciler.source import follow
from reconciler.source.prepare import Prepared
from reconciler.state.documents import Documents
from reconciler.system import run
from reconciler.system.background import Worker
from tests.apply.bed import Clock
from tests.apply.bed import Disk as Moments
from tests.faults.disk import Disk
from tests.faults.points import Faults, Killed, answer
from tests.faults.ports import Engine, Host, Registrars, Repository
from tests.faults.web import ALERTS, ETCD, FORGE, Web
from tests.scenarios.world import KERNEL

walk = importlib.import_module("reconciler.apply.walk")  # the package calls its function by the same name
CANARY = "canary-" + "7d3f9a51c2"
_REMOVED = frozenset({"begun.json", "testing.json", "suspend.json", "permit.json"})  # those that go when they are over


# Another host is in the wave as well, and one place is for both.
ROLLOUT = Rollout((Wave("all", ("here", "there"), 1),), {}, bake=60.0, deadline=1e9, tolerate=99)


class _Children:
    """`system/run.py` as the notifier knows it; what a child would do is done here."""

    Limits = run.Limits

    @staticmethod
    def python(function: str, argument: Any, *, limits: Any, answers: Any, wall: Any) -> Any:
        return from_json(answers, deliver.run(argument), Lost())


class _AtOnce:
    """A pool that does what it is given before it returns."""

    def __init__(self, *_: Any, **__: Any) -> None: ...
    def __enter__(self) -> "_AtOnce":
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


class Bench:
    """One node over many processes. `node` is the process that lives, None after a kill; with `fleet` it is one of two hosts that agree through
    etcd. Use as a context manager."""

    def __init__(
        self, place: Path, *, fleet: bool = False, engine: type[Engine] = Engine, disk: type[Moments] = Moments
    ) -> None:
        self.place, self.root, self.faults = place, place / "kolla", Faults()
        self.clock, self.offset, self._passed = Clock(), timedelta(), 0.0
        self.moments = disk(self.root, self.clock)
        self.engine = engine(self._moment, self.faults)
        self.engine.settle = self.moments.settle
        self.engine.ours, self.engine.folder = self._is_ours, self._files
        self.registrars, self.repository = Registrars(self.faults), Repository(self.faults)
        self.disk = Disk(place, self.faults)
        self.faults.slow = lambda: self.later(600)
        self.node: Node | None = None
        self.reports: list[Report] = []
        self.said: list[str] = []  # what was logged
        self.acknowledged: dict[str, Any] = {}  # file of the state → what it holds, as far as its writer was told
        self.taken: set[str] = set()  # ids of containers that were ever noted as this node's
        self.begun: dict[str, Any] = {}  # file → what was being written when a process ended, or was refused
        for name in KERNEL:
            path = place / "machine" / path_of(name.partition(":")[2]).lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("0\n")
        self.settings = Settings(
            Git("file:///nowhere"),
            host="here",
            state_dir=place / "state",
            engine=EngineSettings("tcp://127.0.0.1:1", parallel=1),
            policy=Policy(config_roots=(str(self.root),), privileged=True, host_sysctls=("net.a", "net.b")),
            root=place / "machine",
            forge=Forge("gitlab", FORGE, "cloud/site", place / "token"),
            alerts=Alerts(targets={"hook": AlertTarget("webhook", ALERTS, place / "token")}),
            fleet=Fleet((ETCD,) if fleet else ()),
        )
        self.fleet, self.web = fleet, Web(self.faults, CANARY)
        self.repository.pushed = self.web.project.add_commit
        (place / "token").write_text(CANARY)  # it may show as little as any other secret
        self._stack = ExitStack()

    def __enter__(self) -> "Bench":
        patches: list[Any] = [
            mock.patch.object(walk, "ThreadPoolExecutor", _AtOnce),
            mock.patch.object(
                follow,
                "git",
                mock.Mock(Remote=remote.Remote, Poller=lambda remote: self.repository, fetch=self.repository.fetch),
            ),
            mock.patch.object(follow, "clone", self.repository),
            mock.patch.object(node_module, "clone", self.repository),
            mock.patch("reconciler.git.trust.clone.is_ancestor", self.repository.is_ancestor),
            mock.patch.object(Documents, "write", self._kept(Documents.write)),
            mock.patch.object(Worker, "wake", lambda worker: None),  # what is due is done after the pass
            mock.patch.object(notifier, "run", _Children),
            self.web.reached(),
        ]
        for patch in patches:
            self._stack.enter_context(patch)
        before = structlog.get_config()
        structlog.configure(processors=[self._hears], wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
        self._stack.callback(lambda: structlog.configure(**before))
        return self

    def __exit__(self, *_: object) -> None:
        self.faults.end()
        self.leave()
        self._stack.close()

    def _hears(self, _: Any, __: str, event: Any) -> Any:
        self.said.append(repr(event))
        raise structlog.DropEvent

    def _files(self, container: Container) -> dict[str, bytes]:
        folder = self.root / container.config_directory
        with mock.patch.object(self.faults, "armed", False):  # this is the engine's look, not the program's
            return {
                str(path.relative_to(self.root)): path.read_bytes()
                for path in folder.glob("*")
                if path.is_file() and not path.is_symlink()
            }

    def _moment(self) -> datetime:
        self.moments.settle()
        return self.clock.tick()

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.offset += timedelta(seconds=seconds)
        self._passed += seconds

    def _is_ours(self, identity: str) -> bool:
        """Whether it was taken over at any time: what replaces it is noted before it goes."""
        return identity in self.taken

    def _kept(self, write: Callable[..., None]) -> Callable[..., None]:
        def call(documents: Documents, name: str, data: dict[str, Any]) -> None:
            self.begun[name] = data
            write(documents, name, data)
            self.acknowledged[name] = self.begun.pop(name)
            if name == "memory.json":
                self.taken |= {applied["id"] for applied in data.get("applied", {}).values()}

        return call

    # --- processes -----------------------------------------------------------------------------------------------------

    def start(self) -> Node:
        """A process with this state directory."""
        node = Node(self.settings, engine=self.engine)  # type: ignore[arg-type]
        node.clock = lambda: datetime.now(UTC) + self.offset
        statuses, alerts = node.reporter.statuses, node.reporter.alerts
        assert statuses and alerts
        node.permits.clock = statuses._clock = self._monotonic
        statuses._jitter = 0.0
        statuses._forge._client._sleep = lambda seconds: None  # type: ignore[attr-defined]
        alerts._clock = node.clock
        node.aims._make = self._target  # type: ignore[method-assign]
        node.observer.machine = Host(self.faults, Machine(self.settings.root))  # type: ignore[assignment]
        node.observer.registry = lambda target: self.registrars  # type: ignore[assignment, return-value, method-assign]
        return node

    def _monotonic(self) -> float:
        """A clock that nobody sets back."""
        return time.monotonic() + self._passed

    def _target(self, commit: str) -> Any:
        kind = self.faults.hit("sops.decrypt")
        if kind:
            raise answer("sops.decrypt", kind)
        rollout = ROLLOUT if self.fleet else None
        return make_target(Prepared(self.repository.desired(commit), {"canary": Secret(CANARY)}, rollout=rollout))

    def _tell(self, node: Node) -> None:
        """What the threads of a process do once a pass is over."""
        statuses, alerts = node.reporter.statuses, node.reporter.alerts
        assert statuses and alerts
        for _ in range(9):
            if (due := statuses._seconds()) is not None and due <= 0:
                statuses._step()
            if (due := alerts._seconds()) is not None and due <= 0:
                alerts._work()

    def leave(self) -> None:
        """The process ends, by whatever."""
        if self.node is not None:
            self.node.state.let_go()
            self.node = None
        for path in self.place.rglob(f"*{LEFTOVER_SUFFIX}"):  # the next process comes an hour later
            os.utime(path, (0, 0))

    def run(
        self, *, deep: bool, at: Mapping[int, int] | None = None, named: Sequence[tuple[str, int]] = ()
    ) -> Report | None:
        """One pass, in a new process where none lives; None: it was killed, or could not even tell. Whatever it raises that is not of the
        hierarchy is a defect and comes through."""
        self.faults.begin(at or {}, named)
        if kind := self.faults.hit("clock.step"):
            self.offset += timedelta(days={"forward": 1, "back": -1}[kind])
        report = None
        try:
            with self.disk.failing():
                self.node = self.node or self.start()
                report = reconcile(self.node, deep=deep)
                self.reports.append(report)
                self._tell(self.node)
        except Killed:
            self.faults.end()
            self.leave()
        except errors.ReconcilerError as error:
            self.said.append(f"{type(error).__name__}: {error}")
        finally:
            self.faults.end()
            self.moments.settle()
        return report

    # --- what a schedule is judged by ------------------------------------------------------------------------------------

    def lost(self) -> list[str]:
        """What a writer was told is kept, and is not in the state directory."""
        wrong = []
        for name, kept in self.acknowledged.items():
            path = self.settings.state_dir / name
            if not path.exists():
                wrong += [] if name in _REMOVED else [f"{name} is gone"]
                continue
            found = json.loads(path.read_bytes())
            found.pop("written_by", None)
            told = json.loads(json.dumps(kept))
            also = json.loads(json.dumps(self.begun.get(name)))
            if found not in (told, also):
                wrong.append(f"{name} is not what was kept")
            elif found == also:
                self.acknowledged[name] = self.begun[name]
        return wrong

    def leaks(self) -> list[str]:
        """Where the secret is besides the files that are to hold it."""
        wrong = [
            str(path)
            for path in self.settings.state_dir.rglob("*")
            if path.is_file() and path.parent.parent.name != "rollback" and CANARY.encode() in path.read_bytes()
        ]
        wrong += [text[:200] for text in self.said if CANARY in text]
        wrong += [running.spec.name for running in self.engine.containers.values() if CANARY in repr(running)]
        return wrong

    def of(self, desired: Desired) -> Desired:
        """A site of the model on this disk, with a secret in one of its files."""
        files = desired.files
        if files:
            first = replace(files[0], content=f"{files[0].content} <<secret:canary>>", secrets=("canary",))
            files = (first, *files[1:])
        # What the other host has to run first this one would wait for, and nobody plays that host's passes.
        jobs = tuple(job for job in desired.jobs if not self.fleet or job.owner == "here")
        secrets = {"canary": "d" * 64} if files else {}
        return replace(desired, config_root=str(self.root), files=files, jobs=jobs, secrets=secrets)
