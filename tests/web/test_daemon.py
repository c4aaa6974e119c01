"""The real daemon: its page tells what it did, and a webhook makes it poll."""

import secrets
from pathlib import Path

import pytest
import requests

from tests.daemon.conftest import node as node_fixture
from tests.daemon.node import TestNode, wait_for
from tests.support.etcd import Cluster

node = node_fixture
pytestmark = pytest.mark.engine


def test_the_page_and_a_hook(node: TestNode) -> None:
    secret = secrets.token_hex(20)
    (node.folder / "hook").write_text(secret)
    node.write_settings(daemon=f'webhook = {{secret_file = "{node.folder}/hook", kinds = ["gitlab"]}}')
    name = node.name("web")
    first = node.push_site(name)
    with node.daemon() as daemon:
        url = f"http://127.0.0.1:{daemon.wait('daemon.started')[0]['metrics']}"
        daemon.settled()

        def ready() -> bool:
            shown = requests.get(f"{url}/status.json", timeout=5).json()
            return any(c["type"] == "Ready" and c["status"] for c in shown.get("conditions", ()))

        wait_for(ready, "the report on the page")
        status = requests.get(f"{url}/status.json", timeout=5).json()
        assert status["revision"]["commit"] == first
        assert [c["status"] for c in status["conditions"] if c["type"] == "Ready"] == [True]
        assert status["history"][0]["revision"] == first
        assert any(name in action["line"] for action in status["history"][0]["actions"])
        assert requests.get(url, timeout=5).headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "reconciler_condition" in requests.get(f"{url}/metrics", timeout=5).text
        second = node.push_site(name, text="hello again")
        refused = requests.post(f"{url}/hooks/gitlab", headers={"X-Gitlab-Token": "wrong"}, timeout=5)
        assert refused.status_code == 401 and node.anchor() == first
        hook = requests.post(f"{url}/hooks/gitlab", headers={"X-Gitlab-Token": secret}, json={"x": 1}, timeout=5)
        assert hook.status_code == 202
        # The interval is an hour: nothing else could have brought it.
        wait_for(
            lambda: requests.get(f"{url}/status.json", timeout=5).json()["revision"]["commit"] == second, "the push"
        )
        assert requests.get(f"{url}/status.json", timeout=5).json()["trigger"] == "webhook"
    # A new daemon shows the last report before its first pass.
    assert node.report()["revision"] == second


@pytest.mark.slow
def test_the_page_of_the_rollout(node: TestNode, tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()
    with Cluster(tmp_path / "etcd", 1) as etcd:
        node.write_settings(more=f"fleet = {{etcd = {etcd.urls}, timeout = 1.0}}")
        commit = node.push_site(node.name("web"))
        with node.daemon() as daemon:
            url = f"http://127.0.0.1:{daemon.wait('daemon.started')[0]['metrics']}"
            daemon.settled()

            def shown() -> dict[str, object]:
                found: dict[str, object] = requests.get(f"{url}/fleet.json", timeout=5).json()
                return found

            wait_for(lambda: shown()["rolling"] == commit, "the commit that is rolled out")
            assert shown()["accepted"] == commit and shown()["waves"] and not shown()["problem"]
            assert (
                requests.get(f"{url}/fleet", timeout=5)
                .headers["Content-Security-Policy"]
                .startswith("default-src 'none'")
            )
            assert requests.get(f"{url}/status.json", timeout=5).json()["fleet"]["rolling"] == commit
            with etcd.paused([0]):
                wait_for(lambda: "etcd cannot be asked" in str(shown()["problem"]), "the fault")
                assert shown()["waves"]
