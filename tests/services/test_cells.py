"""Several cells of Nova: what a site may say of them, and what is refused."""

from collections.abc import Mapping

import pytest

from reconciler.errors import SiteInvalid
from reconciler.model import Desired
from reconciler.render import World, render
from tests.services import golden

SITE = golden.HERE / "cells" / "site"
WEST = (SITE / "groups/west.yml").read_text()
GLOBALS = (SITE / "globals.yml").read_text()
INVENTORY = (SITE / "inventory.yml").read_text()


def hosts(**files: str) -> Mapping[str, Desired]:
    """Every host of the example, with files in the place of its own: `west` of the group's, `globals`, `inventory`."""
    places = {"west": "groups/west.yml", "globals": "globals.yml", "inventory": "inventory.yml"}
    site = golden.load(SITE, {places[name]: text.encode() for name, text in files.items()})
    world = World(site)
    return {host: render(site, host, "0" * 40, world) for host in site.hosts}


def test_every_host_has_what_is_of_its_own_cell() -> None:
    made = hosts()
    names = {
        host: {one.name for one in found.containers if one.service in ("nova", "nova-cell")}
        for host, found in made.items()
    }
    own = {"nova_conductor", "nova_novncproxy", "nova_serialproxy"}
    assert names["west-1"] == names["west-2"] == own
    assert names["ctl"] == own | {"nova_api", "nova_metadata", "nova_scheduler", "nova_super_conductor"}
    assert names["cmp"] == names["west-cmp"] == {"nova_compute", "nova_libvirt", "nova_ssh"}
    # Each broker's user is where that broker is asked.
    said = {
        host: {
            one.content.partition("transport_url = ")[2].partition("\n")[0]
            for one in found.files
            if one.path.endswith("nova.conf")
        }
        for host, found in made.items()
    }
    assert said["west-1"] == said["west-cmp"] == {"rabbit://west:<<secret:rabbitmq_password>>@192.0.2.91:5672/west"}
    assert said["ctl"] == said["cmp"] and len(said["ctl"]) == 1 and "@192.0.2.11:5672//" in next(iter(said["ctl"]))


@pytest.mark.parametrize("example", ["compute", "ovn"])
def test_a_compute_registers_nothing_and_holds_no_password_of_the_databases_administrator(example: str) -> None:
    """The first compute would have to be there before a controller converges, and whoever is root there would have every database."""
    compute = golden.desired(example, "cmp")
    assert any(container.name == "nova_compute" for container in compute.containers)
    assert compute.registrations == () and "database_password" not in compute.secrets
    assert "mariadb:database:nova" in {item.id for item in golden.desired(example, "ctl").registrations}


def test_a_conductor_may_be_kept_from_the_database_of_all_and_its_jobs_are_not() -> None:
    files = {file.path: file.content for file in hosts()["west-1"].files}
    assert "[api_database]" not in files["nova-conductor/nova.conf"]
    for job in ("nova-cell-db-sync-west", "nova-map-cell-west", "nova-cell-online-migration-west"):
        assert "[api_database]" in files[f"{job}/nova.conf"]


def test_a_cell_on_the_clouds_own_database_and_broker_is_registered_there() -> None:
    west = "\n".join(line for line in WEST.splitlines() if "transport_url" not in line and "_database_" not in line)
    made = hosts(west=west)
    assert {one.id for one in made["west-1"].registrations} == {
        "mariadb:database:nova_west",
        "mariadb:grant:nova@%:nova_west.*",
        "rabbitmq:permission:openstack@nova_west",
        "rabbitmq:vhost:nova_west",
    }
    # The user of both is the cloud's: a controller's to make.
    every = [one.id for one in made["ctl"].registrations]
    assert {"mariadb:user:nova@%", "rabbitmq:user:openstack", "mariadb:grant:nova@%:nova.*"} <= {*every}
    assert "mariadb:database:nova_west" in made["ctl"].registered_elsewhere
    users = next(file.content for file in made["ctl"].files if file.path == "proxysql/rules/nova-cell.yaml")
    assert users.count("schemaname") == 2 and "nova_west" in users


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"globals": GLOBALS.replace("enable_cells", "site_x")}, "nothing is in between: say enable_cells"),
        ({"west": WEST.replace("nova_cell_name: west", "")}, "each gives 'nova_novncproxy' twice"),
        ({"west": WEST.replace("nova_novncproxy_port: 6090", "")}, "nova_novncproxy and nova_novncproxy_west listen on port 6080 both"),
        ({"west": WEST.replace("nova_serialproxy_port: 6093", "nova_serialproxy_port: 6080")}, "listen on port 6080 both"),
        ({"west": WEST.replace("conductor_group: control-west", "conductor_group: control")}, "no host of that has nova_conductor"),
        ({"west": WEST.replace("compute_group: compute-west", "compute_group: compute-wst")}, "groups/west.yml:2:26: the inventory has no group"),
        ({"west": WEST + "nova_cell_database_shard_id: 1\n"}, "groups/west.yml:13:1: .* one cluster of databases"),
        ({"west": WEST.replace("name: west", "name: far west")}, "groups/west.yml:1:17: must match"),
        ({"inventory": INVENTORY.replace("west: {children: [control-west, compute-west]}", "west: {children: [control-west]}")}, None),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(files: dict[str, str], told: str | None) -> None:
    if told is None:
        # Nobody said of this compute that it is in a cell: it is in the one without a name, as any.
        assert "nova_compute" in {one.name for one in hosts(**files)["west-cmp"].containers}
        return
    with pytest.raises(SiteInvalid, match=told):
        hosts(**files)
