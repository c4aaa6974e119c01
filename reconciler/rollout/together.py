"""What any host does for all of them: the next wave is opened, what is nobody's any more is given back, a silent holder is noticed. Pure.

It counts only from a host whose accepted commit is the one being rolled: another's Git may have other waves, other hosts, other sizes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from reconciler.rollout.policy import Rollout
from reconciler.rollout.records import ROLL, Halt, Place, Transaction, View, permit_key, place_key, presence_key

# Place → its revision, the commit for which its holder may go on ("": none, while a halt lasts), and since when both have been so, in seconds of
# a monotonic clock.
Seen = Mapping[str, tuple[int, str, float]]


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
        revision, commit, since = seen.get(key, (0, "", now))
        if (revision, commit) == (place.revision, view.roll.commit) and now - since >= rollout.deadline:
            halt = Halt(
                place.host, f"it has held {key} for more than {rollout.deadline:g} s and has not become healthy"
            )
            said = replace(view.roll, failed=(*view.roll.failed, place.host), halt=halt)
            return Transaction({ROLL: view.roll_revision, key: place.revision}, {ROLL: said})
    return None


def note(view: View, before: Seen, now: float) -> Seen:
    """What `overdue` needs to know: since when each place has been as it is. The time of an earlier commit, or of a halt, is held against
    nobody: who failed an earlier one keeps its places, and has the deadline for the commit that mends it."""
    commit = view.roll.commit if view.roll and not view.roll.halt else ""
    found = {key: (place.revision, commit, now) for key, place in held(view)}
    return {key: before[key] if key in before and before[key][:2] == one[:2] else one for key, one in found.items()}


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
