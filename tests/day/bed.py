"""Where the day happens: an operator's machine, GitLab, and the node, all below one folder."""

import contextlib
import difflib
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import docker
import requests

from tests.day import node
from tests.day.stable import Stable
from tests.demo import bed as demo
from tests.forge import gitlab_state
from tests.forge.gitlab_server import GitLab
from tests.git import servers
from tests.support.lab import CHECKOUT, PROJECT, Lab
from tests.support.machine import machine

NAME, HOST, ADDRESS, VIP = "hill", "ctl1", "127.0.0.61", "127.0.0.62"
CONTAINERS = ("cron", "haproxy", "memcached")
VOLUMES = ("haproxy_socket", "kolla_logs")
PORTS = {ADDRESS: (11211, 61313, 1984), VIP: (11211,)}
# Berlin's time, for libc without a database of time zones; the day is told in winter.
ZONE, WINTER = "CET-1CEST,M3.5.0,M10.5.0/3", timezone(timedelta(hours=1))
DAY = "2026-03-02"  # a Monday
OPERATOR, NODE = "$", "ctl1#"


class DayFailed(Exception):
    """Something did not happen; the message says what."""


@dataclass
class Block:
    """A listing of the tutorial: commands with what they printed, or a file's lines."""

    language: str
    rows: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([f"```{self.language}", *self.rows, "```"])


