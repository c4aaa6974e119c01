"""What any host does for all of them: the next wave is opened, what is nobody's any more is given back, a silent holder is noticed. Pure.

It counts only from a host whose accepted commit is the one being rolled: another's Git may have other waves, other hosts, other sizes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from reconciler.rollout.policy import Rollout
from reconciler.rollout.records import (
    ROLL,
    Halt,
    Place,
    Transaction,
    View,
    budget_of,
    permit_key,
    place_key,
    presence_key,
)


@dataclass(frozen=True, slots=True)
class Sight:
    """How a place was when it was seen last. `commit`: the one for which its holder could go on then; "": none, for a halt or its own failure.
    `since`: from when on it has been unchanged, and nothing is known to have kept its holder; `at`: when it was seen. Both in seconds of a
    monotonic clock."""

    place: Place
    commit: str
    since: float
    at: float


Seen = Mapping[str, Sight]  # by the place's key


def chore(view: View, seen: Seen, now: float, rollout: Rollout) -> Transaction | None:
    """The first of these things that has to be done; None: none has."""
    # What is nobody's comes before its silence: a commit that takes a host out is not halted by that host.
    return opening(view, rollout) or void(view) or overdue(view, seen, now, rollout)


def opening(view: View, rollout: Rollout) -> Transaction | None:
    """Open the next wave when the last open one is complete."""
    roll = view.roll
    if roll is None or roll.halt or roll.opened + 1 >= len(rollout.waves):
        return None
    if not _complete(view, rollout, roll.opened):
        return None
    return Transaction({ROLL: view.roll_revision}, {ROLL: replace(roll, opened=roll.opened + 1)})


def _complete(view: View, rollout: Rollout, opened: int) -> bool:
    if view.proved >= len(rollout.waves[opened].hosts):
        return True
    if view.missing is None:
        return False
    failed = (
        view.roll.failed if view.roll else ()
    )  # no more than are tolerated, or it would be halted; or an operator resumed it
    waited = view.missing - view.excused - set(failed)
    # Who holds a permit and is silent has failed, not gone. The first wave is there to be seen: absence proves nothing there.
    absent = {host for host in waited if host not in view.present and not view.holds(host)}
    return waited == absent and len(absent) <= (rollout.max_absent if opened else 0)


def overdue(view: View, seen: Seen, now: float, rollout: Rollout) -> Transaction | None:
    """Halt when a place was held for the deadline without a change, while nothing kept its holder from going on."""
    if view.roll is None or view.roll.halt:
        return None
    for key, place in held(view):
        if place.lent or place.host in view.roll.failed:
            continue  # an operator's, or known to have failed: what is tolerated, or resumed, is not halted again
        sight = seen.get(key)
        if sight is None or (sight.place, sight.commit) != (place, view.roll.commit):
            continue
        if now - sight.since >= rollout.deadline:
            halt = Halt(
                place.host, f"it has held {key} for more than {rollout.deadline:g} s and has not become healthy"
            )
            said = replace(view.roll, failed=(*view.roll.failed, place.host), halt=halt)
            return Transaction({ROLL: view.roll_revision, key: place.revision}, {ROLL: said})
    return None


def note(view: View, before: Seen, now: float, rollout: Rollout) -> Seen:
    """What `overdue` needs to know: since when each place has been as it is.

    It counts on across commits, or a busy branch would hide a dead holder for ever. The time of a halt or a failure is held against nobody:
    who failed a commit keeps its places, and has the deadline for the one that mends it.
    """
    commit = view.roll.commit if view.roll and not view.roll.halt else ""
    failed = view.roll.failed if view.roll else ()
    # A pass may look twice, at other budgets: what this look did not ask for was not seen to change.
    seen = {
        key: sight
        for key, sight in before.items()
        if commit and budget_of(key) not in view.places and sight.place.host not in failed
    }
    for key, place in held(view):
        sight = Sight(place, "" if place.host in failed else commit, now, now)
        former = before.get(key)
        if former and _goes_on(former, sight, rollout.deadline):
            sight = replace(sight, since=former.since)
        seen[key] = sight
    return seen


def _goes_on(former: Sight, sight: Sight, deadline: float) -> bool:
    """Whether the time between two looks at a place counts. After a long one at another commit nobody knows what was between."""
    if former.place != sight.place or not former.commit or not sight.commit:
        return False
    return former.commit == sight.commit or sight.at - former.at < deadline


def held(view: View) -> Iterator[tuple[str, Place]]:
    """Every place of the budgets that were read."""
    for budget, taken in view.places.items():
        for number, place in taken.items():
            yield place_key(budget, number), place


def void(view: View) -> Transaction | None:
    """Give back all that a host holds which the inventory no longer has, or a place whose host has no permit."""
    for host, (permit, revision) in view.gone.items():
        # The permit names all of its places, also of budgets that were not read here. Whoever changes one of them changes the permit.
        everything = (permit_key(host), *permit.places, presence_key(host))
        return Transaction({ROLL: view.roll_revision, permit_key(host): revision}, deletes=everything)
    for key, place in held(view):
        if view.holders is not None and place.host not in view.holders:
            unclaimed = {key: place.revision, permit_key(place.host): 0}
            return Transaction({ROLL: view.roll_revision, **unclaimed}, deletes=(key,))
    return None
