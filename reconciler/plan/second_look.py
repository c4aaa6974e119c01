"""What still differs right after the action that should have put it right: it cannot be achieved, so it is said once.

The engine drops what its kernel lacks, rounds what does not fit, and reports defaults; a file system may ignore owners. Acting on
such a difference again would act for ever. What an action left behind is remembered, and from then on only reported: until
the commit asks for something else, something else is there, or it is there after all.
"""

from collections.abc import Collection, Iterable, Mapping

from reconciler.model import Action, Actual, Difference, Held, Memory, Outcome, Plan, Verb, is_asked
from reconciler.reasons import Reason

# Verbs that say how the whole thing is to be: whatever differs right after them is not what somebody else did.
_WHOLE = frozenset({Verb.CREATE, Verb.REPLACE, Verb.WRITE, Verb.REGISTER, Verb.SET})
_KINDS: Mapping[Verb, str] = {
    Verb.CREATE: "container",
    Verb.REPLACE: "container",
    Verb.UPDATE: "container",
    Verb.RESTART: "container",
    Verb.WRITE: "file",
    Verb.CHMOD: "file",
    Verb.REGISTER: "registration",
    Verb.SET: "host",
    Verb.RESET: "host",
}
# Fields that others change at any moment: a difference in them says nothing about the action before.
_LIVELY = frozenset({"state", "image", "content", "unit"})

Differences = Mapping[str, tuple[Difference, ...]]


def looks_again(outcomes: Iterable[Outcome]) -> bool:
    """Whether what was done could have left a difference."""
    return any(_key(outcome.action) for outcome in outcomes if outcome.result == "done")


def looks_deep(outcomes: Iterable[Outcome]) -> bool:
    """Whether only a deep look can tell."""
    return any(
        outcome.action.verb is Verb.REGISTER
        or is_asked(outcome.action.target)
        or any(d.inside for d in outcome.action.differences)
        for outcome in outcomes
        if outcome.result == "done"
    )


def stayed(outcomes: Iterable[Outcome], again: Plan) -> Differences:
    """`kind:target` → the differences that were acted upon and are still there. `again` is the plan made right afterwards."""
    done: dict[str, list[Action]] = {}
    for outcome in outcomes:
        if outcome.result == "done" and (key := _key(outcome.action)):
            done.setdefault(key, []).append(outcome.action)
    found: dict[str, tuple[Difference, ...]] = {}
    for action in again.actions:
        key = _key(action)
        if key in done:
            before = done[key]
            whole = any(earlier.verb in _WHOLE for earlier in before)
            asked = {difference for earlier in before for difference in earlier.differences}
            left = tuple(
                d for d in action.differences if d.field not in _LIVELY and (d in asked or (whole and not d.inside))
            )
            if left:
                found[key] = (*found.get(key, ()), *left)
    return found


def held(again: Plan, found: Differences) -> tuple[Held, ...]:
    """What to say of `found` in the pass that found it: as a later plan would."""
    targets = {_key(action): action.target for action in again.actions}
    return tuple(not_achievable(targets[key], differences) for key, differences in found.items())


def not_achievable(target: str, differences: tuple[Difference, ...]) -> Held:
    """The one wording. Names the field, what was asked for and what came of it."""
    said = "; ".join(f"{d.field}: asked for {d.desired}, it became {d.actual}" for d in differences[:3])
    more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
    return Held(target, Reason.NotAchievable, f"{said}{more}; it is not tried again for this", differences)


def overcome(memory: Memory, actual: Actual, plan: Plan) -> tuple[str, ...]:
    """The `kind:target` of what was not achievable once and is as asked for now, or asked for no more."""
    still = {held.target for held in plan.held if held.reason == Reason.NotAchievable}
    seen: Mapping[str, Collection[str]] = {
        "container": actual.containers,
        "file": actual.files,
        "registration": actual.registrations,
        "host": actual.host_settings,
    }
    gone = []
    for key in memory.unachieved:
        kind, _, target = key.partition(":")
        if target not in still and target in seen[kind] and (actual.deep or not _is_deep(memory.unachieved[key])):
            gone.append(key)
    return tuple(gone)


def _is_deep(differences: tuple[Difference, ...]) -> bool:
    return any(difference.inside for difference in differences)


def _key(action: Action) -> str:
    kind = _KINDS.get(action.verb)
    return f"{kind}:{action.target}" if kind else ""
