"""Three controllers go from 2025.1 to 2026.1 by one commit, and users ask for tokens, download images, start servers and send messages all the while."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clusters.running import notes, prove, running, until
from tests.clusters.site import HOSTS, VIP, Site
from tests.demo_cloud.site import modest
from tests.images import kolla
from tests.support.lab import wait_for
from tests.support.paths import CHECKOUT

pytestmark = [pytest.mark.slow, pytest.mark.engine]

KEYSTONE = f"http://{VIP}:5000/v3"
GLANCE, PLACEMENT, NOVA = f"http://{VIP}:9292", f"http://{VIP}:8780", f"http://{VIP}:8774/v2.1"
BROKER_CLIENT = Path(__file__).with_name("broker_client.py")
PYTHON = "/var/lib/kolla/venv/bin/python"
RELEASES = (kolla.FIRST, kolla.NEXT)
PATIENCE = 1800.0
# What is begun before → what serves → what is done when all of it is of the new release.
ORDER = (
    ("keystone_db_sync", ("keystone",), "keystone_db_contract"),
    ("glance_db_sync", ("glance_api",), "glance_db_contract"),
    ("placement_db_sync", ("placement_api",), "placement_online_migration"),
    ("nova_db_sync", ("nova_api", "nova_metadata", "nova_scheduler", "nova_conductor"), "nova_online_migration"),
    ("nova_cell_db_sync", ("nova_conductor",), "nova_cell_online_migration"),
    ("", ("rabbitmq",), "rabbitmq_feature_flags"),
)
LAST = {f"run:{last}" for _, _, last in ORDER}
# What chose at its start what it says to others, once more when every host has the release.
AGAIN = {
    (host, f"restart:{name}")
    for host in HOSTS
    for name in ("nova_api", "nova_metadata", "nova_scheduler", "nova_conductor")
}


@contextmanager
def before_the_upgrade(
    engine_url: str, *more: str, begin: Callable[[Site], None] = lambda site: None
) -> Iterator[Site]:
    """Three controllers of the first release, with the images of both; `more` as `enabled` of `running`."""
    enabled = ("enable_mariadb", "enable_memcached", "enable_keystone", *more)
    with running(engine_url, *enabled, releases=RELEASES, begin=begin, patience=PATIENCE) as site:
        (site.root / "password").write_text(site.secret("keystone_admin_password"))
        yield site


@pytest.fixture(scope="module")
def site(engine_url: str) -> Iterator[Site]:
    more = ("enable_rabbitmq", "enable_glance", "enable_placement", "enable_nova")

    def begin(site: Site) -> None:
        share_images(site)
        run_nova(site)

    with before_the_upgrade(engine_url, *more, begin=begin) as found:
        (found.root / "broker").write_text(found.secret("rabbitmq_password"))
        yield found


def share_images(site: Site) -> None:
    """One folder of images on all machines, as a file system that they share."""
    (site.root / "images").mkdir()
    script = f"mount -t tmpfs tmpfs /srv; mkdir /srv/images; mount --bind {site.root}/images /srv/images"
    for machine in site.lan.machines.values():
        machine.run(["sh", "-ec", script])
    site.globals["glance_file_datadir_volume"] = "/srv/images"


def run_nova(site: Site) -> None:
    """Nova without consoles and quotas, one process of each; its API asks for no more than a test machine grants."""
    workers = ("nova_api_workers", "nova_metadata_api_workers", "nova_scheduler_workers", "nova_cell_conductor_workers")
    site.globals |= {**dict.fromkeys(workers, 1), "nova_console": "none"}
    folder = CHECKOUT / "services/nova"
    copied = {f"services/nova/{p.relative_to(folder)}": p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    definition = yaml.safe_load(copied["services/nova/service.yml"])
    copied["services/nova/service.yml"] = yaml.safe_dump(modest(definition, networking=False), sort_keys=False).encode()
    site.files |= {**copied, "config/nova.conf": b"[quota]\ninstances = -1\ncores = -1\nram = -1\n"}


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


def since(site: Site, began: float) -> list[tuple[float, float, str, str, str]]:
    """Those that began since then."""
    return [row for row in actions(site) if row[0] - row[1] > began]


def done_since(site: Site, began: float) -> set[tuple[str, str]]:
    """Host and action of all that were begun since then and succeeded."""
    return {row[2:4] for row in since(site, began) if row[4] == "done"}


def run_since(site: Site, began: float) -> set[str]:
    """The same wherever it was."""
    return {action for _, action in done_since(site, began)}


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
    clients = {
        "tokens": ("tokens", KEYSTONE, password),
        "images": ("images", KEYSTONE, GLANCE, password),
        "placement": ("asker", PLACEMENT),
        "nova": ("caller", f"{NOVA}/servers?limit=5", KEYSTONE, password),
        "servers": ("starter", KEYSTONE, GLANCE, NOVA, password),
    }
    with ExitStack() as stack:
        found = {name: stack.enter_context(site.client(kind, name, *more)) for name, (kind, *more) in clients.items()}
        reader = site.container("cc2", "read", "keystone", PYTHON, str(BROKER_CLIENT), "consumer", *words, files=files)
        found["read"] = stack.enter_context(reader)
        with site.container(
            "cc3", "sent", "keystone", PYTHON, str(BROKER_CLIENT), "publisher", *words, files=files
        ) as sent:
            found["sent"] = sent
            for log in found.values():
                wait_for(f"{log.name} has notes", lambda log=log: log.exists() and len(notes(log)) > 3, 180)
            yield found
        confirmed = {row["number"] for row in notes(sent)}
        with suppress(AssertionError):
            wait_for("all are read", lambda: confirmed <= {row["number"] for row in notes(found["read"])}, 60)


def flags_off(site: Site) -> list[str]:
    """Stable feature flags of RabbitMQ that are not on."""
    words = ("-q", "--no-table-headers", "list_feature_flags", "name", "state", "stability")
    flags = site.execute("cc1", "rabbitmq", "rabbitmqctl", *words).splitlines()
    assert flags
    return [flag for flag in flags if "disabled" in flag and "stable" in flag.split()]


def nova_services(site: Site) -> set[tuple[str, str, int]]:
    """What Nova's databases know of its programs: which, on which host, of which version."""
    rows = [
        row.split("\t")
        for database in ("nova", "nova_cell0")
        for row in site.query("cc1", f"SELECT `binary`, host, version FROM {database}.services WHERE deleted = 0")
    ]
    return {(binary, host, int(version)) for binary, host, version in rows}


