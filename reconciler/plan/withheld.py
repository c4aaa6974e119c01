"""What of a plan has to wait because something that runs here must not be stopped now. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from reconciler.model import ASIDE, Action, Actual, Held, Order, Plan, State, Verb
from reconciler.plan.in_flight import needless, resting
from reconciler.reasons import Reason

_STOPS = frozenset({Verb.REPLACE, Verb.RESTART, Verb.STOP, Verb.REMOVE})
# What touches a container that is there.
_TOUCHES = _STOPS | {Verb.RELOAD, Verb.UPDATE, Verb.RENAME, Verb.ADOPT, Verb.VALIDATE}


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


def ahead(
    plan: Plan, wanted: Collection[str], actual: Actual, reason: Reason, message: str, *, pulls: bool = False
) -> Plan:
    """The plan of `wanted` (ids of actions: jobs, registrations), of the checks before an upgrade, and of what they need as long as that
    touches nothing that runs, of what is down, and of what drifted, with `pulls` also its images; the rest is held back.

    What needs a container which is to change takes it as it is now, where it works.
    """
    by_id = {action.id: action for action in plan.actions}
    kept = {
        one.id: one
        for one in plan.actions
        if one.drift
        or (pulls and one.verb is Verb.PULL)
        or (one.verb is Verb.START and not by_id.keys() & set(one.needs))
    }
    checks = [action.id for action in plan.actions if action.verb is Verb.PRECHECK]
    for name in (*wanted, *checks):
        found: dict[str, Action] = {}
        if _gather(name, by_id, actual, found):
            kept |= found
    held = tuple(
        Held(action.target, reason, message, action.differences)
        for action in plan.actions
        if action.id not in kept and action.verb is not Verb.PULL
    )
    return replace(plan, actions=_left([kept[a.id] for a in plan.actions if a.id in kept]), held=(*plan.held, *held))


def _gather(name: str, by_id: Mapping[str, Action], actual: Actual, found: dict[str, Action]) -> bool:
    """Whether an action can be done without touching what runs; it and what it needs go to `found`."""
    action = by_id.get(name)
    if action is None or name in found:
        return True
    if action.verb in _TOUCHES:
        return bool(stops([replace(action, verb=Verb.RESTART)], actual))
    found[name] = action
    if not all(_gather(need, by_id, actual, found) for need in action.needs):
        return False
    found[name] = replace(action, needs=tuple(need for need in action.needs if need in found))
    return True


def withhold(plan: Plan, names: Collection[str], reason: Reason, message: str) -> Plan:
    """The plan without what concerns the containers `names`, and without what needs it; both are held back. A check before an upgrade, which may
    have the name of a job, concerns none."""
    concerned = (action for action in plan.actions if action.verb is not Verb.PRECHECK)
    gone = {action.id for action in concerned if action.container in names or action.target in names}
    gone = resting([action for action in plan.actions if not action.drift], gone)
    gone |= needless(plan.actions, gone).keys()
    held = tuple(
        Held(action.target, reason, message, action.differences, action.drift)
        for action in plan.actions
        if action.id in gone
    )
    rest = [action for action in plan.actions if action.id not in gone]
    return replace(plan, actions=_left(rest), held=(*plan.held, *held))


def _left(actions: Sequence[Action]) -> tuple[Action, ...]:
    """What is left of a plan. What drifted is put right whatever it rests on: as that is now, where its change is held back."""
    ids = {action.id for action in actions}
    return tuple(
        replace(action, needs=tuple(need for need in action.needs if need in ids)) if action.drift else action
        for action in actions
    )
