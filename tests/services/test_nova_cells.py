"""What Nova knows of its cells by the catalogue's jobs, with a genuine nova-manage and its database in a file."""

import re
from collections.abc import Callable

import docker
import pytest

from reconciler.render import render
from tests.services import containers, golden

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

SETTINGS = """\
mkdir -p /etc/nova
printf '[DEFAULT]\\ntransport_url = rabbit://\\n[api_database]\\nconnection = sqlite:////tmp/api.db\\n[database]\\nconnection = mysql+pymysql://nova:secret@192.0.2.1:3306/%s\\n' \
    "$0" > /etc/nova/nova.conf
"""
# Its transport URL and the database, where the API's is the same file for all.
CELL = (
    SETTINGS.replace("transport_url = rabbit://", "transport_url = %s")
    .replace("mysql+pymysql://nova:secret@192.0.2.1:3306/%s", "%s")
    .replace('"$0"', '"$0" "$1"')
)
# As a mapping was made before: a template of its own in quotes.
FORMER = "'{scheme}://{username}:{password}@{hostname}:{port}/{path}?{query}'"


def test_cell0_is_the_same_for_whoever_asks(docker_client: docker.DockerClient) -> None:
    """A conductor's database is the cell's; of what found no host it writes into cell0, where the API looks for it."""
    made = golden.desired("compute", "ctl")
    script = next(file.content for file in made.files if file.path == "nova-map-cell0/map-cell0.sh")
    with containers.idle(docker_client, "nova-api") as running:

        def run(*words: str) -> str:
            code, output = running.exec_run(list(words))
            assert code == 0, output.decode()
            return str(output.decode())

        run("bash", "-c", SETTINGS, "nova_cell0")
        run("nova-manage", "api_db", "sync")
        run("nova-manage", "cell_v2", "map_cell0", "--database_connection", FORMER)
        for database in ("nova_cell0", "nova"):
            run("bash", "-c", script)  # done twice it does nothing
            run("bash", "-c", SETTINGS, database)
            (row,) = (
                line
                for line in run("nova-manage", "cell_v2", "list_cells", "--verbose").splitlines()
                if "cell0" in line
            )
            assert row.split("|")[4].strip().startswith("mysql+pymysql://nova:secret@"), row
            assert row.split("|")[4].strip().endswith("/nova_cell0"), row


CLOUD = ("rabbit://openstack:one@192.0.2.11:5672//", "mysql+pymysql://nova:one@192.0.2.250:3306/nova")
ABOVE = (CLOUD[0], "mysql+pymysql://nova:one@192.0.2.250:3306/nova_cell0")
WEST = ("rabbit://west:two@192.0.2.91:5672/west", "mysql+pymysql://west:two@192.0.2.90:3306/nova_west")
# The same with the user that the cloud has.
NEAR = ("rabbit://openstack:one@192.0.2.11:5672/nova_west", "mysql+pymysql://nova:one@192.0.2.250:3306/nova_west")
GROUPS = "".join(f"nova_cell_{what}_group: {group}-west\n" for what, group in (("compute", "compute"), ("conductor", "control"), ("novncproxy", "control"), ("serialproxy", "control")))  # fmt: skip


def scripts(west: str = "") -> tuple[str, str, str]:
    """What the jobs of the example run, for cell0, the cell without a name and the one called west; `west` is in place of what that has said."""
    site = golden.load(golden.HERE / "cells" / "site", {"groups/west.yml": west.encode()} if west else None)
    made = {file.path: file.content for host in ("ctl", "west-1") for file in render(site, host, "0" * 40).files}
    return tuple(
        made[path]
        for path in ("nova-map-cell0/map-cell0.sh", "nova-map-cell/map-cell.sh", "nova-map-cell-west/map-cell.sh")
    )  # type: ignore[return-value]


def cells(run: Callable[..., str]) -> dict[str, tuple[str, str, str]]:
    """The cells that Nova knows by their names: identifier, transport URL and database of each, as its programs read them."""
    rows = [
        line.split("|")[1:-1]
        for line in run("nova-manage", "cell_v2", "list_cells", "--verbose").splitlines()
        if re.search("[0-9a-f]{8}-", line)
    ]
    found = {row[0].strip(): (row[1].strip(), row[2].strip(), row[3].strip()) for row in rows}
    assert len(found) == len(rows), "one of them is there twice"
    return found