def report(rows: dict[str, list[dict[str, Any]]], began: float, took: float) -> dict[str, Any]:
    """What the clients saw, in a few figures."""
    asked = {kind: those for kind, those in rows.items() if kind != "read"}
    return {
        "took": round(took),
        "requests": {kind: len(those) for kind, those in asked.items()},
        "failed": {kind: len([row for row in those if row["failed"]]) for kind, those in asked.items()},
        "slowest": {kind: round(max(row["ended"] - row["began"] for row in those), 2) for kind, those in asked.items()},
        "lost": len({row["number"] for row in rows["sent"]} - {row["number"] for row in rows["read"]}),
        "servers": Counter(row["status"] for row in rows["servers"]),
    }


def test_the_upgrade(site: Site) -> None:
    # Galera ends whatever reads a table in the moment in which it is altered: a new database is altered to its end first.
    altered = {f"run:{one}" for one in ("keystone_db_contract", "glance_db_contract", "nova_cell_online_migration")}
    until(site, "the databases are", lambda: run_since(site, 0.0) >= altered)
    before = nova_services(site)
    with used(site) as logs:
        began = time.time()
        prove(site, site.push("2026.1", openstack_release="2026.1"), PATIENCE)
        until(site, "the last jobs are done", lambda: run_since(site, began) >= LAST, PATIENCE)
        until(site, "Nova is restarted once more", lambda: done_since(site, began) >= AGAIN)
        took = time.time() - began
        time.sleep(15)
    rows = {kind: notes(log) for kind, log in logs.items()}
    done = since(site, began)
    found = report(rows, began, took)
    print("upgrade", json.dumps(found), flush=True)
    for at, seconds, host, action, how in done:
        print(f"  {at - seconds - began:6.1f} to {at - began:6.1f}  {host} {action} {how}", flush=True)
    for kind, those in rows.items():
        for row in those:
            if row["failed"] or row.get("status") == "BUILD":
                print(
                    f"  {row['began'] - began:6.1f} to {row['ended'] - began:6.1f}  {kind}: {row['failed']}", flush=True
                )
    for host in HOSTS:
        assert set(images(site, host).values()) == {kolla.NEXT.tag}, host
    assert not [found["failed"][kind] for kind in ("tokens", "images", "placement", "nova") if found["failed"][kind]]
    # A message may be sent a second time, to another broker, and none is lost.
    assert found["lost"] == 0 and all(len(row["failed"]) < 2 for row in rows["sent"])
    # There is no compute: conductor and scheduler have done all of their part when a server is found no host for.
    assert found["servers"].keys() - {""} == {"ERROR"} and found["servers"]["ERROR"] > 20
    for first_job, serves, last_job in ORDER:
        assert not first_job or last(done, f"run:{first_job}") < min(first(done, f"replace:{one}") for one in serves)
        assert max(last(done, f"replace:{one}") for one in serves) < first(done, f"run:{last_job}")
    assert last(done, "replace:nova_conductor") < first(done, "replace:nova_api")
    nova = [row for row in done if row[3].startswith("replace:nova_")]
    assert max(row[0] for row in nova) < min(row[0] - row[1] for row in done if row[2:4] in AGAIN)
    assert flags_off(site) == []
    after = nova_services(site)
    assert {row[:2] for row in after} == {row[:2] for row in before}
    version = "from nova.objects import service; print(service.SERVICE_VERSION)"
    assert {row[2] for row in after} == {int(site.execute("cc1", "nova_api", "python3", "-c", version).split()[-1])}
    assert min(row[2] for row in after) > max(row[2] for row in before)
    cells = site.execute("cc1", "nova_conductor", "nova-manage", "cell_v2", "list_cells")
    assert cells.count("rabbit://") == cells.count("/nova_cell0 ") == 1 and "'" not in cells, cells
