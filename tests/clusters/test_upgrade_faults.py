"""The same upgrade, with what goes wrong on the way: a check that fails, a migration that ends half-way, a machine that dies, a newer commit.

The tests go on from where the one before left the site.
"""

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clusters.running import notes, prove, until
from tests.clusters.site import HOSTS, Site
from tests.clusters.test_upgrade import KEYSTONE, actions, before_the_upgrade, images, keystone
from tests.images import kolla
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

# The second index that Keystone's migration to 2026.1 makes; MariaDB takes none of a migration back.
FIRST, SECOND = "ix_revocation_event_project_id_user_id", "ix_revocation_event_composite"


@pytest.fixture(scope="module")
def site(engine_url: str) -> Iterator[Site]:
    with before_the_upgrade(engine_url) as found:
        yield found


def unchanged(site: Site) -> dict[str, dict[str, Any]]:
    """Host -> what runs there, but for jobs, which come and go."""
    found = {host: site.lan.machines[host].identities() for host in HOSTS}
    return {
        host: {name: one for name, one in containers.items() if not name.startswith("keystone_db_")}
        for host, containers in found.items()
    }


def reasons(site: Site) -> dict[str, str]:
    """Host -> what it says of itself."""
    return {host: site.program(host, "status", check=False) for host in HOSTS}


def test_a_check_that_fails_holds_the_upgrade_and_stops_nothing(site: Site) -> None:
    before = unchanged(site)
    with site.client("tokens", "held", KEYSTONE, str(site.root / "password")) as log:
        wait_for("tokens are made", lambda: log.exists() and len(notes(log)) > 50, 60)
        changed = {"config/keystone.conf": "[token]\nprovider = jws\n"}
        site.push("2026.1, and another kind of tokens", changed, openstack_release="2026.1")
        until(site, "it is held", lambda: any("would become jws" in told for told in reasons(site).values()))
        time.sleep(10)
    assert unchanged(site) == before
    assert [row for row in notes(log) if row["failed"]] == []


def test_a_migration_that_ends_half_way_halts_it_before_anything_is_stopped(site: Site) -> None:
    before = keystone(site)
    site.query("cc1", f"CREATE INDEX {SECOND} ON keystone.revocation_event (user_id)")
    site.push("2026.1", {"config/keystone.conf": "[token]\nprovider = fernet\n"}, openstack_release="2026.1")

    def status() -> str:
        return site.program("cc2", "fleet", "status", check=False)

    with site.client("tokens", "halted", KEYSTONE, str(site.root / "password")) as log:
        until(site, "it is halted", lambda: "HALTED" in status())
        time.sleep(10)
    assert "keystone_db_sync" in status() and SECOND in status(), status()
    assert keystone(site) == before
    assert [row for row in notes(log) if row["failed"]] == []
    # There is no way back from here: what the commit of before says is refused.
    site.push("back", openstack_release="2025.1")
    until(site, "back is refused", lambda: "ReleaseStepRefused" in site.program("cc1", "status", check=False))
    for index in (FIRST, SECOND):
        site.query("cc1", f"DROP INDEX IF EXISTS {index} ON keystone.revocation_event")


def test_a_machine_that_dies_in_the_middle_goes_on_when_it_is_back_and_a_newer_commit_too(site: Site) -> None:
    began = time.time()

    def done(host: str, action: str) -> bool:
        return any(row[2:] == (host, action, "done") for row in actions(site) if row[0] > began)

    with site.client("tokens", "died", KEYSTONE, str(site.root / "password")) as log:
        site.push("2026.1, once more", openstack_release="2026.1")
        site.program("cc1", "fleet", "resume", "--reason", "the index is gone", check=False)
        until(site, "the first host has the new database", lambda: done("cc3", "replace:mariadb"))
        site.stop("cc3", signal.SIGKILL)
        site.lan.machines["cc3"].kill_engine()
        died = time.time()
        time.sleep(20)
        site.lan.machines["cc3"].start_engine()
        site.start("cc3")
        commit = site.push("a newer one", {"config/keystone.conf": "[token]\nexpiration = 7200\n"})
        prove(site, commit)
        time.sleep(10)
    rows = notes(log)
    found: dict[str, Any] = {
        "requests": len(rows),
        "failed": len([row for row in rows if row["failed"]]),
        "slowest": round(max(row["ended"] - row["began"] for row in rows), 2),
        "died after": round(died - began, 1),
        "proved after": round(time.time() - began - 10, 1),
    }
    print("died", json.dumps(found), flush=True)
    for row in rows:
        if row["failed"]:
            print(f"  {row['began'] - died:6.1f} after it died  {row['kind']}: {row['failed'][0]}", flush=True)
    for host in HOSTS:
        assert set(images(site, host).values()) == {kolla.NEXT.tag}, host
        assert "expiration = 7200" in site.execute(host, "keystone", "cat", "/etc/keystone/keystone.conf")
    assert not [row for row in rows if row["failed"] and row["began"] > died + 60], "only around its death"
