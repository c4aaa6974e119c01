"""The images that the set-up builds are the real ones, and our own script in them tells the truth."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import requests
from docker.models.containers import Container

from tests.conftest import LABEL, PREFIX
from tests.images import kolla
from tests.support import engine

pytestmark = pytest.mark.images

# A single node without Kolla's configuration: $1 is the port, $2 says whether it is a Galera cluster of one.
_DATABASE = """
set -e
mysql_install_db --no-defaults --datadir=/tmp/data --auth-root-authentication-method=normal > /tmp/install.log 2>&1
cat > /tmp/init.sql <<SQL
DROP USER IF EXISTS ''@localhost;
CREATE USER monitor@'%' IDENTIFIED BY '$MYSQL_PASSWORD';
SQL
exec mysqld --no-defaults --datadir=/tmp/data --socket=/tmp/socket --pid-file=/tmp/pid --port="$1" \
    --bind-address=127.0.0.1 --skip-name-resolve --init-file=/tmp/init.sql --binlog-format=ROW \
    --innodb-autoinc-lock-mode=2 --wsrep-on="$2" --wsrep-provider=/usr/lib/galera/libgalera_smm.so \
    --wsrep-cluster-address=gcomm:// --wsrep-node-address=127.0.0.1 \
    --wsrep-provider-options="gmcast.listen_addr=tcp://127.0.0.1:$3;ist.recv_addr=127.0.0.1:$4"
"""


_LOCAL = ("--no-defaults", "--host=localhost", "--socket=/tmp/socket", "--user=root")


def _exec(container: Container, *command: str) -> tuple[int, str]:
    """Run a command in the container: its exit code and its output."""
    code, output = container.exec_run(list(command))
    assert code is not None
    assert isinstance(output, bytes)
    return code, output.decode()


@contextlib.contextmanager
def _database(client: docker.DockerClient, image: str, galera: str) -> Iterator[tuple[Container, dict[str, str]]]:
    """A running mariadb-server and the environment with which clustercheck reaches it."""
    ports = [str(engine.free_port()) for _ in range(3)]
    environment = {
        "MYSQL_USERNAME": "monitor",
        "MYSQL_PASSWORD": os.urandom(8).hex(),
        "MYSQL_HOST": "127.0.0.1",
        "MYSQL_PORT": ports[0],
    }
    container = client.containers.run(
        image,
        ["-c", _DATABASE, "database", ports[0], galera, *ports[1:]],
        entrypoint=["bash"],
        name=f"{PREFIX}clustercheck-{ports[0]}",
        environment=environment,
        network_mode="host",
        labels={LABEL: "1"},
        detach=True,
    )
    try:
        deadline = time.monotonic() + 60
        while _exec(container, "mysqladmin", *_LOCAL, "ping")[0]:
            assert time.monotonic() < deadline, container.logs(tail=20).decode()
            time.sleep(0.3)
        yield container, environment
    finally:
        container.remove(force=True, v=True)


def _check(container: Container) -> tuple[int, str]:
    """Exit code and status line of clustercheck, waiting a little for the answer to become 0."""
    deadline = time.monotonic() + 10
    while True:
        code, text = _exec(container, "clustercheck")
        if code == 0 or time.monotonic() > deadline:
            return code, text.splitlines()[0]
        time.sleep(0.3)


def test_clustercheck_says_yes_to_a_synced_node_only(
    kolla_images: dict[str, str], docker_client: docker.DockerClient
) -> None:
    with _database(docker_client, kolla_images["mariadb-server"], "ON") as (container, environment):
        assert _check(container) == (0, "HTTP/1.1 200 OK")
        port = engine.free_port()
        listener = docker_client.containers.run(
            kolla_images["mariadb-clustercheck"],
            ["socat_wrapper", f"tcp-l:{port},fork,reuseaddr,bind=127.0.0.1", "EXEC:clustercheck"],
            entrypoint=[],
            name=f"{PREFIX}clustercheck-listener-{port}",
            environment=environment,
            network_mode="host",
            labels={LABEL: "1"},
            detach=True,
        )
        try:
            answer = _get(f"http://127.0.0.1:{port}/")
            assert (answer.status_code, answer.text) == (200, "MariaDB node is synced.\r\n")
            assert _exec(container, "mysql", *_LOCAL, "--execute=SET GLOBAL wsrep_desync=ON") == (0, "")
            answer = _get(f"http://127.0.0.1:{port}/")
            assert answer.status_code == 503, answer.text
            assert "not synced (wsrep_local_state 2)" in answer.text
            container.kill()
            assert _get(f"http://127.0.0.1:{port}/").text == "MariaDB does not answer.\r\n"
        finally:
            listener.remove(force=True, v=True)


def test_clustercheck_says_no_without_galera(kolla_images: dict[str, str], docker_client: docker.DockerClient) -> None:
    with _database(docker_client, kolla_images["mariadb-server"], "OFF") as (container, _):
        code, text = _exec(container, "clustercheck")
        assert (code, text.splitlines()[0]) == (1, "HTTP/1.1 503 Service Unavailable")


def _get(url: str) -> requests.Response:
    deadline = time.monotonic() + 10
    while True:
        try:
            return requests.get(url, timeout=15)
        except requests.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.mark.parametrize(
    ("image", "command", "expected"),
    [
        ("rabbitmq", ["rabbitmqctl", "version"], "4.0."),
        ("keystone", ["/var/lib/kolla/venv/bin/keystone-manage", "--version"], "27."),
        ("haproxy", ["haproxy", "-v"], "HAProxy version 2."),
        ("memcached", ["memcached", "--version"], "memcached 1."),
        ("mariadb-server", ["mysqld", "--version"], "mysqld  Ver 10.11"),
    ],
)
def test_versions(
    kolla_images: dict[str, str], docker_client: docker.DockerClient, image: str, command: list[str], expected: str
) -> None:
    output = docker_client.containers.run(
        kolla_images[image], command, entrypoint=[], remove=True, network_mode="host", stderr=True
    )
    assert expected in output.decode()


def test_every_image_has_kollas_contract(kolla_images: dict[str, str], docker_client: docker.DockerClient) -> None:
    for name in kolla_images.values():
        attributes = docker_client.images.get(name).attrs["Config"]
        assert attributes["Cmd"] == ["kolla_start"], name
        assert attributes["Labels"]["kolla_version"] == kolla.FIRST.kolla, name


def test_clustercheck_reads_the_whole_request(tmp_path: Path) -> None:
    """Bytes left unread when the script ends would make the kernel reset the connection under the answer."""
    script = kolla.HERE / "additions" / "clustercheck" / "clustercheck"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    mysql = tmp_path / "mysql"
    mysql.write_text("#!/bin/sh\nexit 1\n")
    mysql.chmod(0o755)
    request = b"OPTIONS / HTTP/1.0\r\nHost: db\r\n\r\n"
    read, write = os.pipe()
    os.write(write, request)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        done = subprocess.run([script], stdin=stream, capture_output=True, env=environment, check=False)
        assert stream.read() == b""
    assert done.returncode == 1
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
