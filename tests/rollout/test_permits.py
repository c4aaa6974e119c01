"""Since when a host is well: what was changed has to stay well from then on, whatever was before."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.model import Action, CheckResult, Held, Outcome, Plan, Verb
from reconciler.node.showing import is_to_blame, well_since
from reconciler.reasons import Reason
from reconciler.report import Report, RepositoryStatus

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
        (Verb.RESTART, Reason.Interrupted, True),
        (Verb.RESTART, None, False),
    ],
)
def test_a_registry_that_does_not_answer_halts_nothing(verb: Verb, reason: Reason | None, blamed: bool) -> None:
    assert is_to_blame(Outcome(Action(verb, "x", ""), "failed", reason)) is blamed
