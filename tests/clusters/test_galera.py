"""Galera: one member makes the database, and writes go on while a member is killed or changed."""

import time
from collections.abc import Iterator

import pytest

from tests.clusters.database import bootstraps, cluster, uptime, written
from tests.clusters.running import PATIENCE, prove, running
from tests.clusters.site import HOSTS, Site
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]


@pytest.fixture(scope="module")
def galera(engine_url: str) -> Iterator[Site]:
    with running(engine_url, "enable_mariadb") as site:
        (site.root / "password").write_text(site.root_password)
        yield site


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
