"""What one host does next in a rollout, from one read of the store. Pure: rules are ordered, the first that applies decides.

Disruption is stopping what runs. Starting what is down and changing what is already broken need no permit, so they never come here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from reconciler.phrases import few
from reconciler.reasons import Reason
from reconciler.rollout.jobs import Once, waits
from reconciler.rollout.policy import WAVE, Rollout
from reconciler.rollout.records import (
    ROLL,
    Halt,
    Permit,
    Roll,
    Transaction,
    View,
    budget_of,
    excuse_key,
    permit_key,
    place_key,
    proof_key,
    proof_prefix,
)
from reconciler.rollout.steps import Go, Step, Wait, Write, halted

__all__ = ["UNAVAILABLE", "Go", "Kin", "Own", "Step", "Wait", "Write", "goes_ahead", "heal", "lend", "step"]


class Kin(StrEnum):
    """What the commit being rolled is to the one that this host has accepted."""

    SAME = "same"
    ANCESTOR = "ancestor"
    NEWER = "newer"  # a descendant, or one that this host has not fetched yet


@dataclass(frozen=True, slots=True)
class Own:
    """What a host knows of itself.

    `budgets`: those of the running members that its plan stops. `ready`: whether each of them is as it has to be before another member may
    go; a budget that could not be asked is missing. `begun`: the commit for which it has changed something since it was last converged. `failed`:
    why the commit did not become healthy here. `baked`: what it keeps up has been as it has to be for the bake time; `settled`: that, and every
    budget it holds is ready.
    """

    host: str
    commit: str
    installation: str
    changes: bool = False  # the commit asks for something here
    budgets: frozenset[str] = frozenset()
    ready: Mapping[str, bool] | None = None
    free: bool = True  # nothing of its own holds it back: no window, no suspension
    begun: str = ""
    failed: str = ""
    baked: bool = False
    settled: bool = False
    held: Permit | None = None  # what it remembers of its permit, for when the store cannot be asked
    is_new: bool = False  # it has carried out nothing yet: whatever it does stops nothing
    holds_address: bool = False
    apart: bool = False  # it tries a testing branch: `commit` is the branch's, its own changes are nobody else's
    awaits: tuple[Once, ...] = ()  # what others have to run before its containers change
    jobs: tuple[str, ...] = ()  # those of the cluster that this host has to run for the commit
    shut_out: str = ""  # which password of the commit is not let in yet: another host registers it
    registers: bool = False  # others wait until this host has registered passwords that the commit changes
    images: bool = True  # those that the commit needs are here
    late: bool = False  # it was proved but for what goes after other hosts' containers
    left: frozenset[str] = frozenset()  # containers and jobs of which that is so now


UNAVAILABLE = Wait(Reason.EtcdUnavailable, "etcd cannot be asked whether others are stopping the same")


def step(own: Own, view: View | None, kin: Kin, rollout: Rollout) -> Step:
    """What `own.host` does about the commit that it has accepted. `view` None: the store could not be asked; nothing is granted from
    memory but what is held."""
    if own.apart:
        return _apart(own, view, kin, rollout)
    if view is None:
        # Whether the rollout was halted meanwhile nobody can tell: what is held and was not begun waits.
        is_held = own.held is not None and own.held.commit == own.commit and own.budgets <= own.held.budgets
        return Go() if (is_held and own.begun == own.commit) or own.is_new or not own.changes else UNAVAILABLE
    roll = view.roll
    if roll is None or kin is Kin.ANCESTOR:
        return _begin(own, view)
    if kin is Kin.NEWER:
        return _behind(own, view, roll)
    wave = rollout.wave_of(own.host)
    if wave is None:
        return Wait(Reason.WaitsForWave, "the inventory does not know this host")
    # A job or a pull ahead of this host's turn, or what waited for others after it; also while it holds places for something else.
    if (own.jobs or own.registers or own.late or not own.images) and (failure := _failure(own, view, roll, rollout)):
        return failure
    if view.permit:
        return _holding(own, view, roll, view.permit, rollout)
    if view.is_proved:
        if view.left - own.left and own.settled and not own.changes:
            return Write(_proof(own, view, {ROLL: view.roll_revision}, wave), "what went after other hosts is done")
        return Go()
    if own.is_new:
        return _first(own, view, roll, wave, rollout)
    if not own.changes:
        return Write(_proof(own, view, {ROLL: view.roll_revision}, wave), "nothing changes here")
    return _claiming(own, view, roll, wave, rollout)


def goes_ahead(own: Own, view: View | None, step: Step) -> bool:
    """Whether a host that waits for its turn does meanwhile what stops nothing: the cluster's jobs and changed passwords, for which others
    wait, and pulls."""
    if not isinstance(step, Wait) or step.why not in (Reason.WaitsForWave, Reason.WaitsForBudget):
        return False
    if not own.jobs and not own.registers and not step.pulls:
        return False
    roll, permit = (view.roll, view.permit) if view else (None, None)
    is_lent = permit is not None and bool(permit.lent)
    return roll is not None and roll.commit == own.commit and not roll.halt and own.free and not is_lent


def heal(own: Own, view: View | None, rollout: Rollout) -> Step:
    """What a host does that would stop something to put right what drifted: under the budgets, in no wave, halted or not."""
    if not own.budgets:
        return Go()
    if view is None:
        return Go() if own.held and own.budgets <= own.held.budgets else UNAVAILABLE
    if not_ready := _not_ready(own):
        return not_ready
    permit = view.permit
    if permit is None:
        return _claim(own, view, own.budgets, rollout, heals=True)
    if another := _another(own, permit):
        return another
    return _extend(own, view, permit, own.budgets, rollout) or Go()


def _begin(own: Own, view: View) -> Write:
    """Make the accepted commit the one being rolled. What was said of an ancestor (proofs, failures, a halt) does not count for it."""
    former = (proof_prefix(view.roll.commit), excuse_key(view.roll.commit, "")) if view.roll else ()
    puts = {ROLL: Roll(own.commit)}
    return Write(Transaction({ROLL: view.roll_revision}, puts, delete_below=former), f"{own.commit[:12]} is rolled out")


def _apart(own: Own, view: View | None, kin: Kin, rollout: Rollout) -> Step:
    """A host that tries a testing branch: nobody waits for it, and the budgets hold for it all the same."""
    if view and view.roll and kin is Kin.SAME and own.host not in view.excused and not view.is_proved:
        said = {"by": own.host, "why": "it tries its testing branch"}
        excuse = Transaction({ROLL: view.roll_revision}, {excuse_key(own.commit, own.host): said})
        return Write(excuse, "tries its testing branch")
    if view and view.permit and own.settled and not view.permit.lent and not _another(own, view.permit):
        return Write(_give_back(own, view, view.permit), "settled")
    return heal(own, view, rollout)


def _behind(own: Own, view: View, roll: Roll) -> Step:
    """A host that has not accepted the commit being rolled, and perhaps never will: it begins nothing, goes on with what was begun, and
    keeps no place that it needs no more."""
    permit = view.permit
    if permit and not permit.lent and not _another(own, permit):
        # As in `_holding`, but that there is nothing to prove.
        if own.settled if permit.heals or not own.changes else own.baked and not own.begun:
            return Write(_give_back(own, view, permit), "a newer commit is rolled out")
        if permit.commit == own.commit and own.begun == own.commit:
            return Go()
    if own.is_new or not own.changes:
        return Go()
    return Wait(Reason.WaitsForWave, f"{roll.commit[:12]} is being rolled out, which is not accepted here yet")


def _holding(own: Own, view: View, roll: Roll, permit: Permit, rollout: Rollout) -> Step:
    """A host with a permit: it goes on, tells its failure or its success, gives back what it did not begin, or takes the permit along to
    a newer commit."""
    if another := _another(own, permit):
        return another
    if permit.lent:
        return Wait(Reason.WaitsForBudget, f"this host is lent: {permit.lent}") if own.changes else Go()
    if permit.heals:
        if own.settled:
            return Write(_give_back(own, view, permit), "healed")
        # A host's first convergence takes places for what it finds running, and may fail under them.
        return (_failure(own, view, roll, rollout) if own.is_new else None) or _healing(own)
    if permit.commit != own.commit:
        if not own.begun:
            return _not_begun(own, view, permit)
        return _carry_over(own, view, roll, permit, rollout)
    if own.settled and not own.changes:
        wave = rollout.wave_of(own.host)
        assert wave is not None
        proof = _proof(own, view, {permit_key(own.host): view.permit_revision, ROLL: view.roll_revision}, wave)
        return Write(replace(proof, deletes=_gone(own, permit)), "proved")
    if failure := _failure(own, view, roll, rollout):
        return failure
    if own.failed and not roll.halt and WAVE in permit.budgets:
        return Write(_leave_wave(own, view, permit), "failed, which is tolerated: the wave goes on")
    if roll.halt and own.begun and own.begun != own.commit:
        return halted(roll.halt)  # what an older commit left unproven stays so, and keeps its places
    if not own.begun and (roll.halt or _not_ready(own)):
        return _not_begun(own, view, permit)
    return _extend(own, view, permit, own.budgets, rollout) or Go()


def _not_begun(own: Own, view: View, permit: Permit) -> Step:
    """Places that the commit did not use. What was healed under them meanwhile, with etcd away for one, has to be well again first."""
    if own.baked:
        return Write(_give_back(own, view, permit), "was not begun")
    return _healing(own)


def _healing(own: Own) -> Wait | Go:
    """A commit waits until what is healed under places that are held is well."""
    return Wait(Reason.WaitsForWave, "what drifted is put right first") if own.changes else Go()


def _another(own: Own, permit: Permit) -> Wait | None:
    """A permit of this name that another installation claimed. A host made anew takes it over: what it did not make it does not stop."""
    if permit.installation == own.installation or own.is_new:
        return None
    return Wait(
        Reason.WaitsForBudget,
        f"another installation of {own.host} holds a permit; when that is gone for good: `reconciler fleet release {own.host} --reason …`",
    )


def _first(own: Own, view: View, roll: Roll, wave: int, rollout: Rollout) -> Step:
    """A host's first convergence waits for nobody; but a rollout that it fails on is halted by it, too."""
    if own.settled and not own.changes:
        return Write(_proof(own, view, {ROLL: view.roll_revision}, wave), "proved")
    return _failure(own, view, roll, rollout) or Go()


