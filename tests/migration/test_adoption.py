"""A cloud that the real kolla-ansible deployed comes over to this program, and goes back; nothing of it is stopped by that.

What is stood in for: see `machine.py` and `cloud.py`. Deploying it takes some minutes, and so does each run of kolla-ansible after that; the tests
follow one another on one cloud.
"""

import contextlib
import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.images import build
from tests.migration import cloud
from tests.migration.cloud import KollaAnsible
from tests.migration.machine import Machine
from tests.parity.environment import OracleError
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

HOST, ADDRESS = "ctl1", "192.0.2.11"
ADOPTED = {
    "cron", "haproxy", "keystone", "keystone_fernet", "keystone_ssh", "mariadb", "mariadb_clustercheck", "memcached", "rabbitmq",
}  # fmt: skip
KEY = "/etc/ssh/ssh_host_ed25519_key"
# What kolla-ansible always says that it changed: it registers and distributes without looking first.
ALWAYS = {
    "rabbitmq : Get new RabbitMQ version", "keystone : Running Keystone bootstrap container", "keystone : Run fernet key distribution",
    "keystone : Creating admin project, user, role, service, and endpoint",
}  # fmt: skip


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, engine_url: str) -> Iterator[tuple[Machine, KollaAnsible]]:
    """A machine with the cloud on it."""
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        absent = [name for name in cloud.images().values() if not build.present(client, name)]
    if absent:
        pytest.skip(f"images are missing: run `python -m tests.images.build {' '.join(cloud.IMAGES)}`")
    root = Path(f"/tmp/rt-{secrets.token_hex(4)}")  # short: sockets lie below it
    with Machine(root, HOST, [ADDRESS, cloud.VIP]) as machine:
        machine.images(cloud.images().values())
        try:
            kolla_ansible = KollaAnsible(tmp_path_factory.mktemp("kolla-ansible"), [machine])
        except OracleError as error:
            pytest.skip(str(error))
        if "failed=0" not in kolla_ansible.run("deploy", check=False):
            kolla_ansible.run(
                "deploy"
            )  # on a busy machine it may give up on RabbitMQ before that has started: as an operator would
        machine.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY], give="y\n")
        yield machine, kolla_ansible


def changed(output: str) -> set[str]:
    """Tasks and handlers of a run of kolla-ansible that changed something."""
    parts = re.split(r"^(?:TASK|RUNNING HANDLER) \[(.+?)\] \**$", output.partition("PLAY RECAP")[0], flags=re.MULTILINE)
    return {
        name for name, said in zip(parts[1::2], parts[2::2], strict=True) if re.search(r"^changed:", said, re.MULTILINE)
    }


def adopt(machine: Machine) -> str:
    words = ["--url", "file:///var/site.git", "--host", HOST, "--metrics", "", "--no-start", "--adopt", "--yes"]
    return machine.program("node", "install", *words)


def units(machine: Machine) -> set[str]:
    """The containers whose unit runs or is enabled."""
    names = machine.run(["ls", "/run/systemd/units", "/etc/systemd/system/multi-user.target.wants"]).stdout
    return set(re.findall(r"kolla-(\w+)-container\.service", names))


def test_the_cloud_becomes_a_site(deployed: tuple[Machine, KollaAnsible]) -> None:
    machine, kolla_ansible = deployed
    assert units(machine) == machine.identities().keys() == {*ADOPTED, "kolla_toolbox"}
    machine.program("facts", "--into", "/var/facts", "--name", HOST)
    cloud.facts(kolla_ansible, Path("/var/theirs"))
    ours = json.loads(machine.run(["cat", f"/var/facts/{HOST}"]).stdout)
    theirs = json.loads(machine.run(["cat", f"/var/theirs/{HOST}"]).stdout)["ansible_facts"]
    differing = {
        key: (ours[key], theirs.get(key))
        for key in ours
        if not isinstance(ours[key], dict) and ours[key] != theirs.get(key)
    }
    differing.pop("ansible_interfaces", None)  # in another order
    differing.pop(
        "ansible_service_mgr", None
    )  # Ansible asks for the name of the first process, which is the machine's own
    assert (
        not differing
        and ours["ansible_eth0"]["ipv4"]["address"] == theirs["ansible_eth0"]["ipv4"]["address"] == ADDRESS
    )
    said = machine.program(
        "import", "kolla-ansible", "--etc", "/etc/kolla", "--inventory", "/etc/kolla/inventory", "--facts", "/var/facts", "--age-recipient",
        f"{KEY}.pub", "--out", "/var/site",
    )  # fmt: skip
    assert "the site validates" in said and "0  unsupported" in said
    machine.program(  # exits with 1 when something differs
        "import", "kolla-ansible", "--etc", "/etc/kolla", "--inventory", "/etc/kolla/inventory", "--facts", "/var/facts", "--ssh-key-file", KEY,
        "--out", "/var/site", "--check",
    )  # fmt: skip
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", "-C", "/var/site"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "as imported"]):
        machine.run([*git, *words])
    machine.run(["git", "clone", "-q", "--bare", "/var/site", "/var/site.git"])


