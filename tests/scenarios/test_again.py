"""What is found stays found until something is done about it, and what failed by no fault of its own is tried again."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from docker import errors as docker_errors

from tests.scenarios import small
from tests.support.lab import HOST, Lab, lines, results, wait_for

pytestmark = pytest.mark.engine

NAME, ADDRESS = "rt-again-web", "127.0.0.74"
IMAGE = "reconciler-test/kolla-like:2"
# Says that what runs differs from its files while /tmp/edited or /data/never is there, as kolla_set_configs --check does with
# exit code 1; a restart takes only the first one away.
SCRIPT = """\
mkdir -p /usr/local/bin && cd /usr/local/bin && printf '#!/bin/sh\\n! test -e /tmp/edited -o -e /data/never\\n' > kolla_set_configs && chmod 755 *"""
COMMAND = ["sh", "-c", "rm -f /tmp/edited; trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done"]
SERVICE = """\
description: One that can be sick, and whose insides can be edited
groups: {again: []}
containers:
  rt-again-web:
    group: again
    image: reconciler-test/kolla-like:2
    command: web
    stop_timeout: 5
    stability: 0.1
    start_timeout: 3
    volumes: ["rt-again-data:/data"]
    healthcheck: {test: ["CMD-SHELL", "! test -e /data/sick"], interval: 1, timeout: 2, retries: 1, start_period: 0}
    files:
      - {name: web.conf, content: "colour = {{ colour }}\\n", destination: /etc/web.conf, owner: root, perm: "0600"}