def _failure(own: Own, view: View, roll: Roll, rollout: Rollout) -> Write | None:
    """Tell that the commit did not become healthy here, once; beyond what is tolerated that halts it."""
    if not own.failed or own.host in roll.failed:
        return None
    failed = (*roll.failed, own.host)
    halt = Halt(own.host, own.failed) if len(failed) > rollout.tolerate else None
    said = replace(roll, failed=failed, halt=roll.halt or halt)
    return Write(Transaction({ROLL: view.roll_revision}, {ROLL: said}), "failed")


def _gone(own: Own, permit: Permit) -> tuple[str, ...]:
    return (permit_key(own.host), *permit.places)


def _give_back(own: Own, view: View, permit: Permit) -> Transaction:
    return Transaction({permit_key(own.host): view.permit_revision}, deletes=_gone(own, permit))


def _leave_wave(own: Own, view: View, permit: Permit) -> Transaction:
    """A host that failed keeps its budgets, for what it stopped is not proved; but the wave does not stand still for it."""
    gone = tuple(place for place in permit.places if budget_of(place) == WAVE)
    kept = replace(permit, places=tuple(place for place in permit.places if place not in gone))
    return replace(
        _put(own, {permit_key(own.host): view.permit_revision, ROLL: view.roll_revision}, kept), deletes=gone
    )


