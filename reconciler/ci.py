"""From two revisions of a site to a review: every host planned from base to head, desired state against desired state.

The work is split over limited children without network; each loads both sites once and renders its share of the hosts. A
branch is a stranger's text: nothing of it is looked at in this process, only the plans that come back.
"""

import ctypes
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from reconciler import errors, prepare, run
from reconciler.document import yaml
from reconciler.errors import Problem, SiteInvalid
from reconciler.git import tree
from reconciler.model import Desired, Difference, from_json, to_json
from reconciler.plan import preview
from reconciler.render import World, bind, render
from reconciler.render.digest import part_digest
from reconciler.review import Review
from reconciler.review.grouping import Collector, join
from reconciler.review.shape import readable
from reconciler.site import Site

WORK_TREE = "work tree"
MEMORY = 1 << 30  # bytes, this process and its children together
_OWN_MEMORY = 160 << 20
_MOST_WORKERS = 4  # more would each have too little of it
_MAX_PROBLEMS = 1000


@dataclass(frozen=True, slots=True)
class Source:
    """Where a site is read from: a folder `path` of a commit in a repository, or with no commit the folder itself."""

    repository: Path
    commit: str = ""
    path: str = ""

    @property
    def label(self) -> str:
        return self.commit[:12] or WORK_TREE

    def to_json(self) -> dict[str, str]:
        return {"repository": str(self.repository), "commit": self.commit, "path": self.path}


@dataclass(frozen=True, slots=True)
class Limits:
    """What planning may take: `seconds` of wall clock in all, `host_seconds` of processor time for one host's rendering."""

    seconds: float = 300.0
    host_seconds: float = 20.0
    memory: int = MEMORY


def review(
    base: Source | None,
    head: Source,
    *,
    limits: Limits | None = None,
    hosts: Sequence[str] = (),
    progress: Callable[[int, int, float], None] | None = None,
) -> Review:
    """Plan all hosts (or `hosts`) of `head` from `base` (None: from nothing).

    `progress` is called a few times a second with the number of hosts done, of all, and the seconds gone. What is wrong with
    the site is in the result; raises errors.Terminal (LimitExceeded when a child ran into its limits, RevisionUnknown, HostUnknown …) and
    errors.Transient (DeadlineExceeded).
    """
    allowed = limits or Limits()
    workers = max(1, min(os.cpu_count() or 1, _MOST_WORKERS, len(hosts) or _MOST_WORKERS))
    with tempfile.TemporaryDirectory(prefix="reconciler-plan-") as folder:
        ticks = Path(folder, "done")
        ticks.touch()
        argument = {
            "base": base.to_json() if base else None,
            "head": head.to_json(),
            "hosts": list(hosts),
            "host_seconds": allowed.host_seconds,
            "ticks": str(ticks),
            "total": str(Path(folder, "total")),
        }
        answers = _in_children(argument, workers, allowed, ticks, progress)
    return _joined(answers, base, head)


