"""Neutron's Open vSwitch agent on a real node: it comes by a commit, and plugs ports into the kernel's datapath. Its server is a genuine one
beside the site, with the files that the site has for another host, a database in a file and nobody to ask for tokens."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.images import kolla
from tests.services import lets_in, neutron_api
from tests.support.paths import CHECKOUT
from tests.vm.node import Node
from tests.vm.program import PROGRAM
from tests.vm.site import Site, genuine, site

pytestmark = [pytest.mark.slow, pytest.mark.vm, pytest.mark.images]

HOST = "cmp1"
_ADDRESS = "192.0.2.1"
AGENT = "neutron_openvswitch_agent"
_SWITCH = ("openvswitch_db", "openvswitch_vswitchd")
_IMAGES = ("rabbitmq", "openvswitch-db-server", "openvswitch-vswitchd", "neutron-openvswitch-agent", "neutron-server")
_BRIDGES = ("br-int", "br-ex", "br-tun")
# The module is what a compute's libvirt asks for, which is not here: without it security groups have no effect. Emulated, a check of health
# takes a processor for half a minute.
_GLOBALS = """\
kolla_base_distro: debian
kolla_internal_vip_address: 192.0.2.250
network_interface: eth0
neutron_external_interface: eth1
enable_openstack_core: false
enable_openvswitch: true
enable_neutron: true
enable_neutron_provider_networks: true
neutron_modules_extra: [{name: br_netfilter}]
enable_rabbitmq: true
enable_haproxy: false
enable_proxysql: false
enable_fluentd: false
enable_memcached: false
enable_mariadb: false
enable_cron: false
use_preconfigured_databases: true
default_container_healthcheck_interval: 60
default_container_healthcheck_timeout: 600
default_container_healthcheck_start_period: 1800
rabbitmq_enable_healthchecks: false
"""


def files() -> dict[str, str]:
    """The site. Of the catalogue's Neutron it differs in that nobody logs in to it, and that the agent may take longer, as it does in emulation."""
    folder = CHECKOUT / "services/neutron"
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    definition = yaml.safe_load(found["service.yml"])
    definition["provides"]["neutron"]["enabled"] = False  # there is no Keystone to log in to
    definition["containers"][AGENT]["start_timeout"] = 3600
    definition["containers"][AGENT]["validate"]["timeout"] = 3600
    found["service.yml"] = yaml.safe_dump(definition, sort_keys=False)
    return {
        **{f"services/neutron/{name}": text for name, text in found.items()},
        "reconciler.yml": "name: plug\n",
        "inventory.yml": (
            f"hosts:\n  {HOST}: {{addresses: {{network: {_ADDRESS}}}, groups: [compute, rabbitmq]}}\n"
            "  ctl1: {addresses: {network: 192.0.2.2}, groups: [neutron-server]}\n"
        ),
        "globals.yml": _GLOBALS,
    }


_WITHOUT = _GLOBALS.replace("enable_neutron: true", "enable_neutron: false")
_SERVER = f"""\
git clone -q /mnt/share/site.git /srv/tree
{PROGRAM} render --host ctl1 --secrets sops --ssh-key-file /etc/ssh/ssh_host_ed25519_key --out /srv/ctl1 /srv/tree
docker run -d --name server --network host --user root --workdir /t -v /srv/t:/t:ro -v /srv/ctl1/neutron-server:/site:ro $image \
  python3 -m tests.services.neutron_api /site/neutron.conf /site/ml2_conf.ini
"""
# What Nova's os-vif makes where the agent's firewall is the one of iptables, and a namespace in the place of a virtual machine. The agent filters at
# the bridge between the two; Open vSwitch's own port is at its other end.
_PLUG = """\
ip netns add $name
ip link add qbr$id type bridge forward_delay 0 ageing_time 0 mcast_snooping 0
ip link add qvb$id type veth peer name qvo$id
ip link add tap$id type veth peer name eth0 netns $name
sysctl -qw net.ipv6.conf.qbr$id.disable_ipv6=1
for card in qvb$id tap$id; do ip link set $card master qbr$id up; done
for card in qvb$id qvo$id; do ip link set $card promisc on; done
ip link set qvo$id up
ip link set qbr$id up
ip -n $name link set eth0 address $mac up
ip -n $name address add $address/24 dev eth0
docker exec openvswitch_db ovs-vsctl --no-wait -- --may-exist add-port br-int qvo$id -- set Interface qvo$id \
  external_ids:iface-id=$port external_ids:attached-mac=$mac external_ids:iface-status=active external_ids:vm-uuid=$name
"""
# Somebody on the provider's network: a card in the bridge of the site.
_OUTSIDER = "198.51.100.99"
_OUTSIDE = f"""\
ip netns add outside
ip link add outside type veth peer name eth0 netns outside
ip link set outside up
ip -n outside link set eth0 up
ip -n outside address add {_OUTSIDER}/24 dev eth0
docker exec openvswitch_db ovs-vsctl --no-wait add-port br-ex outside
"""


@dataclass
class Port:
    """A port of Neutron, and the namespace that is plugged into it."""

    name: str
    id: str
    mac: str
    address: str


