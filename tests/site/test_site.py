"""What a valid site says: precedence with provenance, groups, addresses, secrets, policy; and how long that takes."""

import time
from typing import Any

import pytest

from reconciler import catalogue, data, site
from reconciler.document.yaml import Place
from reconciler.errors import SiteInvalid
from reconciler.site import Layer
from tests.site import archive
from tests.site.generate import make_site
from tests.support import sealed

SITE = """\
-- inventory.yml --
hosts:
  ctl1:
    addresses: {network: 10.0.0.1, api: 10.1.0.1}
    interfaces: {api: eth1}
    groups: [control, rack1]
    variables: {openstack_logging_debug: "yes"}
  ctl2:
    addresses: {network: 10.0.0.2}
    groups: [rack2]
  cmp1: {groups: [rack1]}
groups:
  rack1:
  rack2:
  row1: {children: [rack2, rack1], hosts: [cmp1]}
  control: {hosts: [ctl2]}
-- globals.yml --
openstack_service_workers: "8"
site_color: red
enable_keystone: "no"
-- groups/all.yml --
site_color: orange
-- groups/row1.yml --
site_color: yellow
openstack_service_workers: 9
-- groups/rack1.yml --
site_color: green
-- groups/control.yml --
site_color: blue
-- hosts/ctl1.yml --
site_color: violet
openstack_service_workers: "{{ 4 * 4 }}"
-- passwords.yml --
keystone_admin_password: ENC[a]
keystone_ssh_key: {private_key: "ENC[b]", public_key: "ENC[c]"}
sops: {}
-- passwords/control.yml --
keystone_admin_password: ENC[e]
sops: {}
-- hosts/ctl1.passwords.yml --
keystone_admin_password: ENC[g]
sops: {}
-- config/keystone.conf --
[DEFAULT]
-- reconciler.yml --
name: berlin
drift: {services: {keystone: report}}
"""


def read(text: str, shipped: catalogue.Catalogue) -> site.Site:
    return site.load(archive.encode(archive.split(sealed.fill(text))[1]), shipped)


@pytest.fixture(scope="module")
def example(shipped: catalogue.Catalogue) -> site.Site:
    return read(SITE, shipped)


def origins(example: site.Site, host: str, name: str) -> list[tuple[str, Any, str]]:
    return [(layer.origin, layer.value, str(layer.place)) for layer in example.layers(host)[name].layers]


def test_every_layer_of_a_value_is_known_with_its_place(example: site.Site) -> None:
    assert origins(example, "ctl1", "openstack_service_workers") == [
        ("catalogue", 5, "catalogue/common/variables.yml:19:12"),
        ("globals", 8, "globals.yml:1:28"),
        ("group:row1", 9, "groups/row1.yml:2:28"),
        ("host", "{{ 4 * 4 }}", "hosts/ctl1.yml:2:28"),
    ]


def test_the_innermost_layer_wins(example: site.Site) -> None:
    assert [origin for origin, _, _ in origins(example, "ctl1", "site_color")] == [
        *("globals", "group:all", "group:row1", "group:rack1", "group:control", "host")
    ]
    for host, color in {"ctl1": "violet", "ctl2": "blue", "cmp1": "green"}.items():
        layered = example.layers(host)["site_color"]
        assert layered.value == color
        assert layered.layers[-1] == Layer(layered.layers[-1].origin, layered.value, layered.place)


def test_what_the_inventory_says_of_a_host_is_the_hosts(example: site.Site) -> None:
    assert origins(example, "ctl1", "openstack_logging_debug")[1:] == [("host", True, "inventory.yml:6:42")]
    assert origins(example, "ctl1", "api_interface")[1:] == [("host", "eth1", "inventory.yml:4:23")]
    assert len(origins(example, "ctl2", "api_interface")) == 1


def test_spellings_are_normalised_in_every_layer(example: site.Site) -> None:
    assert origins(example, "cmp1", "enable_keystone") == [
        ("catalogue", True, "catalogue/keystone/variables.yml:4:12"),
        ("globals", False, "globals.yml:3:18"),
    ]


