"""Seven days without the Git server, in compressed time, with a reboot on the third: nothing is changed, drift is healed, the alert said so."""

import secrets
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker
import pytest

from tests.alerts import receivers
from tests.scenarios import small
from tests.support.lab import Lab, lines

pytestmark = [pytest.mark.engine, pytest.mark.slow]

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
WEB, SIDE = "rt-away-web", "rt-away-side"


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[receivers.Webhook]:
    (tmp_path / "hook-key").write_text(secrets.token_hex(16))
    with receivers.webhook((tmp_path / "hook-key").read_text()) as server:
        yield server
    assert server.wrong == []


@pytest.fixture
def lab(tmp_path: Path, engine_url: str, busybox_image: str, hook: receivers.Webhook) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", engine_url, name="away", tls=False) as lab:
        lab.config.write_text(
            f'{lab.config.read_text()}\n[alerts.targets.chat]\nkind = "webhook"\nurl = "{hook.url}"\n'
            f'key_file = "{tmp_path / "hook-key"}"\n'
        )
        small.first(lab, "away")
        lab.push("the first one")
        at(lab, 0)
        assert lab.reconcile().converged
        yield lab


def at(lab: Lab, hour: float) -> None:
    """It is so many hours later, for the node and for whoever tells others."""
    lab.node.clock = lambda: START + timedelta(hours=hour)


def test_seven_days_without_the_git_server(lab: Lab, hook: receivers.Webhook, engine_url: str) -> None:
    accepted, before = lab.head, lab.identities()
    conf = lab.config_root / WEB / "away.conf"
    content = conf.read_bytes()
    lab.push("a commit that nobody can read")
    gone = lab.repository.rename(lab.repository.with_suffix(".away"))
    drifted, worked = {30: "file", 100: "stopped", 150: "removed"}, {}
    with closing(docker.DockerClient(base_url=engine_url)) as client:
        for hour in range(1, 7 * 24 + 1):
            if hour == 60:  # a reboot, after which nothing was started
                lab.close_node()
                for name in (WEB, SIDE):
                    client.containers.get(name).kill()
                drifted[hour] = "reboot"
            match drifted.get(hour):
                case "file":
                    conf.write_text("[DEFAULT]\ncolour = mine\n")
                case "stopped":
                    client.containers.get(SIDE).kill()
                case "removed":
                    client.containers.get(SIDE).remove(force=True)
            at(lab, hour)
            report = lab.reconcile()
            assert not report.source.ok and report.revision == accepted and not report.failed, (hour, report)
            if report.outcomes:
                worked[hour] = lines(report)
            assert bool(report.outcomes) == (hour in drifted), (hour, lines(report))
            assert lab.node.reporter.alerts and lab.node.reporter.alerts.flush(20)
        assert {hour: len(done) for hour, done in worked.items()} == {30: 2, 60: 2, 100: 1, 150: 1}, worked
        assert conf.read_bytes() == content
        assert all(client.containers.get(name).status == "running" for name in (WEB, SIDE))
        assert lab.identities()[WEB][0] == before[WEB][0], "what was not removed is the container that it was"
        # Told once it had lasted, and again every four hours (`alerts.repeat`); what was healed was no alert.
        told = [alert for alert in hook.alerts if alert["kind"] == "source"]
        assert told and {alert["status"] for alert in told} == {"firing"} and len(told) == 7 * 24 // 4, hook.alerts
        assert "The node keeps to" in told[0]["text"] and [a for a in hook.alerts if a["kind"] != "source"] == []
        gone.rename(lab.repository)
        at(lab, 7 * 24 + 1)
        report = lab.reconcile()
        assert report.source.ok and report.revision == lab.head != accepted and report.converged
        at(lab, 7 * 24 + 2)  # that it is over is told once that has lasted (`alerts.settle`)
        assert lab.reconcile().converged
        assert lab.node.reporter.alerts.flush(20)
        assert [a["status"] for a in hook.alerts if a["kind"] == "source"][-1] == "resolved"
