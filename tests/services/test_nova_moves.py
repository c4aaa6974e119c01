"""A compute is drained by the program of its service, with a genuine Nova: what runs is moved between two computes of the fake driver."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from tests.services import containers
from tests.services.test_nova_drain import program
from tests.support.lab import PATIENCE, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

BROKER = """\
export HOME=/data RABBITMQ_MNESIA_BASE=/data/mnesia RABBITMQ_LOGS=- RABBITMQ_PID_FILE=/data/pid RABBITMQ_NODENAME=rabbit@localhost
export RABBITMQ_ENABLED_PLUGINS_FILE=/data/plugins RABBITMQ_CONFIG_FILE=/data/rabbitmq.conf
mkdir -p /data; echo '[].' > /data/plugins; echo 'listeners.tcp.1 = 127.0.0.1:5672' > /data/rabbitmq.conf; chown -R rabbitmq /data
rabbitmq-server > /tmp/broker.log 2>&1
"""
DATABASE = """\
mkdir -p /data; chown mysql /data
mariadb-install-db --user=mysql --datadir=/data --skip-test-db > /tmp/install.log 2>&1
printf 'CREATE DATABASE %s;\\n' nova nova_api nova_cell0 > /tmp/first.sql
exec mariadbd --no-defaults --user=mysql --datadir=/data --bind-address=127.0.0.1 --socket=/data/socket --skip-grant-tables --skip-networking=0 \
    --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=32M --init-file=/tmp/first.sql > /tmp/database.log 2>&1
"""
ASK = """\
import json, sys, urllib.request
method, path, body = sys.argv[1:]
request = urllib.request.Request("http://127.0.0.1:8774/v2.1" + path, method=method, data=body.encode() or None)
for name, value in {"X-Auth-Token": "admin:admin", "OpenStack-API-Version": "compute 2.84", "Content-Type": "application/json"}.items():
    request.add_header(name, value)
try:
    print(urllib.request.urlopen(request, timeout=60).read().decode())
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode())
"""
OWN = "[DEFAULT]\nhost = cmp1\n"


class Nova:
    """The cloud in the containers, asked as its administrator."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def run(self, *words: str) -> tuple[int | None, str]:
        return containers.run(self.container, *words)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        code, said = containers.python(self.container, ASK, method, path, json.dumps(body) if body is not None else "")
        assert code == 0, (path, said, self.logs())
        return json.loads(said) if said.strip() else None

    def logs(self) -> str:
        return self.run(
            "bash",
            "-c",
            "for one in /tmp/*.log /tmp/*.out; do echo == $one; grep -E 'ERROR|Traceback|CRITICAL' $one | tail -15; done",
        )[1]

    def up(self) -> set[str]:
        found = self.ask("GET", "/os-services?binary=nova-compute")["services"]
        return {one["host"] for one in found if one["state"] == "up"}

    def mapped(self) -> set[str]:
        """The computes that the cell knows: one that is up may not have told yet what it has, and is looked for again then."""
        code, said = self.run("nova-manage", "cell_v2", "discover_hosts")
        assert code == 0, said
        return {name for name in ("cmp1", "cmp2") if f" {name} " in self.run("nova-manage", "cell_v2", "list_hosts")[1]}

    def compute(self) -> dict[str, Any]:
        return next(
            one for one in self.ask("GET", "/os-services?binary=nova-compute")["services"] if one["host"] == "cmp1"
        )

    def server(self, name: str, host: str) -> str:
        body = {
            "name": name, "imageRef": "11111111-1111-1111-1111-111111111111", "flavorRef": "1", "networks": "none",
            "host": host,
        }  # fmt: skip
        made: list[str] = []

        def runs() -> bool:
            """A compute that was enabled a moment ago has yet to tell placement so."""
            if not made:
                made.append(str(self.ask("POST", "/servers", {"server": body})["server"]["id"]))
            found = self.ask("GET", f"/servers/{made[0]}")["server"]
            if found["status"] == "ERROR":
                assert "No valid host" in found["fault"]["message"], (found["fault"], self.logs())
                self.ask("DELETE", f"/servers/{made.pop()}")
            return (found["OS-EXT-SRV-ATTR:host"], found["status"]) == (host, "ACTIVE")

        wait_for(f"{name} is active", runs, PATIENCE, 1.0)
        return made[0]

    def ids(self) -> set[str]:
        return {one["id"] for one in self.ask("GET", "/servers?all_tenants=1")["servers"]}

    def where(self, identity: str) -> tuple[str, str]:
        found = self.ask("GET", f"/servers/{identity}")["server"]
        assert found["status"] != "ERROR", (found.get("fault"), self.logs())
        return found["OS-EXT-SRV-ATTR:host"], found["status"]

    def drain(self, *words: str) -> tuple[int | None, str]:
        return containers.python(self.container, program().replace("/etc/nova/nova.conf", "/tmp/drain.conf"), *words)


