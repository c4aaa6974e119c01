"""What is asked before an upgrade holds it, on a real engine: nothing is done until all checks pass, or somebody answers for one."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker
import pytest

from reconciler.model import Verb
from reconciler.node import ahead
from tests.git import servers
from tests.support.lab import HOST, PATIENCE, Lab, lines, results, wait_for

pytestmark = pytest.mark.engine

API = "rt-pre-api"
SERVICE = """\
description: A service that is asked before an upgrade
groups: {pre: []}
containers:
  rt-pre-api:
    group: pre
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    environment: {RELEASE: "{{ openstack_release }}"}
    stop_timeout: 1
    stability: 0.1
    files:
      - {name: conf, content: "release = {{ openstack_release }}\\n", destination: /etc/conf}
jobs:
  rt-pre-sync:
    container: rt-pre-api
    command: [sh, -c, exit 0]
    inputs: ["{{ openstack_release }}"]
    before: [rt-pre-api]
    migration: true
prechecks:
  files_of_the_new_release:
    description: whether the new files are given to it
    container: rt-pre-api
    command: [sh, -c, "grep 2026.1 /etc/conf && ! touch /etc/conf"]
  ready:
    description: whether what runs is ready
    container: rt-pre-api
    inside: true
    command: [sh, -c, "test -e /tmp/ready || { echo not ready: three volumes are attached; exit 3; }"]
