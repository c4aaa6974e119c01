"""A controller joins in front of the others and leaves again, by commits that change the inventory, while tokens are made and asked for."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clusters.running import notes, prove, running
from tests.clusters.site import VIP, Site
from tests.clusters.test_api import keys
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

NEW = "cc0"
ADDRESS = "192.0.2.14"
KEYSTONE = f"http://{VIP}:5000/v3"
# What everybody uses of what was registered, with the identities that a new one of the same name would not have.
ACCOUNTS = (
    "SELECT id, interface, url FROM keystone.endpoint",
    "SELECT id, type FROM keystone.service",
    "SELECT user_id, name FROM keystone.local_user",
    "SELECT id, name FROM keystone.role",
    "SELECT id, name FROM keystone.project",
    "SELECT type, actor_id, target_id, role_id FROM keystone.assignment",
    "SELECT User, Host FROM mysql.user",
)


@pytest.fixture(scope="module")
def cloud(engine_url: str) -> Iterator[Site]:
    """Three controllers; a fourth machine is there, and the inventory does not have it yet."""

    def begin(site: Site) -> None:
        del site.hosts[NEW]
        site.controllers.add(NEW)
        site.files["inventory.yml"] = site.inventory().encode()

    switches = ("enable_mariadb", "enable_memcached", "enable_keystone")
    with running(engine_url, *switches, begin=begin, computes={NEW: ADDRESS}) as site:
        (site.root / "password").write_text(site.secret("keystone_admin_password"))
        yield site


def accounts(site: Site) -> list[list[str]]:
    return [sorted(site.query("cc3", statement)) for statement in ACCOUNTS]


def change(site: Site, message: str, name: str) -> dict[str, Any]:
    """Roll out an inventory with `site.hosts` under requests, and say what became of these."""
    password = str(site.root / "password")
    with (
        site.client("tokens", name, KEYSTONE, password) as log,
        site.client("direct", f"{name}-direct", KEYSTONE, password, f"http://{ADDRESS}:5000/v3") as asked,
    ):
        wait_for("tokens are made", lambda: log.exists() and len(notes(log)) > 50, 60)
        began = time.monotonic()
        commit = site.push(message, {"inventory.yml": site.inventory()})
        for host in site.hosts.keys() - site.daemons.keys():
            site.start(host)
        prove(site, commit)
        took = time.monotonic() - began
        said = {host: site.program(host, "reconcile", "--deep") for host in site.hosts}
    rows, answers = notes(log), [row for row in notes(asked) if row["status"]]
    found = {
        "proved after": round(took),
        "requests": len(rows),
        "failed": [row for row in rows if row["failed"]],
        "slowest": round(max(row["ended"] - row["began"] for row in rows), 2),
        "answered directly": len(answers),
        "refused directly": [row for row in answers if row["status"] != 200],
    }
    print(name, json.dumps(found), flush=True)
    assert not [text for text in said.values() if "register" in text], said
    return found


def test_a_new_controller_has_the_keys_before_it_serves(cloud: Site) -> None:
    """It is the first of all groups from then on, so jobs and registrations of the cluster become its own."""
    before, had = accounts(cloud), keys(cloud)
    cloud.hosts = {NEW: ADDRESS, **cloud.hosts}
    found = change(cloud, "a fourth controller", "joins")
    assert found["failed"] == []
    assert found["answered directly"] > 0 and found["refused directly"] == []
    there = cloud.execute(NEW, "keystone_fernet", "sh", "-c", "cd /etc/keystone/fernet-keys && sha256sum *")
    assert {there} == {text.strip() for text in had.values()}
    assert accounts(cloud) == before
