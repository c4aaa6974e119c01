"""Three controllers with genuine images and a daemon each: clusters that come up once, change a member at a time under load, and heal.

What is stood in for: machines are network namespaces with engines of their own, VRRP does not exist (the address is a plain one of the first
machine), etcd is the site's own.
"""

import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.clusters.site import EXTERNAL, HOSTS, VIP, Site
from tests.images import build
from tests.support import certificates
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

PATIENCE = 600.0


@contextlib.contextmanager
def running(engine_url: str, *enabled: str, begin: Callable[[Site], None] = lambda site: None) -> Iterator[Site]:
    """A site whose three daemons run and have proved its first commit, which is as `begin` makes it."""
    with tempfile.TemporaryDirectory(prefix="rt-", dir="/tmp") as folder:  # short: sockets lie below it
        site = Site(Path(folder), enabled)
        with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
            absent = [name for name in site.images if not build.present(client, name)]
        if absent:
            pytest.skip(f"images are missing: run `python -m tests.images.build {' '.join(absent)}`")
        with site:
            begin(site)
            commit = site.push("the first")
            for host in HOSTS:
                site.start(host)
            prove(site, commit)
            yield site


def prove(site: Site, commit: str) -> None:
    """Wait until every host has proved a commit."""
    try:
        wait_for(f"{commit} is proved by all", lambda: site.proved(commit) == HOSTS.keys(), PATIENCE, pause=1.0)
    except AssertionError:
        told = [site.program("cc2", "fleet", "status", check=False)]
        told += [f"{host}:\n{site.program(host, 'status', check=False)}" for host in HOSTS]
        raise AssertionError("\n".join(told)) from None


def notes(path: Path) -> list[dict[str, Any]]:
    """What a client noted; it may say other things besides."""
    return [json.loads(row) for row in path.read_text().splitlines() if row.startswith("{")]


def gap(rows: list[dict[str, Any]]) -> float:
    """The longest time in which nothing was done."""
    ends = [row["ended"] for row in rows]
    return max((b - a for a, b in itertools.pairwise(ends)), default=0.0)


# --- MariaDB ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def galera(engine_url: str) -> Iterator[Site]:
    with running(engine_url, "enable_mariadb") as site:
        (site.root / "password").write_text(site.root_password)
        yield site


def cluster(site: Site) -> set[tuple[str, ...]]:
    """Every member's (name of the cluster's state, size, what it is)."""
    names = ("wsrep_cluster_state_uuid", "wsrep_cluster_size", "wsrep_local_state_comment", "wsrep_cluster_status")
    told = [site.status(host, *names) for host in HOSTS]
    return {tuple(each.get(name, "") for name in names) for each in told}


def bootstraps(site: Site) -> int:
    """How often a server was told to begin a cluster, in all that its containers wrote."""
    return sum(
        site.lan.machines[host].run(["docker", "logs", "mariadb"]).stdout.count("starting the cluster")
        for host in HOSTS
    )


def uptime(site: Site) -> float:
    """Since when the server of the first member runs, in seconds."""
    return float(site.status("cc1", "Uptime").get("Uptime", "inf"))


def serves(said: Mapping[str, str]) -> bool:
    """A donor answers its clients, too."""
    return said.get("wsrep_local_state_comment") in ("Synced", "Donor/Desynced")


@contextlib.contextmanager
def written(site: Site, name: str) -> Iterator[dict[str, Any]]:
    """Write all the time, and say afterwards what became of it; what was acknowledged and is not there is `lost`."""
    found: dict[str, Any] = {}
    with (
        site.client("members", f"{name}-members", "haproxy", *HOSTS.values()) as seen,
        site.client("writer", name, VIP, str(site.root / "password")) as log,
    ):
        wait_for("the client writes", lambda: log.exists() and len(notes(log)) > 20, 60)
        yield found
    rows, looks = notes(log), notes(seen)
    done = {row["number"] for row in rows if len(row["failed"]) <= 20}
    query = f"SELECT number FROM written.rows_of WHERE run = '{name}'"
    there = {host: {int(row) for row in site.query(host, query)} for host in HOSTS}
    found |= {
        "written": len(done),
        "lost": {host: sorted(done - numbers) for host, numbers in there.items() if done - numbers},
        "retried": sum(len(row["failed"]) == 1 for row in rows),
        "beyond_one_retry": [row for row in rows if len(row["failed"]) > 1],
        "longest_gap": round(gap(rows), 2),
        "states": len(
            {said["wsrep_cluster_state_uuid"] for look in looks for said in look["members"].values() if said}
        ),
        "fewest_serving": min(sum(serves(said) for said in look["members"].values()) for look in looks),
    }
    print(name, json.dumps(found), flush=True)


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


