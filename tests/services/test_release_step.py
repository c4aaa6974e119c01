"""What MariaDB and RabbitMQ of 2026.1 make of what 2025.1 left, with genuine images and what the catalogue runs."""

import contextlib
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from reconciler.model import Desired
from tests.images import build, kolla
from tests.services import containers, golden
from tests.services.test_backups import _start
from tests.support.lab import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.images, pytest.mark.slow]

ADDRESS, PORT = "192.0.2.11", 4569
# The network is the container's own: its addresses are on the loopback interface.
_OPTIONS = f"""\
[mysqld]
bind-address={ADDRESS}
datadir=/var/lib/mysql
log-error=/tmp/log
innodb_log_file_size=16M
innodb_buffer_pool_size=64M
binlog_format=ROW
wsrep_on=ON
wsrep_provider=/usr/lib/galera/libgalera_smm.so
wsrep_cluster_address=gcomm://
wsrep_node_address=127.0.0.1
"""
_RUN = "mkdir -p /run/mysqld /var/log/kolla/mariadb && chown -R mysql /var/lib/mysql /run/mysqld /var/log/kolla && exec setpriv --reuid mysql --regid mysql --init-groups"
_OLD = f"""\
set -e
mkdir -p /run/mysqld && chown mysql /var/lib/mysql
mariadb-install-db --datadir=/var/lib/mysql --user=mysql --auth-root-authentication-method=normal --skip-test-db > /dev/null
{_RUN} mariadbd
"""
_NEW = f"{_RUN} bash /run/script/mariadb-start"


def said(container: Container, *words: str) -> tuple[int, str]:
    done = container.exec_run(list(words))
    return int(done.exit_code or 0), str(done.output.decode())


def shown(container: Container) -> str:
    """What a load balancer is told."""
    text = f"exec 3<>/dev/tcp/{ADDRESS}/{PORT}; printf 'OPTIONS / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    return said(container, "timeout", "20", "bash", "-c", text)[1]


@pytest.fixture
def server(docker_client: docker.DockerClient, tmp_path: Path) -> Iterator[Container]:
    """The new server on the data of the old one."""
    old, new = (kolla.default_target(release).name("mariadb-server") for release in (kolla.FIRST, kolla.NEXT))
    if absent := [name for name in (build.BUSYBOX, old, new) if not build.present(docker_client, name)]:
        pytest.skip(f"images are missing: {', '.join(absent)}")
    desired: Desired = golden.desired("one_node", "aio", kolla.NEXT.name)
    for file in desired.files:
        if file.path.rpartition("/")[2] in ("mariadb-start", "member-check", "mariadb-upgrade-tables"):
            (tmp_path / file.path.rpartition("/")[2]).write_text(file.content)
    (tmp_path / "check-version").write_text(next(c.script for c in desired.prechecks if c.name == "mariadb_version"))
    (tmp_path / "my.cnf").write_text(_OPTIONS)
    (tmp_path / "healthcheck.cnf").write_text("[mariadb-client]\nuser = haproxy\n")
    (tmp_path / "upgrade.cnf").write_text(f"[client]\nhost = {ADDRESS}\nuser = root\npassword = secret\n")
    for path in tmp_path.iterdir():
        path.chmod(0o755 if path.suffix == "" else 0o644)
    tmp_path.chmod(0o755)
    binds = {
        str(tmp_path): "/run/script:ro",
        f"{tmp_path}/my.cnf": "/etc/mysql/my.cnf:ro",
        f"{tmp_path}/healthcheck.cnf": "/etc/mysql/healthcheck.cnf:ro",
        f"{tmp_path}/member-check": "/usr/local/bin/member-check:ro",
        f"{tmp_path}/mariadb-upgrade-tables": "/usr/local/bin/mariadb-upgrade-tables:ro",
        f"{tmp_path}/upgrade.cnf": "/run/reconciler/upgrade.cnf:ro",
    }
    with ExitStack() as stack:
        data = docker_client.volumes.create(labels={"reconciler-test": "1"})
        stack.callback(data.remove, force=True)
        place = stack.enter_context(containers.namespace(docker_client, [ADDRESS]))
        volumes = {data.name: "/var/lib/mysql", **binds}
        network = {"network_mode": f"container:{place.id}"}
        before = _start(stack, docker_client, old, ["-c", _OLD], volumes, **network)
        wait_for("the old server", lambda: said(before, "mariadb", "-uroot", "-e", "SELECT 1")[0] == 0, 180, 0.5)
        for text in (
            "CREATE USER haproxy@'%'; GRANT REPLICATION CLIENT ON *.* TO haproxy@'%'",
            "CREATE USER root@'%' IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION",
            "CREATE DATABASE shop; CREATE TABLE shop.goods (id INT PRIMARY KEY); INSERT INTO shop.goods VALUES (7)",
        ):
            assert said(before, "mariadb", "-uroot", "-e", text) == (0, "")
        asked = _start(stack, docker_client, new, ["-c", "bash /run/script/check-version"], volumes, **network)
        assert asked.wait(timeout=120)["StatusCode"] == 0, asked.logs()
        before.stop(timeout=60)
        after = _start(stack, docker_client, new, ["-c", _NEW], volumes, **network)
        with contextlib.suppress(AssertionError):
            wait_for("the new server", lambda: "200 OK" in shown(after), 240, 1.0)
        yield after


