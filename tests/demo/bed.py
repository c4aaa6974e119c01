"""Where the demo lives: one folder of the cache, one owner's label in the engine; how it starts and how it goes away."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import docker
from docker import errors as docker_errors

from reconciler.secrets import sops
from tests.demo import site
from tests.support import paths
from tests.support.lab import PROJECT, Lab

OWNER = f"{site.NAME}/{site.HOST}"
LABEL = "io.reconciler.site"
MARK = "RECONCILER_DEMO"  # in the environment of every process of the demo
CONTAINERS = (
    "cron",
    "haproxy",
    "memcached",
    "mariadb",
    "mariadb_clustercheck",
    "rabbitmq",
    "keystone",
    "keystone_fernet",
    "keystone_ssh",
)
VOLUMES = ("haproxy_socket", "keystone_fernet_tokens", "kolla_logs", "mariadb", "rabbitmq")
PORTS = {
    "127.0.0.1": (4369,),  # Erlang's name service always listens here, too
    site.ADDRESS: (3306, 4567, 4569, 5000, 5672, 8023, 11211, 15672, 25672),
    site.VIP: (3306, 5000),
}
_PATIENCE = 20.0  # seconds


class DemoFailed(Exception):
    """Something did not happen; the message says what, and what to look at."""


@dataclass(frozen=True, slots=True)
class Plot:
    """What a demo takes of the machine: a folder of the cache, one owner's label, names in the engine, addresses with ports."""

    folder: str
    name: str
    host: str
    vip: str
    containers: Sequence[str]
    volumes: Sequence[str]
    ports: Mapping[str, Sequence[int]]
    links: Sequence[str] = ()  # network devices of this machine that outlive the programs that made them

    @property
    def owner(self) -> str:
        """What its containers are labelled with."""
        return f"{self.name}/{self.host}"

    @property
    def root(self) -> Path:
        """Its folder, which need not exist."""
        return paths.cache() / self.folder


@dataclass(frozen=True, slots=True)
class Identity:
    """What an untouched container keeps."""

    id: str
    pid: int
    started: str


PLOT = Plot("demo", site.NAME, site.HOST, site.VIP, CONTAINERS, VOLUMES, PORTS)


