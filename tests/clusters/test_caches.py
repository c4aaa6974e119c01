"""Memcached and Valkey: of three members one is away at a time, and what Valkey acknowledged is there after each was changed or killed."""

import contextlib
import json
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.clusters.running import PATIENCE, gap, notes, prove, running
from tests.clusters.site import HOSTS, Site
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

TRIES = 500  # after which the client that sets keys gives one up
MEMBERS = ("valkey_server", "valkey_sentinel")


@pytest.fixture(scope="module")
def caches(engine_url: str) -> Iterator[Site]:
    with running(engine_url, "enable_memcached", "enable_valkey") as site:
        (site.root / "password").write_text(site.secret("valkey_master_password"))
        yield site


def server(site: Site, host: str, *words: str, check: bool = True) -> list[str]:
    """The lines that the Valkey of a host answers with; none with `check` false when it does not answer."""
    password = (site.root / "password").read_text()
    argv = ["env", f"REDISCLI_AUTH={password}", "valkey-cli", "-h", HOSTS[host], *words]
    return site.execute(host, "valkey_server", *argv, check=check).splitlines()


def primary(site: Site, host: str) -> str:
    """The host that is written to, as another host's sentinel says; empty while that does not answer."""
    argv = ["valkey-cli", "-h", HOSTS[host], "-p", "26379", "sentinel", "get-master-addr-by-name", "kolla"]
    told = site.execute(host, "valkey_sentinel", *argv, check=False).splitlines()
    return next((name for name, address in HOSTS.items() if told[:1] == [address]), "")


def is_well(site: Site) -> bool:
    """Whether one is written to, all sentinels say so, and the others have its copy."""
    named = {primary(site, host) for host in HOSTS}
    told = {host: server(site, host, "info", "replication", check=False) for host in HOSTS}
    roles = {host: next((line for line in lines if line.startswith("role:")), "") for host, lines in told.items()}
    copies = sum("master_link_status:up" in lines for lines in told.values())
    return [host for host, role in roles.items() if role == "role:master"] == [*named] and copies == len(HOSTS) - 1


@contextlib.contextmanager
def stored(site: Site, name: str) -> Iterator[dict[str, Any]]:
    """Set keys all the time, and say afterwards what became of them: `lost` are those that were acknowledged and are not there, `copied_lost`
    those of them of which another server said that it had them."""
    found: dict[str, Any] = {}
    with site.client("storer", name, str(site.root / "password"), "kolla", *HOSTS.values()) as log:
        wait_for("keys are set", lambda: log.exists() and len(notes(log)) > 20, 60)
        yield found
    wait_for("all is well", lambda: is_well(site), PATIENCE, pause=1.0)
    there = {host: kept(site, host, name) for host in HOSTS}
    rows = notes(log)
    done = {row["number"] for row in rows if len(row["failed"]) < TRIES}
    copied = {row["number"] for row in rows if len(row["failed"]) < TRIES and row["copies"]}
    found |= seen(rows, TRIES) | {
        "lost": {host: sorted(done - numbers) for host, numbers in there.items() if done - numbers},
        "copied_lost": {host: sorted(copied - numbers) for host, numbers in there.items() if copied - numbers},
        "written_to": [*dict.fromkeys(row["address"] for row in rows if row["address"])],
    }
    print("valkey", name, json.dumps(found), flush=True)


def kept(site: Site, host: str, name: str) -> set[int]:
    """The numbers of the keys of a client that a server has."""
    return {int(line.rpartition(":")[2]) for line in server(site, host, "--scan", "--pattern", f"{name}:*")}


def seen(rows: Sequence[dict[str, Any]], most: int) -> dict[str, Any]:
    """What became of what a client did."""
    return {
        "done": sum(len(row["failed"]) < most for row in rows),
        "retried": sum(bool(row["failed"]) for row in rows),
        "most_tries": max(len(row["failed"]) + 1 for row in rows),
        "longest_gap": round(gap([*rows]), 2),
    }


def test_of_three_caches_two_are_there_all_the_time(caches: Site) -> None:
    before = {host: caches.started(host, "memcached") for host in HOSTS}
    with caches.client("cacher", "memcached", *HOSTS.values()) as log:
        wait_for("the caches keep", lambda: log.exists() and len(notes(log)) > 20, 60)
        prove(caches, caches.push("a larger cache", memcached_max_memory=128))
        time.sleep(2)
    found = seen(notes(log), 20)
    print("memcached", json.dumps(found), flush=True)
    assert all(caches.started(host, "memcached") != before[host] for host in HOSTS)
    assert found["most_tries"] <= 2, "two were away at once"


def test_a_changed_valkey_loses_nothing_that_it_acknowledged(caches: Site) -> None:
    """The server that is written to hands over before it is stopped, whichever that is."""
    before = {host: [caches.started(host, name) for name in MEMBERS] for host in HOSTS}
    assert {primary(caches, host) for host in HOSTS} == {"cc1"}
    limits = [{"ulimits": {"nofile": {"soft": 2048, "hard": 2048}}} for _ in MEMBERS]  # YAML without aliases
    with stored(caches, "changed") as found:
        prove(caches, caches.push("more open files", valkey_dimensions=limits[0], valkey_sentinel_dimensions=limits[1]))
        time.sleep(5)
    after = {host: [caches.started(host, name) for name in MEMBERS] for host in HOSTS}
    assert all(old != new for host in HOSTS for old, new in zip(before[host], after[host], strict=True))
    assert found["lost"] == {}


def test_a_killed_valkey_has_what_another_had(caches: Site) -> None:
    """It is started again at once, as its engine does."""
    with stored(caches, "killed") as found:
        gone = primary(caches, "cc2")
        before = caches.started(gone, "valkey_server")
        caches.kill(gone, "valkey-server")
        wait_for("it is started again", lambda: caches.started(gone, "valkey_server") != before, PATIENCE, pause=0.5)
        wait_for("all is well", lambda: is_well(caches), PATIENCE, pause=1.0)
        time.sleep(2)
    assert found["copied_lost"] == {}


def test_when_the_machine_that_is_written_to_dies_another_takes_its_place(caches: Site) -> None:
    """Twice, so that one is among them whose own file says that another is written to."""
    for turn in ("first", "second"):
        with stored(caches, f"dead-{turn}") as found:
            gone = primary(caches, "cc1")
            others = [host for host in HOSTS if host != gone]
            caches.stop(gone, signal.SIGKILL)
            caches.lan.machines[gone].run(["docker", "kill", *MEMBERS])
            wait_for("another is written to", lambda gone=gone, others=others: _moved(caches, gone, others), PATIENCE)
            time.sleep(2)
            caches.start(gone)
            wait_for("all is well", lambda: is_well(caches), PATIENCE, pause=1.0)
            time.sleep(2)
        assert found["copied_lost"] == {}
        assert primary(caches, others[0]) in others


def _moved(site: Site, gone: str, others: Sequence[str]) -> bool:
    """Whether the sentinels that are left name one of them."""
    named = {primary(site, host) for host in others}
    return len(named) == 1 and named <= {*others}
