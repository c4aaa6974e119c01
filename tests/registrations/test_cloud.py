"""Flavors, networks, subnets and security groups: made, looked at, changed, identified and taken away, at stand-ins for Nova and Neutron."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import Terminal, Transient
from reconciler.model import Actual, Registrar, Registration
from reconciler.reasons import Reason
from reconciler.registrations.neutron import rules
from reconciler.registrations.registry import Registry
from tests.registrations.cloud import Cloud, standing

NOTHING = Actual({}, {}, {}, deep=True)
FLAVOR = Registration(
    "nova", "flavor", "amphora", {"name": "amphora", "vcpus": 1, "ram": 1024, "disk": 5, "public": False}
)
NETWORK = Registration(
    "neutron",
    "network",
    "lb",
    {"name": "lb", "network_type": "vlan", "segmentation_id": 7, "shared": False, "external": False},
)
SUBNET = Registration(
    "neutron", "subnet", "lb/sub", {"name": "sub", "network": "lb", "cidr": "10.1.0.0/24", "dhcp": True, "gateway": ""}
)
GROUP = Registration(
    "neutron", "security_group", "in", {"name": "in", "description": "", "rules": ["icmp", "tcp 22", "tcp 9443"]}
)
ALL = (FLAVOR, NETWORK, SUBNET, GROUP)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with standing() as found:
        yield found


@pytest.fixture
def registry(cloud: Cloud) -> Iterator[Registry]:
    where = [Registrar(kind, cloud.connection()) for kind in ("nova", "neutron")]
    with Registry(where, str, patience=0) as found:
        yield found


def test_everything_is_made_once_and_told_as_it_is(cloud: Cloud, registry: Registry) -> None:
    found, unknown = registry.observe(ALL, NOTHING)
    assert not unknown and found == dict.fromkeys((item.id for item in ALL), None)
    assert registry.identify(ALL, NOTHING) == (dict.fromkeys((item.id for item in ALL), None), {})
    for item in ALL:
        registry.converge(item)
    found, unknown = registry.observe(ALL, NOTHING)
    assert not unknown
    for item in ALL:
        told = found[item.id]
        assert told is not None and {key: told[key] for key in item.fields} == item.fields
    known, _ = registry.identify(ALL, NOTHING)
    assert known == {
        FLAVOR.id: cloud.kept["flavors"][0]["id"],
        NETWORK.id: cloud.kept["networks"][0]["id"],
        SUBNET.id: cloud.kept["subnets"][0]["id"],
        GROUP.id: cloud.kept["security_groups"][0]["id"],
    }
    assert (
        cloud.kept["subnets"][0]["network_id"] == known[NETWORK.id] and cloud.kept["subnets"][0]["gateway_ip"] is None
    )
    written = [line for line in cloud.asked if not line.startswith("GET")]
    for item in ALL:
        registry.converge(item)
    assert [line for line in cloud.asked if not line.startswith("GET")] == written, (
        "what is as it should be is left alone"
    )


def changed(item: Registration, **fields: Any) -> Registration:
    return Registration(item.kind, item.type, item.key, {**item.fields, **fields})


def test_what_can_be_changed_is_and_what_others_made_stays(cloud: Cloud, registry: Registry) -> None:
    for item in ALL:
        registry.converge(item)
    group = cloud.kept["security_groups"][0]
    group["security_group_rules"].append(
        {
            "id": "by-hand",
            "direction": "ingress",
            "ethertype": "IPv4",
            "protocol": "tcp",
            "port_range_min": 1,
            "port_range_max": 9,
        }
    )
    found, _ = registry.observe([GROUP], NOTHING)
    assert found[GROUP.id]["rules"] == ["icmp", "tcp 1-9", "tcp 22", "tcp 9443"], "drift is seen"
    for item in (
        changed(GROUP, rules=["tcp 9443", "udp 5555"]),
        changed(NETWORK, shared=True),
        changed(SUBNET, dhcp=False),
    ):
        registry.converge(item)
        found, _ = registry.observe([item], NOTHING)
        assert {key: found[item.id][key] for key in item.fields} == item.fields
    assert [rule["id"] for rule in group["security_group_rules"] if rule["direction"] == "egress"] == ["out"]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (
            changed(FLAVOR, ram=2048),
            "the flavor 'amphora' has ram 1024 instead of 2048, and a flavor cannot be changed",
        ),
        (
            changed(NETWORK, segmentation_id=8),
            "the network 'lb' has segmentation_id 7 instead of 8, which cannot be changed",
        ),
        (
            changed(SUBNET, gateway="10.1.0.1"),
            "the subnet 'lb/sub' has gateway none instead of 10.1.0.1, which cannot be changed",
        ),
        (changed(SUBNET, cidr="10.2.0.0/24"), "the subnet 'lb/sub' has cidr 10.1.0.0/24 instead of 10.2.0.0/24"),
    ],
)
def test_what_cannot_be_changed_is_refused(registry: Registry, item: Registration, said: str) -> None:
    for there in ALL:
        registry.converge(there)
    with pytest.raises(Terminal, match=said) as caught:
        registry.converge(item)
    assert caught.value.reason is Reason.RegistrarRefused


def test_a_subnet_waits_for_its_network(registry: Registry) -> None:
    with pytest.raises(Transient, match="the network of the subnet 'lb/sub' does not exist yet"):
        registry.converge(SUBNET)


def test_another_projects_network_is_not_ours_and_two_of_ours_are_told(cloud: Cloud, registry: Registry) -> None:
    cloud.add("networks", name="lb", project_id="somebody else's")
    assert registry.identify([NETWORK], NOTHING)[0] == {NETWORK.id: None}
    registry.converge(NETWORK)
    cloud.add("networks", name="lb")
    found, unknown = registry.identify([NETWORK], NOTHING)
    assert (
        not found
        and "2 networks of one project are called 'lb' (remove the wrong ones)" in unknown["registrar:neutron"]
    )


def test_all_pages_of_a_list_are_read(cloud: Cloud, registry: Registry) -> None:
    for number in range(7):
        cloud.add("flavors", name=f"f{number}", vcpus=1, ram=1, disk=0, **{"os-flavor-access:is_public": True})
    registry.converge(FLAVOR)
    found, _ = registry.identify([FLAVOR], NOTHING)
    assert found[FLAVOR.id] == cloud.kept["flavors"][7]["id"]


def test_what_is_withdrawn_goes_unless_it_is_in_use(cloud: Cloud, registry: Registry) -> None:
    for item in ALL:
        registry.converge(item)
    cloud.busy.add(cloud.kept["networks"][0]["id"])
    for item in reversed(ALL):
        registry.withdraw(Registration(item.kind, item.type, item.key, {}))
    assert {name: len(items) for name, items in cloud.kept.items()} == {
        "flavors": 0, "networks": 1, "subnets": 0, "security_groups": 0,
    }  # fmt: skip
    registry.withdraw(Registration("nova", "flavor", "amphora", {}))


def test_who_is_not_let_in_is_told_whom_it_asked(cloud: Cloud) -> None:
    with Registry([Registrar("neutron", cloud.connection(password="wrong"))], str, patience=0) as registry:
        _, unknown = registry.observe([NETWORK], NOTHING)
    assert f"Neutron at {cloud.url}/v2.0 denies access to 'neutron'" in unknown["registrar:neutron"]
    with Registry([Registrar("neutron", cloud.connection(auth_url="http://127.0.0.1:9"))], str, patience=0) as registry:
        _, unknown = registry.observe([NETWORK], NOTHING)
    assert (
        "Keystone at http://127.0.0.1:9/v3, which Neutron trusts, cannot be used: connection refused"
        in unknown["registrar:neutron"]
    )


# --- rules --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("tcp 22", "tcp 22"),
        ("TCP  22-22", "tcp 22"),
        ("udp 5000-5010 from 10.0.0.0/8", "udp 5000-5010 from 10.0.0.0/8"),
        ("icmp from 0.0.0.0/0", "icmp"),
        ("ipv6-icmp", "ipv6 icmp"),
        ("ipv6 tcp 22 from ::/0", "ipv6 tcp 22"),
        ("tcp 22 from fd00::/8", "ipv6 tcp 22 from fd00::/8"),
        ("any", "any"),
        ("112", "112"),
    ],
)
def test_a_rule_has_one_spelling(written: str, spelled: str) -> None:
    assert rules.spelled(written) == spelled == rules.spelled(spelled)


@pytest.mark.parametrize(
    "rule",
    ["", "tcp 0", "tcp 9-8", "tcp 70000", "icmp 8", "tcp 22 from here", "ipv6 tcp 1 from 10.0.0.0/8", "tcp 22 to x"],
)
def test_what_is_no_rule_is_told(rule: str) -> None:
    with pytest.raises(ValueError, match="'"):
        rules.spelled(rule)


@given(
    st.sampled_from(("", "ipv6 ")),
    st.sampled_from(("tcp", "udp", "icmp", "any", "89")),
    st.tuples(st.integers(1, 65535), st.integers(1, 65535)),
    st.booleans(),
)
@settings(deadline=None)
def test_what_is_made_of_a_rule_is_read_as_that_rule(
    ipv6: str, protocol: str, ports: tuple[int, int], of_one: bool
) -> None:
    low, high = sorted(ports)
    place = f" {low}-{high}" if protocol in ("tcp", "udp") else ""
    source = (" from fd00::/8" if ipv6 else " from 10.0.0.0/8") if of_one else ""
    rule = rules.spelled(f"{ipv6}{protocol}{place}{source}")
    assert rules.of(rules.body(rule)) == rule
