"""A password is changed by one command and one commit, while a client is let in all the time: both values count until the last host has the new one."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clusters.running import PATIENCE, notes, prove, running
from tests.clusters.site import HOSTS, VIP, Site
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]


@pytest.fixture(scope="module")
def cloud(engine_url: str) -> Iterator[Site]:
    with running(engine_url, "enable_mariadb", "enable_memcached", "enable_keystone") as site:
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
        "-BNe",
        "SELECT 1",
    ]
    return site.execute("cc1", "mariadb", *argv, check=False) == "1"


def test_a_database_password_rotates_and_no_login_fails(cloud: Site) -> None:
    old, before = cloud.secret("keystone_database_password"), {host: cloud.started(host, "keystone") for host in HOSTS}
    with cloud.client("tokens", "rotation", f"http://{VIP}:5000/v3/auth/tokens", str(cloud.root / "admin")) as log:
        wait_for("tokens are given", lambda: log.exists() and len(notes(log)) > 20, 60)
        cloud.rotate("keystone_database_password")
        began, commit = time.monotonic(), cloud.push("another password of Keystone's database")
        new = cloud.secret("keystone_database_password")
        wait_for("both are let in", lambda: all(let_in(cloud, "keystone", one) for one in (old, new)), PATIENCE)
        both = time.monotonic()
        assert {host: cloud.started(host, "keystone") for host in HOSTS} == before, "before anybody uses it"
        prove(cloud, commit)
        proved = time.monotonic()
        wait_for("the former one is not let in any more", lambda: not let_in(cloud, "keystone", old), PATIENCE)
        ended = time.monotonic()
        time.sleep(5)
    rows = notes(log)
    found: dict[str, Any] = {
        "logins": len(rows),
        "failed": [row for row in rows if row["failed"]],
        "slowest": round(max(row["ended"] - row["began"] for row in rows), 2),
        "both after": round(both - began, 1),
        "proved after": round(proved - began, 1),
        "former ended after": round(ended - began, 1),
    }
    print("rotation", json.dumps(found), flush=True)
    assert all(cloud.started(host, "keystone") != before[host] for host in HOSTS)
    assert all(new in cloud.execute(host, "keystone", "cat", "/etc/keystone/keystone.conf") for host in HOSTS)
    assert let_in(cloud, "keystone", new) and not let_in(cloud, "keystone", old)
    assert found["failed"] == []