def test_it_is_taken_over_and_nothing_is_stopped(deployed: tuple[Machine, KollaAnsible]) -> None:
    machine, _ = deployed
    before, files = machine.identities(), machine.files()
    said = adopt(machine)
    assert "9 containers taken over: 0 containers restarted, 0 files written, 0 jobs run" in said, said
    assert "9 containers as before: same id, same start" in said and "ready: 9 containers as wanted" in said
    assert machine.identities() == before
    left = {path: found for path, found in machine.files().items() if not path.startswith(".reconciler-")}
    assert left == files, "content, mode, owner and times"
    assert units(machine) == {"kolla_toolbox"}
    policies = {name: data["HostConfig"]["RestartPolicy"]["Name"] for name, data in machine.containers().items()}
    assert {name for name, policy in policies.items() if policy == "unless-stopped"} == ADOPTED

    again = machine.program("reconcile", "--deep")
    assert "nothing to do" in again and "ready: 9 containers as wanted" in again, again
    assert machine.identities() == before

    # The engine starts what ends by itself, and nobody else does.
    pid = before["memcached"][1]
    machine.run(["sh", "-c", "kill -9 $(docker inspect -f '{{.State.Pid}}' memcached)"])
    wait_for("the engine starts it", lambda: machine.identities().get("memcached", ("", pid))[1] != pid, 60)


def test_kolla_ansible_finds_nothing_to_do_where_nothing_changed(deployed: tuple[Machine, KollaAnsible]) -> None:
    machine, kolla_ansible = deployed
    before = machine.identities()
    assert changed(kolla_ansible.run("reconfigure")) <= ALWAYS
    assert machine.identities() == before and units(machine) == {"kolla_toolbox"}
    assert "nothing to do" in machine.program("reconcile", "--deep")


def test_the_host_goes_back(deployed: tuple[Machine, KollaAnsible]) -> None:
    machine, kolla_ansible = deployed
    before = machine.identities()
    said = machine.program("node", "remove", "--yes")
    assert said.count("  back  ") == 9 and "removed    /var/lib/reconciler" in said, said
    assert machine.identities() == before and units(machine) == before.keys()
    policies = {name: data["HostConfig"]["RestartPolicy"]["Name"] for name, data in machine.containers().items()}
    assert set(policies.values()) <= {"no", ""}
    assert not [path for path in machine.files() if path.startswith(".reconciler-")]
    assert changed(kolla_ansible.run("reconfigure")) <= ALWAYS
    assert machine.identities() == before


def test_kolla_ansible_at_work_again_is_seen(deployed: tuple[Machine, KollaAnsible]) -> None:
    """Its unit is started beside the container that runs, which goes on with the configuration that it had."""
    machine, kolla_ansible = deployed
    adopt(machine)
    machine.run(
        [
            "sh",
            "-c",
            "mkdir -p /etc/kolla/config && printf '[token]\\nexpiration = 3600\\n' > /etc/kolla/config/keystone.conf",
        ]
    )
    said = changed(kolla_ansible.run("reconfigure", "--tags", "keystone"))
    assert "keystone : Restart keystone container" in said and "keystone" in units(machine)
    told = machine.program("plan")
    assert (
        "kolla-ansible was at work on it, and kolla-keystone-container.service runs or would start it again" in told
    ), told
    shown = machine.program("reconcile", check=False)
    assert "DriftReported" in shown, "an imported site only reports drift"
    # A second run takes back what it has already, and nobody undoes it: it is one and the same.
    memory = json.loads(machine.run(["cat", "/var/lib/reconciler/memory.json"]).stdout)
    assert "keystone" in json.dumps(memory) and '"runs": 1' in json.dumps(memory)


LATER = """
import json
from datetime import datetime, timedelta
path = "/var/lib/reconciler/memory.json"
with open(path) as file:
    memory = json.load(file)
last = datetime.fromisoformat(memory["other_tool"]["last"]) - timedelta(minutes=11)
memory["other_tool"]["last"] = last.isoformat()
with open(path, "w") as file:
    json.dump(memory, file)
"""


def test_the_node_puts_it_right_once_and_gives_way_the_second_time(deployed: tuple[Machine, KollaAnsible]) -> None:
    machine, kolla_ansible = deployed
    git = "git -c user.name=T -c user.email=t@example.org -C /var/site"
    heal = f"sed -i s/mode:.report/mode:\\ heal/ /var/site/reconciler.yml && {git} commit -qam heal && {git} push -q /var/site.git main"
    machine.run(["sh", "-c", heal])
    said = machine.program("reconcile", "--deep")
    assert "ready: 9 containers as wanted" in said and units(machine) == {"kolla_toolbox"}, said

    # The minutes in between are not waited for: what the node remembers is made older.
    machine.run(["python3", "-c", LATER])
    machine.run(["sh", "-c", "echo 'memcached_max_memory: 128' >> /etc/kolla/globals.yml"])
    changes = changed(kolla_ansible.run("reconfigure", "--tags", "memcached"))
    assert "memcached : Restart memcached container" in changes and "memcached" in units(machine)
    before, files = machine.identities(), machine.files()
    said = machine.program("reconcile", "--deep", check=False)
    why = "kolla-ansible was run here 2 times since its containers were taken over"
    assert "OtherTool" in said and why in said and "this node only reports until `reconciler resume`" in said, said
    again = machine.program("reconcile", "--deep", check=False)
    assert "OtherTool" in again and (machine.identities(), machine.files()) == (before, files), "nobody fights"
    assert f"gave way  {why}" in machine.program("status")

    assert "resumed" in machine.program("resume")
    said = machine.program("reconcile", "--deep")
    assert "ready: 9 containers as wanted" in said and units(machine) == {"kolla_toolbox"}, said
