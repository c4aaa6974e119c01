"""What a drain stops, and in which order; and what it has go elsewhere before."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker
import pytest

from reconciler import errors, report
from reconciler.cli import draining, fleet
from reconciler.daemon import presence
from reconciler.etcd import UnavailableError
from reconciler.model import Actual, Applied, Container, Running, State
from reconciler.node import cycle, maintenance
from reconciler.reasons import Reason
from reconciler.render import render
from reconciler.source import prepare_child
from reconciler.state import StateDirectory
from tests.services import golden
from tests.support.lab import HOST, PATIENCE, Lab


def test_what_rests_on_others_is_stopped_first_and_what_only_this_host_has_goes_on() -> None:
    site = golden.load(golden.HERE / "three_nodes" / "site", {})
    made = render(site, "ctl-a", "0" * 40)
    rollout = prepare_child.rollout(site, prepare_child.budgets(site, made))
    names = [one.name for one in maintenance.stood_in_for(made, rollout)]
    assert names.index("keystone") < names.index("mariadb"), names
    assert {"etcd", "rabbitmq", "mariadb", "keystone"} <= set(names)
    every = {one.name: one for one in made.containers}
    assert not [name for name in names if every[name].data_plane], names
    assert {"cron", "fluentd"} & every.keys() and not {"cron", "fluentd"} & set(names)
    balancer = render(site, "lb-2", "0" * 40)
    rollout = prepare_child.rollout(site, prepare_child.budgets(site, balancer))
    names = [one.name for one in maintenance.stood_in_for(balancer, rollout)]
    assert names.index("keepalived") < names.index("haproxy"), names
    # One alone: nobody stands in for it.
    alone = golden.load(golden.HERE / "one_node" / "site", {})
    only = render(alone, next(iter(alone.hosts)), "0" * 40)
    assert maintenance.stood_in_for(only, prepare_child.rollout(alone, prepare_child.budgets(alone, only))) == []


@pytest.mark.parametrize("lent", [False, True])
def test_a_drain_that_is_refused_gives_back_the_budgets_that_it_took_and_no_others(
    monkeypatch: pytest.MonkeyPatch, lent: bool
) -> None:
    done: list[str] = []

    class Refusing:
        def out(self, reason: str) -> None:
            raise errors.Terminal(f"no: {reason}", reason=Reason.DrainRefused)

    node = SimpleNamespace(
        state=SimpleNamespace(resume=lambda: done.append("resumed"), path=None),
        settings=SimpleNamespace(host="h", fleet=SimpleNamespace(etcd=("e",))),
    )
    monkeypatch.setattr(draining, "_services", lambda node, target: Refusing())
    monkeypatch.setattr(fleet, "given_back", lambda node: done.append("given back"))
    monkeypatch.setattr(presence, "wake", lambda path: done.append("woken"))
    with pytest.raises(errors.Terminal, match="no: a disk"):
        draining._elsewhere(cast(Any, node), cast(Any, None), "a disk", lent=lent)
    assert done == ["resumed", "woken", *([] if lent else ["given back"])]


def test_what_is_stopped_is_noted_first_until_it_has_proved_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, what is down would be taken for somebody else's doing, which a site need not want healed."""
    state, done = StateDirectory(tmp_path / "state"), list[str]()
    state.create()
    monkeypatch.setattr(maintenance, "Drains", lambda *_, **__: SimpleNamespace(out=lambda one, name: None))
    engine = SimpleNamespace(stop=lambda name: done.append(f"{name}: {sorted(state.memory().put_down)}"))
    web, db = Container("web", "i"), Container("db", "i")
    run = Running(web, "1", "i", State.RUNNING, datetime.now(UTC), owned=True, explicit=frozenset())
    actual = Actual({"web": run, "db": replace(run, spec=db, state=State.EXITED)}, {}, {})
    stopped = maintenance.out(cast(Any, engine), [web, db], actual, state.put_down, done.append)
    assert stopped == ["web"] and done == ["web: ['web']", "web is stopped"]
    state.applied("web", Applied("1", datetime.now(UTC), ""))
    assert state.memory().put_down == frozenset()


