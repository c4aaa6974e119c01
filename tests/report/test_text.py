"""A plan as a terminal shows it."""

from reconciler.model import Difference, Held, Plan
from reconciler.reasons import Reason
from reconciler.report.text import plan_text


def test_what_is_held_back_for_one_reason_is_one_line() -> None:
    many = "3 containers would go, more than the 2 that one change may remove; raise `prune.max`"
    hand = Difference("cpu_shares", "2", "1")
    plan = Plan(
        "ctl1",
        "r1",
        (),
        held=(
            Held("a", Reason.PruneGuard, many),
            Held("x", Reason.DriftReported, "cpu_shares differs", differences=(hand,)),
            Held("b", Reason.PruneGuard, many),
            Held("y", Reason.DriftReported, "cpu_shares differs", differences=(hand,)),
            Held("c", Reason.PruneGuard, many),
        ),
    )
    assert plan_text(plan).splitlines() == [
        "  held back:",
        f"    a, b, c  PruneGuard: {many}",
        "    x  DriftReported: cpu_shares differs",
        "        cpu_shares: 1 → 2",
        "    y  DriftReported: cpu_shares differs",
        "        cpu_shares: 1 → 2",
    ]
    assert plan_text(plan, diffs=False).splitlines()[1:] == [
        f"    a, b, c  PruneGuard: {many}",
        "    x, y  DriftReported: cpu_shares differs",
    ]
