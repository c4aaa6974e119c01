"""A controller that is gone for good: the others forget it by one merge request; and one that comes by another one."""

import json
from collections.abc import Collection, Iterator
from typing import Any

import pytest
import yaml

from tests.clusters.running import PATIENCE, gap, kept, notes, prove, running
from tests.clusters.site import ETCD, HOSTS, SITE, Site
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

QUEUES = ("quorum", "stream")
GONE, STAY = "cc3", ("cc1", "cc2")


@pytest.fixture(scope="module")
def cloud(engine_url: str) -> Iterator[Site]:
    with running(engine_url, "enable_rabbitmq") as site:
        for kind in QUEUES:
            words = f'rabbit_misc:r(<<"/">>, queue, <<"{kind}">>), true, false, [{{<<"x-queue-type">>, longstr, <<"{kind}">>}}], none, <<"test">>'
            site.execute("cc1", "rabbitmq", "rabbitmqctl", "eval", f"rabbit_amqqueue:declare({words}).")
        yield site


def brokers(site: Site, host: str) -> tuple[set[str], set[str]]:
    """The members that a broker knows, and those that it sees running; nothing while it does not answer."""
    told = site.execute(host, "rabbitmq", "rabbitmqctl", "cluster_status", "--formatter=json", check=False)
    found = json.loads(told) if told[:1] == "{" else {"disk_nodes": [], "running_nodes": []}
    known, run = ({name.removeprefix("rabbit@") for name in found[key]} for key in ("disk_nodes", "running_nodes"))
    return known, run


def copies(site: Site) -> dict[str, set[str]]:
    """Queue → the hosts that have a copy."""
    argv = ["rabbitmqctl", "--quiet", "list_queues", "--formatter=json", "name", "members"]
    told = site.execute("cc1", "rabbitmq", *argv, check=False)
    found = json.loads(told) if told[:1] == "[" else []
    return {one["name"]: {name.removeprefix("rabbit@") for name in one["members"]} for one in found}


def etcd(site: Site, host: str) -> set[str]:
    """The members as one of them knows them."""
    told = site.execute(host, "etcd", "etcdctl", "--command-timeout=5s", "member", "list", check=False)
    return {one.get("name", "?") for one in json.loads(told)["members"]} if told[:1] == "{" else set()


def job(site: Site, name: str) -> dict[str, str]:
    """What the cluster knows of a job."""
    told = site.execute(
        "cc1",
        "etcd",
        "env",
        "ETCDCTL_WRITE_OUT=simple",
        "etcdctl",
        "get",
        "--print-value-only",
        f"/reconciler/{SITE}/job/{name}",
    )
    found: dict[str, str] = json.loads(told or "{}")
    return found


def test_a_dead_controller_is_forgotten(cloud: Site) -> None:
    wait_for(
        "both have three", lambda: etcd(cloud, "cc1") == set(HOSTS) == brokers(cloud, "cc1")[1], PATIENCE, pause=2.0
    )
    assert copies(cloud) == {name: set(HOSTS) for name in QUEUES}
    inventory = yaml.safe_load(cloud.files["inventory.yml"])
    with cloud.client("keeper", "leaving", *ETCD[:2]) as log:
        wait_for("keys are put", lambda: log.exists() and len(notes(log)) > 20, 60)
        cloud.stop(GONE, 9)
        cloud.lan.machines[GONE].run(["sh", "-c", "docker ps --quiet | xargs docker kill"])
        entry = inventory["hosts"].pop(GONE)
        inventory["left"] = {GONE: {"since": "2026-11-27", **entry}}
        del cloud.hosts[GONE]
        prove(cloud, cloud.push("cc3 is gone for good", {"inventory.yml": yaml.safe_dump(inventory)}))
    rows = notes(log)
    lost = said(cloud, "leaving", rows, STAY)
    for host in STAY:
        assert brokers(cloud, host) == (set(STAY), set(STAY))
        assert etcd(cloud, host) == set(STAY)
        machine = cloud.lan.machines[host]
        assert not machine.run(["docker", "ps", "--all", "--quiet", "--filter", "name=_leave_"]).stdout.strip()
    assert copies(cloud) == {name: set(STAY) for name in QUEUES}
    for name in ("etcd_leave_cc3", "rabbitmq_leave_cc3"):
        record = job(cloud, name)
        assert (record["host"], record["state"]) == ("cc1", "done"), record
    assert not any(lost.values())


def said(site: Site, what: str, rows: list[dict[str, Any]], hosts: Collection[str]) -> dict[str, int]:
    """How many keys each host lost of those that were put; prints the figures."""
    put = {row["number"] for row in rows if len(row["failed"]) < 20}
    lost = {host: len(put - kept(site, f"http://{HOSTS[host]}:2379")) for host in hosts}
    found = {"put": len(put), "not put": len(rows) - len(put), "lost": lost, "longest_gap": round(gap(rows), 2)}
    print(what, json.dumps(found), flush=True)
    return lost


def test_a_new_controller_joins(cloud: Site) -> None:
    """By the commit that has it again, on an empty machine."""
    cloud.wipe(GONE)
    inventory = yaml.safe_load(cloud.files["inventory.yml"])
    entry = inventory.pop("left")[GONE]
    del entry["since"]
    inventory["hosts"][GONE] = entry
    with cloud.client("keeper", "joining", *ETCD[:2]) as log:
        wait_for("keys are put", lambda: log.exists() and len(notes(log)) > 20, 60)
        commit = cloud.push("another cc3", {"inventory.yml": yaml.safe_dump(inventory)})
        cloud.install(GONE)
        cloud.hosts[GONE] = HOSTS[GONE]
        prove(cloud, commit)
        wait_for(
            "it has its copies", lambda: copies(cloud) == {name: set(HOSTS) for name in QUEUES}, PATIENCE, pause=2.0
        )
    lost = said(cloud, "joining", notes(log), HOSTS)
    for host in HOSTS:
        assert brokers(cloud, host) == (set(HOSTS), set(HOSTS))
        assert etcd(cloud, host) == set(HOSTS)
    assert not any(lost.values())
