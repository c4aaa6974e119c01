"""A controller that is away for a maintenance, and one that lost everything and is installed anew: each is back in all clusters, and nobody else was
touched."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clusters.running import PATIENCE, gap, notes, running
from tests.clusters.site import ETCD, HOSTS, VIP, Site
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

QUEUES = ("quorum", "stream")


@pytest.fixture(scope="module")
def cloud(engine_url: str) -> Iterator[Site]:
    with running(engine_url, "enable_mariadb", "enable_rabbitmq", "enable_memcached", "enable_keystone") as site:
        (site.root / "password").write_text(site.root_password)
        for kind in QUEUES:
            declare(site, kind)
        yield site


def declare(site: Site, kind: str) -> None:
    """A queue with a copy on every broker."""
    words = f'rabbit_misc:r(<<"/">>, queue, <<"{kind}">>), true, false, [{{<<"x-queue-type">>, longstr, <<"{kind}">>}}], none, <<"test">>'
    site.execute("cc1", "rabbitmq", "rabbitmqctl", "eval", f"rabbit_amqqueue:declare({words}).")


def galera(site: Site) -> list[tuple[str, ...]]:
    """What each member says: size, what it is."""
    names = ("wsrep_cluster_size", "wsrep_local_state_comment", "wsrep_cluster_status")
    return [tuple(site.status(host, *names).get(name, "") for name in names) for host in HOSTS]


def brokers(site: Site) -> list[set[str]]:
    """What each broker sees running."""
    told = [
        site.execute(host, "rabbitmq", "rabbitmqctl", "cluster_status", "--formatter=json", check=False)
        for host in HOSTS
    ]
    return [
        {name.removeprefix("rabbit@") for name in json.loads(text)["running_nodes"]} if text[:1] == "{" else set()
        for text in told
    ]


def copies(site: Site) -> dict[str, set[str]]:
    """Queue → the hosts that have a copy."""
    argv = ["rabbitmqctl", "--quiet", "list_queues", "--formatter=json", "name", "members"]
    found = json.loads(site.execute("cc1" if "cc1" in site.daemons else "cc3", "rabbitmq", *argv))
    return {
        one["name"]: {name.removeprefix("rabbit@") for name in one["members"]} for one in found if one["name"] in QUEUES
    }


def etcd(site: Site, host: str) -> dict[str, int]:
    """Member → identity, as one of them knows all."""
    told = site.execute(host, "etcd", "etcdctl", "--command-timeout=5s", "member", "list", check=False)
    return {one.get("name", "?"): one["ID"] for one in json.loads(told)["members"]} if told[:1] == "{" else {}


def fernet(site: Site) -> set[str]:
    """The keys on each host, as one digest."""
    script = "cd /etc/keystone/fernet-keys && sha256sum * | sha256sum"
    return {site.execute(host, "keystone_fernet", "bash", "-c", script, check=False) for host in HOSTS}


def is_whole(site: Site) -> bool:
    return (
        galera(site) == [("3", "Synced", "Primary")] * 3
        and brokers(site) == [set(HOSTS)] * 3
        and copies(site) == {name: set(HOSTS) for name in QUEUES}
        and all(set(etcd(site, host)) == set(HOSTS) for host in HOSTS)
        and len(fernet(site)) == 1
    )


@pytest.mark.parametrize("away", ["cc2"])
def test_a_drained_controller_is_missed_by_nobody(cloud: Site, away: str) -> None:
    others = [host for host in HOSTS if host != away]
    wait_for("all is well", lambda: is_whole(cloud), PATIENCE, pause=2.0)
    before = {host: cloud.lan.machines[host].identities() for host in others}
    (cloud.root / "admin").write_text(cloud.secret("keystone_admin_password"))
    with cloud.client("tokens", "drained", f"http://{VIP}:5000/v3", str(cloud.root / "admin")) as log:
        wait_for("tokens are made", lambda: log.exists() and len(notes(log)) > 50, PATIENCE)
        began = time.monotonic()
        said = cloud.program(away, "drain", away, "--reason", "a new disk")
        out = time.monotonic() - began
        runs = cloud.lan.machines[away].identities()
        count = len(notes(log))
        wait_for("it is asked for while it is away", lambda: len(notes(log)) > count + 100, PATIENCE)
        refused = cloud.program("cc3", "drain", "cc3", "--reason", "a new disk as well", check=False)
        wrong = cloud.program("cc3", "drain", away, "--reason", "the wrong terminal", check=False)
        still = cloud.lan.machines[away].identities()
        began = time.monotonic()
        cloud.program(away, "drain", away, "--back")
        back = time.monotonic() - began
        count = len(notes(log))
        wait_for("it is asked for when it is back", lambda: len(notes(log)) > count + 100, PATIENCE)
    rows = notes(log)
    found = {
        "requests": len(rows),
        "failed": [row for row in rows if row["failed"]],
        "slowest": round(max(row["ended"] - row["began"] for row in rows), 2),
        "out": round(out),
        "back": round(back),
    }
    print("drained", json.dumps(found), flush=True)
    assert not {"keystone", "mariadb", "rabbitmq", "etcd", "haproxy"} & runs.keys(), said
    assert still == runs, "something was started again"
    # That a member is missing says it before whose place it is does.
    assert "[WaitsForBudget]" in refused, refused
    assert "say it on 'cc2' itself" in wrong, wrong
    assert found["failed"] == []
    wait_for("it is back in all clusters", lambda: is_whole(cloud), PATIENCE, pause=2.0)
    assert {host: cloud.lan.machines[host].identities() for host in others} == before
    again = cloud.program(away, "drain", away, "--back", check=False)
    assert "this host is not drained" in again, again


@pytest.mark.parametrize("gone", ["cc2", "cc1"])
def test_a_wiped_controller_comes_back_and_nobody_else_is_touched(cloud: Site, gone: str) -> None:
    """The first host is the one that has the jobs of the cluster, and that would make a new database, new keys, a new cluster."""
    others = [host for host in HOSTS if host != gone]
    wait_for("all is well", lambda: is_whole(cloud), PATIENCE, pause=2.0)
    before, keys = {host: cloud.lan.machines[host].identities() for host in others}, fernet(cloud)
    state, was = cloud.status(others[0], "wsrep_cluster_state_uuid"), etcd(cloud, others[0])
    # The virtual address is a plain one of the first machine, and down with it.
    address = VIP if gone != "cc1" else HOSTS["cc2"]
    with cloud.client("writer", f"wiped-{gone}", address, str(cloud.root / "password")) as log:
        wait_for("the client writes", lambda: log.exists() and len(notes(log)) > 20, 60)
        began = time.monotonic()
        cloud.wipe(gone)
        assert not cloud.lan.machines[gone].containers()
        said = cloud.install(gone)
        try:
            wait_for("it is back in all clusters", lambda: is_whole(cloud), PATIENCE, pause=2.0)
            took = time.monotonic() - began
            wait_for("it says that it is well", lambda: is_ready(cloud, gone), PATIENCE, pause=2.0)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{told(cloud, gone)}") from None
    rows = notes(log)
    done = {row["number"] for row in rows if len(row["failed"]) <= 20}
    query = f"SELECT number FROM written.rows_of WHERE run = 'wiped-{gone}'"
    found: dict[str, Any] = {
        "back after": round(took),
        "written": len(done),
        "lost": {host: len(done - {int(row) for row in cloud.query(host, query)}) for host in HOSTS},
        "retried": sum(bool(row["failed"]) for row in rows),
        "longest_gap": round(gap(rows), 2),
    }
    print("wiped", gone, json.dumps(found), flush=True)
    assert "what the first pass will do" in said
    assert {host: cloud.lan.machines[host].identities() for host in others} == before
    assert cloud.status(gone, "wsrep_cluster_state_uuid") == state
    assert fernet(cloud) == keys
    now = etcd(cloud, gone)
    assert now[gone] != was[gone] and {host: now[host] for host in others} == {host: was[host] for host in others}
    assert not any(found["lost"].values())


def is_ready(site: Site, host: str) -> bool:
    report = json.loads(site.program(host, "status", "--json", check=False) or "{}").get("report") or {}
    return any(one["type"] == "Ready" and one["status"] for one in report.get("conditions", ()))


def told(site: Site, host: str) -> str:
    """For whoever reads a failure."""
    machine = site.lan.machines[host]
    texts = [
        site.program(host, "status", check=False),
        str((galera(site), brokers(site), copies(site), etcd(site, "cc3"), fernet(site))),
    ]
    for name in ("etcd", "rabbitmq", "mariadb", "keystone_fernet"):
        texts.append(f"--- {name}\n{machine.run(['docker', 'logs', '--tail', '30', name], check=False).stdout[-3000:]}")
    return "\n".join([*texts, str(ETCD)])
