"""What incidents are played on: the lab's control plane, with disks that can be filled, an address that can be taken away, and
the real daemon."""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pymysql
import requests

from reconciler.secrets import sops
from tests.scenarios import cloud
from tests.support.lab import ADDRESS, VIP, Lab, wait_for

# An address of the loopback interface, because those of 127/8 cannot be taken off it.
ADDRESS_TO_LOSE = "192.0.2.42"
INTERVAL, LOOK, DEEP = 10, 20, 40  # seconds; by default 60, 120, 600
_CONFIG_MIB, _STATE_MIB, _LOG_MIB = 8, 48, 96


class Watched(Lab):
    """A lab with the real daemon, whose page is read."""

    url = ""

    def set_daemon(self) -> None:
        """Give it intervals that are short, and a page."""
        text = self.config.read_text()
        old = '[daemon]\ninterval = 2\nmetrics = ""\n'
        assert old in text
        own = f'interval = {INTERVAL}\nlook_interval = {LOOK}\ndeep_interval = {DEEP}\nmetrics = "127.0.0.1:0"\n'
        self.config.write_text(text.replace(old, f"[daemon]\n{own}"))

    @contextlib.contextmanager
    def client(self) -> Iterator[docker.DockerClient]:
        """Of the engine, as an operator's `docker`."""
        with contextlib.closing(docker.DockerClient(base_url=self.engine_url, timeout=120)) as client:
            yield client

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """The daemon runs, and answers on its page."""
        with self.daemon() as process:

            def port() -> str:
                assert process.poll() is None, self.log()[-3000:]
                found = re.search(r'"metrics": (\d+), "event": "daemon.started"', self.log())
                return found[1] if found else ""

            wait_for("the daemon listens", port, 60)
            self.url = f"http://127.0.0.1:{port()}/status.json"
            yield

    def shown(self) -> dict[str, Any]:
        """What the node's page says now."""
        found: dict[str, Any] = requests.get(self.url, timeout=30).json()
        return found


class Bed(Watched):
    """Config root, state directory and log volume are file systems of their own."""

    def __init__(self, root: Path, engine_url: str) -> None:
        super().__init__(root, engine_url)
        self.disk = root / "disk"
        self.state = self.disk / "state"

    def __enter__(self) -> "Bed":
        super().__enter__()
        return self

    def _set_up(self) -> None:
        for folder, size in ((self.config_root, _CONFIG_MIB), (self.disk, _STATE_MIB)):
            folder.mkdir(parents=True)
            command("mount", "-t", "tmpfs", "-o", f"size={size}m,mode=755", "tmpfs", str(folder))
            self._stack.callback(command, "umount", "--lazy", str(folder))
        super()._set_up()
        with self.client() as client:
            client.volumes.create(
                name="kolla_logs",
                driver_opts={"type": "tmpfs", "device": "tmpfs", "o": f"size={_LOG_MIB}m"},
                labels={"io.reconciler.site": f"{self.name}/{self.host}"},
            )
        command("ip", "address", "replace", f"{ADDRESS_TO_LOSE}/32", "dev", "lo")
        self._stack.callback(
            subprocess.run, ["ip", "address", "del", f"{ADDRESS_TO_LOSE}/32", "dev", "lo"], check=False
        )
        self.set_daemon()
        cloud.first(self)
        self.edit("globals.yml", VIP, ADDRESS_TO_LOSE)
        limits = "memcached_dimensions: {mem_limit: 32m, memswap_limit: 32m}\n"
        self.write({"globals.yml": (self.site / "globals.yml").read_text() + limits})
        self.push("the first commit")

    def docker(self, verb: str, name: str, **options: Any) -> None:
        """`docker VERB NAME`."""
        with self.client() as client:
            getattr(client.containers.get(name), verb)(**options)

    def inside(self, container: str, script: str, user: str = "root") -> str:
        """A script in a container. Raises AssertionError when it fails."""
        with self.client() as client:
            code, output = client.containers.get(container).exec_run(["bash", "-c", script], user=user)
        assert code == 0 and isinstance(output, bytes), f"{script}: {output!r}"
        return output.decode()

    def secret(self, name: str) -> str:
        """A password of the site, as it is committed."""
        keys = sops.Keys(ssh_key_file=self.host_key)
        found = sops.decrypt((self.site / "passwords.yml").read_bytes(), name="passwords.yml", keys=keys)
        return str(found[name].reveal())

    def sql(self, statement: str, password: str = "") -> None:
        """As the database's administrator."""
        own = password or self.secret("database_password")
        with contextlib.closing(pymysql.connect(host=ADDRESS, user="root", password=own)) as connection:
            connection.cursor().execute(statement)


def command(*words: str) -> None:
    """A program of the system. Raises AssertionError with what it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """A file system on which nothing fits any more, as long as the block lasts."""
    filler = folder / ".filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    stream.write(b"\0" * size)
    try:
        yield
    finally:
        filler.unlink()