def test_a_required_variable_has_no_value_until_it_is_set(example: site.Site, shipped: catalogue.Catalogue) -> None:
    assert shipped.variables["kolla_internal_vip_address"].required
    assert "kolla_internal_vip_address" not in example.layers("ctl1")


def test_unknown_hosts_have_no_layers(example: site.Site) -> None:
    with pytest.raises(KeyError):
        example.layers("ctl9")


def test_groups_hold_their_own_hosts_then_their_childrens(example: site.Site) -> None:
    assert example.groups["all"] == ("ctl1", "ctl2", "cmp1")
    assert example.groups["row1"] == ("cmp1", "ctl2", "ctl1")
    assert example.groups["rack1"] == ("ctl1", "cmp1")
    assert example.groups["control"] == ("ctl2", "ctl1")
    assert example.groups["keystone"] == ("ctl2", "ctl1")  # the catalogue's default: as control


def test_groups_come_before_their_children(example: site.Site) -> None:
    groups = example.hosts["ctl1"].groups
    assert groups[0] == "all"
    assert groups.index("row1") < groups.index("rack1")
    assert groups.index("keystone") < groups.index("control")


@pytest.mark.parametrize(
    "groups, expected",
    [
        ("", ("a", "b")),  # nothing said: the catalogue's parents
        ("  keystone: {hosts: [c]}\n", ("c",)),
        ("  keystone: {children: [rack]}\n", ("c", "a")),
        ("  keystone: {}\n", ()),
    ],
)
def test_the_inventory_may_say_otherwise_than_the_catalogue(
    groups: str, expected: tuple[str, ...], shipped: catalogue.Catalogue
) -> None:
    hosts = "hosts: {a: {groups: [control]}, b: {groups: [control]}, c: {}}\ngroups:\n  rack: {hosts: [c, a]}\n"
    loaded = site.load({"inventory.yml": (hosts + groups).encode()}, shipped)
    assert loaded.groups["keystone"] == expected


def test_hosts_that_name_a_group_define_it(shipped: catalogue.Catalogue) -> None:
    loaded = site.load({"inventory.yml": b"hosts: {a: {groups: [control]}, b: {groups: [keystone]}}"}, shipped)
    assert loaded.groups["keystone"] == ("b",)


def test_addresses_fall_back_as_kollas_interfaces_do(example: site.Site) -> None:
    first, second = example.hosts["ctl1"].addresses, example.hosts["ctl2"].addresses
    assert (first["network"], first["tunnel"], first["api"], first["migration"]) == (
        *("10.0.0.1", "10.0.0.1", "10.1.0.1", "10.1.0.1"),
    )
    assert set(second.values()) == {"10.0.0.2"}
    assert example.hosts["cmp1"].addresses == {}


def test_secrets_are_names_places_and_digests(example: site.Site) -> None:
    assert set(example.passwords) == {
        *("keystone_admin_password", "keystone_ssh_key", "keystone_ssh_key.private_key", "keystone_ssh_key.public_key")
    }
    places = {host: str(example.secrets(host)["keystone_admin_password"].place) for host in example.hosts}
    assert places == {
        "ctl1": "hosts/ctl1.passwords.yml:1:26",
        "ctl2": "passwords/control.yml:1:26",
        "cmp1": "passwords.yml:1:26",
    }
    assert "ENC" not in repr(example)


def test_a_digest_changes_with_its_ciphertext_alone(example: site.Site, shipped: catalogue.Catalogue) -> None:
    rotated = read(SITE.replace("ENC[c]", "ENC[cc]"), shipped)
    before, after = example.secrets("cmp1"), rotated.secrets("cmp1")
    changed = {name for name in before if before[name].digest != after[name].digest}
    assert changed == {"keystone_ssh_key", "keystone_ssh_key.public_key"}


def test_policy_has_every_key(example: site.Site, shipped: catalogue.Catalogue) -> None:
    assert example.name == example.policy["name"] == "berlin"
    assert example.policy["drift"] == {"mode": "heal", "services": {"keystone": "report"}, "fields": {}}
    assert example.policy["prune"] == {"mode": "remove", "max": 5}
    assert example.policy["adoption"] == "equal"
    plain = site.load({"inventory.yml": b"hosts: {a: {}}"}, shipped, "paris")
    assert plain.name == "paris"
    assert {*plain.policy, "name"} == set(example.policy)


