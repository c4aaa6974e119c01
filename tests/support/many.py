"""Several nodes of one site on one engine: one repository, a state directory and a folder for files each, containers named by host.

    with Many(tmp_path, engine_url, ("ctl1", "ctl2", "cmp1"), etcd=cluster.urls) as many:
        many.push("the first", text="fine")
        many.passes()

Every host runs one container, `rtf-HOST`, of the service `page`; its file says what `text` says, and it ends when that is `bad`.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
import filelock

from reconciler import settings
from reconciler.etcd import Client, Store
from reconciler.node.cycle import reconcile
from reconciler.node.node import Node
from reconciler.report import Report
from tests.git import servers
from tests.support import paths

SITE = "many"
CHECKOUT = Path(__file__).resolve().parents[2]
_ROLES = {"ctl": ", controllers", "cmp": ", computes"}  # by the beginning of a host's name
_SERVICE = """\
description: A page on every host
groups: {pages: [], controllers: [], computes: []}
containers:
  page:
    each: ["{{ inventory_hostname }}"]
    name: "rtf-{{ item }}"
    group: pages
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; grep -q bad /page.conf && { echo 'error: the page says bad'; exit 1; }; while :; do sleep 0.1; done"]
    stop_timeout: 1
    stability: 0.3
    start_timeout: 5
    rollout: {at_once: @AT_ONCE@, ready: [sound]}
    files:
      - {name: page.conf, content: "{{ page_text }}\\n", destination: /page.conf, mode: "0644"}
checks:
  sound:
    command: {container: "rtf-{{ inventory_hostname }}", command: [cat, /page.conf]}
    routine: false
    group: pages
"""


class Many:
    """`at_once`: of the pages, how many may be stopped at once; `policy`: reconciler.yml's `rollout`."""

    def __init__(
        self,
        root: Path,
        engine_url: str,
        hosts: Sequence[str],
        *,
        etcd: Sequence[str],
        at_once: int = 1,
        policy: str = "",
        interval: int = 2,
    ) -> None:
        self.root, self.engine_url, self.hosts, self.etcd = root, engine_url, tuple(hosts), tuple(etcd)
        self._at_once, self._interval = at_once, interval
        self._policy = policy or "{waves: [{name: canaries, hosts: [{group: pages, first: 1}]}], rest: 1, bake: 0}"
        self._alone = filelock.FileLock(paths.cache() / "many.lock", timeout=1800)
        self._nodes: dict[str, Node] = {}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self._alone.acquire()
        self._remove_containers()
        self.repository = servers.make_repo(self.root / "site.git")
        for host in self.hosts:
            self.folder(host).mkdir(parents=True)
            (self.folder(host) / "kolla").mkdir()
            self.config(host).write_text(
                f'host = "{host}"\nstate_dir = "{self.folder(host) / "state"}"\n\n'
                f'[git]\nurl = "{self.repository.as_uri()}"\n\n[engine]\nurl = "{self.engine_url}"\n\n'
                f'[policy]\nconfig_roots = ["{self.folder(host) / "kolla"}"]\n\n'
                f'[daemon]\ninterval = {self._interval}\nmetrics = ""\n\n'
                f"[fleet]\netcd = {list(self.etcd)!r}\ntimeout = 2\n".replace("'", '"')
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            for host in list(self.daemons):
                self.stop(host)
            for node in self._nodes.values():
                node.close()
            self._remove_containers()
        finally:
            self._alone.release()

    def folder(self, host: str) -> Path:
        return self.root / host

    def config(self, host: str) -> Path:
        return self.root / f"{host}.toml"

    def push(self, message: str, *, text: str, more: Mapping[str, str] | None = None) -> str:
        """Commit the site with a page that says `text`; returns the commit."""
        inventory = "".join(
            f"  {host}:\n    addresses: {{network: 127.0.0.{50 + number}}}\n    groups: [pages{_ROLES.get(host[:3], '')}]\n"
            for number, host in enumerate(self.hosts)
        )
        files = {
            "inventory.yml": f"hosts:\n{inventory}",
            "globals.yml": "kolla_internal_vip_address: 127.0.0.42\n"
            f'node_config_directory: "{self.root}/{{{{ inventory_hostname }}}}/kolla"\npage_text: "{text}"\n',
            "reconciler.yml": f"name: {SITE}\nrollout: {self._policy}\n",
            "services/page/service.yml": _SERVICE.replace("@AT_ONCE@", str(self._at_once)),
            "services/page/variables.yml": "page_text: {description: What the page says., type: string, default: fine}\n",
            **(more or {}),
        }
        return servers.commit(self.repository, {name: text.encode() for name, text in files.items()}, message)

    # --- nodes in this process -----------------------------------------------------------------------------------

    def node(self, host: str) -> Node:
        if host not in self._nodes:
            self._nodes[host] = Node(settings.load(self.config(host)), forge=False)
        return self._nodes[host]

    def kill(self, host: str) -> None:
        """Forget what a killed process forgets."""
        if host in self._nodes:
            self._nodes.pop(host).close()

    def pass_(self, host: str) -> Report:
        return reconcile(self.node(host))

    def passes(self, rounds: int = 1, hosts: Sequence[str] = ()) -> dict[str, Report]:
        """`rounds` passes of every host, one after the other; returns each one's last report."""
        found: dict[str, Report] = {}
        for _ in range(rounds):
            for host in hosts or self.hosts:
                found[host] = self.pass_(host)
        return found

    def run(self, host: str, *words: str, fails: bool = False) -> str:
        """The real program, as an operator calls it on a host; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", "--config", str(self.config(host)), *words],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode != 0) is fails, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG") or k.startswith("RECONCILER_TEST")}
        return {**kept, "PYTHONPATH": str(CHECKOUT)}

    # --- daemons ---------------------------------------------------------------------------------------------------

    def start(self, host: str) -> None:
        """The real daemon of a host, in a process of its own."""
        with (self.root / f"{host}.log").open("ab") as log:
            self.daemons[host] = subprocess.Popen(
                [sys.executable, "-m", "reconciler", "--config", str(self.config(host)), "run"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self, host: str, number: int = signal.SIGTERM) -> None:
        process = self.daemons.pop(host)
        process.send_signal(number)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # --- what can be seen --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        client = Client(self.etcd)
        try:
            yield Store(client, SITE)
        finally:
            client.close()

    def told(self, host: str) -> str:
        """What the page of a host says, from the container that runs."""
        found = self._engine().exec_create(f"rtf-{host}", ["cat", "/page.conf"])
        return str(self._engine().exec_start(found["Id"]).decode().strip())

    def started(self, host: str) -> str:
        """When the container of a host was started."""
        return str(self._engine().inspect_container(f"rtf-{host}")["State"]["StartedAt"])

    def _engine(self) -> docker.APIClient:
        return docker.APIClient(base_url=self.engine_url, timeout=60)

    def _remove_containers(self) -> None:
        client = self._engine()
        for host in self.hosts:
            for name in (f"rtf-{host}", f"reconciler-aside-rtf-{host}"):
                with contextlib.suppress(docker.errors.NotFound):
                    client.remove_container(name, force=True, v=True)
