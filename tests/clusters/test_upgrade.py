"""Three controllers go from 2025.1 to 2026.1 by one commit, and users ask for tokens, download images and send messages all the while."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.running import notes, prove, running
from tests.clusters.site import HOSTS, VIP, Site
from tests.images import kolla
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

KEYSTONE = f"http://{VIP}:5000/v3"
GLANCE, PLACEMENT = f"http://{VIP}:9292", f"http://{VIP}:8780"
BROKER_CLIENT = Path(__file__).with_name("broker_client.py")
PYTHON = "/var/lib/kolla/venv/bin/python"
RELEASES = (kolla.FIRST, kolla.NEXT)


@contextmanager
def before_the_upgrade(
    engine_url: str, *more: str, begin: Callable[[Site], None] = lambda site: None
) -> Iterator[Site]:
    """Three controllers of the first release, with the images of both; `more` as `enabled` of `running`."""
    enabled = ("enable_mariadb", "enable_memcached", "enable_keystone", *more)
    with running(engine_url, *enabled, releases=RELEASES, begin=begin) as site:
        (site.root / "password").write_text(site.secret("keystone_admin_password"))
        yield site


@pytest.fixture(scope="module")
def site(engine_url: str) -> Iterator[Site]:
    more = ("enable_rabbitmq", "enable_glance", "enable_placement")
    with before_the_upgrade(engine_url, *more, begin=share_images) as found:
        (found.root / "broker").write_text(found.secret("rabbitmq_password"))
        yield found


def share_images(site: Site) -> None:
    """One folder of images on all machines, as a file system that they share."""
    (site.root / "images").mkdir()
    script = f"mount -t tmpfs tmpfs /srv; mkdir /srv/images; mount --bind {site.root}/images /srv/images"
    for machine in site.lan.machines.values():
        machine.run(["sh", "-ec", script])
    site.globals["glance_file_datadir_volume"] = "/srv/images"


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


def last(done: list[tuple[float, float, str, str, str]], action: str) -> float:
    """When the last of these actions that succeeded ended, wherever."""
    return max(at for at, _, _, named, how in done if (named, how) == (action, "done"))


def first(done: list[tuple[float, float, str, str, str]], action: str) -> float:
    """When the first of these actions that succeeded began."""
    return min(at - seconds for at, seconds, _, named, how in done if (named, how) == (action, "done"))


@contextmanager
def used(site: Site) -> Iterator[dict[str, Path]]:
    """Clients use everything as long as the block lasts: their notes by what they do."""
    password, broker = str(site.root / "password"), site.root / "broker"
    words, files = (str(broker), *HOSTS.values()), (BROKER_CLIENT, broker)
    with (
        site.client("tokens", "upgrade", KEYSTONE, password) as tokens,
        site.client("images", "downloads", KEYSTONE, GLANCE, password) as downloads,
        site.client("asker", "placement", PLACEMENT) as asked,
        site.container(
            "cc2", "consumer", "keystone", PYTHON, str(BROKER_CLIENT), "consumer", *words, files=files
        ) as read,
    ):
        with site.container(
            "cc3", "publisher", "keystone", PYTHON, str(BROKER_CLIENT), "publisher", *words, files=files
        ) as sent:
            found = {"tokens": tokens, "images": downloads, "placement": asked, "sent": sent, "read": read}
            for log in found.values():
                wait_for(f"{log.name} has notes", lambda log=log: log.exists() and len(notes(log)) > 20, 120)
            yield found
        confirmed = {row["number"] for row in notes(sent)}
        with suppress(AssertionError):
            wait_for("all are read", lambda: confirmed <= {row["number"] for row in notes(read)}, 60)


def test_the_upgrade(site: Site) -> None:
    with used(site) as logs:
        began = time.time()
        prove(site, site.push("2026.1", openstack_release="2026.1"))
        took = time.time() - began
        time.sleep(15)
    rows = {kind: notes(log) for kind, log in logs.items()}
    done = [(at, s, h, a, e) for at, s, h, a, e in actions(site) if at > began]
    failed = {kind: [row for row in rows[kind] if row["failed"]] for kind in ("tokens", "images", "placement", "sent")}
    found: dict[str, Any] = {
        "took": round(took),
        "requests": {kind: len(rows[kind]) for kind in failed},
        "failed": {kind: len(those) for kind, those in failed.items()},
        "slowest": {kind: round(max(row["ended"] - row["began"] for row in rows[kind]), 2) for kind in failed},
        "lost": len({row["number"] for row in rows["sent"]} - {row["number"] for row in rows["read"]}),
    }
    print("upgrade", json.dumps(found), flush=True)
    for at, seconds, host, action, how in done:
        print(f"  {at - seconds - began:6.1f} to {at - began:6.1f}  {host} {action} {how}", flush=True)
    for kind, those in failed.items():
        for row in those:
            print(f"  {row['began'] - began:6.1f} to {row['ended'] - began:6.1f}  {kind}: {row['failed']}", flush=True)
    for host in HOSTS:
        assert set(images(site, host).values()) == {kolla.NEXT.tag}, host
    assert failed["tokens"] == failed["images"] == failed["placement"] == []
    # A message may be sent a second time, to another broker, and none is lost.
    assert found["lost"] == 0 and all(len(row["failed"]) == 1 for row in failed["sent"])
    for before, serves, after in (
        ("keystone_db_sync", "keystone", "keystone_db_contract"),
        ("glance_db_sync", "glance_api", "glance_db_contract"),
        ("placement_db_sync", "placement_api", "placement_online_migration"),
        ("", "rabbitmq", "rabbitmq_feature_flags"),
    ):
        assert not before or last(done, f"run:{before}") < first(done, f"replace:{serves}")
        assert last(done, f"replace:{serves}") < first(done, f"run:{after}")
    flags = site.execute(
        "cc1", "rabbitmq", "rabbitmqctl", "-q", "--no-table-headers", "list_feature_flags", "name", "state", "stability"
    )
    off = [flag for flag in flags.splitlines() if "disabled" in flag and "stable" in flag.split()]
    assert flags and off == []
