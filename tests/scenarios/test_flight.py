"""While a change is being proved nothing else waits: drift is healed, and a newer commit takes over. With the real daemon."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import docker
import pytest

from reconciler.model import InFlight
from tests.support.lab import HOST, Lab, wait_for

pytestmark = pytest.mark.engine

ADDRESS = "127.0.0.73"
SLOW, LATER, SIDE = "rt-flight-slow", "rt-flight-later", "rt-flight-side"

_SERVICE = """\
description: One that proves itself slowly, one that waits for it, and one beside both
groups: {flight: []}
containers:
  rt-flight-slow:
    @
    start_timeout: 120
    healthcheck: {test: [CMD, sh, -c, @CHECK], interval: 1, timeout: 2, retries: 100, start_period: 0}
    files: [{name: slow.conf, content: "{{ word }}\\n", destination: /etc/slow.conf, mode: "0644"}]
  rt-flight-later:
    @
    depends_on: [rt-flight-slow]
    files: [{name: later.conf, content: "{{ word }}\\n", destination: /etc/later.conf, mode: "0644"}]
  rt-flight-side:
    @
    files: [{name: side.conf, content: "the same\\n", destination: /etc/side.conf, mode: "0644"}]
checks:
  lacks: {command: {container: rt-flight-slow, command: [sh, -c, "! grep alone /etc/slow.conf"]}, advice: give it a friend}
"""
# good: at once; quick and slow: some seconds after its start; anything else: never.
_CHECK = (
    "read word < /etc/slow.conf; up=$(( $(date +%s) - $(stat -c %Y /tmp/began) )); "
    "case $word in good*) ;; quick*) [ $up -ge 6 ];; slow*) [ $up -ge 16 ];; *) false;; esac"
)
_PLAIN = """\
group: flight
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "touch /tmp/began; grep -s broken /etc/slow.conf && echo 'ERROR Could not load nosuch'; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    stop_timeout: 1
    stability: 0.2\
