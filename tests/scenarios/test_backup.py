"""Backups of the genuine MariaDB: by schedule, on request, before a change of release, restored on trial, and told when they are late."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from reconciler.report import Report
from reconciler.report.verdict import verdict
from reconciler.secrets import sops
from tests.demo.bed import collisions
from tests.support.lab import HOST, Lab, lines, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.images, pytest.mark.slow]

ADDRESS = "127.0.0.79"
GLOBALS = f"""\
kolla_base_distro: debian
kolla_internal_vip_address: {ADDRESS}
default_container_dimensions: {{}}
enable_memcached: no
enable_openstack_core: no
enable_rabbitmq: no
enable_haproxy: no
enable_keepalived: no
enable_proxysql: no
enable_fluentd: no
enable_cron: no
enable_mariadb: yes
enable_mariadb_backup_schedule: yes
mariadb_backup_keep: 2
mariadb_innodb_buffer_pool_size_mb: 64
mariadb_innodb_log_file_size_mb: 16
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, engine_url: str, kolla_images: dict[str, str]) -> Iterator[Lab]:
    with contextlib.closing(docker.APIClient(base_url=engine_url)) as client:
        there = collisions(client, owner=f"backup/{HOST}")
        assert not there, f"the names of the control plane are taken: {', '.join(there)}"
    with Lab(tmp_path_factory.mktemp("backup") / "lab", engine_url, name="backup", tls=False, canaries=False) as lab:
        public = " ".join(lab.host_key.with_suffix(".pub").read_text().split()[:2])
        lab.write(
            {
                "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: {ADDRESS}}}\n    groups: [control]\n"
                "groups:\n  control: {}\n",
                "globals.yml": f"node_config_directory: {lab.config_root}\n{GLOBALS}",
                "reconciler.yml": "name: backup\n",
                ".sops.yaml": f"creation_rules:\n  - path_regex: passwords.*\n    age: {public}\n",
            }
        )
        lab.run("secrets", "generate", str(lab.site), "--service", "mariadb", timeout=120)
        lab.push("a database with backups")
        report = lab.reconcile()
        assert report.converged, (lines(report), [o for o in report.outcomes if o.result != "done"])
        yield lab


@pytest.fixture
def engine(engine_url: str) -> Iterator[docker.DockerClient]:
    with contextlib.closing(docker.DockerClient(base_url=engine_url, timeout=300)) as client:
        yield client


def sql(lab: Lab, engine: docker.DockerClient, statement: str) -> str:
    content = (lab.site / "passwords.yml").read_bytes()
    password = sops.decrypt(content, name="passwords.yml", keys=sops.Keys(None, lab.host_key))["database_password"]
    words = ["mariadb", "--batch", "--skip-column-names", "--user=root", f"--host={ADDRESS}"]
    done = engine.containers.get("mariadb").exec_run(
        [*words, "--execute", statement], environment={"MYSQL_PWD": password.reveal()}
    )
    assert done.exit_code == 0, done.output
    return str(done.output.decode())


def inside(engine: docker.DockerClient, script: str) -> str:
    done = engine.containers.get("mariadb_backup").exec_run(["bash", "-c", script])
    assert done.exit_code == 0, done.output
    return str(done.output.decode())


def listed(lab: Lab) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(lab.run("backup", "list", "--json").stdout)["mariadb_backup"]
    return rows


def verified(lab: Lab, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.run("backup", "verify", *words, "--json").stdout)["mariadb_backup"]
    return found


def failing(report: Report) -> str:
    return next((check.message for check in report.checks if not check.ok), "")