# --- RabbitMQ -----------------------------------------------------------------------------------------------------------

CLIENT = Path(__file__).with_name("broker_client.py")
PYTHON = "/var/lib/kolla/venv/bin/python"


@pytest.fixture(scope="module")
def broker(engine_url: str) -> Iterator[Site]:
    with running(engine_url, "enable_rabbitmq") as site:
        (site.root / "password").write_text(site.secret("rabbitmq_password"))
        yield site


def members(site: Site, host: str) -> set[str]:
    """The members that one of them sees running."""
    told = json.loads(site.execute(host, "rabbitmq", "rabbitmqctl", "cluster_status", "--formatter=json"))
    return {name.removeprefix("rabbit@") for name in told["running_nodes"]}


def test_three_brokers_are_one(broker: Site) -> None:
    assert [members(broker, host) for host in HOSTS] == [set(HOSTS)] * 3


def test_a_changed_broker_loses_no_message(broker: Site) -> None:
    before = {host: broker.started(host, "rabbitmq") for host in HOSTS}
    words = (str(broker.root / "password"), *HOSTS.values())
    files = (CLIENT, broker.root / "password")
    with broker.container("cc2", "consumer", "keystone", PYTHON, str(CLIENT), "consumer", *words, files=files) as read:
        with broker.container(
            "cc3", "publisher", "keystone", PYTHON, str(CLIENT), "publisher", *words, files=files
        ) as sent:
            wait_for("messages are confirmed", lambda: len(notes(sent)) > 20, 120)
            prove(broker, broker.push("fewer channels", rabbitmq_extra_config={"channel_max": 1500}))
            time.sleep(5)
        confirmed = {row["number"] for row in notes(sent)}
        with contextlib.suppress(AssertionError):
            wait_for("all are read", lambda: confirmed <= {row["number"] for row in notes(read)}, 60)
    rows, seen = notes(sent), [row["number"] for row in notes(read)]
    found = {
        "confirmed": len(confirmed),
        "lost": sorted(confirmed - set(seen)),
        "read_twice": len(seen) - len(set(seen)),
        "retried": [row["failed"] for row in rows if row["failed"]],
        "longest_gap": round(gap(rows), 2),
    }
    print("broker", json.dumps(found), flush=True)
    assert all(broker.started(host, "rabbitmq") != before[host] for host in HOSTS)
    assert "1500" in broker.execute(
        "cc1", "rabbitmq", "rabbitmqctl", "eval", "application:get_env(rabbit, channel_max)."
    )
    assert found["lost"] == []
    assert [members(broker, host) for host in HOSTS] == [set(HOSTS)] * 3


# --- etcd -------------------------------------------------------------------------------------------------------------------


def test_a_changed_etcd_loses_no_key(broker: Site) -> None:
    """It is the one through which the nodes agree about that very change."""
    before = {host: broker.started(host, "etcd") for host in HOSTS}
    with broker.client("keeper", "etcd", *(f"http://{address}:2379" for address in HOSTS.values())) as log:
        wait_for("keys are put", lambda: log.exists() and len(notes(log)) > 20, 60)
        prove(broker, broker.push("another name", etcd_initial_cluster_token="changed"))
        time.sleep(5)
    rows = notes(log)
    put = {row["number"] for row in rows if len(row["failed"]) < 20}
    found: dict[str, Any] = {
        "put": len(put),
        "lost": [sorted(put - kept(broker, address)) for address in HOSTS.values()],
        "retried": sum(bool(row["failed"]) for row in rows),
        "most_tries": max(len(row["failed"]) + 1 for row in rows),
        "longest_gap": round(gap(rows), 2),
    }
    print("etcd", json.dumps(found), flush=True)
    assert all(broker.started(host, "etcd") != before[host] for host in HOSTS)
    assert not any(found["lost"])