@pytest.mark.parametrize("is_shared", [False, True], ids=["users of their own", "the cloud's user"])
def test_each_cell_is_known_once_and_as_its_settings_say_now(
    docker_client: docker.DockerClient, is_shared: bool
) -> None:
    west = NEAR if is_shared else WEST
    jobs = (
        scripts("nova_cell_name: west\nnova_novncproxy_port: 6090\nnova_serialproxy_port: 6093\n" + GROUPS)
        if is_shared
        else scripts()
    )
    assert all(("{username" in job) is is_shared for job in jobs[1:]) and not any("secret" in job for job in jobs)
    with containers.idle(docker_client, "nova-api") as running:

        def run(*words: str) -> str:
            code, output = running.exec_run(list(words))
            assert code == 0, output.decode()
            return str(output.decode())

        def converge(west: tuple[str, str]) -> dict[str, tuple[str, str, str]]:
            for settings, script in zip((ABOVE, CLOUD, west), jobs, strict=True):
                run("bash", "-c", CELL, *settings)
                run("bash", "-c", script)
            run("bash", "-c", CELL, *ABOVE)  # the API looks
            return cells(run)

        run("bash", "-c", CELL, *ABOVE)
        run("nova-manage", "api_db", "sync")
        made = converge(west)
        assert {name: found[2].partition("?")[0] for name, found in made.items()} == {
            "cell0": ABOVE[1],
            "": CLOUD[1],
            "west": west[1],
        }
        assert {name: found[1].partition("?")[0] for name, found in made.items()} == {
            "cell0": "none:/",
            "": CLOUD[0],
            "west": west[0],
        }
        assert converge(west) == made

        if not is_shared:
            moved = (WEST[0].replace("two@192.0.2.91", "three@192.0.2.92"), WEST[1].replace(":two@", ":three@"))
            assert converge(moved) == made | {"west": (made["west"][0], *moved)}
        # A cell that somebody made by hand under the same name is nobody's to choose.
        run(
            "nova-manage",
            "cell_v2",
            "create_cell",
            "--name",
            "west",
            "--transport-url",
            "rabbit://x@192.0.2.9/x",
            "--database_connection",
            "mysql+pymysql://x@192.0.2.9/x",
        )
        code, output = running.exec_run(["bash", "-c", jobs[2]])
        assert code == 1 and b"Nova knows 2 cells called west" in output, output


# A compute says of itself what it would: its service, and its node.
COMPUTE = """
import sys, uuid
from nova import config, context, objects
config.parse_args(["nova-compute"])
objects.register_all()
asked = context.get_admin_context()
for host in sys.argv[1:]:
    objects.Service(asked, host=host, binary="nova-compute", topic="compute", report_count=1).create()
    numbers = dict.fromkeys(("vcpus", "memory_mb", "local_gb", "vcpus_used", "memory_mb_used", "local_gb_used", "hypervisor_version", "mapped"), 0)
    objects.ComputeNode(asked, host=host, hypervisor_hostname=host, uuid=str(uuid.uuid4()), hypervisor_type="fake", cpu_info="", **numbers).create()
"""


def test_computes_are_found_in_the_cells_that_they_are_in(docker_client: docker.DockerClient) -> None:
    """By the mappings alone, from above: as the scheduler looks every minute."""
    above, cloud, west = (
        ("rabbit://a@192.0.2.11/", f"sqlite:////tmp/{name}.db") for name in ("nova_cell0", "nova", "nova_west")
    )
    jobs = scripts()
    with containers.idle(docker_client, "nova-api") as running:

        def run(*words: str) -> str:
            code, output = running.exec_run(list(words))
            assert code == 0, output.decode()
            return str(output.decode())

        def known() -> dict[str, str]:
            rows = [
                line.split("|")[1:-1]
                for line in run("nova-manage", "cell_v2", "list_hosts").splitlines()
                if "cmp" in line
            ]
            return {host.strip(): cell.strip() for cell, _, host in rows}

        run("bash", "-c", CELL, *above)
        run("nova-manage", "api_db", "sync")
        for number, (settings, hosts) in enumerate(
            ((above, ()), (cloud, ("cmp-1",)), (west, ("west-cmp-1", "west-cmp-2")))
        ):
            run("bash", "-c", CELL, *(part.replace("192.0.2.11", f"192.0.2.{11 + number}") for part in settings))
            run("nova-manage", "db", "sync", "--local_cell")
            run("bash", "-c", jobs[number])
            if hosts:
                code, said = containers.python(running, COMPUTE, *hosts)
                assert code == 0, said
        run("bash", "-c", CELL, *above)
        assert known() == {}
        run("nova-manage", "cell_v2", "discover_hosts", "--verbose")
        assert known() == {"cmp-1": "None", "west-cmp-1": "west", "west-cmp-2": "west"}
