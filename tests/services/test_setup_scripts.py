"""Scripts of jobs, run as they are rendered: the cell's mapping before a Nova that answers as the real one, the databases of Open vSwitch and OVN for real."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from tests.images import build
from tests.services import golden

CELL0 = "| cell0 | 00000000-0000-0000-0000-000000000000 |                  none:/                 | mysql+pymysql://nova:****@10.0.0.250:3306/nova_cell0 |  False   |"
ROW = "| {:<5} | {} | rabbit://openstack:****@10.0.0.2:5672// |   mysql+pymysql://nova:****@192.0.2.250:3306/nova    |  False   |"
HEAD = "|  Name |                 UUID                 |              Transport URL              |                 Database Connection                  | Disabled |"
ONE, TWO = "fce30b1e-250f-48bb-8339-7b7bed331cd7", "0a0b0c0d-250f-48bb-8339-7b7bed331cd7"


def script(case: str, host: str, path: str) -> str:
    """A file of a golden site's host."""
    return next(file.content for file in golden.desired(case, host).files if file.path == path)


@pytest.mark.parametrize(
    ("rows", "expected", "code"),
    [
        ([], "create_cell", 0),
        ([ROW.format("", ONE)], f"update_cell --cell_uuid {ONE}", 0),
        ([ROW.format("None", ONE)], f"update_cell --cell_uuid {ONE}", 0),
        ([ROW.format("other", TWO), ROW.format("", ONE)], f"update_cell --cell_uuid {ONE}", 0),
        ([ROW.format("other", TWO)], "create_cell", 0),
        ([ROW.format("", ONE), ROW.format("", TWO)], "", 1),
        (None, "", 1),
    ],
)
def test_the_cell_is_made_once_and_then_kept_in_step(
    rows: list[str] | None, expected: str, code: int, tmp_path: Path
) -> None:
    line = "+-------+"
    table = "\n".join([line, HEAD, line, *(rows or []), CELL0, line])
    program = tmp_path / "nova-manage"
    program.write_text(
        '#!/bin/bash\nif [ "$2" = list_cells ]; then cat "$TABLE"; exit "$LISTED"; fi\nshift; echo "$*" >> "$CALLS"\n'
    )
    program.chmod(0o755)
    (tmp_path / "table").write_text(table)
    said = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TABLE": str(tmp_path / "table")}
    said |= {"CALLS": str(tmp_path / "calls"), "LISTED": "0" if rows is not None else "3"}
    text = script("compute", "ctl", "nova-map-cell/map-cell.sh")
    done = subprocess.run(["bash"], input=text, env=said, text=True, capture_output=True, check=False)
    assert bool(done.returncode) is bool(code), done.stderr
    calls = (tmp_path / "calls").read_text() if (tmp_path / "calls").exists() else ""
    options = (
        " --database_connection mysql+pymysql://{username}:{password}@192.0.2.250:3306/nova"
        " --transport-url {scheme}://{username}:{password}@{hostname}:{port}//\n"
    )
    assert calls == (expected + options if expected else "")
    if code and rows:
        assert ONE in done.stderr and TWO in done.stderr and "delete_cell" in done.stderr


@contextmanager
def container(client: docker.DockerClient, image: str) -> Iterator[Container]:
    """A genuine image in which nothing runs, without a network."""
    running = client.containers.run(
        image,
        ["sleep", "600"],
        name=f"rt-setup-{os.getpid()}",
        labels={"reconciler-test": "1"},
        user="root",
        network_mode="none",
        detach=True,
    )
    try:
        yield running
    finally:
        running.remove(force=True, v=True)


def run(inside: Container, text: str) -> str:
    """What a script prints in a container. It has to succeed."""
    code, printed = inside.exec_run(["bash", "-c", text])
    assert code == 0, printed.decode(errors="replace")
    return str(printed.decode())


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.images
def test_open_vswitch_has_its_bridges_and_what_ovn_looks_for(docker_client: docker.DockerClient) -> None:
    image = build.bring(["openvswitch-db-server"])["openvswitch-db-server"]
    with container(docker_client, image) as inside:
        run(
            inside,
            "mkdir -p /run/openvswitch && ovsdb-tool create /tmp/conf.db /usr/share/openvswitch/vswitch.ovsschema &&"
            " ovsdb-server /tmp/conf.db --remote=punix:/run/openvswitch/db.sock --pidfile --detach --log-file=/tmp/log",
        )
        for _ in range(2):  # they may run at any time
            run(inside, script("compute", "ctl", "openvswitch-setup/setup.sh"))
            run(inside, script("ovn", "cmp", "ovn-setup/setup.sh"))
        asked = "ovs-vsctl --no-wait "
        assert run(inside, asked + "list-br").split() == ["br-ex1", "br-ex2", "br-int"]
        assert run(inside, asked + "list-ports br-ex2").split() == ["eth2"]
        assert run(inside, f"{asked}get-fail-mode br-ex1; {asked}get-fail-mode br-int").split() == [
            "standalone",
            "secure",
        ]
        ids = run(inside, asked + "get Open_vSwitch . external_ids")
        assert "system-id=ctl" in ids and 'ovn-encap-ip="198.51.100.12"' in ids
        assert 'ovn-remote="tcp:192.0.2.13:16641,tcp:192.0.2.11:16641"' in ids
        assert 'ovn-bridge-mappings="physnet1:br-ex"' in ids and "ovn-cms-options" not in ids


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.images
def test_the_first_database_of_ovn_takes_connections(docker_client: docker.DockerClient) -> None:
    image = build.bring(["ovn-nb-db-server"])["ovn-nb-db-server"]
    create = script("ovn", "db", "ovn-nb-db-create/create.sh").replace("192.0.2.13", "127.0.0.1")
    serve = next(line for line in create.splitlines() if "run_nb_ovsdb" in line)
    with container(docker_client, image) as inside:
        run(inside, f"mkdir -p /var/log/kolla/openvswitch /var/lib/openvswitch/ovn-nb && {create}")
        inside.exec_run(["bash", "-c", serve.removesuffix(" &")], detach=True)
        later = script("ovn", "db", "ovn-nb-db-connection/connection.sh").replace("192.0.2.11", "127.0.0.1")
        later = later.replace("tcp:192.0.2.13:6641,", "").replace("probe=60000", "probe=30000")
        run(inside, later)  # it waits for the database, and follows later changes
        asked = "ovn-nbctl --timeout=60 --db=tcp:127.0.0.1:6641 "
        assert "30000" in run(inside, asked + "get connection . inactivity_probe")
        assert "ptcp:6641:0.0.0.0" in run(inside, asked + "get connection . target")
