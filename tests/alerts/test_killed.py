"""kill -9 at the moments that matter: told and not yet resolved, and in the middle of telling."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from reconciler.alerts import Notifier
from reconciler.codec import to_json
from reconciler.report import Report
from reconciler.settings import Alerts, AlertTarget
from tests.alerts import receivers
from tests.alerts.conftest import PROJECT
from tests.alerts.reports import held, report
from tests.forge.gitlab_server import GitLab
from tests.support.lab import wait_for
from tests.support.paths import CHECKOUT

PROCESS = """\
import json, pathlib, sys
from reconciler.alerts import Notifier
from reconciler.codec import from_json
from reconciler.report import Report
from reconciler.settings import Alerts, AlertTarget
target, store, report = json.load(sys.stdin)
for name in ("key_file", "ca_file", "url_file"):
    target[name] = pathlib.Path(target[name]) if target[name] else None
notifier = Notifier(Alerts(targets={"t": AlertTarget(**target)}), pathlib.Path(store), "ctl1")
notifier.take(from_json(Report, report))
print(notifier.flush(60), flush=True)
sys.stdin.read()
import time
time.sleep(60)
"""


def running(target: AlertTarget, store: Path, seen: Report) -> "subprocess.Popen[str]":
    """A process that tells and is then there until somebody kills it."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert process.stdin is not None
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(target).items()}
    json.dump([plain, str(store), to_json(seen)], process.stdin)
    process.stdin.close()
    return process


def killed(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()


def now() -> datetime:
    return datetime.now(UTC)


def notifier(target: AlertTarget, store: Path) -> Notifier:
    return Notifier(Alerts(targets={"t": target}, settle=0), store, "ctl1")


def test_between_firing_and_resolving(gitlab: GitLab, gitlab_target: AlertTarget, tmp_path: Path) -> None:
    store = tmp_path / "alerts.json"
    seen = report(held(), now=now(), explained={"keystone": "stopped by hand at 03:12:00"})
    process = running(gitlab_target, store, seen)
    try:
        assert process.stdout is not None and process.stdout.readline() == "True\n"
    finally:
        killed(process)
    one = notifier(gitlab_target, store)
    one.take(report(now=now()))
    assert one.flush(30)
    one.close(0)
    (alert,) = gitlab.projects[PROJECT].alerts
    assert (alert.status, alert.events) == ("resolved", 1)
    assert "who did it: stopped by hand at 03:12:00" in alert.payload["description"], "also known to the next process"


def test_in_the_middle_of_telling(webhook: receivers.Webhook, webhook_target: AlertTarget, tmp_path: Path) -> None:
    """Nobody knows whether it arrived: what is still wrong is told again, under the same fingerprint."""
    store = tmp_path / "alerts.json"
    webhook.hang.set()
    process = running(webhook_target, store, report(held("a"), held("b"), now=now()))
    try:
        wait_for("the webhook is being told", lambda: webhook.arrived)
        assert b'"sure":false' in store.read_bytes(), "remembered before anybody is told"
    finally:
        killed(process)
    webhook.hang.clear()
    wait_for("the child of the one that was killed is through", lambda: len(webhook.messages) == 1)
    one = notifier(webhook_target, store)
    one.take(report(held("a"), now=now()))
    wait_for("b is resolved", lambda: {(a["item"], a["status"]) for a in webhook.alerts} == {
        ("a", "firing"), ("b", "firing"), ("b", "resolved")
    })  # fmt: skip
    assert one.flush(30)
    one.close(0)
    assert len({a["fingerprint"] for a in webhook.alerts if a["item"] == "a"}) == 1
