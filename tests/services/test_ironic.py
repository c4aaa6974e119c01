"""Ironic's genuine API and conductor with the files of a site: what one is told reaches the other through the broker, and what it did is kept."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from reconciler.render import render, tokens
from tests.images import build, kolla
from tests.services import containers, golden
from tests.support.lab import PATIENCE, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

HERE, VIP = "192.0.2.11", "192.0.2.250"
SECRET = "only-of-this-test"
BROKER = """\
export HOME=/data RABBITMQ_MNESIA_BASE=/data/mnesia RABBITMQ_LOGS=- RABBITMQ_PID_FILE=/data/pid RABBITMQ_NODENAME=rabbit@localhost
export RABBITMQ_ENABLED_PLUGINS_FILE=/data/plugins RABBITMQ_CONFIG_FILE=/data/rabbitmq.conf
mkdir -p /data; echo '[].' > /data/plugins
printf 'listeners.tcp.1 = %s:5672\\ndefault_user = openstack\\ndefault_pass = %s\\n' "$0" "$1" > /data/rabbitmq.conf; chown -R rabbitmq /data
rabbitmq-server > /tmp/broker.log 2>&1
"""
DATABASE = """\
mkdir -p /data; chown mysql /data
mariadb-install-db --user=mysql --datadir=/data --skip-test-db > /tmp/install.log 2>&1
echo 'CREATE DATABASE ironic;' > /tmp/first.sql
exec mariadbd --no-defaults --user=mysql --datadir=/data --bind-address="$0" --socket=/data/socket --skip-grant-tables --skip-networking=0 \
    --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=32M --init-file=/tmp/first.sql > /tmp/database.log 2>&1
"""
# As an operator tries it: no machines, and nobody else of the cloud.
OVERRIDE = """\
[DEFAULT]
auth_strategy = noauth
enabled_hardware_types = fake-hardware
enabled_boot_interfaces = fake
enabled_deploy_interfaces = fake
enabled_management_interfaces = fake
enabled_power_interfaces = fake
enabled_network_interfaces = noop
[oslo_messaging_rabbit]
rabbit_quorum_queue = true
"""
ASK = """\
import json, sys, urllib.request
method, path, body = sys.argv[1:]
request = urllib.request.Request("http://192.0.2.11:6385/v1" + path, method=method, data=body.encode() or None)
for name, value in {"X-OpenStack-Ironic-API-Version": "1.90", "Content-Type": "application/json"}.items():
    request.add_header(name, value)
