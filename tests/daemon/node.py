"""A node for tests: a plain-Docker site in a real repository, settings, and the real program as a process."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from reconciler.cli.main import program
from tests.git import servers
from tests.support.lab import PATIENCE

PROGRAM = Path(sys.executable).with_name("reconciler")
HOST = "node1"

INVENTORY = f"hosts:\n  {HOST}: {{addresses: {{network: 127.0.0.1}}, groups: [web]}}\ngroups:\n  web: {{}}\n"


def service(name: str, image: str, *, more: str = "", text: str = "hello") -> dict[str, str]:
    """A service folder with one busybox container that reads one file."""
    return {
        f"services/{name}/service.yml": f"""\
description: A container for tests
groups: {{web: []}}
containers:
  {name}:
    group: web
    image: {image}
    kolla: false
    command: [sh, -c, "cat /etc/greeting; exec sleep 1000000"]
    stop_timeout: 1
    stop_signal: SIGKILL
    stability: 0.2
    labels: {{reconciler-test: "1"}}
    files:
      - {{name: greeting, content: "{text}\\n", destination: /etc/greeting, mode: "0644"}}
{more}""",
        f"services/{name}/variables.yml": "{}\n",
    }


@dataclass
class TestNode:
    """Everything of one node lies below `folder`."""

    __test__ = False

    folder: Path
    engine_url: str
    image: str
    containers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.repository = servers.make_repo(self.folder / "site.git")
        self.config_root = self.folder / "kolla"
        self.state_dir = self.folder / "state"
        self.settings_file = self.folder / "reconciler.toml"
        self.config_root.mkdir()
        self.write_settings()

    def write_settings(self, *, interval: float = 3600, more: str = "", daemon: str = "") -> None:
        self.settings_file.write_text(f"""\
host = "{HOST}"
state_dir = "{self.state_dir}"
{more}
[git]
url = "file://{self.repository}"
timeout = 5
deadline = 20
[engine]
url = "{self.engine_url}"
[daemon]
interval = {interval}
metrics = "127.0.0.1:0"
{daemon}
[policy]
config_roots = ["{self.config_root}"]
[log]
level = "debug"
format = "json"
""")

    def name(self, short: str) -> str:
        """A container's name that no other test uses; removed at the end."""
        name = f"rt-{short}-{os.getpid()}-{self.folder.name[-6:]}".replace("_", "-").lower()
        if name not in self.containers:
            self.containers.append(name)
        return name

    def push(self, files: Mapping[str, str | None], message: str = "change") -> str:
        return servers.commit(self.repository, files, message)

    def push_site(self, *names: str, **options: str) -> str:
        """A site with one service per name."""
        files: dict[str, str | None] = {
            "inventory.yml": INVENTORY,
            "globals.yml": f"node_config_directory: {self.config_root}\n",
            # A site of this session alone: two that test on one engine would prune one another's containers.
            "reconciler.yml": f"name: test-{os.getpid()}\n",
        }
        for name in names:
            files |= service(name, self.image, **options)
        return self.push(files, "a site")

    def run(
        self, *words: str, env: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """A verb in this process: starting another one for each would take most of the tests' time."""
        variables = {"RECONCILER_CONFIG": str(self.settings_file), **(env or {})}
        found = CliRunner().invoke(program, words, env=variables)
        if check:
            assert found.exit_code == 0, f"{words}: {found.exit_code}\n{found.stdout}\n{found.stderr}"
        return subprocess.CompletedProcess(words, found.exit_code, found.stdout, found.stderr)

    def anchor(self) -> str:
        return str(json.loads((self.state_dir / "anchor.json").read_text())["commit"])

    def report(self) -> dict[str, Any]:
        return json.loads((self.state_dir / "report.json").read_text())

    @contextlib.contextmanager
    def daemon(self, env: Mapping[str, str] | None = None) -> Iterator["Running"]:
        """The daemon as a process; ended, and its log shown on a failure."""
        log = self.folder / "daemon.log"
        with log.open("ab") as stream:
            process = subprocess.Popen(
                [str(PROGRAM), "run"],
                stdout=stream,
                stderr=stream,
                env={**os.environ, "RECONCILER_CONFIG": str(self.settings_file), **(env or {})},
            )
        running = Running(process, log)
        try:
            yield running
        except BaseException:
            print(log.read_text())
            raise
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@dataclass
class Running:
    """The daemon's process and what it logged."""

    process: subprocess.Popen[bytes]
    log: Path

    def events(self, name: str = "") -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [row for row in rows if not name or row["event"] == name]

    def wait(self, name: str, count: int = 1, seconds: float = 20.0) -> list[dict[str, Any]]:
        wait_for(lambda: len(self.events(name)) >= count, f"{count} × {name}", seconds)
        return self.events(name)

    def settled(self, seconds: float = 20.0) -> list[dict[str, Any]]:
        """Wait for a pass after which nothing is in flight any more; returns all such passes."""

        def done() -> list[dict[str, Any]]:
            return [row for row in self.events("cycle.finished") if row["reason"] != "Progressing"]

        wait_for(done, "a pass with nothing in flight", seconds)
        return done()

    def hangup(self) -> None:
        self.process.send_signal(signal.SIGHUP)


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> float:
    """Poll until true; returns how long it took in seconds. As tests.support.lab's, a busy machine is given more than `seconds`."""
    started = time.monotonic()
    seconds = max(seconds, PATIENCE)
    while time.monotonic() - started < seconds:
        if condition():
            return time.monotonic() - started
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds:g} s: {what}")


@contextlib.contextmanager
def notify_socket(folder: Path) -> Iterator[Callable[[], list[str]]]:
    """systemd's side of sd_notify: gives a function that returns all datagrams so far."""
    path = folder / "notify"
    messages: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.setblocking(False)

        def received() -> list[str]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    messages.append(listening.recv(4096).decode())
            return messages

        yield received