"""


OF_HOST = ("precheck:host_system", "precheck:image_room")


@pytest.fixture
def before(tmp_path: Path, engine_url: str, busybox_image: str) -> Iterator[Lab]:
    """A node of 2025.1."""
    with Lab(tmp_path / "lab", engine_url, name="pre", tls=False) as lab:
        release = 'enable_openstack_core: false\nopenstack_release: "2025.1"\n'
        lab.one_service(SERVICE, "127.0.0.80", settings=release)
        lab.push("2025.1")
        report = lab.reconcile()
        assert report.converged and not any(a.verb is Verb.PRECHECK for a in report.plan.actions), lines(report)
        yield lab


@pytest.fixture
def lab(before: Lab) -> Lab:
    """The same when 2026.1 was merged."""
    before.edit("globals.yml", '"2025.1"', '"2026.1"')
    before.push("2026.1")
    return before


def test_nothing_is_done_until_all_pass(lab: Lab, engine_url: str) -> None:
    before, conf = lab.identities(), lab.config_root / f"{API}/conf"
    report = lab.reconcile()
    found = results(report)
    assert found["precheck:files_of_the_new_release"].result == "done", lines(report)
    failed = found["precheck:ready"]
    assert (failed.result, failed.reason) == ("failed", "PrecheckFailed")
    assert f"ready on {HOST} holds the upgrade to 2026.1" in failed.message
    assert "three volumes are attached" in failed.message and f"{{check: ready, hosts: [{HOST}]" in failed.message
    assert {name for name in found if not name.startswith("precheck:")} == set(), "nothing else was done"
    assert {held.target for held in report.plan.held} >= {API, "rt-pre-sync"}, report.plan.held
    assert lab.identities() == before and conf.read_text() == "release = 2025.1\n"
    # Until it is asked again, the host is kept up as it was.
    client = docker.DockerClient(base_url=engine_url, version="auto")
    client.containers.get(API).kill()
    report = lab.reconcile()
    assert client.containers.get(API).status == "running", lines(report)
    assert not report.converged and {held.reason for held in report.plan.held} == {"PrecheckFailed"}, report.plan.held
    assert not any(action.verb is Verb.PRECHECK for action in report.plan.actions)
    # Mended: it is asked again by itself, and the pass after that goes on.
    client.containers.get(API).exec_run(["touch", "/tmp/ready"])
    client.close()
    later = datetime.now(UTC) + timedelta(minutes=2)
    lab.node.clock = lambda: later
    report = lab.reconcile()
    assert results(report)["precheck:ready"].result == "done" and not report.failed, lines(report)
    report = lab.reconcile()
    assert report.converged and conf.read_text() == "release = 2026.1\n", lines(report)


def test_what_is_gone_comes_back_as_it_was(lab: Lab, docker_client: docker.DockerClient) -> None:
    docker_client.containers.get(API).remove(force=True)
    failed = results(lab.reconcile())["precheck:ready"]
    assert failed.reason == "PrecheckFailed" and f"{API} does not run, and cannot be asked" in failed.message
    report = lab.reconcile()
    assert "RELEASE=2025.1" in docker_client.containers.get(API).attrs["Config"]["Env"], lines(report)
    assert (lab.config_root / f"{API}/conf").read_text() == "release = 2025.1\n"


def test_somebody_answers_for_one(lab: Lab) -> None:
    assert not lab.reconcile().converged
    lab.write({"reconciler.yml": "name: pre  # looked at\n"})
    lab.push("a newer commit")
    assert results(lab.reconcile())["precheck:ready"].result == "failed", "a newer commit is asked about at once"
    entry = f"{{check: ready, hosts: [{HOST}], who: operator, why: they are detached afterwards, until: 2999-12-31}}"
    lab.write({"reconciler.yml": f"name: pre\naccept:\n  - {entry}\n"})
    lab.push("answered for")
    report = lab.reconcile()
    assert {*results(report)} == {"precheck:files_of_the_new_release", *OF_HOST} and not report.failed, lines(report)
    assert lab.reconcile().converged and lab.reconcile().plan.empty


def test_it_is_asked_before_it_is_merged(before: Lab, docker_client: docker.DockerClient) -> None:
    lab, main, here = before, before.head, before.identities()
    said = (lab.site / "globals.yml").read_text()
    head = branch(lab, said.replace('"2025.1"', '"2026.1"'), "2026.1")
    asked = lab.run("precheck", "upgrade", check=False)
    assert asked.returncode == 1, asked.stdout + asked.stderr
    assert asked.stdout.splitlines()[-1] == f"{head[:12]} 2025.1 → 2026.1: held by ready (3 passed)"
    assert {line for line in asked.stdout.splitlines() if line.startswith("ok ")} == {
        "ok    files_of_the_new_release", "ok    host_system", "ok    image_room",
    }  # fmt: skip
    assert (
        "not ready: three volumes are attached" in asked.stdout and f"{{check: ready, hosts: [{HOST}]" in asked.stdout
    )
    (status,) = lab.statuses(head)
    assert status[0] == "failed" and status[1].startswith(
        "before it is merged: 2025.1 → 2026.1: held by ready (3 passed): ready on ctl1"
    )
    # Nothing is another one, and nothing waits for it.
    assert lab.identities() == here and lab.node.state.anchor.commit == main  # type: ignore[union-attr]
    assert lab.reconcile().plan.empty
    wait_for("the status of main", lambda: lab.statuses(main) and lab.statuses(main)[-1][0] == "success", PATIENCE)
    docker_client.containers.get(API).exec_run(["touch", "/tmp/ready"])
    assert lab.run("precheck", head, check=False).returncode == 0, "a commit that was fetched"
    assert lab.statuses(head)[-1] == ("success", "before it is merged: 2025.1 → 2026.1: 4 checks passed")
    assert lab.identities() == here and not list(lab.config_root.glob(".reconciler-validate/*"))
    # What is no upgrade is not asked about, and what no node would accept is said.
    other = branch(lab, said + "enable_horizon: false\n", "another option")
    asked = lab.run("precheck", "upgrade", "--json")
    assert json.loads(asked.stdout)["passed"] == [] and lab.statuses(other)[-1][0] == "success"
    nowhere = SERVICE.replace(
        "reconciler-test/busybox:1", "\"rt-nowhere/pre:{{ '1' if openstack_release == '2025.1' else '2' }}\""
    )
    lost = servers.commit(
        lab.repository,
        {"globals.yml": said.replace('"2025.1"', '"2026.1"'), "services/pre/service.yml": nowhere},
        "an image that is nowhere",
        branch="upgrade",
        parents=[lab.head],
    )
    assert lab.run("precheck", "upgrade", check=False).returncode == 1
    assert "held by rt-nowhere/pre:2" in lab.statuses(lost)[-1][1], lab.statuses(lost)
    skipped = branch(lab, said.replace('"2025.1"', '"2024.1"'), "back")
    refused = lab.run("precheck", "upgrade", check=False)
    assert refused.returncode == 1 and "2024.1" in refused.stderr and lab.statuses(skipped) == []
    assert "names no commit" in lab.run("precheck", "nowhere", check=False).stderr
    assert lab.run("precheck", "HEAD~999", check=False).returncode == 1


def test_a_branch_does_not_keep_a_node_busy(before: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes beside a flight are light, and nobody merged what says how long this one is under way."""
    lab, said = before, (before.site / "globals.yml").read_text()
    lab.close_node()
    lab.config.write_text(lab.config.read_text().replace("[git]\n", '[git]\nprechecks = "upgrade"\n'))
    monkeypatch.setattr(ahead, "_LONGEST", 1.0)
    endless = SERVICE.replace('[sh, -c, "grep', '[sh, -c, "sleep 1000; grep').replace(
        "    description: whether the new files", "    timeout: 100000000\n    description: whether the new files"
    )
    new = {"globals.yml": said.replace('"2025.1"', '"2026.1"'), "services/pre/service.yml": endless}
    head = servers.commit(lab.repository, new, "for ever", branch="upgrade", parents=[lab.head])
    report = lab.reconcile()
    lab.node.ahead.look(report, idle=True)
    (flight,) = lab.node.flights.flying
    assert flight.ended.wait(PATIENCE)
    assert lab.reconcile().plan.empty
    wait_for("its status", lambda: lab.statuses(head), PATIENCE)
    ((state, text),) = lab.statuses(head)
    assert state == "failed" and "files_of_the_new_release" in text
    # Then it has time for itself, whatever is pushed.
    branch(lab, said.replace('"2025.1"', '"2026.1"'), "once more")
    report = lab.reconcile()
    lab.node.ahead.look(report, idle=True)
    assert not lab.node.flights.flying
    later = time.monotonic() + 1800
    lab.node.ahead.clock = lambda: later
    lab.node.ahead.look(report, idle=True)
    (flight,) = lab.node.flights.flying
    monkeypatch.setattr(ahead, "_WHOLE", 0.0)
    lab.node.ahead.look(report, idle=False)
    assert flight.stop.is_set() and flight.ended.wait(PATIENCE)


