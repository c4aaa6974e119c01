"""Memcached: of three members one is away at a time."""

import json
import time
from collections.abc import Iterator

import pytest

from tests.clusters.running import gap, notes, prove, running
from tests.clusters.site import HOSTS, Site
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]


@pytest.fixture(scope="module")
def caches(engine_url: str) -> Iterator[Site]:
    with running(engine_url, "enable_memcached") as site:
        yield site


def test_of_three_caches_two_are_there_all_the_time(caches: Site) -> None:
    before = {host: caches.started(host, "memcached") for host in HOSTS}
    with caches.client("cacher", "memcached", *HOSTS.values()) as log:
        wait_for("the caches keep", lambda: log.exists() and len(notes(log)) > 20, 60)
        prove(caches, caches.push("a larger cache", memcached_max_memory=128))
        time.sleep(2)
    rows = notes(log)
    found = {
        "kept": sum(len(row["failed"]) < 20 for row in rows),
        "retried": sum(bool(row["failed"]) for row in rows),
        "most_tries": max(len(row["failed"]) + 1 for row in rows),
        "longest_gap": round(gap(rows), 2),
    }
    print("memcached", json.dumps(found), flush=True)
    assert all(caches.started(host, "memcached") != before[host] for host in HOSTS)
    assert found["most_tries"] <= 2, "two were away at once"