"""


@pytest.fixture(scope="module")
def image(engine_url: str, busybox_image: str) -> Iterator[str]:
    with small.kolla_like(engine_url, busybox_image, IMAGE, SCRIPT, COMMAND) as made:
        yield made


@pytest.fixture
def lab(tmp_path: Path, engine_url: str, image: str) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", engine_url, name="again", tls=False) as lab:
        lab.write(
            {
                "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: {ADDRESS}}}\n    groups: [again]\n",
                "globals.yml": f"node_config_directory: {lab.config_root}\nkolla_internal_vip_address: {ADDRESS}\n",
                "hosts/ctl1.yml": "colour: blue\n",
                "services/again/service.yml": SERVICE,
                "services/again/variables.yml": "colour: {description: Of it., type: string, default: blue}\n",
            }
        )
        policy(lab, "heal")
        assert lab.reconcile().converged
        yield lab


def test_looks_at_registrations_leave_containers_alone_and_forget_nothing(
    lab: Lab, docker_client: docker.DockerClient
) -> None:
    """A look into a container starts a program there, so it is made less often; what it found counts until the next one."""
    target = lab.target()

    def seen(*, inside: bool) -> list[str]:
        found = lab.node.observer.observe(target, lab.node.state.memory(), deep=True, inside=inside)
        assert found.deep
        return list(found.stale)

    assert seen(inside=True) == []
    inside(docker_client, "touch /tmp/edited")
    assert [seen(inside=inside) for inside in (False, True, False)] == [[], [NAME], [NAME]]
    docker_client.containers.get(NAME).restart(timeout=5)
    assert seen(inside=False) == [], "it was started since"


def test_when_a_pass_looks_how_far(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("reconciler.node.observing.time.monotonic", lambda: now)
    node, target = lab.node, lab.target()
    memory = node.state.memory()
    node.observer.pass_ended(acted=False)  # the first convergence was just now
    node.observer.observe(target, memory, deep=True)
    daemon = node.settings.daemon
    assert daemon.look_interval < daemon.deep_interval
    started, wanted = now, []
    for passed in (1, daemon.look_interval - 1, daemon.look_interval, daemon.deep_interval):
        now = started + passed
        wanted.append(node.observer.wants_deep(target.desired, memory))
    assert wanted == [(False, False), (False, False), (True, False), (True, True)]
    now = started + daemon.interval
    found = node.observer._found
    assert found is not None
    for blind, expected in (
        ({"unknown": {"registrar:x": "down"}}, (True, False)),
        ({"unseen": {"x": ("", None, "")}}, (True, True)),
    ):
        monkeypatch.setattr(node.observer, "_found", replace(found, **{"unknown": {}, "unseen": {}, **blind}))  # type: ignore[arg-type]
        assert node.observer.wants_deep(target.desired, memory) == expected


def policy(lab: Lab, mode: str) -> None:
    lab.write({"reconciler.yml": f"name: again\ndrift: {{mode: {mode}}}\n"})
    lab.push(f"drift: {mode}")


def inside(client: docker.DockerClient, command: str) -> None:
    assert client.containers.get(NAME).exec_run(["sh", "-c", command]).exit_code == 0


def test_what_only_a_deep_pass_sees_stays_reported(lab: Lab, docker_client: docker.DockerClient) -> None:
    policy(lab, "report")
    assert lab.reconcile().converged
    inside(docker_client, "touch /tmp/edited")
    seen = [lab.reconcile(deep=deep) for deep in (False, True, False, False)]
    assert [[held.target for held in report.drift] for report in seen] == [[], [NAME], [NAME], [NAME]]
    assert [report.deep for report in seen] == [False, True, False, False]
    inside(docker_client, "rm /tmp/edited")
    assert lab.reconcile(deep=False).drift, "whoever did not look cannot say that it is well"
    assert not lab.reconcile(deep=True).drift
    assert not lab.reconcile(deep=False).drift
    # A container that was started since has nothing to do with what was found in the one before.
    inside(docker_client, "touch /tmp/edited")
    assert lab.reconcile(deep=True).drift
    docker_client.containers.get(NAME).restart(timeout=5)
    assert not lab.reconcile(deep=False).drift


def test_nothing_is_done_about_it_without_another_look(lab: Lab, docker_client: docker.DockerClient) -> None:
    lab.run("suspend", "--reason", "somebody is looking")
    inside(docker_client, "touch /tmp/edited")
    assert [held.target for held in lab.reconcile(deep=True).drift] == [NAME]
    inside(docker_client, "rm /tmp/edited")
    lab.run("resume")
    before = lab.identities()
    report = lab.reconcile(deep=False)
    assert report.deep and lines(report) == [] and lab.identities() == before
    inside(docker_client, "touch /tmp/edited")
    assert lines(lab.reconcile(deep=True)) == [f"restart    {NAME}  (drift: what runs differs from its files)"]
    after = lab.reconcile()
    assert after.deep and lines(after) == [], "after a pass that did something the next looks closely"
    assert not lab.reconcile().deep


def test_a_container_that_is_removed_during_its_restart_is_made_again(
    lab: Lab, docker_client: docker.DockerClient
) -> None:
    lab.write({"hosts/ctl1.yml": "colour: red\n"})
    lab.push("another colour")

    def by_hand() -> None:
        path = lab.config_root / NAME / "web.conf"
        wait_for("the restart is about to come", lambda: "red" in path.read_text(), 60)
        with contextlib.suppress(docker_errors.APIError):
            docker_client.containers.get(NAME).remove(force=True)

    somebody = threading.Thread(target=by_hand)
    somebody.start()
    report = lab.reconcile()
    somebody.join(60)
    outcome = results(report)[f"restart:{NAME}"]
    assert (outcome.result, outcome.reason) == ("failed", "ContainerMissing"), outcome
    assert lab.node.state.memory().quarantine == {}, "the configuration is not at fault"
    again = lab.reconcile()
    assert lines(again) == [f"create     {NAME}  (new container)"] and again.converged
    assert not list(lab.node.state.rollback.glob("*"))


def test_what_worked_before_is_tried_again(lab: Lab, docker_client: docker.DockerClient) -> None:
    """Healing fails because of something else: nothing waits for a commit that could not mend it."""
    path = lab.config_root / NAME / "web.conf"
    path.write_text("colour = mine\n")
    inside(docker_client, "touch /data/sick")
    report = lab.reconcile()
    assert results(report)[f"restart:{NAME}"].result == "rolled-back", report.outcomes
    assert lab.node.state.memory().quarantine == {}
    assert path.read_text() == "colour = mine\n"
    inside(docker_client, "rm /data/sick")
    again = lab.reconcile()
    assert again.converged and path.read_text() == "colour = blue\n", lines(again)


def test_what_is_left_unpruned_keeps_nothing_else_from_counting(lab: Lab, docker_client: docker.DockerClient) -> None:
    """The commit is carried out completely, so that what somebody does after it is drift and not part of it."""
    beside = f"  rt-again-side: {{group: again, kolla: false, image: {IMAGE}, stability: 0.1}}\n"
    lab.write({"services/again/service.yml": SERVICE + beside})
    lab.push("one beside it")
    assert lab.reconcile().converged
    lab.write(
        {
            "services/again/service.yml": SERVICE,
            "reconciler.yml": "name: again\ndrift: {mode: report}\nprune: {mode: report}\n",
        }
    )
    head = lab.push("and no more")
    report = lab.reconcile()
    assert report.plan is not None and report.converged and lab.node.state.memory().revision == head
    assert [(held.target, held.reason) for held in report.plan.held] == [("rt-again-side", "PruneReported")]
    (lab.config_root / NAME / "web.conf").write_text("colour = mine\n")
    assert [held.target for held in lab.reconcile().drift] == [f"{NAME}/web.conf"]
    assert docker_client.containers.get("rt-again-side").status == "running"


def test_what_a_restart_does_not_put_right_is_said_once(lab: Lab, docker_client: docker.DockerClient) -> None:
    """What the check dislikes is there again after the restart: nothing is gained by another one."""
    inside(docker_client, "touch /data/never")
    report = lab.reconcile(deep=True)
    assert lines(report) == [f"restart    {NAME}  (drift: what runs differs from its files)"]
    before = lab.identities()
    ready = {condition.type: condition for condition in report.conditions}["Ready"]
    assert (ready.status, ready.reason) == (False, "NotAchievable")
    assert ready.message.startswith(f"{NAME}: running configuration: asked for as in its files, it became ")
    lab.node.reporter.statuses.flush(10)
    assert lab.statuses()[-1][0] == "failed" and NAME in lab.statuses()[-1][1]
    for deep in (True, False, True):
        later = lab.reconcile(deep=deep)
        assert lines(later) == [] and later.converged and lab.identities() == before
    lab.close_node()
    assert lines(lab.reconcile(deep=True)) == [], "a restart of the program forgets nothing"
    # Other drift of the same container is healed as ever.
    (lab.config_root / NAME / "web.conf").write_text("colour = mine\n")
    assert [line.split()[0] for line in lines(lab.reconcile())] == ["write", "restart"]
    assert lines(lab.reconcile(deep=True)) == []
    lab.run("retry", NAME)
    assert lines(lab.reconcile(deep=True)) == [f"restart    {NAME}  (drift: what runs differs from its files)"]
    inside(docker_client, "rm /data/never")
    well = lab.reconcile(deep=True)
    assert (
        well.converged
        and {c.type: c.status for c in well.conditions}["Ready"]
        and not lab.node.state.memory().unachieved
    )
