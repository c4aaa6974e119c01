"""Filters of Ansible's that Kolla sites use for addresses and identifiers. The values are what ansible.utils 5.1 and ansible-core give."""

from typing import Any

import pytest

from reconciler.document.yaml import Place
from reconciler.errors import SiteInvalid
from reconciler.render.evaluate import Position, Scope, World, evaluate
from tests.render.sites import make_site


@pytest.fixture(scope="module")
def world() -> World:
    return World(make_site({}))


def value(expression: str, world: World) -> Any:
    world.begin("ctl1")
    return evaluate(f"{{{{ {expression} }}}}", Scope(world.variables("ctl1")), Position(Place("t")))


QUERIES = {
    "10.0.0.5": {"": "10.0.0.5", "address": "10.0.0.5", "network": "10.0.0.5", "subnet": "10.0.0.5/32", "prefix": 32, "net": None, "size": 1,
                 "size_usable": 0, "host": "10.0.0.5/32", "type": "address", "version": 4, "private": "10.0.0.5", "public": None, "int": 167772165,
                 "10.0.0.0/8": "10.0.0.5", "192.168.0.0/16": None, "ipv6": "::ffff:10.0.0.5/128", "revdns": "5.0.0.10.in-addr.arpa.", "wrap": "10.0.0.5"},
    "10.0.0.5/24": {"": "10.0.0.5/24", "address": "10.0.0.5", "network": "10.0.0.0", "subnet": "10.0.0.0/24", "prefix": 24, "net": None, "size": 256,
                    "size_usable": 254, "netmask": "255.255.255.0", "hostmask": "0.0.0.255", "broadcast": "10.0.0.255", "first_usable": "10.0.0.1",
                    "last_usable": "10.0.0.254", "range_usable": "10.0.0.1-10.0.0.254", "type": "address", "1": "10.0.0.1/24", "-1": "10.0.0.255/24",
                    "network_netmask": "10.0.0.0 255.255.255.0", "int": "167772165/24"},
    "10.0.0.0/24": {"address": None, "net": "10.0.0.0/24", "type": "network", "host": None},
    "10.0.0.4/31": {"address": "10.0.0.4", "size_usable": 2, "first_usable": "10.0.0.4", "last_usable": "10.0.0.5", "broadcast": None},
    "2001:db8::5": {"": "2001:db8::5", "ipv6": "2001:db8::5", "version": 6, "wrap": "[2001:db8::5]", "10.0.0.0/8": None},
    "2001:db8::/64": {"address": "2001:db8::", "network": "2001:db8::", "prefix": 64, "last_usable": "2001:db8::ffff:ffff:ffff:fffe"},
    "fe80::1": {"link-local": "fe80::1", "public": None},
    "nonsense": {"": False, "address": False},
    "": {"": False},
}  # fmt: skip


@pytest.mark.parametrize("address", QUERIES)
def test_ipaddr_answers_as_ansible_does(address: str, world: World) -> None:
    for query, expected in QUERIES[address].items():  # type: ignore[attr-defined]
        for name in ("ipaddr", "ansible.utils.ipaddr", "ansible.netcommon.ipaddr"):
            assert value(f"'{address}' | {name}('{query}')", world) == expected, query


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("['a', '10.0.0.1', 'fe80::1', '10.0.0.0/8'] | ipaddr", ["10.0.0.1", "fe80::1", "10.0.0.0/8"]),
        ("['a', '10.0.0.1', 'fe80::1'] | ipv4", ["10.0.0.1"]),
        ("['a', '10.0.0.1', 'fe80::1'] | ansible.utils.ipv6", ["fe80::1"]),
        ("['10.0.0.1', 'fe80::1', 'name'] | ipwrap", ["10.0.0.1", "[fe80::1]", "name"]),
        ("'10.0.0.250' | ipmath(10)", "10.0.1.4"),
        ("'10.0.0.0/24' | nthhost(5)", "10.0.0.5"),
        ("'10.0.0.0/24' | nthhost(256)", False),
        ("'10.0.0.0/16' | ipsubnet(24)", 256),
        ("'10.0.0.0/16' | ipsubnet(24, 3)", "10.0.3.0/24"),
        ("'10.0.0.0/16' | ipsubnet(24, -1)", "10.0.255.0/24"),
        ("'2001:db8::/32' | ipsubnet(64, 1)", "2001:db8:0:1::/64"),
        ("'10.0.0.0/8' | network_in_network('10.1.0.0/16')", True),
        ("'10.0.0.0/8' | network_in_network('11.0.0.0/16')", False),
        ("'52-54-00-AB-CD-EF' | hwaddr", "52:54:00:ab:cd:ef"),
        ("'5254.00ab.cdef' | hwaddr", "52:54:00:ab:cd:ef"),
        ("'52:54:00' | hwaddr", False),
        ("'ctl1' | to_uuid", "fbdd2c98-f50b-5aae-951e-3d3d13e2b65b"),
        ("'52:54:00' | random_mac(seed='ctl1br-ex')", "52:54:00:de:4c:97"),
        ("range(1, 4) | random(seed='ctl1')", 3),
        ("100 | random(seed='ctl1')", 73),
        ("['a', 'b', 'c', 'd'] | random(seed='x')", "c"),
        ("'a' | extract({'a': {'b': 1}})", {"b": 1}),
        ("'a' | extract({'a': {'b': [1, 2]}}, ['b', 1])", 2),
        ("['a', 'b'] | map('extract', {'a': 1, 'b': 2}) | list", [1, 2]),
        ("[1, 2] | product(['a', 'b']) | list", [[1, "a"], [1, "b"], [2, "a"], [2, "b"]]),
        ("'a' if false", ""),
        ("['a' if false, 'b']", ["", "b"]),
    ],
)
def test_what_kolla_sites_write(expression: str, expected: Any, world: World) -> None:
    assert value(expression, world) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("[1, 2] | random", "the filter random: needs seed=…"),
        ("'52:54:00' | random_mac", "the filter random_mac: needs seed=…"),
        ("'zz' | random_mac(seed=1)", "'zz' is not the beginning of a MAC address"),
        ("[] | random(seed=1)", "there is nothing to choose from"),
        ("'10.0.0.5' | ipaddr('netmusk')", "'netmusk' is neither a network nor one of address,"),
        ("'10.0.0.0/24' | ipaddr(256)", "10.0.0.0/24 has 256 addresses, not one of number 256"),
        ("'x' | ipmath(1)", "'x' is neither an address nor a network"),
        ("'x' | extract({'a': 1})", "there is no 'x' in it"),
        ("range(1000) | product(range(1000), range(1000))", "limit"),
    ],
)
def test_what_cannot_be_is_said(expression: str, message: str, world: World) -> None:
    with pytest.raises(SiteInvalid) as caught:
        value(expression, world)
    assert message in str(caught.value)
