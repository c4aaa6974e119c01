"""What three members of a database keep: a password is changed by one command and one commit, and no request fails; all are killed at once under
writes, and every write that was acknowledged is there when they come back by themselves. tests/services/test_power_cut.py has the operator who begins."""

import concurrent.futures
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clusters.database import acknowledged, bootstraps, cluster, there
from tests.clusters.running import PATIENCE, notes, prove, running
from tests.clusters.site import HOSTS, VIP, Site
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]


@pytest.fixture(scope="module")
def galera(engine_url: str) -> Iterator[Site]:
    with running(engine_url, "enable_mariadb", "enable_memcached", "enable_keystone") as site:
        (site.root / "password").write_text(site.root_password)
        (site.root / "admin").write_text(site.secret("keystone_admin_password"))
        yield site


def let_in(site: Site, user: str, password: str) -> bool:
    """Whether the database lets a user in with a password."""
    argv = [
        "mariadb",
        "--no-defaults",
        f"--host={HOSTS['cc1']}",
        f"--user={user}",
        f"--password={password}",
        "-BNeSELECT 1",
    ]
    return site.execute("cc1", "mariadb", *argv, check=False) == "1"


def test_a_database_password_rotates_and_no_request_fails(galera: Site) -> None:
    old = galera.secret("keystone_database_password")
    before = {host: galera.started(host, "keystone") for host in HOSTS}
    with galera.client("tokens", "rotation", f"http://{VIP}:5000/v3", str(galera.root / "admin")) as log:
        wait_for("tokens are given", lambda: log.exists() and len(notes(log)) > 20, 60)
        galera.rotate("keystone_database_password")
        began, commit = time.monotonic(), galera.push("another password of Keystone's database")
        new = galera.secret("keystone_database_password")
        wait_for("both are let in", lambda: all(let_in(galera, "keystone", one) for one in (old, new)), PATIENCE)
        both = time.monotonic()
        assert {host: galera.started(host, "keystone") for host in HOSTS} == before, "before anybody uses it"
        prove(galera, commit)
        proved = time.monotonic()
        wait_for("the former one is not let in any more", lambda: not let_in(galera, "keystone", old), PATIENCE)
        ended = time.monotonic()
        time.sleep(5)
    rows = notes(log)
    found: dict[str, Any] = {
        "requests": len(rows),
        "failed": [row for row in rows if row["failed"]],
        "slowest": round(max(row["ended"] - row["began"] for row in rows), 2),
        "both after": round(both - began, 1),
        "proved after": round(proved - began, 1),
        "former ended after": round(ended - began, 1),
    }
    print("rotation", json.dumps(found), flush=True)
    assert all(galera.started(host, "keystone") != before[host] for host in HOSTS)
    assert all(new in galera.execute(host, "keystone", "cat", "/etc/keystone/keystone.conf") for host in HOSTS)
    assert let_in(galera, "keystone", new) and not let_in(galera, "keystone", old)
    assert found["failed"] == []


def cut_power(site: Site, name: str) -> list[dict[str, Any]]:
    """Kill daemons and members of all machines in the middle of writes; returns what the writer noted."""
    with site.client("writer", name, VIP, str(site.root / "password")) as log:
        wait_for("the client writes", lambda: log.exists() and len(notes(log)) > 100, 120)
        for host in HOSTS:
            site.stop(host, signal.SIGKILL)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: engine(site, host, "kill", "mariadb"), HOSTS))
        time.sleep(1)
    rows = notes(log)
    assert any(row["failed"] for row in rows), "it wrote when the power went"
    return rows


def engine(site: Site, host: str, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    return site.lan.machines[host].run(["docker", *words], check=check)


def together(site: Site, state: str) -> None:
    def are() -> bool:
        return cluster(site) == {(state, "3", "Synced", "Primary")}

    wait_for("all are one cluster", are, PATIENCE, pause=1.0)


def require_all(site: Site, name: str, rows: list[dict[str, Any]]) -> None:
    """Every member has every write that was acknowledged."""
    done = acknowledged(rows)
    lost = {host: sorted(done - numbers) for host, numbers in there(site, name).items() if done - numbers}
    print(name, json.dumps({"acknowledged": len(done), "lost": lost}), flush=True)
    assert lost == {}


def test_three_that_come_back_are_a_cluster_by_themselves(galera: Site) -> None:
    """Nobody types anything: each knows who was there, and waits for them."""
    (state, *_), before = next(iter(cluster(galera))), bootstraps(galera)
    rows = cut_power(galera, "back")
    began = time.monotonic()
    for host in HOSTS:
        galera.start(host)
    together(galera, state)
    print("by themselves after", round(time.monotonic() - began, 1), flush=True)
    assert bootstraps(galera) == before
    require_all(galera, "back", rows)
    assert galera.status("cc1", "wsrep_cluster_state_uuid") == {"wsrep_cluster_state_uuid": state}
