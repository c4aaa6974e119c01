"""Gates: each answers alone, the table says whose word goes first."""

from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler import gates
from reconciler.gates import Hold, Situation
from reconciler.reasons import Reason

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NIGHTS = {"windows": [{"name": "nights", "from": "22:00", "to": "05:00"}]}
UNTIL = "until 2026-11-23 22:00 UTC (window nights)"


def situation(**given: Any) -> Situation:
    return Situation(**{"policy": {}, "mode": "enforce", "suspension": None, "now": NOON, **given})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, []),
        ({"suspension": "rack maintenance"}, [Hold(Reason.Suspended, "rack maintenance")]),
        ({"suspension": ""}, [Hold(Reason.Suspended, "")]),
        ({"mode": "report"}, [Hold(Reason.ReportOnly, "this node's settings say mode = report")]),
        (
            {"policy": NIGHTS},
            [Hold(Reason.OutsideWindow, f"waits {UNTIL}", drift=False, keeps_up=True, until=UNTIL)],
        ),
        (
            {"policy": {**NIGHTS, "windows_apply_to": "everything"}},
            [Hold(Reason.OutsideWindow, f"waits {UNTIL}", drift=True, keeps_up=True, until=UNTIL)],
        ),
        ({"policy": NIGHTS, "now": NOON.replace(hour=23)}, []),
        (
            {"fleet": (Reason.WaitsForBudget, "ctl2 holds the budget mariadb")},
            [Hold(Reason.WaitsForBudget, "ctl2 holds the budget mariadb", drift=False, keeps_up=True)],
        ),
        (
            {"shut_out": "mariadb login of nova"},
            [Hold(Reason.WaitsForOthers, "mariadb login of nova", drift=False, keeps_up=True)],
        ),
    ],
)
def test_each_gate_answers_with_one_hold_or_none(given: dict[str, Any], expected: list[Hold]) -> None:
    assert list(gates.holds(situation(**given))) == expected


def test_all_that_hold_are_named_in_the_order_of_the_table() -> None:
    found = gates.holds(situation(suspension="not now", mode="report", policy=NIGHTS))
    assert [hold.reason for hold in found] == ["Suspended", "ReportOnly", "OutsideWindow"]
    assert [gate(situation()) for gate in gates.GATES] == [None] * len(gates.GATES)
