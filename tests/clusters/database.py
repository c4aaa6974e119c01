"""A Galera cluster as its three members see it, and what became of writes that went on meanwhile."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.clusters.running import gap, notes
from tests.clusters.site import HOSTS, VIP, Site
from tests.support.lab import wait_for


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


def acknowledged(rows: list[dict[str, Any]]) -> set[int]:
    """The numbers of the rows that a writer was told to be there."""
    return {row["number"] for row in rows if len(row["failed"]) <= 20}


def there(site: Site, name: str) -> dict[str, set[int]]:
    """The numbers of the rows of a writer that each member has."""
    query = f"SELECT number FROM written.rows_of WHERE run = '{name}'"
    return {host: {int(row) for row in site.query(host, query)} for host in HOSTS}


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
    done = acknowledged(rows)
    found |= {
        "written": len(done),
        "lost": {host: sorted(done - numbers) for host, numbers in there(site, name).items() if done - numbers},
        "retried": sum(len(row["failed"]) == 1 for row in rows),
        "beyond_one_retry": [row for row in rows if len(row["failed"]) > 1],
        "longest_gap": round(gap(rows), 2),
        "states": len(
            {said["wsrep_cluster_state_uuid"] for look in looks for said in look["members"].values() if said}
        ),
        "fewest_serving": min(sum(_serves(said) for said in look["members"].values()) for look in looks),
    }
    print(name, json.dumps(found), flush=True)


def _serves(said: Mapping[str, str]) -> bool:
    """A donor answers its clients, too."""
    return said.get("wsrep_local_state_comment") in ("Synced", "Donor/Desynced")
