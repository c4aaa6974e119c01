"""What of a plan has to wait because something that runs here must not be stopped now. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from reconciler.model import ASIDE, Action, Actual, Held, Order, Plan, State, Verb
from reconciler.reasons import Reason

_STOPS = frozenset({Verb.REPLACE, Verb.RESTART, Verb.STOP, Verb.REMOVE})


def stops(actions: Collection[Action], actual: Actual | None = None) -> frozenset[str]:
    """The containers that actions stop. With `actual` only those that run and work: what is down or broken already is not stopped."""
    found = {action.container or action.target for action in actions if action.verb in _STOPS}
    found = {name.removeprefix(ASIDE) for name in found}
    if actual is None:
        return frozenset(found)
    running = {name: actual.containers[name] for name in found if name in actual.containers}
    return frozenset(
        name for name, one in running.items() if one.state is State.RUNNING and one.health in ("none", "healthy")
    )


def budgets(orders: Iterable[Order], containers: Collection[str]) -> frozenset[str]:
    """The budgets of containers: of each a host holds a place while it stops its member."""
    return frozenset(order.budget for order in orders if order.at_once and order.name in containers)


def withhold(plan: Plan, names: Collection[str], reason: Reason, message: str) -> Plan:
    """The plan without what concerns the containers `names`, and without what needs it; both are held back."""
    gone = {action.id for action in plan.actions if action.container in names or action.target in names}
    while more := {a.id for a in plan.actions if a.id not in gone and not a.drift and gone & set(a.needs)}:
        gone |= more
    held = tuple(
        Held(action.target, reason, message, action.differences, action.drift)
        for action in plan.actions
        if action.id in gone
    )
    rest = tuple(action for action in plan.actions if action.id not in gone)
    return replace(plan, actions=rest, held=(*plan.held, *held))
