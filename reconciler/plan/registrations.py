"""Databases, users, endpoints: what other systems should know, and what they should no longer."""

from collections.abc import Mapping
from typing import Final

from reconciler.model import FORMER, Action, Container, Desired, Difference, Held, Memory, Registration, Verb
from reconciler.phrases import few
from reconciler.plan.draft import Draft
from reconciler.reasons import Reason
from reconciler.registrations import kinds
from reconciler.registrations.protocol import CONFIDENTIAL, Type

_FORMER: Final = "the former password is let in, too, until every host has carried out the commit"
_CHANGES: Final = frozenset({Verb.CREATE, Verb.REPLACE, Verb.RESTART, Verb.RELOAD})
_KEPT: Final = "no longer part of the site; {} did not take the commit and may use it"
_LEFT: Final = "no longer part of the site; hosts that have not carried out the commit yet may use it"


def plan_registrations(draft: Draft) -> None:
    """What this host converges, and what it registered once and nobody asks for now."""
    mine = [r for r in draft.desired.registrations if r.owner == draft.desired.host]
    registrars = {registrar.kind: registrar for registrar in draft.desired.registrars}
    pending = {action.target for action in draft.actions if action.verb is not Verb.PULL}
    for registration in mine:
        needs = _needs(draft, registration, registrars)
        if registration.id in draft.actual.registrations:
            action = _registration(draft, registration, draft.actual.registrations[registration.id], needs)
            if action:
                draft.add(action)
            continue
        if not draft.actual.deep:
            continue
        registrar = registrars.get(registration.kind)
        if registrar and any(name in pending or name not in draft.actual.containers for name in registrar.needs):
            # What would know is about to be started: converge without having looked.
            draft.add(
                Action(
                    Verb.REGISTER,
                    registration.id,
                    f"once {registration.kind} runs",
                    needs,
                    service=registration.service,
                )
            )
        else:
            why = draft.why_unknown(f"registrar:{registration.kind}") or "it was not observed"
            draft.held.append(Held(registration.id, Reason.Unknown, why))
    _unregister(draft, wanted(draft.desired))


def withdraws(desired: Desired, memory: Memory) -> bool:
    """Whether something is left that the site names no more, and that holds no data."""
    left = {one.id for one in memory.registered} - wanted(desired)
    return any(one.id in left and not _type(one).holds_data for one in memory.registered)


def wanted(desired: Desired) -> set[str]:
    """What the site asks for, whichever host registers it: that another one does so by now is no reason to withdraw it."""
    return {*(registration.id for registration in desired.registrations), *desired.registered_elsewhere}


def holds_data(registration: Registration) -> bool:
    """Whether what others put into it is lost with it."""
    return _type(registration).holds_data


def _type(registration: Registration) -> Type:
    """What another program registered and this one does not know may hold data."""
    kind = kinds.of(registration.kind)
    return (kind and kind.types.get(registration.type)) or Type(holds_data=True)


def _needs(draft: Draft, registration: Registration, registrars: Mapping[str, object]) -> tuple[str, ...]:
    from_registrar = getattr(registrars.get(registration.kind), "needs", ())
    stand_in = Container(name="", image="", depends_on=from_registrar)
    kind_order = _type(registration).after
    earlier = [
        f"{Verb.REGISTER}:{other.id}"
        for other in draft.desired.registrations
        if other.kind == registration.kind and other.type in kind_order
    ]
    return (*draft.dependencies(stand_in), *earlier)


def _registration(
    draft: Draft, registration: Registration, found: Mapping[str, object] | None, needs: tuple[str, ...]
) -> Action | None:
    drift = draft.unchanged(registration) and any(r.id == registration.id for r in draft.memory.registered)
    differing: tuple[Difference, ...]
    if found is None:
        differing = (Difference("state", "present", "absent"),)
        cause = "it is gone" if drift else "new"
    else:
        differing = tuple(
            Difference(name, str(value), str(found.get(name)))
            for name, value in registration.fields.items()
            if name in found and found[name] != value
        )
        cause = ", ".join(difference.field for difference in differing)
        if not drift and any(difference.field == CONFIDENTIAL for difference in differing):
            cause = ": ".join(filter(None, (cause, _type(registration).shuts_out)))
        if not differing and FORMER in found:
            if float(str(found[FORMER])) < draft.basis.former_ends:
                draft.held.append(Held(registration.id, Reason.StillNeeded, _FORMER))
                return None
            differing = (Difference(FORMER, "not let in", "let in"),)
            drift, cause = False, "nobody needs the former password any more"
    differing = draft.achievable(f"registration:{registration.id}", differing)
    if not differing:
        return None
    return Action(
        Verb.REGISTER,
        registration.id,
        f"drift: {cause}" if drift else cause,
        needs,
        service=registration.service,
        drift=drift,
        differences=differing,
    )


def _unregister(draft: Draft, asked: set[str]) -> None:
    available = {registrar.kind for registrar in draft.desired.registrars}
    # Noted in the order in which they were made, which no plan follows.
    unwanted = sorted((one for one in draft.memory.registered if one.id not in asked), key=lambda one: one.id)
    spared = draft.spared
    # Containers use it until they are as they are to be, or gone; one that goes back to what it was uses it still.
    users = tuple(action.id for action in draft.actions if action.verb in _CHANGES and not action.drift)
    users += tuple(f"{Verb.REMOVE}:{name}" for name in draft.actual.containers)
    # Where hosts do not talk, this one's own containers alone can be told.
    kept = sorted(draft.failed)
    for registration in unwanted:
        if registration.kind not in available:
            continue  # this host registers nothing there any more, so it knows nothing of what others do
        if _type(registration).holds_data:
            draft.held.append(Held(registration.id, Reason.HoldsData, "no longer wanted; it holds data, so it stays"))
        elif not draft.actual.deep:
            continue
        elif draft.basis.is_everywhere is False:
            draft.held.append(Held(registration.id, Reason.StillNeeded, _LEFT))
        elif draft.basis.is_everywhere is None and kept:
            draft.held.append(Held(registration.id, Reason.StillNeeded, _KEPT.format(few(kept))))
        elif spared:
            draft.held.append(Held(registration.id, *spared))
        else:
            draft.add(
                Action(
                    Verb.UNREGISTER,
                    registration.id,
                    "no longer part of the site",
                    # What rests on it goes first.
                    (
                        *users,
                        *(
                            f"{Verb.UNREGISTER}:{other.id}"
                            for other in unwanted
                            if other.kind == registration.kind and registration.type in _type(other).after
                        ),
                    ),
                    service=registration.service,
                    risks=("deletion",),
                )
            )