def _in_children(
    argument: Mapping[str, Any],
    workers: int,
    limits: Limits,
    ticks: Path,
    progress: Callable[[int, int, float], None] | None,
) -> list[Any]:
    child_limits = run.Limits(
        seconds=limits.seconds,
        cpu_seconds=int(limits.seconds) + 1,
        memory=(limits.memory - _OWN_MEMORY) // workers,
    )
    isolated = _can_isolate()

    def work(number: int, answer: Future[Any]) -> None:
        try:
            share = {**argument, "share": [number, workers]}
            answer.set_result(run.python("reconciler.ci:plan_child", share, limits=child_limits, no_network=isolated))
        except BaseException as error:
            answer.set_exception(error)

    answers: list[Future[Any]] = [Future() for _ in range(workers)]
    # Daemon threads: when this process is interrupted it does not wait for them, and the children end with it.
    threads = [threading.Thread(target=work, args=item, daemon=True) for item in enumerate(answers)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    while alive := [thread for thread in threads if thread.is_alive()]:
        alive[0].join(0.2)
        if progress:
            with suppress(OSError):
                total = int(Path(argument["total"]).read_text() or 0)
                progress(ticks.stat().st_size, total, time.monotonic() - started)
    return [answer.result() for answer in answers]


@cache
def _can_isolate() -> bool:
    """Whether the kernel lets us put a child into an empty network namespace; in most CI containers it does not."""
    if os.geteuid() != 0:
        return False
    try:
        return run.program(["unshare", "--net", "--", "true"], seconds=10).code == 0
    except errors.ReconcilerError:
        return False


def _joined(answers: Sequence[Any], base: Source | None, head: Source) -> Review:
    first = answers[0]
    order = {name: number for number, name in enumerate(first["hosts"])}
    rotated: dict[str, set[str]] = {}
    for answer in answers:
        for name, hosts in answer["rotated"].items():
            rotated.setdefault(name, set()).update(hosts)
    return Review(
        site=first["site"],
        base=base.label if base else "nothing",
        head=head.label,
        path=head.path,
        hosts=tuple(first["hosts"]),
        joined=tuple(first["joined"]),
        left=tuple(first["left"]),
        groups=join((answer["groups"] for answer in answers), order),
        rotated={name: tuple(sorted(hosts, key=order.__getitem__)) for name, hosts in sorted(rotated.items())},
        policy=tuple(from_json(Difference, row) for row in first["policy"]),
        warnings=_problems(first["warnings"]),
        problems=_problems(row for answer in answers for row in answer["problems"]),
        base_problems=_problems(row for answer in answers for row in answer["base_problems"]),
    )


def _problems(rows: Iterable[Sequence[Any]]) -> tuple[Problem, ...]:
    return tuple(sorted({Problem(*row) for row in rows}))


# --- the child's side -----------------------------------------------------------------------------------------------


def plan_child(argument: Mapping[str, Any]) -> dict[str, Any]:
    """Load both sites, plan every n-th host. Problems of a site are part of the answer; see `_Child`."""
    _end_with_parent()
    head = _source(argument["head"])
    child = _Child(argument)
    try:
        content = _read(head)
        child.site = site_name(content) or ""
        child.head = prepare.load(content)
    except SiteInvalid as error:
        child.problems += error.problems
        return child.answer()
    if argument["base"]:
        try:
            child.base = prepare.load(_read(_source(argument["base"])))
        except SiteInvalid as error:
            child.base_problems += error.problems
    child.plan_share()
    return child.answer()


def hosts(source: Source) -> tuple[str, tuple[str, ...]]:
    """The site's name and its hosts. Raises errors.SiteInvalid and what `review` raises."""
    limits = run.Limits(seconds=60, cpu_seconds=60, memory=MEMORY)
    name, found = run.python("reconciler.ci:hosts_child", source.to_json(), limits=limits, no_network=_can_isolate())
    return name, tuple(found)


def hosts_child(argument: Mapping[str, str]) -> list[Any]:
    """The child's side of `hosts`."""
    _end_with_parent()
    site = prepare.load(_read(_source(argument)))
    return [site.name, list(site.hosts)]


def site_name(content: Mapping[str, bytes]) -> str | None:
    """The name that reconciler.yml gives, as far as it can be read."""
    try:
        data = yaml.load(content.get("reconciler.yml", b""), "reconciler.yml").data
    except SiteInvalid:
        return None
    name = data.get("name") if isinstance(data, dict) else None
    return name if isinstance(name, str) else None


class _Child:
    """One child's work: its share of the hosts, one after the other; what is kept of each is small."""

    def __init__(self, argument: Mapping[str, Any]) -> None:
        self.argument = argument
        self.site = ""
        self.head: Site | None = None
        self.base: Site | None = None
        self.worlds: dict[str, World] = {}
        self.problems: list[Problem] = []
        self.base_problems: list[Problem] = []
        self.groups = Collector()
        self.rotated: dict[str, list[str]] = {}

    def plan_share(self) -> None:
        assert self.head is not None
        chosen = self.argument["hosts"] or list(self.head.hosts)
        for name in chosen:
            if name not in self.head.hosts and name not in (self.base.hosts if self.base else ()):
                known = ", ".join(list(self.head.hosts)[:8])
                raise errors.Terminal(f"inventory.yml has no host {name!r} (it has {known})", reason="HostUnknown")
        number, workers = self.argument["share"]
        if number == 0:
            Path(self.argument["total"]).write_text(str(len(chosen)))
        ticks = os.open(self.argument["ticks"], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            for host in chosen[number::workers]:
                self._host(host)
                os.write(ticks, b".")
                if len(self.problems) > _MAX_PROBLEMS:
                    break
        finally:
            os.close(ticks)

    def _host(self, host: str) -> None:
        assert self.head is not None
        if host not in self.head.hosts:
            return  # its node finds that the inventory does not know it, and changes nothing
        after = self._render(self.head, host, "head", self.problems)
        before = None
        if self.base is not None and host in self.base.hosts:
            before = self._render(self.base, host, "base", self.base_problems)
        if after is None or self.base_problems:
            return
        plan = readable(preview(before, after, bind=bind, part_digest=part_digest), before, after)
        if before is not None:
            for name, digest in before.secrets.items():
                if after.secrets.get(name, digest) != digest:
                    self.rotated.setdefault(name, []).append(host)
        self.groups.add(self.head.hosts[host], replace(plan, revision=self.argument["head"]["commit"]))

    def _render(self, site: Site, host: str, revision: str, problems: list[Problem]) -> Desired | None:
        world = self.worlds.setdefault(revision, World(site))
        with _Alarm(self.argument["host_seconds"], host) as alarm:
            try:
                return render(site, host, revision, world)
            except SiteInvalid as error:
                problems += error.problems
        if alarm.rang:  # each host more would take as long
            raise SiteInvalid(problems)
        return None

    def answer(self) -> dict[str, Any]:
        head, base = self.head, self.base
        old, new = (list(base.hosts) if base else []), (list(head.hosts) if head else [])
        wanted = self.argument["hosts"]
        return {
            "site": head.name if head else self.site,
            "hosts": [host for host in new if not wanted or host in wanted],
            "joined": [host for host in new if base and host not in base.hosts],
            "left": [host for host in old if head and host not in head.hosts],
            "groups": self.groups.rows,
            "rotated": self.rotated,
            "policy": [to_json(d) for d in _policy(base.policy, head.policy)] if base and head else [],
            "warnings": _rows(head.warnings) if head else [],
            "problems": _rows(self.problems[:_MAX_PROBLEMS]),
            "base_problems": _rows(self.base_problems[:_MAX_PROBLEMS]),
        }


class _Alarm:
    """Ends a rendering that takes too much processor time, with the template and line it was at.

    The signal raises inside whatever runs, a regular expression included; rendering turns it into a problem at its place.
    """

    def __init__(self, seconds: float, host: str) -> None:
        self.seconds, self.host, self.rang = seconds, host, False

    def __enter__(self) -> "_Alarm":
        signal.signal(signal.SIGPROF, self._ring)
        # Once more every second: a template may catch the first one's consequences and go on.
        signal.setitimer(signal.ITIMER_PROF, self.seconds, 1.0)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _ring(self, *_: object) -> None:
        self.rang = True
        raise TimeoutError(f"this takes more than {self.seconds:g} s of processor time for the host {self.host}")


def _source(data: Mapping[str, str]) -> Source:
    return Source(Path(data["repository"]), data["commit"], data["path"])


def _read(source: Source) -> dict[str, bytes]:
    if not source.commit:
        return tree.read_worktree(source.repository / source.path)
    return tree.read(source.repository, source.commit, source.path)


def _policy(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[Difference]:
    """The settings of reconciler.yml that differ, by dotted name."""
    found = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _policy(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append(Difference(f"{prefix}{name}", _said(new), _said(old)))
    return found


def _said(value: Any) -> str:
    return "(not set)" if value is None else str(value)


def _rows(problems: Iterable[Problem]) -> list[list[Any]]:
    return [[p.file, p.line, p.column, p.message, p.hint, p.severity] for p in problems]


def _end_with_parent() -> None:
    """Ask the kernel to kill this process when the one that waits for it is gone (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