@dataclass
class Compute:
    """The machine, and who asks Neutron there."""

    site: Site
    node: Node
    ports: list[Port] = field(default_factory=list)

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask Neutron's API, or have something made there. Raises AssertionError when it refuses."""
        words = f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'" if body else ""
        url = f"http://127.0.0.1:9696/v2.0/{path}"
        return json.loads(self.node.run(f"curl -sS --fail-with-body -m 500 {words} {url}").stdout)

    def make(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Have something made, whose kind is written as in a body."""
        return dict(self.ask(f"{kind.replace('_', '-')}s", {kind: {"project_id": "plug", **fields}})[kind])

    def agent(self) -> dict[str, Any]:
        """What the server knows of the agents that are alive, if it is one."""
        try:
            found = [one for one in self.ask("agents")["agents"] if one["alive"]]
        except AssertionError:
            return {}  # it does not listen yet
        return dict(found[0]) if len(found) == 1 else {}

    def switch(self, command: str) -> str:
        name = _SWITCH[0] if command.startswith("ovs-vsctl") else _SWITCH[1]
        return self.node.run(f"docker exec {name} {command}").stdout

    def flows(self) -> dict[str, set[str]]:
        """Bridge → its flows, without the mark of the agent's run that laid them."""
        return {bridge: {re.sub(r"cookie=\w+, ", "", line) for line in self._laid(bridge)} for bridge in _BRIDGES}

    def marks(self) -> set[str]:
        """The marks of the agent's runs that laid the flows, which are one for each bridge."""
        return {found for bridge in _BRIDGES for found in re.findall(r"cookie=(\w+)", " ".join(self._laid(bridge)))}

    def _laid(self, bridge: str) -> list[str]:
        lines = self.switch(f"ovs-ofctl dump-flows --no-stats {bridge}").splitlines()
        return [line.strip() for line in lines if "actions=" in line]

    def reaches(self, who: str, whom: str, words: str = "") -> bool:
        """Whether one gets two answers of another."""
        done = self.node.run(f"ip netns exec {who} ping -c 2 -w 60 {words} {whom}", check=False)
        return "2 received" in done.stdout


@pytest.fixture(scope="module")
def compute(engine_url: str) -> Iterator[Compute]:
    names = genuine(engine_url, _IMAGES, "core", "cloud")
    with site(
        "bookworm", engine_url, "neutron", names, {HOST: _ADDRESS}, {**files(), "globals.yml": _WITHOUT}
    ) as found:
        yield Compute(found, found.nodes[HOST])


def test_it_comes_by_a_commit_and_reports_to_the_server(compute: Compute) -> None:
    found, node = compute.site, compute.node
    before = {name: node.container(name) for name in ("rabbitmq", *_SWITCH)}
    assert compute.switch("ovs-vsctl get-fail-mode br-ex").strip() == "standalone"
    commit = found.commit({"globals.yml": _GLOBALS}, "Neutron")
    for program in (lets_in, neutron_api):
        path = Path(str(program.__file__))
        node.machine.put(f"/srv/t/tests/services/{path.name}", path.read_text())
    node.run("touch /srv/t/tests/__init__.py /srv/t/tests/services/__init__.py")
    node.run(_SERVER, image=kolla.default_target().name("neutron-server"))
    found.converge(commit)
    node.machine.wait("the agent reports", compute.agent, 1200)
    agent = compute.agent()
    assert (agent["host"], agent["binary"]) == (HOST, "neutron-openvswitch-agent")
    said = agent["configurations"]
    assert (said["datapath_type"], said["ovs_hybrid_plug"]) == ("system", True)
    assert (said["bridge_mappings"], said["tunnel_types"]) == ({"physnet1": "br-ex"}, ["vxlan"])
    assert {name: node.container(name) for name in before} == before
    # The agent asks for it at each start: what the site asks for must be the same, or the two would take turns.
    assert compute.switch("ovs-vsctl get-fail-mode br-ex").strip() == "secure"
    assert node.has_nothing_to_do()


def test_it_plugs_ports_that_reach_each_other_through_the_kernel(compute: Compute) -> None:
    node = compute.node
    provider = {"provider:network_type": "flat", "provider:physical_network": "physnet1"}
    network = compute.make("network", name="plug", **provider)["id"]
    about = {"ip_version": 4, "cidr": "198.51.100.0/24", "enable_dhcp": False, "gateway_ip": None}
    subnet = compute.make("subnet", network_id=network, **about)["id"]
    group = compute.make("security_group", name="plug")["id"]
    for allowed in ({"direction": "egress"}, {"direction": "ingress", "remote_group_id": group}):
        compute.make("security_group_rule", security_group_id=group, ethertype="IPv4", **allowed)
    for number in (1, 2):
        name, address = f"guest{number}", f"198.51.100.1{number}"
        bound = {"binding:host_id": HOST, "device_owner": "compute:nova", "device_id": name, "security_groups": [group]}
        fixed = [{"subnet_id": subnet, "ip_address": address}]
        port = compute.make("port", network_id=network, fixed_ips=fixed, **bound)
        assert (port["binding:vif_type"], port["status"]) == ("ovs", "DOWN")
        assert port["binding:vif_details"]["ovs_hybrid_plug"] and port["binding:vif_details"]["port_filter"]
        compute.ports.append(Port(name, port["id"], port["mac_address"], address))
    for plugged in compute.ports:
        name, address = plugged.name, plugged.address
        node.run(_PLUG, name=name, id=plugged.id[:11], port=plugged.id, mac=plugged.mac, address=address)
    node.run(_OUTSIDE)
    node.machine.wait("the ports are active", lambda: _statuses(compute) == {"ACTIVE"}, 900)
    tags = set(_tags(compute))
    assert len(tags) == 1 and 0 < int(tags.pop()) < 4095, "one network, and not the tag of dead ports"

    one, other = compute.ports
    assert compute.reaches(one.name, other.address) and compute.reaches(other.name, one.address)
    assert compute.reaches(one.name, _OUTSIDER), "by the bridge of the provider's network"
    pinging = f"ip netns exec {one.name} ping -q -i 0.2 -w 120 {other.address} > /dev/null &"
    kernel = node.run(
        f"{pinging} docker exec {_SWITCH[1]} ovs-appctl dpctl/dump-flows system@ovs-system; kill $!"
    ).stdout
    assert re.search(rf"eth\(src={one.mac},dst={other.mac}\).*actions:\d", kernel), kernel


def test_what_the_security_group_does_not_allow_is_dropped(compute: Compute) -> None:
    node, (one, other) = compute.node, compute.ports
    assert not compute.reaches("outside", one.address), "nothing lets somebody in who is not of the group"
    # Its neighbour's address is known, so that only the sender's stands in the way.
    node.run(f"ip -n {one.name} address add 198.51.100.77/24 dev eth0")
    node.run(f"ip -n {other.name} neighbour replace 198.51.100.77 lladdr {one.mac} dev eth0")
    assert compute.reaches(one.name, other.address)
    before = _dropped(node, one)
    assert not compute.reaches(one.name, other.address, "-I 198.51.100.77"), "an address that is not the port's"
    assert _dropped(node, one) > before
    node.run(f"ip -n {one.name} address del 198.51.100.77/24 dev eth0")
    assert compute.reaches(one.name, other.address)


def test_a_setting_of_it_restarts_it_alone_and_no_ping_is_lost(compute: Compute) -> None:
    found, node = compute.site, compute.node
    names = ("rabbitmq", *_SWITCH, "server")
    before, agent = {name: node.container(name) for name in names}, node.container(AGENT)
    flows, marks, tags = compute.flows(), compute.marks(), _tags(compute)
    pinged = {"peer": compute.ports[1].address, "provider": _OUTSIDER}
    for unit, address in pinged.items():
        words = f"exec ip netns exec {compute.ports[0].name} ping -i 0.2 {address} > /root/{unit}"
        node.run(f"systemd-run -q --unit {unit} sh -c '{words}'")
    began = time.monotonic()
    setting, file = "quitting_rpc_timeout = 11", "neutron/openvswitch_agent.ini"
    found.converge(found.commit({f"config/{file}": f"[agent]\n{setting}\n"}, "Its patience"))
    assert setting in node.run(f"docker exec {AGENT} cat /etc/neutron/plugins/ml2/openvswitch_agent.ini").stdout
    identity, started, pid = node.container(AGENT)
    assert identity == agent[0] and started != agent[1] and pid != agent[2], "restarted, not made anew"
    assert {name: node.container(name) for name in names} == before
    node.machine.wait("all flows are of the new run", lambda: marks.isdisjoint(compute.marks()), 900)
    took = time.monotonic() - began
    now = compute.flows()
    others = {bridge: alone for bridge in _BRIDGES if (alone := sorted(now[bridge] ^ flows[bridge]))}
    assert others == {}, "flows that were there before or are there now alone"
    assert _tags(compute) == tags and _statuses(compute) == {"ACTIVE"}
    for unit in pinged:
        node.run(f"systemctl kill -s INT {unit}")
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl=", node.run(f"cat /root/{unit}").stdout)}
        print(f"{unit}: {len(answered)} answers in {took:.0f} s, the last one to {max(answered)}")
        assert len(answered) > took, "it went on all the time"
        assert not {*range(1, max(answered))} - answered, "lost"
    assert node.has_nothing_to_do()


def _statuses(compute: Compute) -> set[str]:
    return {one["status"] for one in compute.ask("ports")["ports"]}


def _tags(compute: Compute) -> list[str]:
    return [compute.switch(f"ovs-vsctl get Port qvo{port.id[:11]} tag").strip() for port in compute.ports]


def _dropped(node: Node, port: Port) -> int:
    """How many packets the agent's rules dropped since their sender is not the port's."""
    rules = node.run(f"docker exec -u root {AGENT} iptables -nvxL neutron-openvswi-s{port.id[:10]}").stdout
    return sum(int(count) for count in re.findall(r"^ *(\d+) +\d+ +DROP ", rules, re.MULTILINE))
