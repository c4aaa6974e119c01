"""A whole site in miniature, with real parts: a git server, a forge, one node and its engine.

    with Lab(tmp_path, engine_url) as lab:
        lab.write({"globals.yml": "…"})
        lab.push("the first commit")
        report = lab.reconcile()

The node's files lie below the lab's own directory, its containers carry its ownership label; leaving the block removes
them. The forge is the GitLab stand-in, its repository the very one that the node follows. Whatever the test does, no secret
of its site may be anywhere but where it belongs: leaving the block fails otherwise (`canaries.py`).
"""

import contextlib
import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import docker
import filelock
import prometheus_client
import structlog

from reconciler import settings
from reconciler.codec import to_json
from reconciler.errors import ReconcilerError
from reconciler.log import configure
from reconciler.model import Outcome
from reconciler.node.cycle import reconcile
from reconciler.node.node import Node
from reconciler.node.target import Target
from reconciler.report import Report
from reconciler.report.metrics import Metrics
from reconciler.report.signed import encode, statement
from reconciler.report.text import plan_text, plans_markdown
from reconciler.secret import reveal
from reconciler.secrets import sops
from reconciler.settings import Log
from reconciler.web.document import node_document
from tests.forge.gitlab_server import GitLab
from tests.git import servers
from tests.support import paths
from tests.support.canaries import Canaries
from tests.support.machine import machine

CHECKOUT = Path(__file__).resolve().parents[2]
ADDRESS, VIP = "127.0.0.41", "127.0.0.42"
HOST, SITE = "ctl1", "lab"
PROJECT = "cloud/site"
ENDED = {"failed", "success", "canceled"}
PATIENCE = 180.0  # seconds; on a machine with fifty others at work a first pass has taken over a minute


