"""An engine of our own, to be stopped, killed and frozen: nobody else uses it, and it is gone afterwards.

What runs in it is the small site of `tests.scenarios.plain`: what an engine does to containers does not depend on what is in them.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import docker

from tests.images import build
from tests.incidents.bed import Watched
from tests.scenarios import plain
from tests.support.lab import wait_for
from tests.support.paths import CHECKOUT

_PATIENCE = 5  # seconds that the node gives the engine; by default 60


class Engine:
    """A dockerd whose folder, socket and containers are below `folder`, which has to be short."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/engine/run/docker.sock"

    def _call(self, verb: str) -> None:
        env = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
        words = [sys.executable, "-m", "tests.support.engine", verb, "--as", "incidents"]
        done = subprocess.run(words, env={**env, "RECONCILER_CACHE": str(self.folder)}, cwd=CHECKOUT, capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Started, with the small image; in the end nothing of it is left."""
        self._call("ensure")
        try:
            with contextlib.closing(docker.DockerClient(base_url=self.url)) as client:
                build.busybox(client)
            yield
        finally:
            with contextlib.suppress(OSError):
                self.signal(signal.SIGCONT)
            self._call("stop")

    @property
    def pid(self) -> int:
        """Of dockerd."""
        return int((self.folder / "engine" / "run" / "docker.pid").read_text())

    def signal(self, number: int) -> None:
        """Send dockerd a signal."""
        os.kill(self.pid, number)

    def end(self, number: int) -> None:
        """End dockerd and wait until it is gone."""
        pid = self.pid
        os.kill(pid, number)
        wait_for("dockerd is gone", lambda: not _lives(pid), 90, 0.1)

    def begin(self) -> None:
        """Start it again, on the containers that there are, as a service manager does."""
        log = (self.folder / "engine" / "dockerd.log").open("ab")
        with log:
            (self.folder / "engine" / "run" / "docker.pid").unlink(missing_ok=True)
            subprocess.Popen(
                ["dockerd", "--config-file", str(self.folder / "engine" / "daemon.json")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip

    @contextlib.contextmanager
    def under_load(self) -> Iterator[None]:
        """Somebody starts and removes containers all the time."""
        ended = threading.Event()

        def work() -> None:
            while not ended.is_set():
                with (
                    contextlib.suppress(Exception),
                    contextlib.closing(docker.DockerClient(base_url=self.url, timeout=20)) as client,
                ):
                    client.containers.run(build.BUSYBOX, ["true"], remove=True, network_mode="none")

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


class SmallBed(Watched):
    """The small site on an engine that may be mistreated."""

    def __init__(self, root: Path, engine: Engine) -> None:
        super().__init__(root, engine.url, name="engine", tls=False)  # the engine ends, and with it what is in it
        self.engine = engine

    def __enter__(self) -> "SmallBed":
        super().__enter__()
        return self

    def _set_up(self) -> None:
        super()._set_up()
        self.set_daemon()
        url = f'[engine]\nurl = "{self.engine_url}"\n'
        text = self.config.read_text()
        assert url in text
        self.config.write_text(text.replace(url, f"{url}timeout = {_PATIENCE}\n"))
        plain.first(self)
        self.push("the first commit")
