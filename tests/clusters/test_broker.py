"""RabbitMQ and etcd: what they confirmed is there after each member was changed."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.running import gap, kept, notes, prove, running
from tests.clusters.site import ETCD, HOSTS, Site
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]


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


def test_a_changed_etcd_loses_no_key(broker: Site) -> None:
    """It is the one through which the nodes agree about that very change. Afterwards it keeps what was before for a moment only."""
    before = {host: broker.started(host, "etcd") for host in HOSTS}
    with broker.client("keeper", "etcd", *ETCD) as log:
        wait_for("keys are put", lambda: log.exists() and len(notes(log)) > 20, 60)
        prove(broker, broker.push("keep less", etcd_auto_compaction_retention="2s"))
        time.sleep(5)
    rows = notes(log)
    put = {row["number"] for row in rows if len(row["failed"]) < 20}
    found: dict[str, Any] = {
        "put": len(put),
        "lost": [sorted(put - kept(broker, url)) for url in ETCD],
        "retried": sum(bool(row["failed"]) for row in rows),
        "most_tries": max(len(row["failed"]) + 1 for row in rows),
        "longest_gap": round(gap(rows), 2),
    }
    print("etcd", json.dumps(found), flush=True)
    assert all(broker.started(host, "etcd") != before[host] for host in HOSTS)
    assert not any(found["lost"])
    old = ("etcdctl", "get", "/kept/0", "--rev=2")
    for host in HOSTS:
        told = broker.lan.machines[host].run(["docker", "exec", "etcd", *old], check=False)
        assert "required revision has been compacted" in told.stdout + told.stderr
