"""A genuine HAProxy takes over from the one that runs, with the start script of the catalogue, and no request fails."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from tests.conftest import LABEL, PREFIX
from tests.support import engine, paths
from tests.support.lab import wait_for

pytestmark = pytest.mark.images

SCRIPT = paths.CHECKOUT / "tests/services/one_node/expected/aio/haproxy/haproxy_run.sh"
CONFIGURATION = """\
global
    user haproxy
    group haproxy
    maxconn 200
    stats socket /var/lib/kolla/haproxy/haproxy.sock mode 660 expose-fd listeners
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 5s
frontend answers
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain string "ok"
"""


@dataclass
class Proxies:
    """Containers of one site's HAProxy, the older first."""

    client: docker.DockerClient
    image: str
    root: Path
    port: int
    made: list[Container] = field(default_factory=list)

    def start(self, configuration: str = "") -> Container:
        """Another one, whose configuration ends with some lines more."""
        folder = self.root / f"{len(self.made)}"
        (folder / "services.d").mkdir(parents=True)
        (folder / "services.d/none.cfg").write_text("# none\n")
        (folder / "haproxy.cfg").write_text(CONFIGURATION.format(port=self.port) + configuration)
        (folder / "run.sh").write_text(SCRIPT.read_text())
        (folder / "run.sh").chmod(0o755)
        binds = {
            f"{self.root}/socket": {"bind": "/var/lib/kolla/haproxy", "mode": "rw"},
            f"{folder}/haproxy.cfg": {"bind": "/etc/haproxy/haproxy.cfg", "mode": "ro"},
            f"{folder}/services.d": {"bind": "/etc/haproxy/services.d", "mode": "ro"},
            f"{folder}/run.sh": {"bind": "/run.sh", "mode": "ro"},
        }
        one = self.client.containers.run(
            self.image, entrypoint=["/run.sh"], name=f"{PREFIX}haproxy-{self.port}-{len(self.made)}", user="root", network_mode="host",
            volumes=binds, labels={LABEL: "1"}, detach=True, ulimits=[docker.types.Ulimit(name="nofile", soft=4096, hard=4096)],
        )  # fmt: skip
        self.made.append(one)
        return one

    def serves(self, one: Container) -> bool:
        """What the catalogue asks of a new one."""
        return bool(one.exec_run(["test", "-s", "/run/haproxy.pid"]).exit_code == 0)


@pytest.fixture
def proxies(kolla_images: dict[str, str], docker_client: docker.DockerClient, tmp_path: Path) -> Iterator[Proxies]:
    (tmp_path / "socket").mkdir()
    made = Proxies(docker_client, kolla_images["haproxy"], tmp_path, engine.free_port())
    yield made
    for one in made.made:
        one.remove(force=True, v=True)


class Asking(threading.Thread):
    """Asks without a pause, each time over a connection of its own, until it is told to end."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.count, self.failed, self.ended = port, 0, list[str](), threading.Event()

    def __enter__(self) -> "Asking":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), 30) as asked:
                    asked.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    answer = b"".join(iter(lambda: asked.recv(4096), b""))
                if b" 200 " not in answer:
                    self.failed.append(f"{answer[:60]!r}")
            except OSError as error:
                self.failed.append(str(error))
            self.count += 1


def listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def test_no_request_fails_when_one_follows_another(proxies: Proxies) -> None:
    first = proxies.start()
    wait_for("it listens", lambda: listens(proxies.port), 60, 0.1)
    with Asking(proxies.port) as asking:
        second = proxies.start()
        wait_for("the second one serves", lambda: proxies.serves(second), 60, 0.1)
        # Without that a connection that waits to be accepted by the first would end with it, too seldom to be seen here.
        assert b" -x /var/lib/kolla/haproxy/haproxy.sock" in second.logs()
        first.kill("USR1")
        assert first.wait(timeout=60)["StatusCode"] == 0
        asked = asking.count
        wait_for("the second one is asked", lambda: asking.count > asked + 50, 60, 0.1)
        second.exec_run(["bash", "-c", "kill -USR2 $(< /run/haproxy.pid)"])
        wait_for("it took its configuration anew", lambda: second.logs().count(b"forked") > 1, 60, 0.1)
        asked = asking.count
        wait_for("it is asked again", lambda: asking.count > asked + 50, 60, 0.1)
    assert asking.failed == [], f"of {asking.count}"


def test_one_that_does_not_start_changes_nothing(proxies: Proxies) -> None:
    first = proxies.start()
    wait_for("it listens", lambda: listens(proxies.port), 60, 0.1)
    with Asking(proxies.port) as asking:
        bad = proxies.start("    no such thing\n")
        assert bad.wait(timeout=60)["StatusCode"] != 0
        asked = asking.count
        wait_for("the first one is asked", lambda: asking.count > asked + 50, 60, 0.1)
    first.reload()
    assert first.status == "running" and asking.failed == []
