"""A real node with a real engine tells GitLab and a webhook, and is not held up by either."""

import os
import time
from pathlib import Path

import docker
import pytest

from tests.alerts import receivers
from tests.alerts.conftest import PROJECT
from tests.daemon.node import INVENTORY, TestNode, service
from tests.forge.gitlab_server import GitLab
from tests.support.lab import wait_for

pytestmark = pytest.mark.engine


@pytest.fixture
def node(tmp_path: Path, engine_url: str, busybox_image: str):  # type: ignore[no-untyped-def]
    """A node with one container, whose drift is only reported."""
    made = TestNode(tmp_path, engine_url, busybox_image)
    yield made
    client = docker.DockerClient(base_url=engine_url)
    for name in made.containers:
        for container in client.containers.list(all=True, filters={"name": f"^{name}$"}):
            container.remove(force=True)
    client.close()


def settings(node: TestNode, gitlab: GitLab, key_file: Path, hook: str) -> None:
    node.write_settings(interval=1)
    node.settings_file.write_text(
        node.settings_file.read_text()
        + f"""\
[alerts]
settle = 1
[alerts.targets.gitlab]
kind = "gitlab"
url = "{gitlab.url}/{PROJECT}/alerts/notify/reconciler/0123456789abcdef.json"
key_file = "{key_file}"
[alerts.targets.chat]
kind = "webhook"
url = "{hook}"
key_file = "{key_file}"
"""
    )


def test_drift_by_hand_is_told_with_who_did_it_and_resolved(
    node: TestNode, gitlab: GitLab, webhook: receivers.Webhook, key_file: Path, engine_url: str
) -> None:
    settings(node, gitlab, key_file, webhook.url)
    name = node.name("web")
    # A site of its own: who else tests on this engine would prune its containers.
    policy = f"name: alerts-{os.getpid()}\n"
    site = {"inventory.yml": INVENTORY, "globals.yml": f"node_config_directory: {node.config_root}\n"}
    node.push({**site, "reconciler.yml": policy, **service(name, node.image)})
    alerts = gitlab.projects[PROJECT].alerts
    client = docker.DockerClient(base_url=engine_url)
    with node.daemon():
        wait_for("the first cycle is over", lambda: (node.state_dir / "report.json").exists(), 90)
        commit = node.push({"reconciler.yml": f"{policy}drift: {{mode: report}}\n"})
        wait_for("drift is only reported", lambda: node.report().get("revision") == commit, 60)
        client.containers.get(name).stop()
        wait_for("GitLab has an alert", lambda: alerts, 30)
        assert alerts[0].title == f"node1: {name} drifted" and "stopped by hand at " in alerts[0].payload["description"]
        wait_for("so does the webhook", lambda: webhook.alerts, 30)
        assert webhook.alerts[0]["item"] == name and "by hand at " in webhook.alerts[0]["cause"]
        client.containers.get(name).start()
        wait_for("resolved", lambda: alerts[0].status == "resolved" and len(webhook.alerts) == 2, 30)
    client.close()
    assert [a["status"] for a in webhook.alerts] == ["firing", "resolved"] and len(alerts) == 1


def test_a_cycle_by_hand_tells_too(node: TestNode, gitlab: GitLab, webhook: receivers.Webhook, key_file: Path) -> None:
    settings(node, gitlab, key_file, webhook.url)
    node.push({"inventory.yml": "hosts: nonsense\n", "reconciler.yml": "name: test\n"})
    assert node.run("reconcile", check=False).returncode == 1
    assert not [a for a in webhook.alerts if a["kind"] != "refused"]
    assert gitlab.projects[PROJECT].alerts[0].payload["severity"] == "high"


def test_targets_that_hang_do_not_hold_up_a_cycle(
    node: TestNode, gitlab: GitLab, webhook: receivers.Webhook, key_file: Path
) -> None:
    from reconciler import settings as settings_of_node
    from reconciler.node.cycle import reconcile
    from reconciler.node.node import Node

    settings(node, gitlab, key_file, webhook.url)
    node.push({"inventory.yml": "hosts: nonsense\n", "reconciler.yml": "name: test\n"})
    webhook.hang.set()
    with gitlab.lock:  # the stand-in answers nobody
        one = Node(settings_of_node.load(node.settings_file))
        reconcile(one)
        spans = []
        for _ in range(5):
            started = time.monotonic()
            report = reconcile(one, poll=False)
            spans.append(time.monotonic() - started)
            assert report.refusal
        assert min(spans) < 5, spans
        started = time.monotonic()
    webhook.hang.clear()
    one.close()
    assert time.monotonic() - started < 40