class Lab:
    """Everything around one node. `tls` serves the repository over https with a token, else from the disk. `canaries`: whether its
    secrets are searched for; what is measured does without."""

    def __init__(
        self,
        root: Path,
        engine_url: str,
        *,
        name: str = SITE,
        host: str = HOST,
        tls: bool = True,
        canaries: bool = True,
    ) -> None:
        self.root, self.engine_url, self.name, self.host, self.tls = root, engine_url, name, host, tls
        self.site = root / "site"
        self.config_root = root / "etc-kolla"
        self.state = root / "state"
        self.config = root / "reconciler.toml"
        self.host_key = root / "ssh_host_ed25519_key"
        self.head = ""
        self._stack = contextlib.ExitStack()
        self._alone = filelock.FileLock(paths.cache() / f"lab-{name}-{host}.lock", timeout=1800)
        self._node: Node | None = None
        self._sealed: dict[bytes, str] = {}  # every encrypted file that was pushed
        self.canaries = Canaries(root, engine_url, f"io.reconciler.site={name}/{host}") if canaries else None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            # Two labs of one name would take each other's containers away: the second waits.
            undo.enter_context(self._alone)
            undo.push(self._stack)
            self._set_up()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as undo:
            undo.callback(self._alone.release)
            undo.callback(self.remove_everything)
            undo.callback(self._stack.close)
            self.close_node()
            leaks = self._leaks()
        assert not leaks, "secrets where none belongs:\n  " + "\n  ".join(leaks)

    def _set_up(self) -> None:
        self._remove_from_engine()  # what an earlier one could not, because it was killed
        for folder in (self.site, self.config_root, self.root / "git"):
            folder.mkdir(parents=True, exist_ok=True)
        self.config_root.chmod(0o755)
        if self.canaries:
            self._stack.enter_context(self.canaries)
        token = secrets.token_hex(16)
        (self.root / "token").write_text(token)
        (self.root / "token").chmod(0o600)
        servers.ssh_key(self.host_key)
        repository = servers.make_repo(self.root / "git" / "site.git")
        self.repository = repository
        self.forge = self._stack.enter_context(GitLab())
        self.forge.add_project(PROJECT, repository)
        self.forge.add_user("reconciler", token)
        if self.tls:
            self.server = self._stack.enter_context(servers.http_server(self.root / "git", token=token))
            url, ca_file = self.server.url("site.git"), f'ca_file = "{self.server.ca_file}"\n'
        else:
            url, ca_file = repository.as_uri(), ""
        self.config.write_text(
            f'host = "{self.host}"\nstate_dir = "{self.state}"\nroot = "{machine(self.root)}"\n\n'
            f'[git]\nurl = "{url}"\ntoken_file = "{self.root / "token"}"\n{ca_file}\n'
            f'[secrets]\nssh_key_file = "{self.host_key}"\n\n'
            f'[engine]\nurl = "{self.engine_url}"\n\n'
            f'[forge]\nkind = "gitlab"\nurl = "{self.forge.url}"\nproject = "{PROJECT}"\n'
            f'token_file = "{self.root / "token"}"\n\n'
            f'[policy]\nconfig_roots = ["{self.config_root}"]\n\n'
            f'[daemon]\ninterval = 2\nmetrics = ""\n'
        )

    # --- the site ------------------------------------------------------------------------------------------------

    def write(self, files: Mapping[str, str | None]) -> None:
        """Write files of the work tree; None removes one."""
        for name, content in files.items():
            path = self.site / name
            if content is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)

    def one_service(self, service: str, address: str, *, settings: str = "", variables: str = "{}\n") -> None:
        """Write a site whose host has one service, for a group, and all of them are called as the lab is; `settings` are more of
        globals.yml."""
        name = self.name
        self.write(
            {
                "inventory.yml": f"hosts:\n  {self.host}:\n    addresses: {{network: {address}}}\n    groups: [{name}]\n",
                "globals.yml": f"node_config_directory: {self.config_root}\nkolla_internal_vip_address: {address}\n{settings}",
                "reconciler.yml": f"name: {name}\n",
                f"services/{name}/service.yml": service,
                f"services/{name}/variables.yml": variables,
            }
        )

    def seal(self, *names: str) -> None:
        """Write passwords.yml with fresh values for `names`, which the node's own host key opens."""
        values = {name: secrets.token_urlsafe(24) + "$'/" for name in names}
        public = Path(f"{self.host_key}.pub").read_text().strip()
        self.write({"passwords.yml": sops.encrypt(values, [public]).decode()})

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that is in a file of the work tree."""
        path = self.site / name
        content = path.read_text()
        assert old in content, f"{old!r} is not in {name}"
        path.write_text(content.replace(old, new))

    def push(self, message: str) -> str:
        """Commit the whole work tree and push it. Returns the commit."""
        content = {
            path.relative_to(self.site).as_posix(): path.read_bytes()
            for path in sorted(self.site.rglob("*"))
            if path.is_file()
        }
        gone = {name: None for name in self._tracked() if name not in content}
        self._sealed |= {data: name for name, data in content.items() if b"ENC[AES256_GCM," in data}
        self.head = servers.commit(self.repository, {**content, **gone}, message)
        return self.head

    def _tracked(self) -> list[str]:
        if not self.head:
            return []
        return servers.git(self.repository, "ls-tree", "-r", "--name-only", self.head).splitlines()

    # --- the node ------------------------------------------------------------------------------------------------

    @property
    def node(self) -> Node:
        """The node, in this process."""
        if self._node is None:
            self._node = Node(settings.load(self.config))
        return self._node

    def target(self) -> Target:
        """What the node is to be now."""
        aim = self.node.aim()
        assert aim is not None
        return aim.target

    def close_node(self) -> None:
        """As if the program ended."""
        if self._node is not None:
            self._node.close()
            self._node = None

    def reconcile(self, *, deep: bool | None = None) -> Report:
        """One cycle, in this process."""
        if self.canaries and not structlog.is_configured():
            configure(Log(level="debug", format="json"), Both(self.canaries))
        report = reconcile(self.node, deep=deep)
        if self.canaries:
            for place, text in shown(report, self.node.state.history.newest()):
                self.canaries.saw(place, text)
        return report

    def run(
        self, *words: str, check: bool = True, timeout: float = 300, extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The real program, as an operator calls it; `extra` is added to its environment."""
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", *words],
            env={**self.environment(), **(extra or {})},
            cwd=self.site,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        if self.canaries:
            self.canaries.saw(f"what `reconciler {words[0]}` prints", f"{done.stdout}\n{done.stderr}")
        return done

    def environment(self) -> dict[str, str]:
        """What the program's process gets: where its settings are, and nothing else of the lab."""
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "TERM")}
        mark = {k: v for k, v in os.environ.items() if k.startswith("RECONCILER_TEST")}
        return {**kept, **mark, "RECONCILER_CONFIG": str(self.config), "PYTHONPATH": str(CHECKOUT)}

    @contextlib.contextmanager
    def daemon(self, module: str = "reconciler") -> Iterator["subprocess.Popen[bytes]"]:
        """The real daemon in a process of its own, run as `module`; ended with SIGTERM. Its log is `daemon.log`."""
        with (self.root / "daemon.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, "run"], env=self.environment(), stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(120)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    raise

    def log(self) -> str:
        """What the daemon wrote so far."""
        path = self.root / "daemon.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # --- what can be seen ----------------------------------------------------------------------------------------

    def identities(self) -> dict[str, tuple[str, int, str]]:
        """Container → (id, pid, start time) of everything this lab's node owns."""
        client = docker.APIClient(base_url=self.engine_url, timeout=120)
        try:
            found = {}
            for entry in client.containers(all=True, filters={"label": f"io.reconciler.site={self.name}/{self.host}"}):
                data = client.inspect_container(entry["Id"])
                state = data["State"]
                found[data["Name"].lstrip("/")] = (data["Id"], state["Pid"], state["StartedAt"])
            return found
        finally:
            client.close()

    def statuses(self, commit: str | None = None) -> list[tuple[str, str]]:
        """(status, description) of this host's rows for a commit, oldest first."""
        context = f"reconciler/{self.name}/{self.host}"
        with self.forge.lock:
            rows = [
                r for r in self.forge.projects[PROJECT].rows if r.sha == (commit or self.head) and r.name == context
            ]
            return [(row.status, row.description or "") for row in rows]

    def _leaks(self) -> list[str]:
        """Where a secret of this lab is that none belongs to."""
        if not self.canaries:
            return []
        keys = sops.Keys(None, self.host_key)
        for content, name in self._sealed.items():
            with contextlib.suppress(ReconcilerError):  # a test may damage a file, or encrypt it for somebody else
                self.canaries.learn(reveal(sops.decrypt(content, name=name, keys=keys)))
        self.canaries.learn((self.root / "token").read_text())
        self.canaries.learn(self.host_key.read_text(), Path(f"{self.host_key}.pub").read_text())
        with self.forge.lock:
            self.canaries.saw(
                "the forge", json.dumps({n: asdict(p) for n, p in self.forge.projects.items()}, default=str)
            )
        self.canaries.look()
        return self.canaries.found()

    def remove_everything(self) -> None:
        """Take away containers, volumes and files of this lab."""
        try:
            self._remove_from_engine()
        finally:
            shutil.rmtree(self.root, ignore_errors=True)

    def _remove_from_engine(self) -> None:
        client = docker.APIClient(base_url=self.engine_url, timeout=120)
        label = {"label": f"io.reconciler.site={self.name}/{self.host}"}
        try:
            for entry in client.containers(all=True, filters=label):
                with contextlib.suppress(docker.errors.NotFound):
                    client.remove_container(entry["Id"], force=True, v=True)
            for volume in client.volumes(filters=label)["Volumes"] or []:
                client.remove_volume(volume["Name"], force=True)
        finally:
            client.close()


class Both(io.StringIO):
    """A stream for the program's log: what is written is shown, and searched for secrets."""

    def __init__(self, canaries: Canaries) -> None:
        self._canaries = canaries

    def write(self, text: str) -> int:
        self._canaries.saw("the log", text)
        return sys.stdout.write(text)


def shown(report: Report, history: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Everything that is made of a report."""
    yield "report", json.dumps(to_json(report), ensure_ascii=False) + repr(report)
    yield "signed report", encode(statement(report)).decode()
    yield "page", json.dumps(node_document(report, history, {}), default=str)
    metrics = Metrics()
    metrics.report(report)
    yield "metrics", prometheus_client.generate_latest(metrics.registry).decode()
    if report.plan:
        yield "plan", plan_text(report.plan) + plans_markdown([report.plan])


def wait_for(what: str, ready: Callable[[], object], seconds: float = 30.0, pause: float = 0.05) -> float:
    """Wait until `ready` gives something true; returns how long it took. Fails with `what` after `seconds`, or PATIENCE if that is more."""
    started = time.monotonic()
    seconds = max(seconds, PATIENCE)
    while not ready():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)
    return time.monotonic() - started


def lines(report: Report) -> list[str]:
    """The plan of a report, as an operator reads it."""
    return [action.line for action in report.plan.actions] if report.plan else []


def results(report: Report) -> dict[str, Outcome]:
    """Outcomes by action id."""
    return {outcome.action.id: outcome for outcome in report.outcomes}
