"""Galera: one member makes the database, and writes go on while a member is killed or changed."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.clusters.running import PATIENCE, gap, notes, prove, running
from tests.clusters.site import HOSTS, VIP, Site
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]


@pytest.fixture(scope="module")
def galera(engine_url: str) -> Iterator[Site]:
    with running(engine_url, "enable_mariadb") as site:
        (site.root / "password").write_text(site.root_password)
        yield site


def cluster(site: Site) -> set[tuple[str, ...]]:
    """Every member's (name of the cluster's state, size, what it is)."""
    names = ("wsrep_cluster_state_uuid", "wsrep_cluster_size", "wsrep_local_state_comment", "wsrep_cluster_status")
    told = [site.status(host, *names) for host in HOSTS]
    return {tuple(each.get(name, "") for name in names) for each in told}


def bootstraps(site: Site) -> int:
    """How often a server was told to begin a cluster, in all that its containers wrote."""
    return sum(
        site.lan.machines[host].run(["docker", "logs", "mariadb"]).stdout.count("starting the cluster")
        for host in HOSTS
    )


def uptime(site: Site) -> float:
    """Since when the server of the first member runs, in seconds."""
    return float(site.status("cc1", "Uptime").get("Uptime", "inf"))


def serves(said: Mapping[str, str]) -> bool:
    """A donor answers its clients, too."""
    return said.get("wsrep_local_state_comment") in ("Synced", "Donor/Desynced")


@contextlib.contextmanager
def written(site: Site, name: str) -> Iterator[dict[str, Any]]:
    """Write all the time, and say afterwards what became of it; what was acknowledged and is not there is `lost`."""
    found: dict[str, Any] = {}
    with (
        site.client("members", f"{name}-members", "haproxy", *HOSTS.values()) as seen,
        site.client("writer", name, VIP, str(site.root / "password")) as log,
    ):
        wait_for("the client writes", lambda: log.exists() and len(notes(log)) > 20, 60)
        yield found
    rows, looks = notes(log), notes(seen)
    done = {row["number"] for row in rows if len(row["failed"]) <= 20}
    query = f"SELECT number FROM written.rows_of WHERE run = '{name}'"
    there = {host: {int(row) for row in site.query(host, query)} for host in HOSTS}
    found |= {
        "written": len(done),
        "lost": {host: sorted(done - numbers) for host, numbers in there.items() if done - numbers},
        "retried": sum(len(row["failed"]) == 1 for row in rows),
        "beyond_one_retry": [row for row in rows if len(row["failed"]) > 1],
        "longest_gap": round(gap(rows), 2),
        "states": len(
            {said["wsrep_cluster_state_uuid"] for look in looks for said in look["members"].values() if said}
        ),
        "fewest_serving": min(sum(serves(said) for said in look["members"].values()) for look in looks),
    }
    print(name, json.dumps(found), flush=True)


def test_one_member_makes_the_cluster_and_the_others_join(galera: Site) -> None:
    found = cluster(galera)
    assert len(found) == 1, found
    assert next(iter(found))[1:] == ("3", "Synced", "Primary")
    assert bootstraps(galera) == 1


def test_a_member_that_is_killed_joins_again(galera: Site) -> None:
    state = next(iter(cluster(galera)))[0]
    with written(galera, "killed") as found:
        galera.kill("cc1", "mariadbd")
        began = time.monotonic()
        wait_for("the member is a new one", lambda: uptime(galera) < time.monotonic() - began, PATIENCE, pause=0.5)
        wait_for(
            "all are in step again", lambda: cluster(galera) == {(state, "3", "Synced", "Primary")}, PATIENCE, pause=1.0
        )
        time.sleep(5)
    assert found["lost"] == {}
    assert bootstraps(galera) == 1


def test_a_changed_option_loses_no_write(galera: Site) -> None:
    before = {host: galera.started(host, "mariadb") for host in HOSTS}
    with written(galera, "rolling") as found:
        prove(galera, galera.push("another cache", mariadb_wsrep_extra_provider_options=["gcache.size=256M"]))
        time.sleep(5)
    assert all(galera.started(host, "mariadb") != before[host] for host in HOSTS)
    assert "gcache.size = 256M" in galera.query("cc1", "SELECT @@wsrep_provider_options")[0]
    assert found["lost"] == {}
    assert found["beyond_one_retry"] == []
    assert found["fewest_serving"] == 2
    assert bootstraps(galera) == 1