def _proof(own: Own, view: View, compares: Mapping[str, int], wave: int) -> Transaction:
    said = {"left": sorted(own.left)} if own.left else {}
    return Transaction(compares, {proof_key(own.commit, wave, own.host): said})


def _carry_over(own: Own, view: View, roll: Roll, permit: Permit, rollout: Rollout) -> Step:
    """A host whom an older commit left unproven takes the newer one first, whatever its wave: three bad commits then hit one host."""
    if roll.halt:
        return halted(roll.halt)
    found = _free(own, view, (own.budgets | {WAVE}) - permit.budgets, rollout, roll.opened)
    if isinstance(found, Wait):
        return found
    taken = replace(permit, commit=own.commit, places=(*permit.places, *found), installation=own.installation)
    compares = {ROLL: view.roll_revision, permit_key(own.host): view.permit_revision, **dict.fromkeys(found, 0)}
    return Write(_put(own, compares, taken), "goes first: an older commit left it unproven")


def _claiming(own: Own, view: View, roll: Roll, wave: int, rollout: Rollout) -> Step:
    if roll.halt:
        return halted(roll.halt)
    if wave > roll.opened:
        name, opened = rollout.waves[wave].name, rollout.waves[roll.opened]
        return Wait(
            Reason.WaitsForWave,
            f"this host is in {name}; {opened.name} is at {view.proved} of {len(opened.hosts)} hosts",
        )
    # Before it claims: who runs the job may need the places that this host would hold meanwhile.
    if awaited := waits(own.awaits, own.commit, view):
        return awaited
    if own.shut_out:
        return Wait(Reason.WaitsForOthers, own.shut_out)
    if view.partial:
        full = [name for name, (count, _) in sorted(view.taken.items()) if count >= rollout.size(name, roll.opened)]
        count, holder = view.taken[full[0]] if full else (0, "")
        return Wait(Reason.WaitsForBudget, _taken(full[0], [holder], count - 1) if full else "another host is faster")
    if first := _before(own, view, rollout):
        return Wait(Reason.WaitsForWave, f"{few(first)} first")
    if not own.free:
        return Wait(Reason.WaitsForWave, "something else holds it back here, so it claims nothing")
    if not own.images:
        # Whoever holds a place keeps others waiting; and an image that is nowhere stops nothing.
        return Wait(Reason.WaitsForWave, "its images are pulled before it claims anything", pulls=True)
    return _not_ready(own) or _claim(own, view, own.budgets | {WAVE}, rollout)


