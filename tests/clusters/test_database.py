"""What three members of a database keep: a password is changed by one command and one commit, and no request fails; all are killed at once under
writes, and every write that was acknowledged is there, whether they come back by themselves or an operator begins."""

import concurrent.futures
import json
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from tests.clusters.database import acknowledged, bootstraps, cluster, there, written
from tests.clusters.running import PATIENCE, notes, prove, running
from tests.clusters.site import HOSTS, VIP, Site
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

NEW_DATABASE = """\
set -e
sudo -E kolla_set_configs > /dev/null 2>&1
find /var/lib/mysql -mindepth 1 -delete
mariadb-install-db --datadir=/var/lib/mysql --auth-root-authentication-method=normal --skip-test-db > /dev/null
"""


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


def rotated(site: Site, name: str, user: str, containers: str) -> dict[str, Any]:
    """Change a password of a user of the database while tokens are asked for, until the former one has ended; what became of the requests."""
    old, before = site.secret(name), {host: site.started(host, containers) for host in HOSTS}
    with site.client("tokens", name, f"http://{VIP}:5000/v3", str(site.root / "admin")) as log:
        wait_for("tokens are given", lambda: log.exists() and len(notes(log)) > 20, 60)
        site.rotate(name)
        began, commit = time.monotonic(), site.push(f"another {name}")
        new = site.secret(name)
        wait_for("both are let in", lambda: all(let_in(site, user, one) for one in (old, new)), PATIENCE)
        both = time.monotonic()
        assert {host: site.started(host, containers) for host in HOSTS} == before, "before anybody uses it"
        prove(site, commit)
        proved = time.monotonic()
        wait_for("the former one is not let in any more", lambda: not let_in(site, user, old), PATIENCE)
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
    print(name, json.dumps(found), flush=True)
    assert all(site.started(host, containers) != before[host] for host in HOSTS)
    assert let_in(site, user, new) and not let_in(site, user, old)
    return found


def test_a_database_password_rotates_and_no_request_fails(galera: Site) -> None:
    found = rotated(galera, "keystone_database_password", "keystone", "keystone")
    new = galera.secret("keystone_database_password")
    assert all(new in galera.execute(host, "keystone", "cat", "/etc/keystone/keystone.conf") for host in HOSTS)
    assert found["failed"] == []


def test_the_administrators_password_rotates_and_no_request_fails(galera: Site) -> None:
    """The one with which this program and members that copy from each other log in; every member is restarted for it."""
    found = rotated(galera, "database_password", "root", "mariadb")
    (galera.root / "password").write_text(galera.root_password)
    assert found["failed"] == []


def cut_power(site: Site, name: str, hosts: Collection[str] = tuple(HOSTS)) -> list[dict[str, Any]]:
    """Kill daemons and members of machines in the middle of writes, the members at one moment: two that see the third go are a cluster of two.
    Returns what the writer noted."""
    with site.client("writer", name, VIP, str(site.root / "password")) as log:
        wait_for("the client writes", lambda: log.exists() and len(notes(log)) > 100, 120)
        for host in hosts:
            site.stop(host, signal.SIGKILL)
        members = [pid for host in hosts for pid in site.lan.machines[host].processes("mariadbd")]
        assert len(members) == len(hosts)
        for pid in members:
            os.kill(pid, signal.SIGSTOP)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: engine(site, host, "kill", "mariadb"), hosts))
        time.sleep(1)
    rows = notes(log)
    assert any(row["failed"] for row in rows), "it wrote when the power went"
    return rows


