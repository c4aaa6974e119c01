"""The check of the virtual addresses, beside the genuine keepalived in a network namespace of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import yaml
from docker.models.containers import Container

from tests.support.lab import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.images]

GOLDEN = Path(__file__).parent
ADDRESSES = ("198.51.100.250", "203.0.113.250")  # of the site whose rendered check this is
SETTINGS = """\
vrrp_instance one {{
    state BACKUP
    interface d0
    virtual_router_id 51
    priority 1
    advert_int 1
    virtual_ipaddress {{
        {} dev d0
        {} dev d0
    }}
}}
"""
START = """\
ip link add d0 type veth peer name d1 && ip link set d1 up && ip address add 198.51.100.1/24 dev d0 && ip link set d0 up
rm -f /run/keepalived.pid /run/vrrp.pid  # of one that was killed: the number may be another program's, and keepalived would end
exec keepalived -nl -p /run/keepalived.pid -f /conf/keepalived.conf
"""


def script(state: str, name: str) -> str:
    """A check as the golden site has it."""
    checks = yaml.safe_load((GOLDEN / state / "state.yml").read_text())["checks"]
    return next(check["script"] for check in checks if check["name"] == name)


@pytest.fixture
def holder(docker_client: docker.DockerClient, kolla_images: dict[str, str], tmp_path: Path) -> Iterator[Container]:
    """keepalived, which has taken the addresses."""
    if "keepalived" not in kolla_images:
        pytest.skip("needs the image keepalived (`make images` with --extra)")
    tmp_path.chmod(0o755)
    (tmp_path / "keepalived.conf").write_text(SETTINGS.format(*ADDRESSES))
    found = docker_client.containers.run(
        kolla_images["keepalived"],
        ["-c", START],
        entrypoint="bash",
        name=f"rt-keepalived-{os.getpid()}",
        user="root",
        network_mode="none",
        cap_add=["NET_ADMIN", "NET_RAW", "NET_BROADCAST"],
        volumes={str(tmp_path): {"bind": "/conf", "mode": "ro"}},
        detach=True,
    )
    try:
        wait_for("keepalived takes the addresses", lambda: ADDRESSES[0] in run(found, "ip address")[1], 60, 0.5)
        yield found
    finally:
        found.remove(force=True, v=True)


def run(container: Container, command: str) -> tuple[int, str]:
    code, output = container.exec_run(["bash", "-c", command], user="root")
    return code, output.decode()  # type: ignore[return-value]


def check(container: Container) -> str:
    """What it says; "" when all is well."""
    code, output = run(container, script("three_nodes/expected/lb-2", "keepalived_addresses"))
    assert bool(code) == bool(output), (code, output)
    return output.strip()


def test_the_holder_has_them_and_what_is_otherwise_is_said(holder: Container) -> None:
    assert check(holder) == ""
    # Taken off the interface by hand: keepalived puts it back, and nothing has to be said.
    assert run(holder, f"ip address del {ADDRESSES[0]}/32 dev d0")[0] == 0
    wait_for("the address is back", lambda: ADDRESSES[0] in run(holder, "ip address")[1], 30, 0.2)
    assert check(holder) == ""
    # It is on the interface, and the kernel does not deliver to it.
    assert run(holder, f"ip route del local {ADDRESSES[1]} dev d0 table local")[0] == 0
    assert check(holder).startswith(f"keepalived holds {ADDRESSES[1]} and this host does not have it")
    # As it advises.
    holder.restart(timeout=1)
    wait_for("keepalived takes the addresses", lambda: ADDRESSES[1] in run(holder, "ip address")[1], 60, 0.5)
    assert check(holder) == ""


def test_an_interface_that_is_down_and_an_address_that_stays(holder: Container) -> None:
    assert run(holder, "ip link set d0 down")[0] == 0
    wait_for("the fault is told", lambda: "(FAULT)" in check(holder), 30, 0.2)
    assert run(holder, f"ip address add {ADDRESSES[0]}/32 dev lo")[0] == 0
    assert check(holder).startswith(f"this host has {ADDRESSES[0]} and keepalived does not hold it (FAULT)")


def test_one_that_hangs_is_not_believed(holder: Container) -> None:
    assert run(holder, "pkill -STOP keepalived")[0] == 0
    assert check(holder) == "keepalived does not say what it holds: restart it"


def test_without_keepalived_the_only_host_has_the_address(holder: Container) -> None:
    """Which address does not matter: it is that of the golden site."""
    own = script("one_node/expected/aio", "haproxy_addresses")
    code, output = run(holder, own)
    assert code == 1 and "192.0.2.250, so nobody answers there: put it back" in output, output
    assert run(holder, "ip address add 192.0.2.250/32 dev lo")[0] == 0  # as it advises
    assert run(holder, own) == (0, "")
