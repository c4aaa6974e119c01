"""What `ci` does with sites in a limited child process: validate, render and plan; nothing of a site leaves it but plans.

Functions here take and give plain JSON values, for `run.python`.
"""

import ctypes
import json
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reconciler import errors, prepare
from reconciler.document import yaml
from reconciler.errors import Problem, SiteInvalid
from reconciler.git import tree
from reconciler.model import Desired, Difference, to_json
from reconciler.plan import preview, rotation
from reconciler.render import World, bind, render
from reconciler.render.digest import part_digest
from reconciler.review.grouping import Collector
from reconciler.review.shape import readable
from reconciler.site import Site

WORK_TREE = "work tree"
_HOSTS_PER_CHILD = 12
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


def workers(hosts: int, most: int) -> int:
    """How many children share so many hosts: below two dozen, another one costs more than it saves."""
    return max(1, min(most, hosts // _HOSTS_PER_CHILD))


def plan(argument: Mapping[str, Any]) -> dict[str, Any]:
    """Load both sites, plan every n-th host. Problems of a site are part of the answer; see `_Child`."""
    _end_with_parent()
    head = _source(argument["head"])
    child = _Child(argument)
    try:
        content = _read(head)
        with _Alarm(argument["load_seconds"], "reading and validating the site"):
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


def hosts(argument: Mapping[str, str]) -> list[Any]:
    """A source as JSON → [the site's name, its hosts]."""
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
        self.slow = False

    def plan_share(self) -> None:
        assert self.head is not None
        chosen = self.argument["hosts"] or list(self.head.hosts)
        for name in chosen:
            if name not in self.head.hosts and name not in (self.base.hosts if self.base else ()):
                known = ", ".join(list(self.head.hosts)[:8])
                raise errors.Terminal(f"inventory.yml has no host {name!r} (it has {known})", reason="HostUnknown")
        folder, number = Path(self.argument["folder"]), self.argument["number"]
        if number == 0:
            (folder / "total").write_text(str(len(chosen)))
        share = workers(len(chosen), self.argument["most"])
        ticks = os.open(folder / "done", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            for host in chosen[number::share]:
                self._host(host)
                os.write(ticks, b".")
                if self.slow or len(self.problems) > _MAX_PROBLEMS:
                    break  # each host more would take as long
        finally:
            os.close(ticks)

    def _host(self, host: str) -> None:
        assert self.head is not None
        if host not in self.head.hosts:
            return  # its node finds that the inventory does not know it, and changes nothing
        with _Alarm(self.argument["host_seconds"], f"the host {host}") as alarm:
            after = self._render(self.head, host, "head", self.problems)
            before = None
            if self.base is not None and host in self.base.hosts:
                before = self._render(self.base, host, "base", self.base_problems)
            if after is not None and not self.base_problems:
                self._plan(host, before, after)
        self.slow = alarm.rang

    def _render(self, site: Site, host: str, revision: str, problems: list[Problem]) -> Desired | None:
        try:
            made = render(site, host, revision, self.worlds.setdefault(revision, World(site)))
        except SiteInvalid as error:
            problems += error.problems
            return None
        problems += _strays(made)
        return made

    def _plan(self, host: str, before: Desired | None, after: Desired) -> None:
        assert self.head is not None
        plan = readable(preview(before, after, bind=bind, part_digest=part_digest), before, after)
        for name, digest in before.secrets.items() if before else ():
            if after.secrets.get(name, digest) != digest:
                self.rotated.setdefault(name, []).append(host)
        self.problems += rotations(before, after)
        self.groups.add(self.head.hosts[host], replace(plan, revision=self.argument["head"]["commit"]))

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
            "policy": [to_json(d) for d in policy_changes(base.policy, head.policy)] if base and head else [],
            "warnings": _rows(head.warnings) if head else [],
            "problems": _rows(self.problems[:_MAX_PROBLEMS]),
            "base_problems": _rows(self.base_problems[:_MAX_PROBLEMS]),
        }


class _Alarm:
    """Ends work that takes too much processor time.

    The signal raises inside whatever runs, a regular expression included. Rendering turns that into a problem with template and
    line; from anywhere else it leaves as errors.Terminal (LimitExceeded).
    """

    def __init__(self, seconds: float, what: str) -> None:
        self.message = f"this takes more than {seconds:g} s of processor time for {what}"
        self.seconds, self.rang = seconds, False

    def __enter__(self) -> "_Alarm":
        signal.signal(signal.SIGPROF, self._ring)
        # Once more every second: a template may catch the first one's consequences and go on.
        signal.setitimer(signal.ITIMER_PROF, self.seconds, 1.0)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        if isinstance(error, TimeoutError):
            raise errors.Terminal(
                f"{self.message}: the content is too large or made to be slow", reason="LimitExceeded"
            )

    def _ring(self, *_: object) -> None:
        self.rang = True
        raise TimeoutError(self.message)


def _source(data: Mapping[str, str]) -> Source:
    return Source(Path(data["repository"]), data["commit"], data["path"])


def _read(source: Source) -> dict[str, bytes]:
    if not source.commit:
        return tree.read_worktree(source.repository / source.path)
    return tree.read(source.repository, source.commit, source.path)


def _strays(desired: Desired) -> list[Problem]:
    """Files that a node would refuse to write, because they are not below its config root."""
    return [
        Problem(
            file.sources[0] if file.sources else file.path,
            0,
            0,
            f"the file {file.path!r} is not below {desired.config_root}",
        )
        for file in desired.files
        if file.path.startswith("/") or {"", ".", ".."} & set(file.path.split("/"))
    ]


def rotations(before: Desired | None, after: Desired) -> list[Problem]:
    """Changes of secrets that the nodes would refuse."""
    by_hand = after.policy.get("changed_by_hand", ())
    found = rotation.refused(before, after) if before else {}
    return [
        Problem("passwords.yml", 0, 0, rotation.message(name, instead))
        for name, instead in found.items()
        if name not in by_hand
    ]


def policy_changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[Difference]:
    """The settings of reconciler.yml that differ, by dotted name."""
    found = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += policy_changes(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append(Difference(f"{prefix}{name}", _said(new), _said(old)))
    return found


def _said(value: Any) -> str:
    if value is None:
        return "(not set)"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rows(problems: Iterable[Problem]) -> list[list[Any]]:
    return [[p.file, p.line, p.column, p.message, p.hint, p.severity] for p in problems]


def _end_with_parent() -> None:
    """Ask the kernel to kill this process when the one that waits for it is gone (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
