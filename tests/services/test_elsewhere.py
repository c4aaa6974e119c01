"""A site whose Keystone, database or broker is somebody else's: what it registers there all the same."""

import json

import pytest

from reconciler.model import Desired
from reconciler.render import render
from tests.services import golden


def desired(more: str) -> Desired:
    return golden.saying("one_node", "aio", more)


REGION = """
enable_keystone: "no"
keystone_internal_fqdn: keystone.one.example
openstack_region_name: Two
"""


def test_another_region_registers_its_endpoints_in_the_keystone_of_the_first() -> None:
    made = desired(REGION)
    assert not [container.name for container in made.containers if container.service == "keystone"]
    assert not [job.name for job in made.jobs if job.service == "keystone"]
    (registrar,) = (one for one in made.registrars if one.kind == "keystone")
    assert registrar.connection["url"] == "http://keystone.one.example:5000"
    found = {item.id for item in made.registrations}
    assert {"keystone:project:default/service", "keystone:endpoint:glance/public/Two"} <= found
    assert not {item for item in found if item.startswith(("keystone:service:keystone", "keystone:endpoint:keystone"))}
    assert "keystone login of glance" in {check.name for check in made.checks}


def test_the_first_region_has_its_keystone_found_in_every_region() -> None:
    made = desired("openstack_region_name: One\nmultiple_regions_names: [One, Two]\n")
    found = {item.id: item.fields.get("url") for item in made.registrations if "keystone:endpoint:" in item.id}
    assert {key.rpartition("/")[2] for key in found if "/internal/" in key} == {"One", "Two"}
    keystone = {key: url for key, url in found.items() if key.startswith("keystone:endpoint:keystone/")}
    assert len(keystone) == 4 and len(set(keystone.values())) == 1
    assert {key.rpartition("/")[2] for key in found.keys() - keystone} == {"One"}, "other services are its own"
    assert [item.id for item in made.registrations if item.id == "keystone:service:keystone"] != []


def test_a_region_that_the_list_leaves_out_has_its_keystone_all_the_same() -> None:
    made = desired("openstack_region_name: One\nmultiple_regions_names: [Two]\n")
    assert {"keystone:endpoint:keystone/public/One", "keystone:endpoint:keystone/public/Two"} <= {
        item.id for item in made.registrations
    }


def test_the_administrator_of_that_keystone_is_on_a_controller_whatever_host_comes_first() -> None:
    site = golden.HERE / "three_nodes" / "site"
    text = (site / "inventory.yml").read_text()
    first = text[text.index("  cmp-1:") :]
    moved = text.replace(first, "").replace("hosts:\n", f"hosts:\n{first}", 1)
    said = (
        (site / "globals.yml")
        .read_text()
        .replace('enable_keystone: "yes"', 'enable_keystone: "no"\nenable_glance: "yes"')
    )
    loaded = golden.load(site, {"inventory.yml": moved.encode(), "globals.yml": said.encode()})
    assert next(iter(loaded.hosts)) == "cmp-1"
    asking = {host: [one.kind for one in render(loaded, host, "0" * 40).registrars] for host in ("cmp-1", "ctl-b")}
    assert "keystone" in asking["ctl-b"] and "keystone" not in asking["cmp-1"]


def test_a_site_without_openstack_asks_no_keystone() -> None:
    made = desired('enable_openstack_core: "no"\nenable_keystone: "no"\nenable_glance: "no"\n')
    assert not [item for item in made.registrations if item.kind == "keystone"]
    assert not [one for one in made.registrars if one.kind == "keystone"]


def test_databases_that_somebody_else_made_are_not_registered_and_proxysql_leads_to_them() -> None:
    made = desired(
        'use_preconfigured_databases: "yes"\nuse_common_mariadb_user: "yes"\ndatabase_user: cloud\nenable_proxysql: "yes"\nenable_mariadb: "no"\n'
    )
    assert not [item for item in made.registrations if item.kind == "mariadb"]
    assert not [check.name for check in made.checks if check.name.startswith("mariadb login")]
    files = {file.path: str(file.content) for file in made.files}
    assert "connection = mysql+pymysql://cloud:" in files["glance-api/glance-api.conf"]
    assert "cloud" in files["proxysql/users/glance.yaml"] and "glance" in files["proxysql/rules/glance.yaml"]


@pytest.mark.parametrize(("release", "there"), [("2025.1", True), ("2026.1", False)])
def test_since_2026_1_no_proxysql_leads_to_a_database_of_somebody_else_by_itself(release: str, there: bool) -> None:
    more = f'openstack_release: "{release}"\nuse_preconfigured_databases: "yes"\nenable_mariadb: "no"\n'
    made = golden.saying("compute", "ctl", more)
    assert ("proxysql" in {container.name for container in made.containers}) is there
    assert "mysql+pymysql://" in next(str(file.content) for file in made.files if file.path == "nova-api/nova.conf")


def test_a_load_balancer_without_checks_and_databases_is_one_all_the_same() -> None:
    more = 'enable_keepalived: "yes"\nenable_proxysql: "yes"\nkeepalived_track_script_enabled: "no"\nenable_keystone: "no"\nenable_glance: "no"\n'
    made = desired(more)
    delivered = {
        entry["dest"]: entry.get("optional", False)
        for file in made.files
        if file.path in ("keepalived/config.json", "proxysql/config.json")
        for entry in json.loads(str(file.content))["config_files"]
    }
    assert delivered["/checks"] and delivered["/etc/proxysql/rules"]
