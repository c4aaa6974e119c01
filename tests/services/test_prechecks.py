"""What the catalogue asks before an upgrade, run with programs that say what the real ones say."""

import subprocess
from functools import cache
from pathlib import Path

import pytest

from reconciler.model import Desired, Precheck
from reconciler.render import render
from tests.services import golden

SITE = golden.HERE / "one_node" / "site"
THREE = golden.HERE / "three_nodes" / "site"
# As whom a container of 2025.1 asks its server.
BEFORE = {"MYSQL_HOST": "192.0.2.1", "MYSQL_USERNAME": "monitor"}


@cache
def desired() -> Desired:
    text = (SITE / "globals.yml").read_bytes() + b'\nopenstack_release: "2026.1"\n'
    return render(golden.load(SITE, {"globals.yml": text}), "aio", "0" * 40)


def check(name: str) -> Precheck:
    return next(one for one in desired().prechecks if one.name == name)


def asked(name: str, folder: Path, **programs: str) -> tuple[int, str]:
    """Its exit code and what it says, where each program is a shell script."""
    for program, text in programs.items():
        (folder / program).write_text(f"#!/bin/bash\n{text}\n")
        (folder / program).chmod(0o755)
    one = check(name)
    command = ["bash", "-c", one.script] if one.script else list(one.command)
    done = subprocess.run(
        command,
        env=BEFORE | {"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["mariadb_cluster", "mariadb_member"])
def test_a_member_is_asked_as_whatever_release_it_runs_with(name: str) -> None:
    """Before one is stopped the new commit asks what runs, which is of the old one."""
    written = (THREE / "globals.yml").read_text()
    kept = "".join(
        f"{line}\n"
        for line in written.splitlines()
        if not line.startswith(("enable_proxysql:", "openstack_release:", "enable_haproxy_memcached:"))
    )
    found = set()
    for release in ("2025.1", "2026.1"):
        for proxysql in ("yes", "no"):
            text = f'{kept}openstack_release: "{release}"\nenable_proxysql: "{proxysql}"\n'
            made = render(golden.load(THREE, {"globals.yml": text.encode()}), "ctl-a", "0" * 40)
            found |= {one.script for one in (*made.checks, *made.readiness) if one.name == name}
    assert len(found) == 1


OLD, NEW = "echo 10.11.11-MariaDB-deb12-log", "echo 'mariadbd  Ver 11.4.5-MariaDB-deb13 for debian-linux-gnu on x86_64'"


def test_a_newer_server_takes_the_data_of_an_older_one(tmp_path: Path) -> None:
    assert asked("mariadb_version", tmp_path, mariadb=OLD, mariadbd=NEW) == (0, "")
    assert asked("mariadb_version", tmp_path, mariadb=OLD.replace("11.11", "11.9"), mariadbd=OLD) == (0, "")


@pytest.mark.parametrize("runs", ["11.8.3", "11.4.10", "12.0.1"])
def test_an_older_server_does_not(tmp_path: Path, runs: str) -> None:
    code, said = asked("mariadb_version", tmp_path, mariadb=f"echo {runs}-MariaDB", mariadbd=NEW)
    assert code == 1 and f"the image has MariaDB 11.4.5, and {runs} runs here" in said


def test_a_server_that_cannot_be_asked_is_not_passed(tmp_path: Path) -> None:
    code, said = asked("mariadb_version", tmp_path, mariadb="echo 'ERROR 2002: no server' >&2; exit 1", mariadbd=NEW)
    assert code == 1 and "does not answer its monitor user: ERROR 2002: no server" in said
    code, said = asked("mariadb_version", tmp_path, mariadb="echo nonsense", mariadbd=NEW)
    assert code == 1 and "cannot be read" in said


def test_queues_are_of_the_kind_that_services_ask_for(tmp_path: Path) -> None:
    good = "printf 'q-plugin\\tquorum\\nq-plugin_fanout\\tstream\\n'"
    assert asked("rabbitmq_queues", tmp_path, rabbitmqctl=good) == (0, "")
    assert asked("rabbitmq_queues", tmp_path, rabbitmqctl="true") == (0, "")
    code, said = asked(
        "rabbitmq_queues", tmp_path, rabbitmqctl=f"{good}; printf 'old one\\tclassic\\nreply_1\\tclassic\\n'"
    )
    assert code == 1 and "2 classic queues" in said and "old one reply_1" in said
    code, said = asked("rabbitmq_queues", tmp_path, rabbitmqctl="echo 'Error: unable to connect'; exit 69")
    assert code == 1 and "unable to connect" in said


def test_what_only_a_newer_release_needs_is_not_done_on_the_first_one() -> None:
    later = {"mariadb_upgrade", "rabbitmq_feature_flags"}
    assert later <= {job.name for job in desired().jobs}
    first = render(golden.load(SITE), "aio", "0" * 40)
    assert not later & {job.name for job in first.jobs}


@pytest.mark.parametrize(
    ("says", "leaves", "expected"),
    [
        ("echo 4", False, "200 OK"),
        ("echo 2", False, "200 OK"),
        ("echo 1", False, "state 1"),
        ("true", False, "state unknown"),
        ("exit 1", False, "does not answer"),
        ("echo 4", True, "about to be stopped"),
    ],
)
def test_a_member_tells_whether_it_is_in_step_and_stays(tmp_path: Path, says: str, leaves: bool, expected: str) -> None:
    text = next(file.content for file in desired().files if file.path == "mariadb/member-check")
    assert "/tmp/leaves" in text
    (tmp_path / "mariadb").write_text(f"#!/bin/bash\n{says}\n")
    (tmp_path / "mariadb").chmod(0o755)
    if leaves:
        (tmp_path / "leaves").touch()
    done = subprocess.run(
        ["bash", "-c", text.replace("/tmp/leaves", f"{tmp_path}/leaves")], env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        input="OPTIONS / HTTP/1.0\r\n\r\n", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    head, _, body = done.stdout.partition("\n\n")  # as text has line ends
    assert expected in done.stdout and f"Content-Length: {len(body)}" in head
