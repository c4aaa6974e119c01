"""A host that left for good, as a genuine Neutron forgets its agents: its API, with a database in a file and without Keystone."""

import docker
import pytest

from reconciler.render import render
from tests.services import containers, golden
from tests.services.containers import python
from tests.support.lab import PATIENCE, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

LIST = """
import json, urllib.request
found = json.load(urllib.request.urlopen("http://127.0.0.1:9696/v2.0/agents"))["agents"]
print(*sorted(f"{one['host']}:{one['binary']}" for one in found))
"""
COMES_BACK = """
import sqlite3
with sqlite3.connect("/tmp/neutron.db", timeout=60) as database:
    database.execute("UPDATE agents SET heartbeat_timestamp = '2090-01-01 00:00:00' WHERE host = 'older'")
"""


def test_its_agents_are_forgotten_and_one_that_runs_is_named(docker_client: docker.DockerClient) -> None:
    folder = golden.HERE / "compute" / "site"
    inventory = (
        (folder / "inventory.yml")
        .read_text()
        .replace("  old:", "  older: {since: '2026-11-27', groups: [network]}\n  old:")
    )
    made = render(golden.load(folder, {"inventory.yml": inventory.encode()}), "ctl", "0" * 40)
    programs = {
        host: next(file.content for file in made.files if file.path == f"neutron-leave-{host}/neutron-leave")
        for host in ("old", "older")
    }
    with containers.idle(docker_client, "neutron-server") as running:
        containers.serve(running, "neutron_api")
        wait_for("it answers", lambda: python(running, LIST)[0] == 0, PATIENCE, pause=1.0)
        assert python(running, LIST)[1].split() == [
            "new:neutron-dhcp-agent", "old:neutron-dhcp-agent", "old:neutron-l3-agent", "older:neutron-dhcp-agent",
        ]  # fmt: skip
        code, said = python(running, programs["old"])
        assert code == 0 and "neutron-l3-agent on old is forgotten." in said, said
        assert python(running, LIST)[1].split() == ["new:neutron-dhcp-agent", "older:neutron-dhcp-agent"]
        code, said = python(running, programs["old"])
        assert code == 0 and "Neutron does not know old." in said and "is forgotten" not in said, said

        assert python(running, COMES_BACK)[0] == 0
        code, said = python(running, programs["older"].replace("SILENCE = 180", "SILENCE = 1"))
        assert code == 1 and "error: neutron-dhcp-agent still runs on older: stop what runs there" in said, said
        assert "older:neutron-dhcp-agent" in python(running, LIST)[1]
