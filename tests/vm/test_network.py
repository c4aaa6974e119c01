"""What needs a network between hosts and the kernel's own: keepalived's VRRP, and Open vSwitch with its kernel module."""

import json
from collections.abc import Iterator
from functools import partial

import pytest

from tests.images.build import BUSYBOX
from tests.vm.node import Node
from tests.vm.site import Site, genuine, site

pytestmark = [pytest.mark.slow, pytest.mark.vm, pytest.mark.images]

_VIP = "192.0.2.250"
_ADDRESSES = {"lb1": "192.0.2.1", "lb2": "192.0.2.2"}
_HOSTS = "".join(
    f"  {name}: {{addresses: {{network: {address}}}, groups: [network]}}\n" for name, address in _ADDRESSES.items()
)
SITE = {
    "reconciler.yml": "name: pair\n",
    "inventory.yml": f"hosts:\n{_HOSTS}",
    "globals.yml": f"""\
kolla_base_distro: debian
kolla_internal_vip_address: {_VIP}
network_interface: eth0
neutron_external_interface: eth1
enable_openstack_core: false
enable_openvswitch: false
enable_proxysql: false
enable_fluentd: false
enable_memcached: false
enable_mariadb: false
enable_rabbitmq: false
enable_cron: false
haproxy_max_connections: 2000
""",
    "services/page/variables.yml": "{}\n",
    "services/page/service.yml": f"""\
description: A page behind the load balancer
groups: {{page: [network]}}
containers:
  page:
    group: page
    kolla: false
    image: {BUSYBOX}
    command: [sh, -c, "trap 'exit 0' TERM; mkdir -p /www; hostname > /www/index.html; httpd -f -p {{{{ api_interface_address }}}}:8081 -h /www & wait $!"]
    stop_timeout: 5
    stability: 1
frontends:
  page: {{mode: http, port: 8080, listen_port: 8081, group: page}}
checks:
  page: {{http: "http://{{{{ kolla_internal_vip_address }}}}:8080/", group: page}}
""",
}
_IMAGES = ("haproxy", "keepalived", "openvswitch-db-server", "openvswitch-vswitchd")


@pytest.fixture(scope="module")
def two(engine_url: str, busybox_image: str) -> Iterator[Site]:
    names = genuine(engine_url, _IMAGES, "extra", "cloud")
    with site("bookworm", engine_url, "network", [busybox_image, *names], _ADDRESSES, SITE) as found:
        yield found


def _has_address(node: Node) -> bool:
    return f"inet {_VIP}/" in node.run("ip -4 address show eth0").stdout


def _holders(two: Site) -> list[str]:
    return [name for name, node in two.nodes.items() if _has_address(node)]


def _page(node: Node) -> str:
    return node.run(f"curl -sS -m 20 http://{_VIP}:8080/", check=False).stdout.strip()


def _other(two: Site, name: str) -> str:
    return next(each for each in two.nodes if each != name)


def test_one_of_two_has_the_address_and_both_reach_the_service_through_it(two: Site) -> None:
    (holder,) = _holders(two)
    for node in two.nodes.values():
        assert {_page(node) for _ in range(4)} == set(two.nodes), "haproxy takes turns"
    # VRRP on the wire, and the address answered for by the holder's card.
    other = two.nodes[_other(two, holder)]
    heard = other.run("timeout 60 tcpdump -c 2 -nn -i eth0 'ip proto 112' 2>/dev/null").stdout
    assert f"IP {_ADDRESSES[holder]} > 224.0.0.18: VRRPv2, Advertisement, vrid 51" in heard
    mac = two.nodes[holder].run("cat /sys/class/net/eth0/address").stdout.strip()
    assert mac in other.run(f"ping -q -c 1 {_VIP} > /dev/null; ip neighbour show {_VIP}").stdout


def test_a_pulled_cable_moves_the_address_and_only_one_has_it_when_it_is_back(two: Site) -> None:
    (holder,) = _holders(two)
    other = two.nodes[_other(two, holder)]
    two.nodes[holder].machine.cable("eth0", plugged=False)
    other.machine.wait("the other has it", partial(_has_address, other))
    other.machine.wait("the page is there, from the one that is left", lambda: _page(other) == other.machine.name)
    two.nodes[holder].machine.cable("eth0", plugged=True)
    other.machine.wait("one has it", lambda: len(_holders(two)) == 1)
    for node in two.nodes.values():
        node.machine.wait(
            "the page is there, from both", lambda node=node: {_page(node) for _ in range(4)} == set(two.nodes)
        )


def test_a_power_cut_of_the_holder_moves_the_address_and_changes_nothing_else(two: Site) -> None:
    (holder,) = _holders(two)
    name = _other(two, holder)
    other, before = two.nodes[name], two.nodes[name].container("keepalived")
    two.nodes[holder].machine.power_cut()
    assert _has_address(other) and other.container("keepalived") == before, "it was away for a boot"
    two.converge(two.head)
    # Between the one that gives it up and the one that takes it there is a moment.
    other.machine.wait("one has it", lambda: len(_holders(two)) == 1)
    assert two.nodes[holder].has_nothing_to_do()


def test_open_vswitch_switches_between_the_machines_in_the_kernel(two: Site) -> None:
    two.converge(two.edit("globals.yml", "enable_openvswitch: false", "enable_openvswitch: true", "Open vSwitch"))
    for number, node in enumerate(two.nodes.values(), 1):
        assert "openvswitch " in node.run("lsmod").stdout
        assert json.loads(node.run("docker inspect openvswitch_vswitchd").stdout)[0]["HostConfig"]["Privileged"] is True
        assert "system@ovs-system" in _switch(node, "ovs-appctl dpif/show"), (
            "the kernel's datapath, not the one in userspace"
        )
        assert node.run("ip -d link show ovs-system").stdout.count("openvswitch")
        assert _ports(node) == {"eth1"}
        # What an instance would be: a namespace with a card in the bridge.
        node.run("ip netns add guest && ip link add g0 type veth peer name g1 netns guest && ip link set g0 up")
        node.run(f"ip -n guest address add 198.51.100.{number}/24 dev g1 && ip -n guest link set g1 up")
        _switch(node, "ovs-vsctl add-port br-ex g0")
    one, other = two.nodes.values()
    assert "2 received" in one.run("ip netns exec guest ping -c 2 -w 60 198.51.100.2").stdout
    assert "actions:" in _switch(one, "ovs-appctl dpctl/dump-flows -m type=offloaded,ovs system@ovs-system") or (
        "actions:" in _switch(one, "ovs-appctl dpctl/dump-flows system@ovs-system")
    )

    # A port of the site that somebody unplugs is plugged in again; the one that is not of the site stays.
    _switch(other, "ovs-vsctl del-port br-ex eth1")
    other.run(f"{other.program} drift --json", check=False)
    other.run("systemctl reload reconciler")
    other.machine.wait("it is plugged in again", lambda: _ports(other) == {"eth1", "g0"})
    assert "2 received" in one.run("ip netns exec guest ping -c 2 -w 60 198.51.100.2").stdout


def _switch(node: Node, command: str) -> str:
    name = "openvswitch_db" if command.startswith("ovs-vsctl") else "openvswitch_vswitchd"
    return node.run(f"docker exec {name} {command}").stdout


def _ports(node: Node) -> set[str]:
    return set(_switch(node, "ovs-vsctl list-ports br-ex").split())
