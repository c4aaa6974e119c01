"""Keystone of genuine images goes from 2025.1 to 2026.1, asked ten times a second all the way.

The tests share one lab and go on from wherever the one before left it.
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import docker
import pytest
import requests

from reconciler.model import Verb
from tests.demo.bed import collisions
from tests.images import build, kolla
from tests.scenarios import cloud
from tests.support.lab import HOST, SITE, VIP, Lab, lines, results, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

API = f"http://{VIP}:5000/v3"
NEW = "2026.1-debian-trixie"
IMAGES = ("cron", "haproxy", "memcached", "mariadb-server", "rabbitmq", "keystone", "keystone-fernet", "keystone-ssh")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, engine_url: str, kolla_images: dict[str, str]) -> Iterator[Lab]:
    target = kolla.default_target()
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        names = [f"{target.registry}/{target.namespace}/{image}:{NEW}" for image in IMAGES]
        if absent := [name for name in names if not build.present(client, name)]:
            pytest.skip(f"needs the images {', '.join(absent)} (kolla-build 22.2 on Debian trixie makes them)")
        if there := collisions(client.api, owner=f"{SITE}/{HOST}"):
            pytest.fail(f"the names of the control plane are taken: {', '.join(there)}", pytrace=False)
    with Lab(tmp_path_factory.mktemp("upgrade") / "lab", engine_url, canaries=False) as lab:
        cloud.first(lab)
        lab.push("a control plane of 2025.1")
        report = lab.reconcile()
        assert report.converged, [(o.action.id, o.message) for o in report.failed]
        wait_for("a token", lambda: token(lab)[0] == 201, 60, 0.5)
        yield lab


def token(lab: Lab) -> tuple[int, str]:
    """Ask for one as a user does: status and token."""
    password = lab.target().prepared.secrets["keystone_admin_password"].reveal()
    return _token(password)


def _token(password: str) -> tuple[int, str]:
    user = {"name": "admin", "domain": {"id": "default"}, "password": password}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    try:
        answer = requests.post(f"{API}/auth/tokens", json=body, timeout=10)
    except requests.RequestException:
        return 0, ""
    return answer.status_code, answer.headers.get("X-Subject-Token", "")


def valid(held: str) -> bool:
    """Whether Keystone takes a token."""
    answer = requests.get(f"{API}/auth/tokens", headers={"X-Auth-Token": held, "X-Subject-Token": held}, timeout=10)
    return answer.status_code == 200


@dataclass
class Asking:
    """Asks ten times a second, in a thread of its own, whether a token is valid."""

    held: str
    count: int = 0
    failed: list[float] = field(default_factory=list)  # when
    longest: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Asking":
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self.stop.wait(0.1):
            began = time.monotonic()
            try:
                good = valid(self.held)
            except requests.RequestException:
                good = False
            self.count += 1
            self.longest = max(self.longest, time.monotonic() - began)
            if not good:
                self.failed.append(time.time())

    @property
    def outage(self) -> float:
        """Seconds between the first and the last question that failed."""
        return self.failed[-1] - self.failed[0] if self.failed else 0.0


def test_tokens_that_would_end_hold_the_upgrade(lab: Lab) -> None:
    """The trap that this project began with: users who cannot log in, and nothing that said so before."""
    before = lab.identities()
    lab.write({"config/keystone.conf": "[token]\nprovider = jws\n"})
    lab.edit("globals.yml", "kolla_base_distro: debian", 'kolla_base_distro: debian\nopenstack_release: "2026.1"')
    lab.push("2026.1, and by the way another kind of tokens")
    report = lab.reconcile()
    failed = results(report)["precheck:keystone_tokens"]
    assert failed.reason == "PrecheckFailed", lines(report)
    assert "[token] provider is fernet and would become jws" in failed.message
    assert results(report)["precheck:keystone_status"].result == "done", lines(report)
    assert lab.identities() == before
    with contextlib.closing(docker.DockerClient(base_url=lab.engine_url)) as client:
        assert not [one.name for one in client.containers.list(all=True) if "precheck" in one.name]


def test_the_upgrade(lab: Lab) -> None:
    _, held = token(lab)
    assert valid(held)
    lab.write({"config/keystone.conf": None})
    lab.push("2026.1")
    with Asking(held) as asking:
        asked = lab.reconcile()
        assert {a.verb for a in asked.plan.actions} == {Verb.PRECHECK}, lines(asked)
        began = time.monotonic()
        report = lab.reconcile()
        took = time.monotonic() - began
        assert report.converged, [(o.action.id, o.message) for o in report.failed]
        wait_for("a token", lambda: token(lab)[0] == 201, 60, 0.5)
    order = [outcome.action.id for outcome in report.outcomes if outcome.result == "done"]
    assert (
        order.index("run:keystone_db_sync") < order.index("replace:keystone") < order.index("run:keystone_db_contract")
    )
    assert valid(held), "a token of before the upgrade"
    figures = {
        "requests": asking.count,
        "failed": len(asking.failed),
        "outage": round(asking.outage, 1),
        "longest": round(asking.longest, 1),
        "upgrade": round(took, 1),
        "steps": {o.action.id: round(o.seconds, 1) for o in report.outcomes if o.seconds > 0.5},
    }
    print(json.dumps(figures))
    assert asking.count - len(asking.failed) > 0
    assert lab.reconcile().plan.empty


def test_there_is_no_way_back(lab: Lab) -> None:
    before = lab.identities()
    lab.edit("globals.yml", 'openstack_release: "2026.1"', 'openstack_release: "2025.1"')
    lab.push("back")
    report = lab.reconcile()
    assert report.refusal and report.refusal.reason == "ReleaseStepRefused" and lab.identities() == before