def test_it_is_served_brought_up_to_it_and_told_to_the_load_balancer(server: Container) -> None:
    assert "200 OK" in shown(server), server.logs().decode()[-2000:] + said(server, "tail", "-n", "20", "/tmp/log")[1]
    code, text = said(server, "bash", "/usr/local/bin/mariadb-upgrade-tables")
    assert code == 0 and "OK" in text, text
    code, text = said(server, "bash", "/usr/local/bin/mariadb-upgrade-tables")
    assert code == 0 and "already upgraded" in text, "done twice it does nothing"
    rows = said(server, "mariadb", "-uroot", "-BNe", "SELECT id, VERSION() LIKE '10.11%' FROM shop.goods")
    assert rows == (0, "7\t0\n")
    assert said(server, "touch", "/tmp/leaves")[0] == 0
    assert "503" in shown(server) and "about to be stopped" in shown(server)
    assert said(server, "touch", "-d", "1 hour ago", "/tmp/leaves")[0] == 0
    assert "200 OK" in shown(server), "what was said long ago did not happen"
    back = said(
        server, "bash", "-c", "mariadbd() { echo 'mariadbd  Ver 10.11.9-MariaDB'; }; . /run/script/check-version"
    )
    assert back[0] == 1 and "an older server does not take the data of a newer one" in back[1]


def test_feature_flags_are_enabled_from_beside_the_broker(docker_client: docker.DockerClient) -> None:
    """The job is a container of its own, on the host's network and with the broker's volume."""
    image = kolla.default_target(kolla.NEXT).name("rabbitmq")
    if not build.present(docker_client, image):
        pytest.skip(f"{image} is not built here")
    desired = golden.desired("one_node", "aio", kolla.NEXT.name)
    file = next(file for file in desired.files if file.path == "rabbitmq-feature-flags/config.json")
    command = json.loads(file.content)["command"]
    host = re.search(r"--node rabbit@(\S+)", command)[1]  # type: ignore[index]
    with ExitStack() as stack:
        data = docker_client.volumes.create(labels={"reconciler-test": "1"})
        stack.callback(data.remove, force=True)
        volumes, as_broker = (
            {data.name: "/var/lib/rabbitmq"},
            "exec setpriv --reuid rabbitmq --regid rabbitmq --init-groups",
        )
        first = f"chown rabbitmq /var/lib/rabbitmq; {as_broker} env HOME=/var/lib/rabbitmq RABBITMQ_FEATURE_FLAGS= /usr/lib/rabbitmq/bin/rabbitmq-server"
        broker = _start(
            stack, docker_client, image, ["-c", first], volumes, network_mode="none", hostname=host,
            extra_hosts={host: "127.0.0.1"},
        )  # fmt: skip

        def flags() -> str:
            return said(
                broker,
                "bash",
                "-c",
                f"{as_broker} env HOME=/var/lib/rabbitmq rabbitmqctl -q list_feature_flags name state stability",
            )[1]

        wait_for("the broker", lambda: "quorum_queue" in flags(), 240, 1.0)
        assert "disabled" in flags()
        job = _start(
            stack, docker_client, image, ["-c", f"{as_broker} env HOME=/var/lib/rabbitmq bash -c '{command}'"], volumes,
            network_mode=f"container:{broker.id}",
        )  # fmt: skip
        assert job.wait(timeout=180)["StatusCode"] == 0, job.logs()
        off = [row for row in flags().splitlines() if "disabled" in row and "stable" in row.split()]
        assert off == []
