"""nova_libvirt on a real node: the genuine image, and a machine that it defines and runs, in emulation within emulation."""

import json
from collections.abc import Iterator

import pytest
import yaml

from tests.support.paths import CHECKOUT
from tests.vm.node import Node
from tests.vm.site import Site, genuine, site

pytestmark = [pytest.mark.slow, pytest.mark.vm, pytest.mark.images]

_ADDRESS = "192.0.2.1"
_GLOBALS = """\
kolla_base_distro: debian
kolla_internal_vip_address: 192.0.2.250
network_interface: eth0
enable_openstack_core: false
enable_nova: true
enable_rabbitmq: true
enable_haproxy: false
enable_proxysql: false
enable_fluentd: false
enable_memcached: false
enable_mariadb: false
enable_cron: false
enable_openvswitch: false
nova_compute_virt_type: qemu
use_preconfigured_databases: true
"""
# Without a disk: what it runs is its firmware, which writes to its serial line.
_GUEST = """\
<domain type='qemu'>
  <name>guest</name>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type><bios useserial='yes'/></os>
  <on_crash>preserve</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <serial type='file'><source path='/var/lib/nova/guest.log'/><target port='0'/></serial>
  </devices>
</domain>
"""


def files() -> dict[str, str]:
    """A site whose compute has libvirt alone: what else a compute runs needs the cloud's control plane."""
    folder = CHECKOUT / "services/nova-cell"
    definition = yaml.safe_load((folder / "service.yml").read_text())
    for name, container in definition["containers"].items():
        container["enabled"] = name in ("nova_libvirt", "nova_conductor")  # which is on the other host
    found = {
        f"services/nova-cell/{path.relative_to(folder)}": path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }
    return {
        **found,
        "services/nova-cell/service.yml": yaml.safe_dump(definition, sort_keys=False),
        "reconciler.yml": "name: hypervisor\n",
        "inventory.yml": (
            f"hosts:\n  cmp1: {{addresses: {{network: {_ADDRESS}}}, groups: [compute]}}\n"
            "  ctl1: {addresses: {network: 192.0.2.2}, groups: [control]}\n"
        ),
        "globals.yml": _GLOBALS,
    }


@pytest.fixture(scope="module")
def compute(engine_url: str) -> Iterator[tuple[Site, Node]]:
    names = genuine(engine_url, ["nova-libvirt"], "virt")
    with site("bookworm", engine_url, "hypervisor", names, {"cmp1": _ADDRESS}, files()) as found:
        yield found, found.nodes["cmp1"]


def _virsh(node: Node, words: str, *, check: bool = True) -> str:
    """Ask libvirt the way another compute does when it sends a machine over: by TCP, with the site's password."""
    done = node.run(f"docker exec nova_libvirt virsh -c qemu+tcp://{_ADDRESS}/system {words}", check=check)
    return (done.stdout + done.stderr).strip()


def test_libvirt_takes_who_knows_the_password_and_nobody_else(compute: tuple[Site, Node]) -> None:
    _, node = compute
    assert json.loads(node.run("docker inspect nova_libvirt").stdout)[0]["HostConfig"]["Privileged"] is True
    assert "br_netfilter " in node.run("lsmod").stdout
    assert node.run("cat /proc/sys/net/bridge/bridge-nf-call-iptables").stdout.strip() == "1"
    assert _virsh(node, "uri") == f"qemu+tcp://{_ADDRESS}/system"
    refused = node.run(
        f"docker exec -e HOME=/nonexistent nova_libvirt virsh -c qemu+tcp://{_ADDRESS}/system list < /dev/null",
        check=False,
    )
    assert refused.code and "authentication" in refused.stderr, refused


def test_a_machine_is_defined_and_runs_on_when_libvirt_is_changed(compute: tuple[Site, Node]) -> None:
    found, node = compute
    node.machine.put("/root/guest.xml", _GUEST)
    node.run("docker cp /root/guest.xml nova_libvirt:/root/guest.xml")
    assert "defined" in _virsh(node, "define /root/guest.xml")
    assert "started" in _virsh(node, "start guest")
    log = "docker exec nova_libvirt cat /var/lib/nova/guest.log"
    node.machine.wait("its firmware says who it is", lambda: "SeaBIOS" in node.run(log, check=False).stdout)
    guest = node.run("pgrep -f '[g]uest=guest'").stdout.split()
    before = node.container("nova_libvirt")

    found.converge(
        found.edit("globals.yml", "virt_type: qemu\n", "virt_type: qemu\nqemu_max_files: 65536\n", "More files")
    )
    assert node.container("nova_libvirt") != before
    assert "65536" in node.run("docker exec nova_libvirt cat /etc/libvirt/qemu.conf").stdout
    node.machine.wait("libvirt answers", lambda: _virsh(node, "domstate guest", check=False) == "running")
    assert node.run("pgrep -f '[g]uest=guest'").stdout.split() == guest, "the machine never noticed"
    assert _virsh(node, "destroy guest") and _virsh(node, "domstate guest") == "shut off"
    assert "undefined" in _virsh(node, "undefine guest")