def test_a_host_that_is_back_is_said_to_be_although_etcd_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its budgets stay lent, and nothing else is left to do."""
    done: list[str] = []

    def unanswered(node: object) -> None:
        raise UnavailableError("etcd cannot be asked (refused)")

    node = SimpleNamespace(
        state=SimpleNamespace(
            resume=lambda: done.append("resumed"),
            path=None,
            suspension=SimpleNamespace(reason=f"{maintenance.MARK}a disk"),
            permit=SimpleNamespace(lent="a disk"),
        ),
        settings=SimpleNamespace(host="h", fleet=SimpleNamespace(etcd=("e",))),
        in_force=("c" * 40, ""),
        aims=SimpleNamespace(of=lambda revision: None),
    )
    back = SimpleNamespace(back=lambda: done.append("in use"))
    monkeypatch.setattr(draining, "_services", lambda node, target: back)
    monkeypatch.setattr(cycle, "reconcile", lambda node, **_: None)
    monkeypatch.setattr(report, "verdict", lambda found: SimpleNamespace(ready=True))
    monkeypatch.setattr(fleet, "given_back", unanswered)
    monkeypatch.setattr(presence, "wake", lambda path: None)
    with pytest.raises(errors.Transient, match=r"h is back, and its budgets stay lent: .*`reconciler fleet give-back`"):
        draining._back(cast(Any, node), 1.0)
    assert done == ["resumed", "in use"]


SERVICE = """\
description: A process, of which something has to go elsewhere before its host is away
groups: {dr: []}
containers:
  rt-dr-web:
    group: dr
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    stop_timeout: 1
    stability: 0.2
    files: [{name: dr.conf, content: "{{ dr_word }}\\n", destination: /etc/dr.conf, mode: "0644"}]
maintenance:
  dr_things:
    description: its things go elsewhere
    container: rt-dr-web
    command: [sh, -c, "{{ dr_program }}", drain]
"""
VARIABLES = """\
dr_word: {description: What the file says., type: string, default: one}
dr_program: {description: What a drain runs., type: string, default: "echo $1 $2, $(cat /etc/dr.conf)"}
"""
REFUSES = "echo $1; [ $1 = back ] || { echo 'error: thing 7 cannot go: it is nailed down'; exit 1; }"
WAITS = "echo $1; while [ $1 = out ] && [ ! -e /tmp/go ]; do sleep 0.1; done"


@pytest.fixture
def lab(tmp_path: Path, engine_url: str, busybox_image: str) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", engine_url, name="dr", tls=False, canaries=False) as lab:
        lab.one_service(SERVICE, "127.0.0.73", variables=VARIABLES)
        yield lab


def program(lab: Lab, text: str) -> None:
    path = lab.site / "globals.yml"
    kept = [line for line in path.read_text().splitlines() if not line.startswith("dr_program")]
    path.write_text("\n".join([*kept, f"dr_program: {json.dumps(text)}", ""]))
    lab.push("another program")
    assert lab.reconcile().converged
    lab.close_node()


@pytest.mark.slow
@pytest.mark.engine
def test_what_only_this_host_has_goes_elsewhere_or_nothing_is_changed(lab: Lab) -> None:
    lab.push("the first")
    assert lab.reconcile().converged
    lab.close_node()
    before = lab.identities()
    said = lab.run("drain", HOST, "--reason", "a disk").stdout
    assert "dr_things: its things go elsewhere\nout a disk, one\n" in said, said
    assert f"{HOST} is drained" in said and lab.node.state.suspension.reason == "drained: a disk"  # type: ignore[union-attr]
    lab.close_node()
    said = lab.run("drain", HOST, "--back").stdout
    assert said.startswith("back , one\n") and f"{HOST} is back" in said, said
    assert lab.node.state.suspension is None

    program(lab, REFUSES)
    done = lab.run("drain", HOST, "--reason", "a disk", check=False)
    assert done.returncode == 1 and "dr_things: thing 7 cannot go: it is nailed down" in done.stderr, done
    assert "[DrainRefused]" in done.stderr and "it is in use as before" in done.stdout, done
    assert "dr_things: its things go elsewhere\nout\nback\n" in done.stdout, "what was begun was undone"
    assert lab.node.state.suspension is None and lab.identities() == before


@pytest.mark.slow
@pytest.mark.engine
def test_a_drain_that_is_cut_short_goes_on_and_is_waited_for_or_ended(
    lab: Lab, docker_client: docker.DockerClient
) -> None:
    lab.push("the first")
    assert lab.reconcile().converged
    program(lab, WAITS)
    name = "reconciler-maintenance-dr_things"

    def cut_short() -> str:
        words = [sys.executable, "-m", "reconciler", "drain", HOST, "--reason", "a disk"]
        with subprocess.Popen(
            words, env=lab.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout and process.stderr
            while process.stdout.readline() != "out\n":
                assert process.poll() is None, process.stderr.read()
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) != 0
            said = process.stdout.read()
            assert "the drain is not over" in said, said
        return str(docker_client.containers.get(name).id)

    first = cut_short()
    assert lab.node.state.suspension is not None
    lab.close_node()
    assert cut_short() == first, "the same one goes on"
    docker_client.containers.get(name).exec_run(["touch", "/tmp/go"])
    assert f"{HOST} is drained" in lab.run("drain", HOST, "--reason", "a disk").stdout
    lab.run("drain", HOST, "--back")

    cut_short()
    assert "back\n" in lab.run("drain", HOST, "--back").stdout
    with pytest.raises(docker.errors.NotFound):
        docker_client.containers.get(name)
