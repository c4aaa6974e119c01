"""What is in flight: it is not touched by a second hand, and what a change needs of it is waited for.

An apply may take minutes, and plans are made beside it. What it has not finished yet is left to it. What drifted elsewhere is put
right meanwhile, whatever rests on what: a service that is down comes back sooner when it is started than when it waits.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from reconciler.model import ASIDE, Action, Held, Plan, Verb
from reconciler.reasons import Reason

# Verbs that are of no use before what they need is there, drift or not.
_NEEDING = frozenset({Verb.REGISTER, Verb.UNREGISTER, Verb.RUN})


def grounded(actions: Sequence[Action], in_flight: Mapping[str, str]) -> tuple[list[Action], list[Held]]:
    """The actions that can begin now, and the others, held back. `in_flight` maps what is under way to what that is at."""
    why = {action.id: text for action in actions if (text := _under_way(action, in_flight))}
    while True:
        more = {a.id: text for a in actions if a.id not in why and (text := _waits(a, why, in_flight))}
        if not more:
            break
        why |= more
    why |= {check: why[one] for check, one in needless(actions, why).items()}
    held = [Held(action.target, Reason.InFlight, why[action.id]) for action in actions if action.id in why]
    return [action for action in actions if action.id not in why], held


def without(plan: Plan, ids: Iterable[str]) -> Plan:
    """The plan without these actions, and without what needs one of them."""
    gone = resting(plan.actions, ids)
    gone |= needless(plan.actions, gone).keys()
    return replace(plan, actions=tuple(action for action in plan.actions if action.id not in gone))


def resting(actions: Collection[Action], on: Iterable[str]) -> set[str]:
    """The ids `on`, and those of the actions that need one of them, however far."""
    found = set(on)
    while more := {action.id for action in actions if action.id not in found and found & set(action.needs)}:
        found |= more
    return found


def needless(actions: Sequence[Action], held: Collection[str]) -> dict[str, str]:
    """The checks of configurations of which nothing can be put to use yet, each with something that is held: every pass would make them
    again."""
    waiting: dict[str, list[str]] = {action.id: [] for action in actions if action.verb is Verb.VALIDATE}
    for action in actions:
        for need in action.needs:
            if need in waiting:
                waiting[need].append(action.id)
    return {check: those[0] for check, those in waiting.items() if those and all(one in held for one in those)}


def superseded(names: Iterable[str], before: Mapping[str, str], after: Mapping[str, str]) -> frozenset[str]:
    """Of the containers `names` those that a newer revision wants otherwise, or no more. Both map a container to the digest of
    everything that makes it up."""
    return frozenset(name for name in names if name in before and before[name] != after.get(name))


def base(target: str) -> str:
    """The container that a target is, or is the spare of."""
    return target.removeprefix(ASIDE)


def _under_way(action: Action, in_flight: Mapping[str, str]) -> str:
    return in_flight.get(base(action.target)) or in_flight.get(action.container, "")


def _waits(action: Action, held: Collection[str], in_flight: Mapping[str, str]) -> str:
    """For what in flight, or held back because of it, an action has to wait; "" when it need not."""
    if action.drift and action.verb not in _NEEDING:
        return ""
    for need in action.needs:
        target = base(need.partition(":")[2])
        if text := in_flight.get(target):
            return f"needs {target}, which is in flight: {text}"
        if need in held:
            return f"needs {target}, which waits for what is in flight"
    return ""
