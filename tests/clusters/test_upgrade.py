"""Three controllers go from 2025.1 to 2026.1 by one commit, and users ask for tokens all the while."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from tests.clusters.running import notes, prove, running
from tests.clusters.site import HOSTS, VIP, Site
from tests.images import kolla
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

KEYSTONE = f"http://{VIP}:5000/v3"
RELEASES = (kolla.FIRST, kolla.NEXT)


@contextmanager
def before_the_upgrade(engine_url: str) -> Iterator[Site]:
    """Three controllers of the first release, with the images of both."""
    enabled = ("enable_mariadb", "enable_memcached", "enable_keystone")
    with running(engine_url, *enabled, releases=RELEASES) as site:
        (site.root / "password").write_text(site.secret("keystone_admin_password"))
        yield site


@pytest.fixture(scope="module")
def site(engine_url: str) -> Iterator[Site]:
    with before_the_upgrade(engine_url) as found:
        yield found


def keystone(site: Site) -> dict[str, tuple[str, str]]:
    """Host -> when its Keystone was started, and the release of its image."""
    return {host: (site.started(host, "keystone"), images(site, host)["keystone"]) for host in HOSTS}


def actions(site: Site) -> list[tuple[float, float, str, str, str]]:
    """When each action ended, how many seconds it took, on which host, which, and how it ended."""
    found = []
    for host in HOSTS:
        for row in notes(site.root / f"{host}.log"):
            if row.get("event", "").startswith("action.") and "seconds" in row:
                at = datetime.fromisoformat(row["at"]).timestamp()
                found.append((at, row["seconds"], host, row["action"], row["event"].removeprefix("action.")))
    return sorted(found)


def images(site: Site, host: str) -> dict[str, str]:
    """Container -> the release of its image."""
    form = "{{.Names}} {{.Image}}"
    rows = site.lan.machines[host].run(["docker", "ps", "--format", form]).stdout.splitlines()
    return {name: image.rpartition(":")[2] for name, image in (row.split() for row in rows)}


def test_the_upgrade(site: Site) -> None:
    with site.client("tokens", "upgrade", KEYSTONE, str(site.root / "password")) as log:
        wait_for("tokens are made", lambda: log.exists() and len(notes(log)) > 50, 60)
        began = time.time()
        prove(site, site.push("2026.1", openstack_release="2026.1"))
        took = time.time() - began
        time.sleep(15)
    rows = notes(log)
    failed = [row for row in rows if row["failed"]]
    done = [(at, s, h, a, e) for at, s, h, a, e in actions(site) if at > began]
    found: dict[str, Any] = {
        "requests": len(rows),
        "failed": len(failed),
        "slowest": round(max(row["ended"] - row["began"] for row in rows), 2),
        "took": round(took),
    }
    print("upgrade", json.dumps(found), flush=True)
    for at, seconds, host, action, how in done:
        print(f"  {at - seconds - began:6.1f} to {at - began:6.1f}  {host} {action} {how}", flush=True)
    for row in failed:
        print(
            f"  {row['began'] - began:6.1f} to {row['ended'] - began:6.1f}  {row['kind']}: {row['failed'][0]}",
            flush=True,
        )
    for host in HOSTS:
        assert set(images(site, host).values()) == {kolla.NEXT.tag}, host
    assert failed == []