@pytest.fixture(scope="module")
def nova(engine_url: str) -> Iterator[Nova]:
    with ExitStack() as stack:
        docker_client = docker.DockerClient(base_url=engine_url, timeout=120)
        stack.callback(docker_client.close)
        broker = stack.enter_context(containers.idle(docker_client, "rabbitmq"))
        network = f"container:{broker.id}"
        placement = stack.enter_context(containers.idle(docker_client, "placement-api", network))
        found = Nova(stack.enter_context(containers.idle(docker_client, "nova-api", network)))
        database = stack.enter_context(containers.idle(docker_client, "mariadb-server", network))
        database.exec_run(["bash", "-c", DATABASE], detach=True)
        broker.exec_run(["bash", "-c", BROKER], detach=True)
        containers.serve(placement, "nova_cloud", "placement")
        for port, what in ((5672, "the broker"), (3306, "the database"), (8778, "placement")):
            wait_for(what, partial(containers.listens, found.container, port), PATIENCE, 1.0)
        containers.serve(found.container, "nova_cloud", "nova")
        wait_for("Nova's API", lambda: containers.listens(found.container, 8774), 600, 1.0)
        wait_for("two computes", lambda: found.up() == {"cmp1", "cmp2"}, 600, 2.0)
        wait_for("the cell's hosts", lambda: found.mapped() == {"cmp1", "cmp2"}, PATIENCE, 2.0)
        found.run("bash", "-c", '(echo "$0"; sed -n "/^.service_user/,$ p" /tmp/cmp1.conf) > /tmp/drain.conf', OWN)
        flavor = {"name": "f", "id": "1", "ram": 1, "vcpus": 1, "disk": 1}
        found.ask("POST", "/flavors", {"flavor": flavor})
        yield found


def test_what_runs_is_moved_and_comes_no_more(nova: Nova) -> None:
    one, two, off = nova.server("one", "cmp1"), nova.server("two", "cmp1"), nova.server("off", "cmp1")
    nova.ask("POST", f"/servers/{off}/action", {"os-stop": None})
    wait_for("it is stopped", lambda: nova.where(off) == ("cmp1", "SHUTOFF"), PATIENCE, 1.0)
    code, said = nova.drain("out", "new memory")
    print(said)
    assert code == 0, (said, nova.logs())
    assert nova.where(one) == nova.where(two) == ("cmp2", "ACTIVE") and nova.where(off) == ("cmp1", "SHUTOFF")
    assert f"one ({one}) is on cmp2" in said and f"1 that do not run stay: off ({off})" in said, said
    assert (nova.compute()["status"], nova.compute()["disabled_reason"]) == ("disabled", "reconciler drain: new memory")
    code, said = nova.drain("back")
    assert code == 0 and nova.compute()["status"] == "enabled", said


def test_what_the_scheduler_cannot_place_is_told_in_its_words(nova: Nova) -> None:
    pinned = nova.server("pinned", "cmp1")
    other = next(
        one for one in nova.ask("GET", "/os-services?binary=nova-compute")["services"] if one["host"] == "cmp2"
    )
    # Each of those here has one of its 800,000 MB: now there is room for nothing more.
    there = len(nova.ask("GET", "/servers?all_tenants=1&host=cmp2")["servers"])
    flavor = {"name": "big", "id": "2", "ram": 800_000 - there, "vcpus": 1, "disk": 1}
    big = nova.ask("POST", "/flavors", {"flavor": flavor})["flavor"]["id"]
    filler = nova.ask("POST", "/servers", {"server": {"name": "filler", "imageRef": "11111111-1111-1111-1111-111111111111", "flavorRef": big, "networks": "none", "host": "cmp2"}})["server"]["id"]  # fmt: skip
    wait_for("the filler is there", lambda: nova.where(filler) == ("cmp2", "ACTIVE"), PATIENCE, 1.0)
    code, said = nova.drain("out", "new memory")
    print(said)
    assert other["status"] == "enabled" and code == 1, said
    assert f"error: pinned ({pinned}) could not go: No valid host was found" in said, said
    assert nova.where(pinned) == ("cmp1", "ACTIVE")
    for one in (pinned, filler):
        nova.ask("DELETE", f"/servers/{one}")
    wait_for("they are gone", lambda: not {pinned, filler} & nova.ids(), PATIENCE, 1.0)
    code, said = nova.drain("back")
    assert code == 0 and nova.compute()["status"] == "enabled", said


def test_a_compute_chooses_its_pin_anew_on_a_signal_and_a_conductor_does_not(nova: Nova) -> None:
    """What docs/upgrading.md says of the end of an upgrade."""

    def chosen(program: str) -> int:
        return int(nova.run("bash", "-c", f"grep -c 'Automatically selected compute RPC' /tmp/{program}.log")[1])

    moved = nova.server("moved", "cmp1")
    nova.drain("out", "new memory")
    nova.drain("back")
    assert nova.where(moved) == ("cmp2", "ACTIVE")
    before = {program: chosen(program) for program in ("cmp1", "conductor")}
    assert nova.run("bash", "-c", "kill -HUP $(cat /tmp/cmp1.pid) $(cat /tmp/conductor.pid)")[0] == 0
    reloaded = "grep -q 'Reloading compute RPC API' /tmp/cmp1.log"
    wait_for("it has heard", lambda: nova.run("bash", "-c", reloaded)[0] == 0, PATIENCE, 1.0)
    again = nova.server("again", "cmp1")
    code, said = nova.drain("out", "new memory")
    assert code == 0 and nova.where(again) == ("cmp2", "ACTIVE"), said
    after = {program: chosen(program) for program in ("cmp1", "conductor")}
    assert (after["cmp1"] > before["cmp1"], after["conductor"]) == (True, before["conductor"])