def _before(own: Own, view: View, rollout: Rollout) -> list[str]:
    """Hosts that have to be proved before this one. One that is down blocks nobody; one that holds a permit has its place, and is waited
    for by the budgets."""
    earlier = {host for host in rollout.before(own.host) if not view.holds(host)}
    if own.holds_address:
        earlier |= rollout.address_group(own.host)
    return sorted((earlier & view.present) - view.proved_hosts - view.excused)


def _not_ready(own: Own) -> Wait | None:
    for budget in sorted(own.budgets):
        if own.ready is None or budget not in own.ready:
            return Wait(Reason.WaitsForBudget, f"nobody can tell whether {budget} is ready")
        if not own.ready[budget]:
            return Wait(Reason.WaitsForBudget, f"{budget} is not ready")
    return None


def _claim(own: Own, view: View, wanted: frozenset[str], rollout: Rollout, *, heals: bool = False) -> Step:
    found = _free(own, view, wanted, rollout, view.roll.opened if view.roll else 0)
    if isinstance(found, Wait):
        return found
    compares = {permit_key(own.host): 0, **dict.fromkeys(found, 0)}
    if not heals:
        compares[ROLL] = view.roll_revision
    return Write(_put(own, compares, Permit(own.commit, tuple(found), own.installation, heals)), f"claims {few(found)}")


def _extend(own: Own, view: View, permit: Permit, wanted: frozenset[str], rollout: Rollout) -> Wait | Write | None:
    """Claim what a permit lacks; None: it lacks nothing."""
    if wanted <= permit.budgets:
        return None
    found = _free(own, view, wanted - permit.budgets, rollout, view.roll.opened if view.roll else 0)
    if isinstance(found, Wait):
        return found
    compares = {permit_key(own.host): view.permit_revision, **dict.fromkeys(found, 0)}
    taken = replace(permit, places=(*permit.places, *found), installation=own.installation)
    return Write(_put(own, compares, taken), f"claims {few(found)} as well")


def _put(own: Own, compares: Mapping[str, int], permit: Permit) -> Transaction:
    """A permit with all its places: those it had are written anew, so that everybody sees that their holder got on."""
    place = {"host": own.host, "lent": True} if permit.lent else {"host": own.host}
    return Transaction(compares, {permit_key(own.host): permit, **dict.fromkeys(permit.places, place)})


def _free(own: Own, view: View, wanted: frozenset[str], rollout: Rollout, opened: int) -> list[str] | Wait:
    """A free place of every wanted budget, as keys."""
    found = []
    for budget in sorted(wanted):
        taken, size = view.places.get(budget, {}), rollout.size(budget, opened)
        # Places beyond the size are of a time when it was larger: they count, and their number is nobody's.
        beyond = sum(number >= size for number in taken)
        numbers = [number for number in range(size) if number not in taken]
        numbers = numbers[: len(numbers) - beyond] if beyond < len(numbers) else []
        if not numbers:
            return Wait(Reason.WaitsForBudget, _taken(budget, sorted({place.host for place in taken.values()})))
        # Everybody begins elsewhere: fewer claims are lost to each other.
        members = rollout.members(budget)
        rank = members.index(own.host) if own.host in members else 0
        found.append(place_key(budget, numbers[rank % len(numbers)]))
    return found


def _taken(budget: str, holders: list[str], more: int = 0) -> str:
    verb = "holds" if len(holders) + more == 1 else "hold"
    names = f"{few(holders)} and {more} more" if more else few(holders)
    return f"{names} {verb} {'the places of the open wave' if budget == WAVE else f'the budget {budget}'}"


def lend(own: Own, view: View, rollout: Rollout, why: str) -> Step:
    """Take a host's budgets for a maintenance of any kind: whatever other members do then waits until they are given back."""
    permit = view.permit
    if permit is not None:
        return (
            Go()
            if permit.lent
            else Wait(Reason.WaitsForBudget, f"{own.host} holds a permit for {permit.commit[:12]} itself")
        )
    if not_ready := _not_ready(own):
        return not_ready
    found = _free(own, view, own.budgets, rollout, view.roll.opened if view.roll else 0)
    if isinstance(found, Wait):
        return found
    taken = Permit(own.commit, tuple(found), own.installation, lent=why)
    return Write(_put(own, {permit_key(own.host): 0, **dict.fromkeys(found, 0)}, taken), f"lends {own.host}")