@pytest.mark.slow
def test_the_daemon_asks_what_is_pushed_to_the_branch(before: Lab, docker_client: docker.DockerClient) -> None:
    lab, main, here = before, before.head, before.identities()
    lab.close_node()
    lab.config.write_text(lab.config.read_text().replace("[git]\n", '[git]\nprechecks = "upgrade"\n'))
    said = (lab.site / "globals.yml").read_text()
    with lab.daemon():
        head = branch(lab, said.replace('"2025.1"', '"2026.1"'), "2026.1")
        wait_for("it is asked", lambda: len(lab.statuses(head)) == 1, PATIENCE)
        state, text = lab.statuses(head)[0]
        assert state == "failed" and text.startswith("before it is merged: 2025.1 → 2026.1: held by ready (3 passed)")
        # What is gone meanwhile comes back, as the accepted commit has it.
        docker_client.containers.get(API).remove(force=True)
        wait_for("it is back", lambda: API in lab.identities() and lab.identities()[API] != here[API], PATIENCE)
        docker_client.containers.get(API).exec_run(["touch", "/tmp/ready"])
        head = branch(lab, said.replace('"2025.1"', '"2026.1"') + "enable_horizon: false\n", "2026.1 as well")
        wait_for("it is asked anew", lambda: len(lab.statuses(head)) == 1, PATIENCE)
        assert lab.statuses(head) == [("success", "before it is merged: 2025.1 → 2026.1: 4 checks passed")]
        refused = branch(lab, said + "enable_horizn: false\n", "a mistake")
        wait_for("it is refused", lambda: len(lab.statuses(refused)) == 1, PATIENCE)
        assert lab.statuses(refused)[0][0] == "failed" and "refused" in lab.statuses(refused)[0][1]
        assert {state for state, _ in lab.statuses(main)} <= {"pending", "success"}
    assert lab.node.state.anchor.commit == main  # type: ignore[union-attr]


def branch(lab: Lab, settings: str, message: str) -> str:
    """Push a commit with other settings to the branch `upgrade`, on top of main."""
    return servers.commit(lab.repository, {"globals.yml": settings}, message, branch="upgrade", parents=[lab.head])