def kept(site: Site, address: str) -> set[int]:
    """The numbers of the keys that a member has."""
    script = (
        "import base64, requests, sys; "
        "edges = [base64.b64encode(edge).decode() for edge in (b'/kept/', b'/kept0')]; "
        "asked = {'key': edges[0], 'range_end': edges[1], 'keys_only': True}; "
        "found = requests.post(sys.argv[1] + '/v3/kv/range', json=asked, timeout=10).json().get('kvs', []); "
        "print(*(base64.b64decode(row['key']).decode().rpartition('/')[2] for row in found))"
    )
    return {int(number) for number in site.lan.run([sys.executable, "-c", script, f"http://{address}:2379"]).split()}


# --- an API -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def api(engine_url: str) -> Iterator[Site]:
    def begin(site: Site) -> None:
        certificates.authority(site.root / "tls", "first", "second", address=EXTERNAL)
        site.set_secret("haproxy_external_certificate", pem(site, "first"))
        site.globals |= {"kolla_external_vip_address": EXTERNAL, "kolla_enable_tls_external": True}

    with running(engine_url, "enable_mariadb", "enable_memcached", "enable_keystone", begin=begin) as site:
        yield site


def pem(site: Site, name: str) -> str:
    """A certificate with its key, as haproxy takes it."""
    return (site.root / f"tls/{name}.pem").read_text() + (site.root / f"tls/{name}.key").read_text()


def served(site: Site) -> str:
    """The certificate that is shown to whoever comes."""
    script = f"import ssl; print(ssl.get_server_certificate(({EXTERNAL!r}, 5000)))"
    return site.lan.run([sys.executable, "-c", script]).strip()


def asked(site: Site, name: str, change: Callable[[], None]) -> dict[str, Any]:
    """What became of ten requests a second while something changes."""
    with site.client("asker", name, f"https://{EXTERNAL}:5000/v3", str(site.root / "tls/ca.pem")) as log:
        wait_for("the API answers", lambda: log.exists() and len(notes(log)) > 20, 60)
        change()
        time.sleep(15)
    rows = notes(log)
    found = {
        "requests": len(rows),
        "failed": [row for row in rows if row["failed"]],
        "slowest": round(max(row["ended"] - row["began"] for row in rows), 2),
    }
    print(name, json.dumps(found), flush=True)
    return found


def test_a_changed_option_fails_no_request(api: Site) -> None:
    before = {host: api.started(host, "keystone") for host in HOSTS}
    site = {"config/keystone.conf": "[token]\nexpiration = 7200\n"}
    found = asked(api, "option", lambda: prove(api, api.push("shorter tokens", site)))
    assert all(api.started(host, "keystone") != before[host] for host in HOSTS)
    assert "expiration = 7200" in api.execute("cc1", "keystone", "cat", "/etc/keystone/keystone.conf")
    assert found["failed"] == []


def test_a_new_image_fails_no_request(api: Site) -> None:
    image = next(name for name in api.images if "/keystone:" in name)
    for machine in api.lan.machines.values():
        machine.run(
            ["docker", "build", "--quiet", "--tag", f"{image}-2", "-"], give=f"FROM {image}\nLABEL another=image\n"
        )
    found = asked(api, "image", lambda: prove(api, api.push("another image", keystone_image_full=f"{image}-2")))
    for machine in api.lan.machines.values():
        told = machine.run(["docker", "inspect", "--format", "{{.Config.Image}}", "keystone"]).stdout.strip()
        assert told == f"{image}-2"
    assert found["failed"] == []


def test_a_new_certificate_fails_no_request(api: Site) -> None:
    def renew() -> None:
        api.set_secret("haproxy_external_certificate", pem(api, "second"))
        prove(api, api.push("another certificate"))

    assert served(api) == (api.root / "tls/first.pem").read_text().strip()
    before = {host: api.started(host, "haproxy") for host in HOSTS}
    found = asked(api, "certificate", renew)
    assert served(api) == (api.root / "tls/second.pem").read_text().strip()
    assert {host: api.started(host, "haproxy") for host in HOSTS} == before, "it was not even restarted"
    assert found["failed"] == []