class Day(Lab):
    """A lab with an operator's home, whose node was made by `node install`; everything goes away with the block."""

    def __init__(self, root: Path, engine_url: str) -> None:
        # An operator has what is secret where operators have it.
        super().__init__(root, engine_url, name=NAME, host=HOST, canaries=False)
        self.home, self.machine = root / "home", root / "machine"
        self.site = self.home / NAME
        self.config = self.machine / "etc/reconciler/reconciler.toml"
        self.config_root = self.machine / "etc/kolla"
        self.state = self.machine / "var/lib/reconciler"
        self.clock_file = root / "clock"
        self.blocks: dict[str, Block] = {}
        self.commands: list[str] = []  # all that the tutorial shows, with their prompts
        self.requests: dict[str, int] = {}  # branch → number of its merge request
        self.pictures: dict[str, Any] = {}  # what there is to take a picture of
        self._block: Block | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""

    def __enter__(self) -> "Day":
        super().__enter__()
        return self

    def _set_up(self) -> None:
        self._remove_from_engine()
        etc = self.config.parent
        for folder in (self.home, etc, self.config_root, self.root / "git", self.root / "bin"):
            folder.mkdir(parents=True)
        machine(self.root)
        servers.ssh_key(self.host_key)
        shutil.copyfile(self.host_key.with_suffix(".pub"), self.home / "ctl1.pub")
        program = self.root / "bin/reconciler"
        program.write_text(f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -m reconciler "$@"\n')
        program.chmod(0o755)
        self.repository = servers.make_repo(self.root / "git/site.git")
        self._token, self.operator_token, self.review_token = (secrets.token_hex(16) for _ in range(3))
        self.forge = self._stack.enter_context(GitLab())
        self.forge.add_project(PROJECT, self.repository)
        self.forge.alert_key = secrets.token_hex(16)
        for name, token, level in (
            ("reconciler", self._token, gitlab_state.DEVELOPER),
            ("reconciler-review", self.review_token, gitlab_state.REPORTER),
            ("operator", self.operator_token, gitlab_state.MAINTAINER),
        ):
            self.forge.add_user(name, token, level=level)
        self.server = self._stack.enter_context(servers.http_server(self.root / "git", token=self._token))
        assert self.server.ca_file is not None
        shutil.copyfile(self.server.ca_file, etc / "ca.pem")
        self.hook_secret = secrets.token_hex(16)
        for name, text in {
            "token": self._token,
            "alerts.key": self.forge.alert_key,
            "webhook": self.hook_secret,
        }.items():
            (etc / name).touch(mode=0o600)
            (etc / name).write_text(text)
        self.page = f"127.0.0.1:{servers.free_port()}"
        self._git_settings()
        self.stable = Stable(
            {
                "https://git.example.org/cloud/site.git": self.server.url("site.git"),
                "https://git.example.org": self.forge.url,
                "127.0.0.1:9777": self.page,
                "~/": f"{self.home}/",
                "/etc/reconciler": str(etc),
                "/etc/kolla": str(self.config_root),
                "/var/lib/reconciler": str(self.state),
                "/etc/ssh/ssh_host_ed25519_key": str(self.host_key),
                "/etc/systemd": str(self.machine / "etc/systemd"),
                "/etc/tmpfiles.d": str(self.machine / "etc/tmpfiles.d"),
                "unix:///var/run/docker.sock": self.engine_url,
                "/opt/reconciler/": f"{Path(sys.prefix)}/",
                "/var/lib/docker": self._engine_folder(),
                "reconciler run": f"{Path(sys.executable).with_name('reconciler')} --config {self.config} run",
            }
        )
        self.clock("09:00")

    def _engine_folder(self) -> str:
        with contextlib.closing(docker.APIClient(base_url=self.engine_url, timeout=60)) as client:
            return str(client.info()["DockerRootDir"])

    def _git_settings(self) -> None:
        """What git knows about the operator: a name, a token, whom the server's certificate is from."""
        url = self.server.url("site.git")
        credentials = self.home / ".git-credentials"
        credentials.touch(mode=0o600)
        credentials.write_text(f"{url.replace('://', f'://oauth2:{self._token}@')}\n")
        (self.home / ".gitconfig").write_text(
            "[user]\n\tname = operator\n\temail = operator@example.org\n[init]\n\tdefaultBranch = main\n"
            f"[credential]\n\thelper = store\n\tuseHttpPath = true\n[http]\n\tsslCAInfo = {self.config.parent}/ca.pem\n"
            "[advice]\n\tdetachedHead = false\n[pull]\n\tff = only\n[push]\n\tautoSetupRemote = true\n"
        )

    # --- the day's time ------------------------------------------------------------------------------------------

    def clock(self, time_of_day: str, day: str = DAY) -> None:
        """From now on it is that time: for the tutorial's listings and for the node's maintenance windows."""
        told = datetime.fromisoformat(f"{day}T{time_of_day}")
        real = datetime.now(WINTER).replace(tzinfo=None)
        if self.stable.marks:
            time.sleep(max(0.0, 1.0 - real.microsecond / 1e6))  # listings have whole seconds: nothing falls in between
            real = datetime.now(WINTER).replace(tzinfo=None)
        self.stable.marks.append((real.replace(microsecond=0), told))
        fresh = self.clock_file.with_suffix(".new")
        fresh.write_text(told.replace(tzinfo=WINTER).astimezone(UTC).isoformat())
        fresh.replace(self.clock_file)

    # --- what is typed and seen ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def listing(self, name: str, language: str = "console") -> Iterator[Block]:
        """What happens in the block is a listing of the tutorial."""
        assert name not in self.blocks, name
        self._block = self.blocks[name] = Block(language)
        try:
            yield self._block
        finally:
            self._block = None

    def type(
        self,
        command: str,
        *,
        prompt: str = OPERATOR,
        code: int = 0,
        also: Sequence[str] = (),
        quiet: bool = False,
        log: bool = True,
        cut: Sequence[int] = (),
        seconds: float = 120,
    ) -> str:
        """Run a command as somebody types it and list it with what it printed. Returns that, as it really was.

        `also`: arguments that an installed node does not need. `quiet`: list no output; `log` False: not what goes to stderr. `cut` (head, tail): lines of output
        that are listed, with `…` for those in between. Raises DayFailed.
        """
        words = [*shlex.split(self.stable.real(command)), *also]
        printed = self.call(*words, code=code, seconds=seconds, node=prompt == NODE, log=log)
        self._know_commits()
        self.commands.append(f"{prompt} {command}")
        if self._block is not None:
            rows = [] if quiet else self.stable.text(printed).splitlines()
            self._block.rows += [f"{prompt} {command}", *_cut(rows, cut)]
        return printed

    def on_node(self, command: str, **options: Any) -> str:
        """The same at the node's prompt."""
        return self.type(command, prompt=NODE, **options)

    def append(self, name: str, text: str) -> None:
        """Add lines to a file of the site; they are the listing."""
        path = self.site / name
        path.write_text(f"{path.read_text()}\n{text}")
        if self._block is not None:
            self._block.rows += [f"# {name}", *text.splitlines()]

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace lines of a file of the site; the listing shows them as a diff does."""
        path = self.site / name
        content = path.read_text()
        if old not in content:
            raise DayFailed(f"{name} has no {old!r}")
        path.write_text(content.replace(old, new, 1))
        if self._block is not None:
            changes = list(
                difflib.unified_diff(
                    content.splitlines(), path.read_text().splitlines(), f"a/{name}", f"b/{name}", lineterm="", n=1
                )
            )
            self._block.rows += [*changes[:2], *(row for row in changes[3:] if row.strip())]

    def settings(self, section: str, lines: str) -> None:
        """Add lines to a section of the node's settings, which is made when it is not there."""
        content = self.config.read_text()
        real = self.stable.real(lines)
        head = f"[{section}]\n"
        self.config.write_text(
            content.replace(head, f"{head}{real}\n", 1) if head in content else f"{content}\n{head}{real}\n"
        )
        if self._block is not None:
            self._block.rows += [*([""] if self._block.rows else []), f"[{section}]", *lines.splitlines()]

    def seen(self) -> dict[str, tuple[str, int, str]]:
        """Container → what an untouched one keeps."""
        return self.identities()

    def call(self, *words: str, code: int = 0, seconds: float = 120, node: bool = False, log: bool = True) -> str:
        """Run a program; its output, with what went to stderr behind it (`log`). Raises DayFailed."""
        done = subprocess.run(
            words,
            env=self.environment() if node else self._operator(),
            cwd=self.root if node else (self.site if self.site.exists() else self.home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode != code:
            raise DayFailed(f"`{shlex.join(words)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + (done.stderr if log else "")

    def environment(self) -> dict[str, str]:
        """Of the node's programs."""
        return {**self._operator(), "RECONCILER_CONFIG": str(self.config), node.CLOCK: str(self.clock_file)}

    def _operator(self) -> dict[str, str]:
        path = f"{self.root}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        plain = {"PATH": path, "HOME": str(self.home), "TZ": ZONE, "NO_COLOR": "1", "COLUMNS": "120", "LANG": "C.UTF-8"}
        mark = {k: v for k, v in os.environ.items() if k.startswith("RECONCILER_TEST")}
        return {**plain, **mark, "DOCKER_HOST": self.engine_url, "PYTHONPATH": str(CHECKOUT)}

    def _know_commits(self) -> None:
        log = servers.git(self.repository, "log", "--all", "--reverse", "--format=%H %s")
        if (self.site / ".git").exists():
            with contextlib.suppress(DayFailed):
                log += "\n" + self.call("git", "log", "--all", "--reverse", "--format=%H %s")
        self.stable.know(dict(row.split(" ", 1) for row in log.splitlines() if " " in row))

    # --- GitLab --------------------------------------------------------------------------------------------------

    def open_request(self, branch: str, title: str) -> int:
        """The operator opens a merge request in the browser."""
        answer = requests.post(
            f"{self.forge.url}/api/v4/projects/cloud%2Fsite/merge_requests",
            headers={"PRIVATE-TOKEN": self.operator_token},
            json={"source_branch": branch, "target_branch": "main", "title": title},
            timeout=30,
        )
        answer.raise_for_status()
        self.requests[branch] = int(answer.json()["iid"])
        return self.requests[branch]

    def merge(self, branch: str) -> str:
        """The operator presses Merge, and pulls; GitLab calls the node's webhook. Returns the commit."""
        answer = requests.post(f"{self.forge.url}/-/merge/{self.requests[branch]}", timeout=30)
        answer.raise_for_status()
        self.head = str(answer.json()["sha"])
        self.call("git", "switch", "--quiet", "main")
        self.call("git", "pull", "--quiet")
        self._know_commits()
        self.hook()
        return self.head

    def hook(self) -> None:
        """What GitLab does after a push, where its webhook is set up: the node looks at once."""
        headers = {"X-Gitlab-Token": self.hook_secret, "X-Gitlab-Event": "Push Hook"}
        answer = requests.post(f"http://{self.page}/hooks/gitlab", headers=headers, json={}, timeout=30)
        if answer.status_code != 202:
            raise DayFailed(f"the node answered {answer.status_code} to the webhook")

    @property
    def project(self) -> gitlab_state.Project:
        return self.forge.projects[PROJECT]

    def posted(self, commit: str) -> list[str]:
        """The rows of a commit's pipeline, as `context  status  description`."""
        with self.forge.lock:
            rows = [row for row in self.project.rows if row.sha == commit and not row.retried]
            return [f"{row.name}  {row.status}  {row.description or ''}" for row in rows]

    # --- the node ------------------------------------------------------------------------------------------------

    def start_daemon(self) -> None:
        """As systemd does; it ends with the day."""
        self._process = self._stack.enter_context(self.daemon("tests.day.node"))

    def wait(self, what: str, ready: Callable[[], object], seconds: float = 180) -> None:
        """Wait for something while the daemon lives. Raises DayFailed."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self._process is not None and self._process.poll() is not None:
                raise DayFailed(f"the daemon ended before this happened: {what}\n{self.log()[-2000:]}")
            if time.monotonic() > deadline:
                raise DayFailed(f"did not happen within {seconds:g} s: {what}\n{self._complaints()}")
            time.sleep(0.1)

    def _complaints(self) -> str:
        """The last things that the daemon complained about."""
        rows = self.log().splitlines()
        quiet = [row for row in rows if '"cycle.finished"' not in row]
        return "\n".join([*quiet[-8:], *rows[-1:], json.dumps(self.report().get("conditions"))])

    def report(self) -> dict[str, Any]:
        """What the node last said about itself."""
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((self.state / "report.json").read_text()))
        return {}

    def condition(self, name: str) -> dict[str, Any]:
        return next((dict(c) for c in self.report().get("conditions", ()) if c["type"] == name), {})

    def converged(self, commit: str = "") -> None:
        """Wait until the node is as `commit` (default: main) says."""
        wanted = commit or self.head
        self.wait(
            f"the node converges to {wanted[:12]}",
            lambda: self.report().get("revision") == wanted and self.condition("Ready").get("status"),
        )

    def told(self, status: str) -> list[str]:
        """Wait until the pipeline of main's commit in GitLab has that status; its rows, as they are shown."""
        self.wait(f"GitLab says: {status}", lambda: f"  {status}  " in "".join(self.posted(self.head)))
        return [self.stable.text(row) for row in self.posted(self.head)]


def _cut(rows: Sequence[str], cut: Sequence[int]) -> list[str]:
    if not cut or len(rows) <= sum(cut) + 1:
        return list(rows)
    return [*rows[: cut[0]], "…", *rows[len(rows) - cut[1] :]]


def refuse_collisions(engine_url: str) -> None:
    """Raises DayFailed when something else has the names or ports that the day needs."""
    with contextlib.closing(docker.APIClient(base_url=engine_url, timeout=60)) as client:
        found = demo.collisions(client, f"{NAME}/{HOST}", CONTAINERS, VOLUMES)
    if found := [*found, *demo.taken(PORTS)]:
        raise DayFailed(
            f"others have what the day needs: {', '.join(found)} (if a day that was killed left it: "
            f"docker rm --force {' '.join(CONTAINERS)})"
        )
