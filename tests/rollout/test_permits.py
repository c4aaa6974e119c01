"""Since when a host is well: what was changed has to stay well from then on, whatever was before. And when it looks again."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler import settings
from reconciler.daemon.service import Daemon
from reconciler.model import Action, CheckResult, Held, Outcome, Plan, Verb
from reconciler.node.permits import Permits
from reconciler.node.showing import is_to_blame, well_since
from reconciler.reasons import Reason
from reconciler.report import Report, RepositoryStatus
from reconciler.rollout.decide import Own
from reconciler.rollout.policy import Rollout, Wave
from reconciler.rollout.records import Permit, View
from reconciler.state import StateDirectory

RESTART = Action(Verb.RESTART, "db", "its options differ", drift=True)
QUIET = Report(
    "site", "one", "b" * 40, datetime(2026, 1, 1, tzinfo=UTC), 1.0, "interval", False, RepositoryStatus(True),
    plan=Plan("one", "b" * 40), kept="a" * 40,
)  # fmt: skip
BEFORE = ("a" * 40, 100.0)
ACTED = replace(QUIET, plan=Plan("one", "b" * 40, (RESTART,)), outcomes=(Outcome(RESTART, "done"),))


def held(reason: Reason) -> Report:
    return replace(QUIET, plan=Plan("one", "b" * 40, held=(Held("db", reason, "why"),)))


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (QUIET, BEFORE),
        (replace(QUIET, kept="b" * 40), ("b" * 40, 500.0)),
        (ACTED, ("a" * 40, 500.0)),
        (replace(ACTED, outcomes=()), None),
        (replace(ACTED, outcomes=(Outcome(RESTART, "failed", Reason.Unhealthy),)), None),
        (held(Reason.WaitsForBudget), BEFORE),
        (held(Reason.HoldsData), BEFORE),
        (held(Reason.Quarantined), None),
        (replace(QUIET, checks=(CheckResult("page", "web", False, "no answer"),)), None),
        (replace(QUIET, failure=(Reason.EngineUnreachable, "no engine")), None),
        (replace(QUIET, plan=None), None),
    ],
)
def test_since_when_it_is_well(report: Report, expected: object) -> None:
    assert well_since(BEFORE, report, 500.0) == expected
    assert well_since(None, QUIET, 500.0) == ("a" * 40, 500.0)


@pytest.mark.parametrize(
    ("verb", "reason", "blamed"),
    [
        (Verb.PULL, Reason.ImageNotFound, True),
        (Verb.PULL, Reason.RegistryUnreachable, False),
        (Verb.PULL, Reason.DiskFull, False),
        (Verb.RESTART, Reason.PortInUse, True),
        (Verb.RESTART, Reason.Interrupted, False),
        (Verb.UPDATE, Reason.ContainerMissing, False),
        (Verb.RESTART, Reason.EngineTimeout, False),
        (Verb.REPLACE, Reason.HostFailed, True),
        (Verb.RESTART, None, False),
    ],
)
def test_what_says_nothing_of_the_commit_halts_nothing(verb: Verb, reason: Reason | None, blamed: bool) -> None:
    assert is_to_blame(Outcome(Action(verb, "x", ""), "failed", reason)) is blamed


@pytest.mark.parametrize(
    ("well", "places", "images", "expected"),
    [
        (70.0, ("budget/wave/0",), False, [30.1]),  # until what it did has been well for the bake time
        (30.0, ("budget/wave/0",), False, []),  # that is over: what is waited for now takes no known time
        (70.0, (), False, []),
        (70.0, (), True, [0.1]),  # its images have come, and it may claim a place
        (None, (), True, []),  # its interval is soon enough for a pass that fails
    ],
)
def test_the_next_pass_comes_when_the_rollout_can_go_on(
    well: float | None, places: tuple[str, ...], images: bool, expected: list[float], tmp_path: Path, monkeypatch: Any
) -> None:
    commit = QUIET.revision
    (tmp_path / "settings.toml").write_text(
        f'host = "one"\nstate_dir = "{tmp_path}/state"\n[git]\nurl = "file://{tmp_path}/site.git"\n'
    )
    daemon = Daemon(settings.load(tmp_path / "settings.toml"))
    later: list[float] = []
    monkeypatch.setattr(daemon._turns, "later", later.append)
    permits: Any = daemon.node.permits
    permits.clock = lambda: 100.0
    permits._accepted = SimpleNamespace(
        desired=SimpleNamespace(revision=commit), prepared=SimpleNamespace(rollout=Rollout((), {}, bake=60.0))
    )
    permits._well = None if well is None else (commit, well)
    permits._view = View(permit=Permit(commit, places, "here") if places else None)
    permits._pulls, permits._pulled = images, commit if images else ""
    daemon._after(QUIET, poll=False)
    assert later == pytest.approx(expected)


def test_a_host_that_was_proved_once_is_new_no_more(tmp_path: Path) -> None:
    """Its first convergence may never be complete: what goes after all hosts is open when the next commit comes, and that waits its turn."""
    state = StateDirectory(tmp_path / "state")
    state.create()
    seen = [View(), View(is_proved=True), View()]
    permits = Permits.__new__(Permits)
    permits._state, permits.clock, permits._heard, permits._news = state, lambda: 0.0, None, ()
    permits._store = SimpleNamespace(be_present=lambda *_: None, view=lambda *_, **__: seen.pop(0), mark=None)  # type: ignore[assignment]
    own, rollout = Own("one", "b" * 40, "here"), Rollout((Wave("all", ("one",), 1),), {})
    found = []
    while seen:
        permits._look(own, rollout, heals=False)
        found.append(permits._is_new)
    assert found == [True, False, False]
    assert StateDirectory(tmp_path / "state").memory().proved, "another process knows it as well"
