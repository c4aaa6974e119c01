"""What could not be looked at is never fine: in `drift`, in `status`, in the conditions and in the metrics."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler import settings
from reconciler.cli import status as status_verb
from reconciler.cli.main import program
from reconciler.codec import to_json
from reconciler.daemon import presence
from reconciler.model import Held, Plan
from reconciler.reasons import Reason
from reconciler.report import Report
from reconciler.report.metrics import Metrics
from reconciler.state import StateDirectory
from tests.alerts import reports

DENIED = "mariadb 10.0.0.1:3306 denies access to 'root'"
DRIFT = reports.held("web", message="stopped")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "reconciler.toml"
    path.write_text(f'host = "ctl1"\nstate_dir = "{tmp_path}/state"\n[git]\nurl = "file://{tmp_path}/site.git"\n')
    StateDirectory(tmp_path / "state").create()
    return path


def run(config: Path, *words: str) -> tuple[int, str]:
    found = CliRunner().invoke(program, words, env={"RECONCILER_CONFIG": str(config)})
    return found.exit_code, found.output


@pytest.mark.parametrize(
    ("held", "code", "detailed", "words"),
    [
        ([], 0, 0, "no drift (looked at"),
        ([DRIFT], 0, 2, "web  stopped"),
        (
            [Held("mariadb:user:a", Reason.Unknown, DENIED), Held("mariadb:user:b", Reason.Unknown, DENIED)],
            1,
            1,
            DENIED,
        ),
        ([DRIFT, Held("keystone", Reason.Unknown, "HTTP 500")], 1, 1, "unknown: 1 could not be looked at"),
    ],
)
def test_drift(
    config: Path, monkeypatch: pytest.MonkeyPatch, held: list[Held], code: int, detailed: int, words: str
) -> None:
    monkeypatch.setattr("reconciler.cli.plan.node_plan", lambda settings: Plan("ctl1", "a" * 40, held=tuple(held)))
    exit_code, said = run(config, "drift")
    assert exit_code == code and words in said and said.count(DENIED) <= 1, said
    assert run(config, "drift", "--detailed-exitcode")[0] == detailed
    exit_code, said = run(config, "drift", "--json")
    shown = json.loads(said)
    assert exit_code == code and len(shown["unknown"]) == sum(item.reason == "Unknown" for item in held)
    assert shown["looked_at"]


def test_conditions_and_metrics() -> None:
    metrics = Metrics()

    def told(report: Report) -> tuple[str, str, float]:
        metrics.report(report)
        drifted = {condition.type: condition for condition in report.conditions}["Drifted"]
        value = metrics.registry.get_sample_value("reconciler_condition", {"type": "Drifted"})
        assert value is not None
        return drifted.reason, drifted.message, value

    assert told(reports.report()) == ("InStep", "no unhealed drift", 0.0)
    reason, message, value = told(reports.report(Held("mariadb", Reason.Unknown, DENIED)))
    assert (reason, math.isnan(value)) == ("Unknown", True) and DENIED in message
    reason, message, value = told(reports.report(failure=(Reason.EngineTimeout, "the engine did not answer in time")))
    assert (reason, math.isnan(value)) == ("Unknown", True) and "did not answer" in message
    assert told(reports.report(DRIFT, Held("mariadb", Reason.Unknown, DENIED)))[::2] == ("Drift", 1.0)


def test_a_pass_that_hangs_takes_the_word_of_the_one_before(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StateDirectory(tmp_path / "state").save_report(to_json(reports.report()))
    daemon = presence.Presence(tmp_path / "state")
    try:
        with daemon.working():
            assert (
                "Ready        yes" in run(config, "status")[1] and run(config, "status", "--detailed-exitcode")[0] == 0
            )
            monkeypatch.setattr(status_verb, "_COUNTS", 0.0)
            code, said = run(config, "status", "--detailed-exitcode")
            assert (
                code == 2
                and "Ready        unknown" in said
                and "Drifted      unknown" in said
                and "looking   since" in said
            )
        code, said = run(config, "status", "--detailed-exitcode")
        assert code == 0 and "Ready        yes" in said and "looked    0 s ago" in said
        assert json.loads(run(config, "status", "--json")[1])["passes"]["ended"]
    finally:
        daemon.close()


def test_a_daemon_that_has_other_settings_says_what_puts_them_into_force(config: Path, tmp_path: Path) -> None:
    StateDirectory(tmp_path / "state").save_report(to_json(reports.report()))
    daemon = presence.Presence(tmp_path / "state", settings.load(config).digest)
    try:
        assert "settings" not in run(config, "status")[1]
        config.write_text(f"{config.read_text()}# another\n")
        assert (
            "settings  changed since the daemon was started: `systemctl restart reconciler`" in run(config, "status")[1]
        )
    finally:
        daemon.close()


def test_a_daemon_that_was_killed_takes_the_word_of_its_last_pass(config: Path, tmp_path: Path) -> None:
    """In the middle of one; after it, that stands, with how old it is."""
    StateDirectory(tmp_path / "state").save_report(to_json(reports.report()))
    daemon = presence.Presence(tmp_path / "state")
    with daemon.working():
        kept = (tmp_path / "state/daemon.lock").read_bytes()
    daemon.close()
    code, said = run(config, "status", "--detailed-exitcode")
    assert code == 0 and "does not run" in said and "looked    0 s ago" in said and "Ready        yes" in said
    (tmp_path / "state/daemon.lock").write_bytes(kept)  # as a kill leaves it
    code, said = run(config, "status", "--detailed-exitcode")
    assert code == 2 and "looked    until it was killed" in said and "whether it still holds is unknown" in said
    assert "Ready        unknown" in said and "Drifted      unknown" in said
    found = json.loads(run(config, "status", "--json")[1])
    assert found["daemon"] is None and found["passes"]["began"] and found["passes"]["ended"] is None
    for odd in (b"", b"1 2\n", b"x" * 200):
        (tmp_path / "state/daemon.lock").write_bytes(odd)
        code, said = run(config, "status", "--detailed-exitcode")
        assert code == 0 and "looked" not in said and "Ready        yes" in said, odd


def test_metrics_say_that_a_pass_is_under_way() -> None:
    metrics = Metrics()
    name = "reconciler_pass_started_timestamp_seconds"
    with metrics.working():
        assert (metrics.registry.get_sample_value(name) or 0) > 1e9
    assert metrics.registry.get_sample_value(name) == 0