class Bed(Lab):
    """A lab whose containers and files stay when the block is left; only its servers and the daemon end."""

    def __init__(self, plot: Plot, engine_url: str) -> None:
        super().__init__(plot.root, engine_url, name=plot.name, host=plot.host)
        self.plot = plot
        self._events: list[dict[str, Any]] = []
        self._read = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Bed":
        scratch = self.root / "tmp"
        scratch.mkdir(parents=True)
        self.root.chmod(0o700)
        self._stack.enter_context(_temporary_files_in(scratch))
        super().__enter__()
        self._keep_authority()
        self._make_work_tree()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _keep_authority(self) -> None:
        """The server takes its certificates along when it ends; the node's settings stay usable."""
        assert self.server.ca_file is not None
        shutil.copyfile(self.server.ca_file, self.root / "ca.pem")
        site.edit(self.config, str(self.server.ca_file), str(self.root / "ca.pem"))

    @property
    def recipient(self) -> str:
        """The node's host key, as sops takes it."""
        return " ".join(self.host_key.with_suffix(".pub").read_text().split()[:2])

    def environment(self) -> dict[str, str]:
        """See Lab; programs of the environment this runs in are found."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        plain = {"PATH": path, MARK: str(self.root), "NO_COLOR": "1", "COLUMNS": "80"}
        return {**super().environment(), **plain, "DOCKER_HOST": self.engine_url}

    def call(self, *words: str, codes: Sequence[int] = (0,), seconds: float = 120, cwd: Path | None = None) -> str:
        """Run a program as an operator does and return what it printed. Raises DemoFailed."""
        try:
            done = subprocess.run(
                words,
                env=self.environment(),
                cwd=cwd or self.site,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"`{shlex.join(words)}` did not end within {seconds:g} s") from None
        if done.returncode not in codes:
            raise DemoFailed(f"`{shlex.join(words)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    # --- the repository ------------------------------------------------------------------------------------------

    def _make_work_tree(self) -> None:
        """A clone whose origin is the https server; the token is in a file that only git reads."""
        credentials = self.root / "git-credentials"
        token = (self.root / "token").read_text()
        url = self.server.url("site.git")
        credentials.touch(mode=0o600)
        credentials.write_text(f"{url.replace('://', f'://oauth2:{token}@')}\n")
        self.git("init", "--quiet", "--initial-branch=main")
        for name, value in {
            "user.name": "operator",
            "user.email": "operator@example.org",
            "credential.helper": f"store --file={shlex.quote(str(credentials))}",
            "credential.useHttpPath": "true",
            "http.sslCAInfo": str(self.root / "ca.pem"),
            "commit.gpgSign": "false",
        }.items():
            self.git("config", name, value)
        self.git("remote", "add", "origin", url)

    def git(self, *words: str) -> str:
        """git in the work tree, with the configuration of the work tree alone. Raises DemoFailed."""
        return self.call("git", "-c", "core.hooksPath=/dev/null", *words)

    def push(self, message: str) -> str:
        """Commit everything and push it over https. Returns the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        self.head = self.git("rev-parse", "HEAD").strip()
        self.git("push", "--quiet", "origin", "main")
        return self.head

    # --- the daemon ----------------------------------------------------------------------------------------------

    def start_daemon(self) -> int:
        """Start it; it ends with this block at the latest. Returns its process id."""
        self._process = self._stack.enter_context(self.daemon())
        return self._process.pid

    def stop_daemon(self) -> None:
        """End it as systemd does. Raises DemoFailed when it does not end well."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        if code := self._process.wait(120):
            raise DemoFailed(f"the daemon ended with {code}")

    def events(self) -> list[dict[str, Any]]:
        """What the daemon logged so far."""
        text = self.log()
        whole = text[self._read : text.rfind("\n") + 1]
        self._read += len(whole)
        for row in whole.splitlines():
            with contextlib.suppress(ValueError):
                self._events.append(json.loads(row))
        return self._events

    def wait(self, what: str, ready: Callable[[], object], seconds: float) -> float:
        """Wait for something while the daemon lives; returns how long it took. Raises DemoFailed."""
        started = time.monotonic()
        while not ready():
            if self._process is not None and self._process.poll() is not None:
                raise DemoFailed(f"the daemon ended with {self._process.returncode} before this happened: {what}")
            if time.monotonic() - started > seconds:
                raise DemoFailed(f"did not happen within {seconds:g} s: {what}\n{self._problems()}")
            time.sleep(0.02)
        return time.monotonic() - started

    def _problems(self) -> str:
        """The last things that the daemon complained about."""
        bad = [e for e in self.events() if e.get("level") in ("warning", "error")][-3:]
        return "\n".join(f"{e.get('event')}: {e.get('action', '')} {e.get('message', '')}" for e in bad)

    # --- what can be seen ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def engine(self) -> Iterator[docker.APIClient]:
        """A client of the engine."""
        client = docker.APIClient(base_url=self.engine_url, timeout=60)
        try:
            yield client
        finally:
            client.close()

    def seen(self) -> dict[str, Identity]:
        """Container → what an untouched one keeps."""
        return {name: Identity(*found) for name, found in self.identities().items()}

    def posted(self) -> list[tuple[str, str, str, str]]:
        """(commit, subject, status, description) of every commit status, oldest first."""
        with self.forge.lock:
            rows = [(r.sha, r.status, r.description or "") for r in self.forge.projects[PROJECT].rows]
        return [(sha, self.git("log", "-1", "--format=%s", sha).strip(), *rest) for sha, *rest in rows]

    def secret(self, name: str) -> str:
        """A password of the site, in the clear."""
        content = (self.site / "passwords.yml").read_bytes()
        keys = sops.Keys(ssh_key_file=self.host_key)
        return str(sops.decrypt(content, name="passwords.yml", keys=keys)[name].reveal())

    def write_openrc(self) -> Path:
        """What a shell needs to look around: engine, settings, and the cloud's administrator."""
        password = self.secret("keystone_admin_password")
        values = {
            "DOCKER_HOST": self.engine_url,
            "RECONCILER_CONFIG": str(self.config),
            "OS_AUTH_URL": f"http://{self.plot.vip}:5000/v3",
            "OS_USERNAME": "admin",
            "OS_PASSWORD": password,
            "OS_PROJECT_NAME": "admin",
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
            "OS_REGION_NAME": "RegionOne",
            "OS_IDENTITY_API_VERSION": "3",
        }
        openrc = self.root / "openrc"
        openrc.touch(mode=0o600)
        rows = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
        rows.append(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
        openrc.write_text("\n".join(rows) + "\n")
        return openrc


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """What servers keep for themselves goes where `clean` finds it."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def links(names: Sequence[str]) -> list[str]:
    """Which of these network devices the machine has."""
    there = {name for _, name in socket.if_nameindex()}
    return [name for name in names if name in there]


def unlink(names: Sequence[str]) -> list[str]:
    """Remove those of these network devices that are there; returns them, in words."""
    there = links(names)
    for name in there:
        subprocess.run(["ip", "link", "delete", name], check=True, capture_output=True)
    return [f"network device {name}" for name in there]


# --- before and after -----------------------------------------------------------------------------------------------


def collisions(
    client: docker.APIClient,
    owner: str = OWNER,
    containers: Sequence[str] = CONTAINERS,
    volumes: Sequence[str] = VOLUMES,
) -> list[str]:
    """What is in the engine under the demo's names and is not the demo's: `container mariadb (of example/ctl1)`."""

    def foreign(kind: str, name: str, labels: Mapping[str, str] | None) -> str:
        other = (labels or {}).get(LABEL, "")
        return f"{kind} {name} ({f'of {other}' if other else 'not made by reconciler'})"

    found = []
    for entry in client.containers(all=True):
        names = {name.lstrip("/") for name in entry["Names"]} & set(containers)
        if (entry["Labels"] or {}).get(LABEL) != owner:
            found += [foreign("container", name, entry["Labels"]) for name in names]
    for entry in client.volumes()["Volumes"] or []:
        if entry["Name"] in volumes and (entry["Labels"] or {}).get(LABEL) != owner:
            found.append(foreign("volume", entry["Name"], entry["Labels"]))
    return sorted(found)


def taken(ports: Mapping[str, Sequence[int]] = PORTS) -> list[str]:
    """Addresses of the demo on which somebody listens: `127.0.0.51:3306`."""
    found = []
    for address, numbers in ports.items():
        for port in numbers:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((address, port))
                except OSError:
                    found.append(f"{address}:{port}")
    return found


def clean(root: Path, client: docker.APIClient | None, owner: str = OWNER, *, patience: float = _PATIENCE) -> list[str]:
    """Remove processes, containers, volumes and files of the demo; returns what was removed, in words.

    `client` None: there is no engine, so nothing is in it. Processes get `patience` seconds to end well. Raises DemoFailed when something stays.
    """
    removed = [f"process {pid}" for pid in _end_processes(root, patience)]
    if client is not None:
        label = {"label": f"{LABEL}={owner}"}
        for entry in client.containers(all=True, filters=label):
            with contextlib.suppress(docker_errors.NotFound):
                client.remove_container(entry["Id"], force=True, v=True)
            removed.append(f"container {entry['Names'][0].lstrip('/')}")
        for volume in client.volumes(filters=label)["Volumes"] or []:
            client.remove_volume(volume["Name"], force=True)
            removed.append(f"volume {volume['Name']}")
        if left := client.containers(all=True, filters=label):
            raise DemoFailed(f"containers stay: {', '.join(e['Names'][0].lstrip('/') for e in left)}")
    if root.exists():
        shutil.rmtree(root)
        removed.append(f"folder {root}")
    return removed


def processes(root: Path) -> list[int]:
    """Processes of a demo in `root`, but not this one: its program, its daemon, its git server."""
    mark, folder = f"{MARK}={root}".encode(), f"{root}/".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                server = command.split(b"\0")[0].endswith(b"lighttpd") and folder in command
                if server or mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def _end_processes(root: Path, patience: float) -> list[int]:
    """SIGTERM, and after a while SIGKILL."""
    ended: list[int] = []
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        now = processes(root)
        for pid in now:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        ended += [pid for pid in now if pid not in ended]
        deadline = time.monotonic() + seconds
        while processes(root) and time.monotonic() < deadline:
            time.sleep(0.1)
    if left := processes(root):
        raise DemoFailed(f"processes do not end: {', '.join(map(str, left))}")
    return ended