def engine(site: Site, host: str, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    return site.lan.machines[host].run(["docker", *words], check=check)


def begun(site: Site, host: str) -> dict[str, Any]:
    """What `begin` shows; where the host is the one, it has begun."""
    said = site.program(host, "recover", "mariadb", "begin", "--json", "--yes", check=False)
    found: dict[str, Any] = json.JSONDecoder().raw_decode(said[said.index("{") :])[0]
    return found


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


def test_two_that_saw_the_third_go_are_a_cluster_by_themselves(galera: Site) -> None:
    """They were one of two before the power went: the third can have nothing that they have not."""
    state, before = next(iter(cluster(galera)))[0], bootstraps(galera)
    galera.stop("cc3", signal.SIGKILL)
    engine(galera, "cc3", "kill", "mariadb")
    two = ("cc1", "cc2")

    def are_two() -> bool:
        found = (galera.status(host, "wsrep_cluster_size", "wsrep_local_state_comment") for host in two)
        return all(one == {"wsrep_cluster_size": "2", "wsrep_local_state_comment": "Synced"} for one in found)

    wait_for("two are left", are_two, 120, pause=1.0)
    rows = cut_power(galera, "two", two)
    began = time.monotonic()
    for host in two:
        galera.start(host)
    wait_for("the two are a cluster", are_two, PATIENCE, pause=1.0)
    print("the two by themselves after", round(time.monotonic() - began, 1), flush=True)
    galera.start("cc3")
    together(galera, state)
    assert bootstraps(galera) == before
    require_all(galera, "two", rows)


def test_where_one_does_not_come_back_an_operator_begins_on_the_right_one(galera: Site) -> None:
    state = next(iter(cluster(galera)))[0]
    before = bootstraps(galera)
    rows = cut_power(galera, "absent")
    began = time.monotonic()
    for host in ("cc1", "cc2"):
        galera.start(host)

    def told(host: str) -> str:
        return galera.program(host, "status", check=False)

    try:
        wait_for(
            "both are told what to type",
            lambda: all("recover mariadb look" in told(h) for h in ("cc1", "cc2")),
            120,
            pause=2.0,
        )
    except AssertionError:
        raise AssertionError(f"{list(map(told, ('cc1', 'cc2')))} {cluster(galera)}") from None
    print("told after", round(time.monotonic() - began, 1), told("cc1"), sep="\n", flush=True)

    looks = {host: galera.program(host, "recover", "mariadb", "look") for host in ("cc1", "cc2")}
    print(*looks.values(), sep="\n", flush=True)
    refused = galera.program("cc1", "recover", "mariadb", "begin", "--yes", check=False)
    assert "[RecoveryRefused]" in refused and "cc3 said nothing" in refused, refused

    # The third machine is back, its daemon is not: whoever has all begins.
    print(galera.program("cc3", "recover", "mariadb", "look"), flush=True)
    looked = time.monotonic()
    answer = begun(galera, "cc1")
    print(answer, flush=True)
    first = answer["host"]
    assert answer["members"][first]["seqno"] == max(one["seqno"] for one in answer["members"].values())
    if first != "cc1":
        print(galera.program(first, "recover", "mariadb", "begin", "--yes"), flush=True)
    print("begun after", round(time.monotonic() - looked, 1), flush=True)
    galera.start("cc3")
    for host in HOSTS:
        if host != first:
            galera.program(host, "resume")
    together(galera, state)
    print("together after", round(time.monotonic() - looked, 1), flush=True)
    assert bootstraps(galera) == before + 1, "the others joined"
    require_all(galera, "absent", rows)
    with written(galera, "after") as found:
        time.sleep(5)
    assert found["lost"] == {} and found["beyond_one_retry"] == []
    prove(galera, galera.push("after the power cut", mariadb_wsrep_extra_provider_options=["gcache.size=192M"]))


def test_members_that_claim_different_histories_are_told_apart(galera: Site) -> None:
    """Somebody made a new database on one of them while all were down."""
    state = next(iter(cluster(galera)))[0]
    rows = cut_power(galera, "split")
    container = json.loads(engine(galera, "cc3", "inspect", "mariadb").stdout)[0]
    engine(galera, "cc3", "run", "--rm", "--volumes-from=mariadb", "--env=KOLLA_CONFIG_STRATEGY=COPY_ALWAYS", "--network=host",
           "--entrypoint=bash", container["Config"]["Image"], "-c", NEW_DATABASE)  # fmt: skip
    engine(galera, "cc3", "start", "mariadb")

    def made() -> bool:
        script = "mariadb --no-defaults --user=root --execute=\"CREATE USER IF NOT EXISTS haproxy@'%'\""
        return engine(galera, "cc3", "exec", "mariadb", "bash", "-c", script, check=False).returncode == 0

    wait_for("the third serves a database of its own", made, 180, pause=1.0)
    for host in HOSTS:
        said = galera.program(host, "recover", "mariadb", "look")
        assert ("this member serves" in said) == (host == "cc3"), said
    refused = galera.program("cc1", "recover", "mariadb", "begin", "--yes", check=False)
    assert "[RecoveryRefused]" in refused and "cc3 serves another history than cc1, cc2 has" in refused, refused
    refused = galera.program("cc1", "recover", "mariadb", "begin", "--lost", "cc3", "--yes", check=False)
    assert "[RecoveryRefused]" in refused and f"the member at {HOSTS['cc3']} runs" in refused, refused

    galera.program("cc3", "suspend", "--reason", "its database is not the one")
    engine(galera, "cc3", "stop", "mariadb")
    galera.program("cc3", "recover", "mariadb", "look")
    refused = galera.program("cc1", "recover", "mariadb", "begin", "--yes", check=False)
    assert "[RecoveryRefused]" in refused and "members have different histories" in refused, refused
    print(refused, flush=True)
    before = bootstraps(galera)
    if "begins:" in (
        said := galera.program("cc1", "recover", "mariadb", "begin", "--lost", "cc3", "--yes", check=False)
    ):
        said = galera.program("cc2", "recover", "mariadb", "begin", "--lost", "cc3", "--yes")
    print(said, flush=True)
    for host in HOSTS:
        galera.start(host)
        galera.program(host, "resume")
    together(galera, state)
    assert bootstraps(galera) == before + 1
    require_all(galera, "split", rows)