try:
    print(urllib.request.urlopen(request, timeout=60).read().decode())
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode())
"""


class Ironic:
    """Its containers, by name; asked as an operator does."""

    def __init__(self, running: dict[str, Container]) -> None:
        self.running = running

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        words = (method, path, json.dumps(body) if body is not None else "")
        code, said = containers.run(self.running["ironic_api"], "/var/lib/kolla/venv/bin/python", "-c", ASK, *words)
        assert code == 0, (path, said, self.logs())
        return json.loads(said) if said.strip() else None

    def logs(self) -> str:
        return "\n".join(one.logs(tail=30).decode(errors="replace") for one in self.running.values())

    def answers(self) -> bool:
        for one in self.running.values():
            one.reload()
            assert one.status == "running", self.logs()
        return containers.run(self.running["ironic_api"], "curl", "-fs", f"http://{HERE}:6385/v1")[0] == 0


@pytest.fixture(scope="module")
def ironic(engine_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ironic]:
    folder = tmp_path_factory.mktemp("ironic")
    folder.chmod(0o755)
    site = golden.load(golden.HERE / "volumes" / "site", {"config/ironic.conf": OVERRIDE.encode()})
    desired = render(site, "aio", "0" * 40)
    for file in desired.files:
        if isinstance(file.content, str):
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(tokens.bind(file.content, dict.fromkeys(tokens.names(file.content), SECRET)))
    target = kolla.default_target()
    with ExitStack() as stack:
        client = docker.DockerClient(base_url=engine_url, timeout=120)
        stack.callback(client.close)
        for image in build.METAL:
            if not build.present(client, target.name(image)):
                pytest.skip(f"{target.name(image)} is missing: `python -m tests.images.build --set metal`")
        network = f"container:{stack.enter_context(containers.namespace(client, (HERE, VIP))).id}"
        database = stack.enter_context(containers.idle(client, "mariadb-server", network))
        broker = stack.enter_context(containers.idle(client, "rabbitmq", network))
        database.exec_run(["bash", "-c", DATABASE, VIP], detach=True)
        broker.exec_run(["bash", "-c", BROKER, HERE, SECRET], detach=True)
        for port, host in ((5672, HERE), (3306, VIP)):
            wait_for(f"port {port}", partial(listens, database, host, port), PATIENCE, 1.0)
        running = {}

        def begin(name: str, image: str, environment: dict[str, str], volumes: dict[str, Any], **how: Any) -> Container:
            files = {str(folder / name.replace("_", "-")): {"bind": "/var/lib/kolla/config_files", "mode": "ro"}}
            found = client.containers.run(
                target.name(image), environment=environment, volumes={**files, **volumes}, network_mode=network,
                detach=True, labels={"reconciler-test": "1"}, **how,
            )  # fmt: skip
            stack.callback(found.remove, force=True, v=True)
            return found

        kept = {}
        for place in ("/var/lib/ironic", "/var/log/kolla"):
            volume = client.volumes.create(labels={"reconciler-test": "1"})
            stack.callback(volume.remove, force=True)
            kept[volume.name] = {"bind": place, "mode": "rw"}
        for name in ("ironic_db_sync", "ironic_conductor_tmp"):
            job = next(job for job in desired.jobs if job.name == name).container
            how = {"command": list(job.command)} if job.command else {}
            ended = begin(name, job.image.rpartition("/")[2].partition(":")[0], dict(job.environment), kept, **how)
            assert ended.wait(timeout=600)["StatusCode"] == 0, ended.logs(tail=40).decode()
        for container in desired.containers:
            if container.name in ("ironic_api", "ironic_conductor"):
                image = container.name.replace("_", "-")
                running[container.name] = begin(container.name, image, dict(container.environment), kept)
        found = Ironic(running)
        wait_for("the API", found.answers, PATIENCE, 1.0)
        yield found


def listens(container: Container, host: str, port: int) -> bool:
    return containers.python(container, f"import socket; socket.create_connection(('{host}', {port}))")[0] == 0


def test_a_machine_is_enrolled_and_taken_through_its_states(ironic: Ironic) -> None:
    def drivers() -> dict[str, list[str]]:
        return {one["name"]: one["hosts"] for one in ironic.ask("GET", "/drivers")["drivers"]}

    wait_for("the conductor", lambda: "fake-hardware" in drivers(), PATIENCE, 1.0)
    node = ironic.ask("POST", "/nodes", {"name": "metal1", "driver": "fake-hardware"})

    def state() -> str:
        return str(ironic.ask("GET", "/nodes/metal1")["provision_state"])

    assert state() == "enroll"
    for verb, reached in (("manage", "manageable"), ("provide", "available"), ("active", "active")):
        ironic.ask("PUT", f"/nodes/{node['uuid']}/states/provision", {"target": verb})
        wait_for(f"it is {reached}", lambda reached=reached: state() == reached, PATIENCE, 1.0)
    ironic.ask("PUT", f"/nodes/{node['uuid']}/states/power", {"target": "power off"})
    wait_for("it is off", lambda: ironic.ask("GET", "/nodes/metal1")["power_state"] == "power off", PATIENCE, 1.0)
    ironic.running["ironic_conductor"].restart(timeout=30)
    wait_for("the conductor again", lambda: bool(drivers().get("fake-hardware")), PATIENCE, 1.0)
    assert state() == "active"
