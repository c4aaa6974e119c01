"""A controller joins in front of the others and leaves again, by commits that change the inventory, while tokens are made and asked for."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clusters.running import PATIENCE, notes, prove, running
from tests.clusters.site import SITE, VIP, Site
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


EXTRA = """\
description: What the site registers beside
registrations:
  keystone:
    services: [{name: extra, type: extra, description: Something beside, endpoints: {internal: "http://192.0.2.10:1"}}]
    roles: [{name: extra}]
"""
FILE = "services/extra/service.yml"


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
        wait_for("tokens are made", lambda: log.exists() and all_well(notes(log)), PATIENCE, pause=1.0)
        began, first = time.monotonic(), len(notes(log))
        commit = site.push(message, {"inventory.yml": site.inventory()})
        for host in site.hosts.keys() - site.daemons.keys():
            site.start(host)
        prove(site, commit)
        took = time.monotonic() - began
        said = {host: site.program(host, "reconcile", "--deep") for host in site.hosts}
    rows, answers = notes(log)[first:], [row for row in notes(asked) if row["status"]]
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


def all_well(rows: list[dict[str, Any]]) -> bool:
    return len(rows) > 50 and not any(row["failed"] for row in rows[-50:])


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


def registered(site: Site, host: str) -> set[str]:
    """What a host remembers as registered."""
    memory = json.loads(site.lan.machines[host].run(["cat", "/var/lib/reconciler/memory.json"]).stdout)
    return {":".join(one[key] for key in ("kind", "type", "key")) for one in memory.get("registered", ())}


def told(site: Site) -> set[str]:
    """The hosts of which etcd has what they registered."""
    prefix = f"/reconciler/{SITE}/registered/"
    argv = ["etcdctl", "--write-out=simple", "get", "--prefix", "--keys-only", prefix]
    return {line.removeprefix(prefix) for line in site.execute("cc1", "etcd", *argv).split()}


def extra(site: Site) -> list[str]:
    """What there is of the service that the site has beside."""
    statements = (
        "SELECT url FROM keystone.endpoint JOIN keystone.service ON service_id = service.id WHERE type = 'extra'",
        "SELECT type FROM keystone.service WHERE type = 'extra'",
        "SELECT name FROM keystone.role WHERE name = 'extra'",
    )
    return [row for statement in statements for row in site.query("cc3", statement)]


def test_what_a_controller_had_registered_outlives_it_and_goes_when_the_site_says_so(cloud: Site) -> None:
    """It is switched off for good, and a commit takes it out of the inventory; a later one asks no more for what it alone had registered."""
    before = accounts(cloud)
    prove(cloud, cloud.push("something beside", {FILE: EXTRA}))
    names = {"keystone:service:extra", "keystone:endpoint:extra/internal/RegionOne", "keystone:role:extra"}
    assert names <= registered(cloud, NEW) and extra(cloud) == ["http://192.0.2.10:1", "extra", "extra"]
    cloud.stop(NEW)
    cloud.lan.machines[NEW].run(["sh", "-ec", "docker ps --quiet | xargs docker stop"])
    members = json.loads(cloud.execute("cc1", "etcd", "etcdctl", "member", "list"))["members"]
    gone = next(f"{one['ID']:x}" for one in members if one["name"] == NEW)
    cloud.execute("cc1", "etcd", "etcdctl", "member", "remove", gone)
    del cloud.hosts[NEW]
    found = change(cloud, "it is gone for good", "leaves")
    assert found["failed"] == []
    assert extra(cloud) == ["http://192.0.2.10:1", "extra", "extra"]
    assert names <= registered(cloud, "cc1") and NEW not in told(cloud)
    del cloud.files[FILE]
    prove(cloud, cloud.push("nothing beside"))
    wait_for("it is withdrawn", lambda: not extra(cloud), PATIENCE, pause=1.0)
    assert accounts(cloud) == before
    assert not names & registered(cloud, "cc1")