def test_the_schedule_takes_the_first_and_every_row_can_be_read(lab: Lab, engine: docker.DockerClient) -> None:
    wait_for("the first backup", lambda: listed(lab), 120, 1)
    (first,) = listed(lab)
    assert first["kind"] == "full" and first["verified"] is None and first["size"] > first["packed"] > 0

    sql(lab, engine, "CREATE DATABASE shop; CREATE TABLE shop.goods (id INT PRIMARY KEY AUTO_INCREMENT, name TEXT)")
    sql(lab, engine, "USE shop; INSERT INTO goods (name) SELECT seq FROM seq_1_to_5000")
    before = lab.identities()
    base = verified(lab)
    lab.run("backup", "now", "--kind", "incremental")
    full = listed(lab)
    assert [row["kind"] for row in full] == ["incremental", "full"] and full[0]["base"] == first["name"]
    sql(lab, engine, "USE shop; INSERT INTO goods (name) SELECT seq FROM seq_1_to_300")
    lab.run("backup", "now", "--kind", "incremental")
    second, third = verified(lab, full[0]["name"]), verified(lab)
    # Users and settings of the server may come and go beside.
    assert second["databases"] == base["databases"] + 1 and second["tables"] == base["tables"] + 1
    assert abs(second["rows"] - base["rows"] - 5000) < 20 and abs(third["rows"] - second["rows"] - 300) < 20, (
        base,
        second,
        third,
    )
    assert lab.identities() == before, "nothing that runs was touched, and nothing is left"
    assert all(row["verified"] for row in listed(lab))
    assert "can be restored: " in lab.run("backup", "verify").stdout
    table = lab.run("backup", "list").stdout.splitlines()
    assert len(table) == 4 and "ago" in table[1], table


def test_what_was_altered_or_is_not_there_is_told(lab: Lab, engine: docker.DockerClient) -> None:
    lab.run("backup", "now")
    name = listed(lab)[0]["name"]
    inside(engine, f"printf x | dd of=/backup/{name}/data.gz bs=1 seek=5000 conv=notrunc 2>/dev/null")
    done = lab.run("backup", "verify", check=False)
    assert (
        done.returncode == 1
        and "the file is not the one that was written" in done.stderr
        and "[BackupFailed]" in done.stderr
    )
    inside(engine, f"rm -r /backup/{name}")
    done = lab.run("backup", "verify", "full-20200101T000000Z", check=False)
    assert "there is no backup full-20200101T000000Z" in done.stderr
    done = lab.run("backup", "now", "--of", "mariadb", check=False)
    assert "mariadb keeps no backups: here are mariadb_backup" in done.stderr and "[NoBackups]" in done.stderr


def test_older_ones_go_when_newer_ones_are_there(lab: Lab) -> None:
    """Two full ones are kept, with what is based on them; nothing else in the volume is touched."""
    for _ in range(2):
        lab.run("backup", "now")
    rows = listed(lab)
    assert [row["kind"] for row in rows] == ["full", "full"], rows
    lab.run("backup", "now", "--kind", "incremental")
    assert len(listed(lab)) == 3 and verified(lab)["tables"] > 0


def test_a_late_one_makes_the_host_not_ready(lab: Lab, engine: docker.DockerClient) -> None:
    """As if the schedule had begun long ago, with a database that nobody can be asked about."""
    assert lab.reconcile(deep=True).converged
    inside(
        engine,
        "for one in /backup/*/manifest; do sed -i 's/^started=.*/started=1600000000/' $one; done; echo 1500000000 > /backup/.since",
    )
    inside(engine, "echo 'no space left on device' > /backup/.failed")
    engine.containers.get("mariadb_backup").exec_run(
        ["bash", "-c", "exec 9> /backup/.lock; flock 9; sleep 20"], detach=True
    )
    report = lab.reconcile(deep=True)
    assert "the newest backup is" in failing(report) and "no space left on device" in failing(report), report.checks
    assert "`reconciler backup now`" in failing(report) and not verdict(report).ready
    lab.run("backup", "now")
    report = lab.reconcile(deep=True)
    assert failing(report) == "" and verdict(report).ready


