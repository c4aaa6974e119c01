"""Drift that comes back as often as it is healed. Healing it for ever would interrupt a service for ever: each pass, at worst.

Somebody or something undoes what the node does: another tool, a program that writes its own configuration, a script of an operator. What is
down or unhealthy is not spared: to start it takes nothing away.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from reconciler import moments
from reconciler.model import Actual, Plan
from reconciler.phrases import few
from reconciler.plan.withheld import stops, withhold
from reconciler.reasons import Reason

MOST: Final = 5  # times within `WITHIN` that what works is interrupted because of drift
WITHIN: Final = timedelta(hours=1)

Healed = Mapping[str, tuple[datetime, ...]]  # container → when it was interrupted because of drift


def interrupted(plan: Plan, actual: Actual) -> frozenset[str]:
    """The containers that work and that the plan stops because of drift, and of nothing that a commit asks for."""
    asked = {action.container or action.target for action in plan.actions if not action.drift}
    return stops([action for action in plan.actions if action.drift], actual) - asked


def of_late(times: Iterable[datetime], now: datetime) -> tuple[datetime, ...]:
    """Those that count still."""
    return tuple(at for at in times if moments.lately(at, now, WITHIN))[-MOST:]


def too_often(times: Iterable[datetime], now: datetime) -> tuple[datetime, ...]:
    """The times that make it wait; () when it need not."""
    counted = of_late(times, now)
    return counted if len(counted) == MOST else ()


def noted(healed: Healed, containers: Iterable[str], now: datetime) -> dict[str, tuple[datetime, ...]]:
    """What is to be remembered of `containers` once they are interrupted now."""
    return {name: (*of_late(healed.get(name, ()), now), now.astimezone(UTC)) for name in containers}


def limit(plan: Plan, actual: Actual, healed: Healed, now: datetime) -> Plan:
    """The plan without the healing of what was healed too often of late."""
    for name in sorted(interrupted(plan, actual)):
        if not (times := too_often(healed.get(name, ()), now)):
            continue
        causes = dict.fromkeys(action.cause for action in plan.actions if name in (action.container, action.target))
        message = (
            f"{name} was interrupted {MOST} times within the last hour to put drift right, and drifted again ({few(tuple(causes))}): "
            f"something undoes it. Healed again after {times[0] + WITHIN:%H:%M} UTC, or by `reconciler retry {name}`"
        )
        plan = withhold(plan, {name}, Reason.DriftReturns, message)
    return plan
