"""Every reason to wait for other hosts, in everything that people look at: none may be silent anywhere, or look like a failure."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from reconciler.alerts import Rules, alerts_of
from reconciler.alerts.items import ETCD, ROLLOUT, coverage
from reconciler.cli.main import program
from reconciler.fleet import judge
from reconciler.fleet.inventory import Member
from reconciler.model import Held
from reconciler.reasons import FLEET, Reason, Standing
from reconciler.report import Agreed, Report, State, as_json, status_text, verdict
from reconciler.report.metrics import Metrics
from reconciler.report.signed import decode, encode, statement
from reconciler.state import StateDirectory
from reconciler.web.document import node_document
from tests.alerts import reports
from tests.alerts.reports import REVISION, START
from tests.support.paths import CHECKOUT

REASONS = sorted(FLEET)
HOLDER = "ctl2 holds the budget mariadb"
RULES = yaml.safe_load((CHECKOUT / "docs/monitoring/reconciler.rules.yml").read_text())["groups"][0]["rules"]


def waiting(reason: Reason) -> Report:
    """A node that keeps up what it last carried out, because of other hosts."""
    fleet = Agreed("no answer in time" if reason is Reason.EtcdUnavailable else "", REVISION, "", ("page",))
    if reason is Reason.RolloutHalted:
        fleet = replace(fleet, halt="cmp1: it says bad")
    return replace(reports.report(Held("mariadb", reason, HOLDER)), fleet=fleet)


def test_there_are_some() -> None:
    named = {Reason.WaitsForWave, Reason.WaitsForBudget, Reason.RolloutHalted, Reason.EtcdUnavailable}
    assert named <= FLEET and all(reason.standing is Standing.WAITING for reason in FLEET)


@pytest.mark.parametrize("reason", REASONS)
def test_conditions_and_commit_statuses_say_who_is_waited_for(reason: Reason) -> None:
    found = waiting(reason)
    ready = next(c for c in found.conditions if c.type == "Ready")
    assert (ready.status, ready.reason) == (False, reason) and HOLDER in ready.message
    assert verdict(found).state is State.WAITING and not verdict(found).stalled
    (text,) = status_text(found)
    assert (text.state, text.reason) == ("pending", reason) and HOLDER in text.description


@pytest.mark.parametrize("reason", REASONS)
def test_a_reporter_hears_it(reason: Reason) -> None:
    found = waiting(reason)
    answer = judge.Answer(decode(encode(statement(found))))
    view = judge.view(Member("ctl1", "control", "10.0.0.1", "key"), answer, None, REVISION, found.ended_at, 300.0)
    assert (view.state, view.reason) == ("waiting", reason) and HOLDER in view.message


@pytest.mark.parametrize("reason", REASONS)
def test_the_status_verb_shows_it(reason: Reason, tmp_path: Path) -> None:
    settings = tmp_path / "reconciler.toml"
    settings.write_text(f'host = "ctl1"\nstate_dir = "{tmp_path}/state"\n[git]\nurl = "file://{tmp_path}/site"\n')
    (tmp_path / "state").mkdir(mode=0o700)
    StateDirectory(tmp_path / "state").save_report(as_json(waiting(reason)))
    shown = CliRunner().invoke(program, ["status", "--config", str(settings)]).output
    assert reason in shown and HOLDER in shown and "holds     page" in shown
    if reason is Reason.EtcdUnavailable:
        assert "fleet     no answer in time" in shown
    if reason is Reason.RolloutHalted:
        assert "halted    cmp1: it says bad" in shown


@pytest.mark.parametrize("reason", REASONS)
def test_the_page_has_it(reason: Reason) -> None:
    """That it is shown as waiting, and not as a failure, is in tests/web."""
    document = node_document(waiting(reason), (), {})
    assert document["state"] == "waiting"
    assert [(held["reason"], held["message"]) for held in document["plan"]["held"]] == [(reason, HOLDER)]
    assert document["fleet"]["holds"] == ["page"]


@pytest.mark.parametrize("reason", REASONS)
def test_a_metric_counts_it_and_a_rule_asks_for_that(reason: Reason) -> None:
    metrics = Metrics()
    metrics.report(waiting(reason))
    sample = metrics.registry.get_sample_value
    assert sample("reconciler_held_items", {"reason": reason}) == 1
    assert sample("reconciler_places_held") == 1
    gauges = {Reason.EtcdUnavailable: "reconciler_etcd_unavailable", Reason.RolloutHalted: "reconciler_rollout_halted"}
    for of, gauge in gauges.items():
        assert sample(gauge) == (of is reason)
    asked = [rule["expr"] for rule in RULES]
    selectors = [
        pattern for text in asked for pattern in re.findall(r'reconciler_held_items\{reason=~?"([^"]+)"', text)
    ]
    assert any(re.fullmatch(pattern, reason) for pattern in selectors) or any(
        gauges.get(reason, "-") in text for text in asked
    )


@pytest.mark.parametrize("reason", REASONS)
def test_it_is_an_alert_when_it_lasts_and_over_when_it_is_over(reason: Reason) -> None:
    rules = Rules()
    (alert,) = alerts_of(waiting(reason), START + timedelta(days=2), rules)
    at_once = (Reason.RolloutHalted, Reason.EtcdUnavailable)
    assert (alert.item, alert.reason) == (ETCD if reason is Reason.EtcdUnavailable else ROLLOUT, reason)
    assert alert.patience == (rules.failing_after if reason in at_once else rules.waiting_after)
    well = replace(reports.report(), fleet=Agreed("", REVISION))
    assert alerts_of(well, START) == () and coverage(well).covers(alert.item, deep_only=False)


def test_an_etcd_that_is_away_is_told_before_anything_waits_for_it() -> None:
    """A cluster would not be healed: that must not be found out when it has to be."""
    found = replace(reports.report(), fleet=Agreed("etcd cannot be asked (no answer in time)"))
    assert verdict(found).ready
    (alert,) = alerts_of(found, START)
    assert (alert.item, alert.reason, alert.kind) == (ETCD, Reason.EtcdUnavailable, "etcd")
    metrics = Metrics()
    metrics.report(found)
    assert metrics.registry.get_sample_value("reconciler_etcd_unavailable") == 1
    # What was heard last of a halt is not what is now.
    assert not coverage(reports.report()).covers(ETCD, deep_only=False)