"""


@pytest.fixture
def lab(tmp_path: Path, engine_url: str, busybox_image: str) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", engine_url, name="flight", tls=False) as lab:
        with lab.config.open("a") as config:
            config.write('[log]\nformat = "json"\nlevel = "debug"\n')
        lab.write(
            {
                "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: {ADDRESS}}}\n    groups: [flight]\n",
                "globals.yml": f"node_config_directory: {lab.config_root}\nkolla_internal_vip_address: {ADDRESS}\n",
                "hosts/ctl1.yml": "word: good\n",
                "reconciler.yml": f"name: {lab.name}\n",
                "services/flight/service.yml": _SERVICE.replace("@CHECK", json.dumps(_CHECK)).replace("@", _PLAIN),
                "services/flight/variables.yml": "word: {description: What differs., type: string, default: good}\n",
            }
        )
        yield lab


def say(lab: Lab, word: str) -> str:
    """Push the commit that changes one word."""
    lab.write({"hosts/ctl1.yml": f"word: {word}\n"})
    return lab.push(f"it says {word}")


def told(lab: Lab) -> dict[str, Any]:
    """The newest report that is on the disk."""
    path = lab.state / "report.json"
    return json.loads(path.read_text()) if path.exists() else {}


def ready(lab: Lab) -> tuple[str, str]:
    found = next((c for c in told(lab).get("conditions", ()) if c["type"] == "Ready"), {})
    return found.get("reason", ""), found.get("message", "")


def converged(lab: Lab, commit: str) -> Callable[[], bool]:
    return lambda: told(lab).get("revision") == commit and ready(lab)[0] == "Converged"


def being_proved(lab: Lab, commit: str) -> Callable[[], bool]:
    def found() -> bool:
        reason, message = ready(lab)
        return told(lab).get("revision") == commit and reason == "Progressing" and f"waiting for {SLOW}" in message

    return found


def test_what_waits_keeps_nothing_waiting(lab: Lab) -> None:
    with contextlib.closing(docker.DockerClient(base_url=lab.engine_url)) as client, lab.daemon() as process:
        first = say(lab, "good")
        wait_for("the site is there", converged(lab, first), 60)
        before = lab.identities()
        wrong = say(lab, "bad")
        wait_for("the change is being proved", being_proved(lab, wrong), 60)
        assert ready(lab)[1].startswith(f"waiting for {SLOW} to become healthy, ")
        conditions = {c["type"]: c["status"] for c in told(lab)["conditions"]}
        assert conditions["Reconciling"] and not conditions["Stalled"] and not conditions["Drifted"]

        # Drift elsewhere is healed meanwhile, and so is what a file's owner does by hand.
        client.containers.get(SIDE).kill()
        wait_for("it runs again", lambda: client.containers.get(SIDE).status == "running")
        side = lab.config_root / SIDE / "side.conf"
        side.write_text("by hand\n")
        wait_for("the file is as it was", lambda: side.read_text() == "the same\n")
        assert being_proved(lab, wrong)(), "the change is proved all the while"
        assert lab.identities()[SLOW] != before[SLOW] and lab.identities()[LATER] == before[LATER]

        # A newer commit takes over: the gate is cut short, and what was not begun never is.
        mended = say(lab, "good again")
        wait_for("the newer commit is carried out", converged(lab, mended), 60)
        assert (lab.config_root / SLOW / "slow.conf").read_text() == "good again\n"
        wait_for("the last words", lambda: lab.statuses(wrong)[-1:] and lab.statuses(wrong)[-1][0] == "canceled")
        wait_for("it is said", lambda: lab.statuses(mended)[-1:] and lab.statuses(mended)[-1][0] == "success")
        assert f"{mended[:12]} took its place" in lab.statuses(wrong)[-1][1]
        history = [json.loads(line) for line in (lab.state / "history.jsonl").read_text().splitlines()]
        of_wrong = {
            a["line"].split()[0] + ":" + a["line"].split()[1]: a
            for e in history
            if e["revision"] == wrong
            for a in e["actions"]
            if not a["drift"]
        }
        assert of_wrong[f"restart:{SLOW}"]["reason"] == "Superseded"
        assert of_wrong[f"restart:{LATER}"]["reason"] == "Superseded"
        restarts = [
            a
            for e in history
            for a in e["actions"]
            if a["line"].startswith(f"restart    {LATER}") and a["result"] == "done"
        ]
        assert len(restarts) == 1, "it was restarted for the newer commit alone"
        healed = [a["line"] for e in history for a in e["actions"] if a["drift"] and a["result"] == "done"]
        assert any(line.startswith(f"start      {SIDE}") for line in healed)
        assert not list((lab.state / "rollback").glob("*")) and not lab.node.state.begun
        assert process.poll() is None
    assert lab.reconcile(deep=True).plan.empty  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_it_may_end_while_something_is_in_flight(lab: Lab, number: int) -> None:
    """With a gate that was just cut, and while drift beside it is healed: the next start goes on."""
    with contextlib.closing(docker.DockerClient(base_url=lab.engine_url)) as client:
        with lab.daemon() as process:
            wait_for("the site is there", converged(lab, say(lab, "good")), 60)
            wrong = say(lab, "bad")
            wait_for("the change is being proved", being_proved(lab, wrong), 60)
            started = client.containers.get(SLOW).attrs["State"]["StartedAt"]
            mended = say(lab, "good again")
            client.containers.get(SIDE).kill()
            wait_for("the newer commit takes over", lambda: "flight.superseded" in lab.log(), 30)
            os.kill(process.pid, number)
            process.wait(20)
        left = client.containers.get(SLOW)
        assert left.status == "running" and (left.attrs["State"]["StartedAt"] == started or number == signal.SIGTERM)
        report = lab.reconcile()
        assert report.revision == mended and report.converged, f"{report.plan} {report.outcomes}"
        assert client.containers.get(SIDE).status == "running"
        assert (lab.config_root / SLOW / "slow.conf").read_text() == "good again\n"
        assert lab.reconcile(deep=True).plan.empty  # type: ignore[union-attr]
        assert not list((lab.state / "rollback").glob("*"))


@pytest.mark.slow
def test_a_gate_decides_by_evidence(lab: Lab) -> None:
    """The engine's own verdict would take a hundred failures, a hundred seconds."""
    with lab.daemon():
        never = say(lab, "broken from the beginning")
        wait_for("it is being proved", being_proved(lab, never), 60)
        time.sleep(35)
        assert being_proved(lab, never)(), "what was never healthy here keeps the long patience"
        quick = say(lab, "quick")
        wait_for("what takes six seconds", converged(lab, quick), 90)
        assert 5 < lab.node.state.memory().took[SLOW] < 30

        broken = say(lab, "broken")
        wait_for("it is being proved", being_proved(lab, broken), 60)
        wait_for("it is taken back", lambda: (lab.statuses(broken) or [("", "")])[-1][0] == "failed", 80)
        assert lab.statuses(broken)[-1][1].startswith(
            f"{SLOW}: Could not load nosuch (its health check has failed for "
        )
        wait_for("the old one is back", lambda: (lab.config_root / SLOW / "slow.conf").read_text() == "quick\n")
        wait_for("it is in quarantine", lambda: ready(lab)[0] == "Quarantined")
        assert "Could not load nosuch" in ready(lab)[1]
        history = [json.loads(line) for line in (lab.state / "history.jsonl").read_text().splitlines()]
        taken = next(a for e in history for a in e["actions"] if a["result"] == "rolled-back")
        assert taken["seconds"] < 60, "15 s of evidence, on a busy machine twice as many, and the way back"

        slow = say(lab, "slow")
        wait_for("what is nearly three times as slow as before gets there", converged(lab, slow), 90)


def test_what_is_waited_for_long_is_told_by_the_check_inside(lab: Lab) -> None:
    """As a member of a database that waits for all others, which is healthy for nobody, and knows what an operator has to type."""
    say(lab, "good")
    assert lab.reconcile().converged
    (lab.config_root / SLOW / "slow.conf").write_text("alone\n")
    now = lab.node.clock()
    long, short = (InFlight(SLOW, "waiting for it to become healthy", now - timedelta(seconds=age)) for age in (60, 1))
    (told,) = lab.node.observer.explained(lab.target(), [long])
    assert told.text.startswith(f"{long.text}: `sh -c ! grep alone") and told.text.endswith("give it a friend")
    assert lab.node.observer.explained(lab.target(), [short]) == (short,), "it may be about to become healthy"