def test_before_another_release_there_is_one(lab: Lab, engine: docker.DockerClient) -> None:
    """Taken by the container that runs, before anything of the database changes."""
    lab.run("backup", "now")
    before = listed(lab)[0]
    lab.edit(
        "globals.yml",
        "enable_mariadb: yes\n",
        "enable_mariadb: yes\nmariadb_max_connections: 9999\nopenstack_tag_suffix: ''\n",
    )
    lab.push("other settings: no backup for that")
    report = lab.reconcile()
    assert report.converged and not [line for line in lines(report) if "mariadb_backup_before" in line], lines(report)
    assert listed(lab)[0] == before

    job = lab.target().desired.jobs
    (one,) = [found for found in job if found.name == "mariadb_backup_before"]
    assert {"mariadb", "mariadb_backup"} <= set(one.before)
    # The same images under another name of the release: what a step of the release is to the job.
    lab.node.state.job_done(one.name, lab.node.state.memory().jobs[one.name].__class__("other", True, lab.node.clock()))
    report = lab.reconcile()
    assert [line for line in lines(report) if re.match(r"run +mariadb_backup_before", line)], lines(report)
    assert report.converged
    newest = listed(lab)[0]
    assert newest["kind"] == "full" and newest["started"] > before["started"]


def test_values_are_in_no_environment_and_no_argument(lab: Lab, engine: docker.DockerClient) -> None:
    content = (lab.site / "passwords.yml").read_bytes()
    password = sops.decrypt(content, name="passwords.yml", keys=sops.Keys(None, lab.host_key))[
        "mariadb_backup_database_password"
    ]
    shown = (
        json.dumps(engine.containers.get("mariadb_backup").attrs)
        + engine.containers.get("mariadb_backup").logs().decode()
    )
    assert password.reveal() not in shown
    path = Path(lab.config_root) / "mariadb-backup/backup.cnf"
    assert password.reveal() in path.read_text() and path.stat().st_mode & 0o007 == 0


def test_killed_it_is_looked_at_and_begun(lab: Lab, engine: docker.DockerClient) -> None:
    """As far as one host can show: a member killed while it writes, how far it says that its data go, and the way back."""
    serving = json.loads(lab.run("recover", "mariadb", "look", "--json").stdout)
    assert serving["serves"] and lab.node.state.suspension is None, "one that serves is left alone"
    refused = lab.run("recover", "mariadb", "begin", "--yes", check=False)
    assert "[RecoveryRefused]" in refused.stderr and f"{HOST} said nothing" in refused.stderr

    sql(lab, engine, "CREATE DATABASE IF NOT EXISTS power; CREATE TABLE IF NOT EXISTS power.cut (id INT PRIMARY KEY)")
    for number in range(20):
        sql(lab, engine, f"INSERT INTO power.cut VALUES ({number})")
    told = sql(
        lab,
        engine,
        "SHOW GLOBAL STATUS LIKE 'wsrep_last_committed'; SHOW GLOBAL STATUS LIKE 'wsrep_cluster_state_uuid'",
    ).split()
    engine.containers.get("mariadb").kill()

    out = lab.root / "here.json"
    shown = lab.run("recover", "mariadb", "look", "--out", str(out)).stdout
    found = json.loads(out.read_text())
    assert found["data"] and not found["serves"] and [str(found["seqno"]), found["uuid"]] == [told[1], told[3]], (
        found,
        told,
    )
    assert str(found["seqno"]) in shown and "this node suspended" in shown
    assert lab.node.state.suspension is not None and not [line for line in lines(lab.reconcile()) if "mariadb" in line]
    declined = lab.run("recover", "mariadb", "begin", "--from", str(out), check=False)
    assert declined.returncode != 0 and engine.containers.get("mariadb").status != "running", "nobody said yes"
    begun = lab.run("recover", "mariadb", "begin", "--from", str(out), "--yes").stdout
    assert f"the cluster has begun on {HOST}" in begun and lab.node.state.suspension is None
    assert sql(lab, engine, "SELECT COUNT(*) FROM power.cut").strip() == "20"
    assert lab.reconcile(deep=True).converged
