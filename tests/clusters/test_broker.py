"""RabbitMQ and etcd: what they confirmed is there after each member was changed, and RabbitMQ's user has another password without a call that fails."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.running import PATIENCE, gap, kept, notes, prove, running
from tests.clusters.site import ETCD, HOSTS, Site
from tests.images import kolla
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]


CLIENT = Path(__file__).with_name("broker_client.py")
PYTHON = "/var/lib/kolla/venv/bin/python"
TALK = Path(__file__).with_name("talk.py")
# A service as those of OpenStack: on every host a server and a client, each with the settings that its host has carried out.
SERVICE = """\
description: Calls over RabbitMQ
requires: [rabbitmq]
groups: {talk: [control]}
defaults:
  containers:
    group: talk
    kolla: false
    image: IMAGE
    healthcheck: {test: [CMD, test, -e, /tmp/ready], interval: 2, timeout: 5, retries: 30, start_period: 1}
    stop_timeout: 60
    rollout: {at_once: 1}
    files:
      - {name: talk.py, template: talk.py.j2, destination: /srv/talk.py, mode: "0644"}
      - {name: talk.conf, template: talk.conf.j2, destination: /srv/talk.conf, mode: "0644"}
containers:
  talk_server: {command: [PYTHON, /srv/talk.py, server, /srv/talk.conf, "{{ inventory_hostname }}"]}
  talk_client: {command: [PYTHON, /srv/talk.py, client, /srv/talk.conf, "{{ inventory_hostname }}"], depends_on: [talk_server]}
"""
SETTINGS = """\
[DEFAULT]
transport_url = {{ rpc_transport_url }}

{{ template('oslo-rabbit.j2', wsgi=false, name=inventory_hostname ~ '_' ~ container) }}
[oslo_concurrency]
lock_path = /tmp
"""


def talking(site: Site) -> None:
    """Add the service to the site."""
    service = SERVICE.replace("IMAGE", kolla.default_target().name("keystone")).replace("PYTHON", PYTHON)
    site.files |= {
        "services/talk/service.yml": service.encode(),
        "services/talk/templates/talk.py.j2": b"{% raw %}\n" + TALK.read_bytes() + b"{% endraw %}\n",
        "services/talk/templates/talk.conf.j2": SETTINGS.encode(),
    }


@pytest.fixture(scope="module")
def broker(engine_url: str) -> Iterator[Site]:
    with running(engine_url, "enable_rabbitmq", begin=talking) as site:
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


def users(site: Site) -> set[str]:
    """Who is let in."""
    told = json.loads(site.execute("cc1", "rabbitmq", "rabbitmqctl", "list_users", "--formatter=json"))
    return {row["user"] for row in told}


def connected(site: Site) -> set[str]:
    """As whom clients are connected."""
    told = json.loads(site.execute("cc1", "rabbitmq", "rabbitmqctl", "list_connections", "user", "--formatter=json"))
    return {row["user"] for row in told}


def calls(site: Site, since: float) -> list[dict[str, Any]]:
    """The calls that ended after a moment, of all hosts."""
    told = [site.lan.machines[host].run(["docker", "logs", "talk_client"]).stdout for host in HOSTS]
    rows = [json.loads(row) for text in told for row in text.splitlines() if row.startswith("{")]
    return [row for row in rows if row["ended"] >= since]


def test_a_rotated_password_of_the_broker_fails_no_call(broker: Site) -> None:
    """Its user has another name with it: both are let in until every host has the new one."""
    began = time.time()
    before = {host: broker.started(host, "talk_server") for host in HOSTS}
    assert users(broker) >= {"openstack"} and connected(broker) == {"openstack"}
    wait_for("calls are answered", lambda: sum(not row["failed"] for row in calls(broker, began)) > 30, 60)
    assert not any(row["failed"] for row in calls(broker, began))
    broker.rotate("rabbitmq_password")
    pushed, commit = time.monotonic(), broker.push("another password of RabbitMQ")
    wait_for("both are let in", lambda: users(broker) >= {"openstack", "openstack_2"}, PATIENCE)
    both = time.monotonic()
    assert {host: broker.started(host, "talk_server") for host in HOSTS} == before, "before anybody uses it"
    prove(broker, commit)
    proved = time.monotonic()
    wait_for("the former one is gone", lambda: "openstack" not in users(broker), PATIENCE)
    gone = time.monotonic()
    time.sleep(5)
    rows = calls(broker, began)
    found = {
        "calls": len(rows),
        "failed": [row for row in rows if row["failed"]],
        "slowest": round(max(row["ended"] - row["began"] for row in rows), 2),
        "both after": round(both - pushed, 1),
        "proved after": round(proved - pushed, 1),
        "former gone after": round(gone - pushed, 1),
    }
    print("rotation of the broker's user", json.dumps(found), flush=True)
    assert all(broker.started(host, "talk_server") != before[host] for host in HOSTS)
    assert connected(broker) == {"openstack_2"}
    assert {row["host"] for row in rows} == set(HOSTS) and found["failed"] == []


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