def test_overrides_are_kept_by_their_path(example: site.Site) -> None:
    assert example.overrides == {"keystone.conf": b"[DEFAULT]\n"}


def test_variables_know_where_they_are_declared(shipped: catalogue.Catalogue) -> None:
    variable = shipped.variables["keystone_token_provider"]
    assert (variable.default, variable.service, variable.required) == ("fernet", "keystone", False)
    assert variable.place == Place("catalogue/keystone/variables.yml", 13, 12)
    assert variable.schema["enum"] == ["fernet", "jws"]


def test_the_catalogue_says_what_services_need_together(shipped: catalogue.Catalogue) -> None:
    assert shipped.passwords() == {
        "keystone_admin_password": {"kind": "random"},
        "keystone_ssh_key": {"kind": "ssh_key"},
    }
    assert shipped.groups() == {"control": (), "keystone": ("control",)}
    assert [(pattern.pattern, pattern.containers) for pattern in shipped.override_patterns()] == [
        ("global.conf", ("keystone",)),
        ("keystone.conf", ("keystone",)),
        ("keystone/{container}.conf", ("keystone",)),
        ("keystone/{host}/keystone.conf", ("keystone",)),
        ("keystone/domains/*.conf", ("keystone",)),
        ("keystone/{container}.conf", ("keystone_fernet",)),
    ]


@pytest.mark.parametrize("hosts", [1, 7, 60])
def test_generated_sites_are_valid_with_the_catalogue_that_ships(hosts: int) -> None:
    loaded = site.load(make_site(hosts), catalogue.load(data.services(), "catalogue"))
    assert len(loaded.hosts) == hosts
    assert loaded.warnings == ()


def test_500_hosts_take_no_time_to_speak_of() -> None:
    files = make_site(500)
    begin = time.process_time()
    loaded = site.load(files, catalogue.load(data.services(), "catalogue"))
    assert len(loaded.hosts) == 500
    assert time.process_time() - begin < 5


def test_500_hosts_with_the_same_mistake_take_no_longer() -> None:
    files = make_site(500)
    for path in files:
        if path.startswith("hosts/"):
            files[path] += b"openstack_loging_debug: true\nsomething_else: 1\n"
    begin = time.process_time()
    with pytest.raises(SiteInvalid) as caught:
        site.load(files, catalogue.load(data.services(), "catalogue"))
    assert len(caught.value.problems) == 1000
    assert time.process_time() - begin < 5


def test_no_number_of_warnings_refuses_a_site(shipped: catalogue.Catalogue) -> None:
    settings = "".join(f"x{number}_password = nobody\n" for number in range(2000))
    files = {
        "inventory.yml": b"hosts: {ctl1: {groups: [control]}}\n",
        "config/keystone.conf": f"[DEFAULT]\n{settings}".encode(),
    }
    told = site.load(files, shipped).warnings
    assert len(told) == 999 and told[-1].message == "there is more to be said than these 998: correct these first"
    with pytest.raises(SiteInvalid, match="openstack_loging_debug") as caught:
        site.load({**files, "globals.yml": b"openstack_loging_debug: true\n"}, shipped)
    assert [one.file for one in caught.value.problems if one.severity == "error"] == ["globals.yml"]


def test_a_trusted_catalogue_is_the_same_sooner() -> None:
    files = data.services()
    checked, trusted = catalogue.load(files, "catalogue"), catalogue.load(files, "catalogue", trusted=True)
    assert trusted.variables == checked.variables
    assert list(trusted.services) == list(checked.services)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("hosts: {ctl1: {}, CTL1: {}}\n", "inventory.yml:1:19: 'CTL1' and 'ctl1' differ in case only"),
        (
            "hosts: {ctl1: {}}\ngroups: {rack: {}, Rack: {}}\n",
            "inventory.yml:2:20: 'Rack' and 'rack' differ in case only",
        ),
    ],
)
def test_names_that_differ_in_case_only(text: str, place: str, shipped: catalogue.Catalogue) -> None:
    with pytest.raises(SiteInvalid) as caught:
        site.load({"inventory.yml": text.encode()}, shipped)
    assert place in "\n".join(map(str, caught.value.problems))
