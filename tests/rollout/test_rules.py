"""Each rule of docs/fleet.md by itself: one host, what it read, and what it does."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from reconciler.reasons import Reason
from reconciler.rollout import decide, together
from reconciler.rollout.decide import Go, Kin, Own, Step, Wait, Write
from reconciler.rollout.policy import WAVE, Budget, Rollout, Wave
from reconciler.rollout.records import (
    ROLL,
    Halt,
    Permit,
    Place,
    Roll,
    Said,
    Transaction,
    View,
    excuse_key,
    permit_key,
    place_key,
    presence_key,
    proof_key,
)

NEW, OLD = "b" * 40, "a" * 40
SITE = Rollout(
    waves=(
        Wave("canaries", ("cmp1", "ctl3"), 1),
        Wave("controllers", ("ctl1", "ctl2"), 1, in_order=True),
        Wave("the rest", ("cmp2", "cmp3", "cmp4"), 2),
    ),
    budgets={
        "galera": Budget("galera", 1, ("ctl1", "ctl2", "ctl3")),
        "compute": Budget("compute", 2, ("cmp1", "cmp2", "cmp3", "cmp4")),
    },
    deadline=100.0,
    max_absent=1,
)
CHANGE = Own("ctl1", NEW, "here", changes=True, budgets=frozenset({"galera"}), ready={"galera": True})
WAITING = View(Roll(NEW, 1), 7, places={WAVE: {}, "galera": {}})
PERMIT = Permit(NEW, ("budget/galera/0", "budget/wave/0"), "here")
HOLDING = replace(
    WAITING, permit=PERMIT, permit_revision=9, places={WAVE: {0: Place("ctl1", 9)}, "galera": {0: Place("ctl1", 9)}}
)
HALTED = Roll(NEW, 1, ("cmp1",), Halt("cmp1", "nova_compute did not become healthy"))


def step(own: Own, view: View | None, kin: Kin = Kin.SAME, rollout: Rollout = SITE) -> Step:
    return decide.step(own, view, kin, rollout)


def waits(found: Step, why: Reason) -> str:
    assert isinstance(found, Wait) and found.why is why, found
    return found.message


def writes(found: Step) -> Transaction:
    assert isinstance(found, Write), found
    return found.transaction


def claimed(found: Step) -> Permit:
    permits = [value for value in writes(found).puts.values() if isinstance(value, Permit)]
    assert len(permits) == 1, found
    return permits[0]


# --- 3: a reason to wait, and no more ------------------------------------------------------------------------------


def test_what_changes_nothing_here_is_proved_at_once_whatever_the_wave() -> None:
    idle = Own("cmp4", NEW, "here")
    assert writes(step(idle, replace(WAITING, roll=Roll(NEW)))).puts == {proof_key(NEW, 2, "cmp4"): {}}
    # also of a halted commit: there is nothing to begin
    assert writes(step(idle, replace(WAITING, roll=HALTED))).puts == {proof_key(NEW, 2, "cmp4"): {}}
    assert step(idle, replace(WAITING, is_proved=True)) == Go()


def test_a_host_that_the_inventory_lost_waits() -> None:
    waits(step(replace(CHANGE, host="gone"), WAITING), Reason.WaitsForWave)


# --- 4: one commit is rolled, and it only moves on -----------------------------------------------------------------


@pytest.mark.parametrize(("view", "kin"), [(View(), Kin.NEWER), (replace(WAITING, roll=HALTED), Kin.ANCESTOR)])
def test_the_first_that_accepts_a_descendant_begins_it(view: View, kin: Kin) -> None:
    found = writes(step(CHANGE, view, kin))
    assert found.compares == {ROLL: view.roll_revision} and found.puts == {ROLL: Roll(NEW)}
    if view.roll:  # proofs and excuses of the ancestor are nobody's any more
        assert found.delete_below == (f"proof/{NEW}/", f"excused/{NEW}/")


def test_nobody_goes_back_to_an_older_commit() -> None:
    message = waits(step(CHANGE, replace(WAITING, roll=Roll(OLD)), Kin.NEWER), Reason.WaitsForWave)
    assert OLD[:12] in message
    # A permit for what is older already is no reason to begin it.
    waits(step(CHANGE, replace(HOLDING, roll=Roll(OLD)), Kin.NEWER), Reason.WaitsForWave)
    assert step(replace(CHANGE, begun=NEW), replace(HOLDING, roll=Roll(OLD)), Kin.NEWER) == Go()
    assert step(replace(CHANGE, changes=False), replace(WAITING, roll=Roll(OLD)), Kin.NEWER) == Go()


def test_who_gets_no_newer_commit_gives_back_what_it_needs_no_more() -> None:
    """It may have refused that commit, or fetch nothing: its places would halt the commit that it knows nothing of."""
    behind = replace(HOLDING, roll=Roll(OLD))
    well = replace(CHANGE, changes=False, baked=True, settled=True)
    heals = replace(behind, permit=replace(PERMIT, heals=True))
    not_begun = replace(CHANGE, baked=True)
    for own, view in (
        (well, behind),
        (replace(well, begun=NEW), behind),  # what goes after other hosts is left
        (well, heals),
        (replace(well, changes=True), heals),
        (not_begun, behind),
    ):
        found = writes(step(own, view, Kin.NEWER))
        assert set(found.deletes) == {permit_key("ctl1"), *PERMIT.places}
        assert found.compares == {permit_key("ctl1"): 9} and not found.puts, "a proof is of what is rolled out"
    lent = replace(behind, permit=replace(PERMIT, lent="new disk"))
    for own, view in (
        (replace(well, settled=False), behind),
        (replace(well, settled=False), heals),
        (replace(not_begun, begun=NEW), behind),
        (well, lent),
        (replace(well, installation="elsewhere"), behind),
    ):
        assert step(own, view, Kin.NEWER) == Go(), "what is unproven here, or another's, is kept"
    waits(step(CHANGE, behind, Kin.NEWER), Reason.WaitsForWave)  # unless something was healed under them
    waits(step(replace(not_begun, begun=OLD), behind, Kin.NEWER), Reason.WaitsForWave)


# --- 5: one transaction, which compares everything ------------------------------------------------------------------


def test_a_claim_takes_everything_or_nothing_and_compares_it() -> None:
    found = writes(step(CHANGE, WAITING))
    places = {place_key("galera", 0), place_key(WAVE, 0)}
    assert found.compares == {ROLL: 7, permit_key("ctl1"): 0, **dict.fromkeys(places, 0)}
    assert found.puts.keys() == {permit_key("ctl1"), *places}
    assert claimed(step(CHANGE, WAITING)) == PERMIT


REFUSALS: Mapping[str, tuple[Own, View, Reason, str]] = {
    "its wave is not open": (
        CHANGE,
        replace(WAITING, roll=Roll(NEW), proved=1),
        Reason.WaitsForWave,
        "canaries is at 1 of 2",
    ),
    "halted": (CHANGE, replace(WAITING, roll=HALTED), Reason.RolloutHalted, "cmp1 halted the rollout: nova_compute"),
    "something else holds it back": (replace(CHANGE, free=False), WAITING, Reason.WaitsForWave, "something else"),
    "not ready": (replace(CHANGE, ready={"galera": False}), WAITING, Reason.WaitsForBudget, "galera is not ready"),
    "nobody knows": (replace(CHANGE, ready={}), WAITING, Reason.WaitsForBudget, "nobody can tell whether galera"),
    "nobody asked": (replace(CHANGE, ready=None), WAITING, Reason.WaitsForBudget, "nobody can tell whether galera"),
    "taken": (
        CHANGE,
        replace(WAITING, places={WAVE: {}, "galera": {0: Place("ctl3")}}),
        Reason.WaitsForBudget,
        "ctl3 holds the budget galera",
    ),
    "the wave is full": (
        CHANGE,
        replace(WAITING, places={WAVE: {0: Place("cmp1")}, "galera": {}}),
        Reason.WaitsForBudget,
        "cmp1 holds the places of the open wave",
    ),
    "it read nothing more": (
        CHANGE,
        replace(WAITING, partial=True, taken={WAVE: (0, ""), "galera": (3, "ctl3")}),
        Reason.WaitsForBudget,
        "ctl3 and 2 more hold the budget galera",
    ),
    "another goes first": (
        replace(CHANGE, host="ctl2"),
        replace(WAITING, present=frozenset({"ctl1"})),
        Reason.WaitsForWave,
        "ctl1 first",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_host_waits(case: str) -> None:
    own, view, why, message = REFUSALS[case]
    assert message in waits(step(own, view), why)


@pytest.mark.parametrize(
    "more",
    [{"proved_hosts": frozenset({"ctl1"})}, {"excuses": {"ctl1": Said()}}, {"present": frozenset()}],
    ids=["proved", "excused", "down"],
)
def test_in_an_ordered_wave_nobody_waits_for_who_is(more: Any) -> None:
    view = replace(WAITING, **{"present": frozenset({"ctl1", "ctl2"}), **more})
    assert claimed(step(replace(CHANGE, host="ctl2"), view))


def test_images_are_pulled_before_a_place_is_claimed_and_one_that_is_nowhere_halts() -> None:
    own = replace(CHANGE, images=False)
    found = step(own, WAITING)
    assert "images are pulled" in waits(found, Reason.WaitsForWave) and decide.goes_ahead(own, WAITING, found)
    full = replace(WAITING, partial=True, taken={WAVE: (1, "cmp1"), "galera": (0, "")})
    assert not decide.goes_ahead(own, full, step(own, full)), "while there is no room nothing is pulled"
    closed = replace(WAITING, roll=Roll(NEW))
    assert not decide.goes_ahead(own, closed, step(own, closed))
    failed = writes(step(replace(own, failed="image:2: there is no such image"), WAITING))
    assert failed.puts[ROLL].halt == Halt("ctl1", "image:2: there is no such image")
    assert step(own, HOLDING) == Go(), "whoever holds its places goes on"


def test_places_of_a_time_when_there_were_more_count_and_are_nobodys() -> None:
    # The wave before had ten places; number seven is still held, and this one has two.
    own = replace(CHANGE, host="cmp2", budgets=frozenset(), ready={})
    roll = Roll(NEW, 2)
    one = replace(WAITING, roll=roll, places={WAVE: {7: Place("cmp9")}})
    assert claimed(step(own, one)).places == (place_key(WAVE, 0),)
    two = replace(WAITING, roll=roll, places={WAVE: {7: Place("cmp9"), 1: Place("cmp3")}})
    waits(step(own, two), Reason.WaitsForBudget)


def test_everybody_tries_another_free_place_first() -> None:
    wide = replace(SITE, waves=(Wave("all", ("cmp1", "cmp2", "cmp3", "cmp4"), 4),))
    own = replace(CHANGE, budgets=frozenset(), ready={})
    view = replace(WAITING, roll=Roll(NEW))
    places = {claimed(step(replace(own, host=host), view, rollout=wide)).places for host in wide.waves[0].hosts}
    assert len(places) == 4


# --- 6, 7: after the claim -------------------------------------------------------------------------------------------


def test_whoever_holds_a_permit_goes_on_and_claims_nothing_again() -> None:
    assert step(CHANGE, HOLDING) == Go()


def test_what_holds_is_asked_again_before_it_begins() -> None:
    gone = {permit_key("ctl1"), *PERMIT.places}
    for own, view in (
        (replace(CHANGE, ready={"galera": False}), HOLDING),
        (CHANGE, replace(HOLDING, roll=HALTED)),
    ):
        found = writes(step(replace(own, baked=True), view))
        assert set(found.deletes) == gone and found.compares == {permit_key("ctl1"): 9} and not found.puts
        waits(step(own, view), Reason.WaitsForWave)  # what was healed under these places has to be well again first
        assert step(replace(own, begun=NEW), view) == Go()  # in flight it is finished


def test_a_proof_and_the_places_are_one_transaction_on_the_permits_revision() -> None:
    own = replace(CHANGE, changes=False, settled=True)
    found = writes(step(own, HOLDING))
    assert found.compares == {permit_key("ctl1"): 9, ROLL: 7}
    assert found.puts == {proof_key(NEW, 1, "ctl1"): {}} and set(found.deletes) == {permit_key("ctl1"), *PERMIT.places}
    assert step(replace(own, settled=False), HOLDING) == Go()  # not for the bake time yet
    assert step(replace(CHANGE, begun=NEW, settled=True), HOLDING) == Go(), "what is well is what was before"


def test_what_a_plan_needs_besides_is_claimed_besides() -> None:
    view = replace(HOLDING, permit=Permit(NEW, ("budget/wave/0",), "here"))
    taken = claimed(step(CHANGE, replace(view, places={WAVE: {0: Place("ctl1", 9)}})))
    assert set(taken.places) == set(PERMIT.places)
    waits(step(CHANGE, replace(view, places={"galera": {0: Place("ctl2")}})), Reason.WaitsForBudget)


def test_a_permit_of_another_installation_is_not_ours_but_for_a_host_made_anew() -> None:
    other = replace(HOLDING, permit=replace(PERMIT, installation="elsewhere"))
    assert "fleet release ctl1" in waits(step(CHANGE, other), Reason.WaitsForBudget)
    waits(decide.heal(replace(CHANGE, changes=False), other, SITE), Reason.WaitsForBudget)
    assert step(replace(CHANGE, is_new=True, budgets=frozenset()), other) == Go()


# --- 8: halt --------------------------------------------------------------------------------------------------------


def test_a_failure_halts_once() -> None:
    own = replace(CHANGE, begun=NEW, failed="mariadb did not become healthy")
    found = writes(step(own, HOLDING))
    halt = Halt("ctl1", "mariadb did not become healthy")
    assert found == Transaction({ROLL: 7}, {ROLL: Roll(NEW, 1, ("ctl1",), halt)})
    assert step(own, replace(HOLDING, roll=Roll(NEW, 1, ("ctl1",), halt))) == Go()


@pytest.mark.parametrize(("before", "halted"), [((), False), (("cmp1",), True)])
def test_what_is_tolerated_does_not_halt(before: tuple[str, ...], halted: bool) -> None:
    own = replace(CHANGE, begun=NEW, failed="it fails")
    found = writes(step(own, replace(HOLDING, roll=Roll(NEW, 1, before)), rollout=replace(SITE, tolerate=1)))
    assert (found.puts[ROLL].halt is not None) is halted and found.puts[ROLL].failed == (*before, "ctl1")


def test_a_host_that_failed_and_is_tolerated_leaves_the_wave_and_keeps_its_budgets() -> None:
    own = replace(CHANGE, begun=NEW, failed="it fails")
    known = replace(HOLDING, roll=Roll(NEW, 1, ("ctl1",)))
    found = writes(step(own, known))
    kept = replace(PERMIT, places=(place_key("galera", 0),))
    assert found.puts == {permit_key("ctl1"): kept, place_key("galera", 0): {"host": "ctl1"}}
    assert found.deletes == (place_key(WAVE, 0),) and found.compares == {permit_key("ctl1"): 9, ROLL: 7}
    assert step(own, replace(known, permit=kept)) == Go()
    assert writes(step(own, replace(known, roll=replace(HALTED, failed=())))).puts.keys() == {ROLL}
    assert opening({"ctl1"}, more={"present": frozenset({"ctl1"})}, failed=("ctl1",))
    # A newer commit takes a place of the wave again.
    behind = replace(known, permit=replace(kept, commit=OLD), roll=Roll(NEW), places={"galera": {0: Place("ctl1", 9)}})
    assert place_key(WAVE, 0) in writes(step(replace(own, failed="", begun=OLD), behind)).puts


def test_a_first_halt_keeps_its_reason() -> None:
    own = replace(CHANGE, begun=NEW, failed="it fails here as well")
    assert writes(step(own, replace(HOLDING, roll=HALTED))).puts[ROLL].halt == HALTED.halt


def test_a_silent_holder_is_noticed_by_anybodys_own_clock() -> None:
    seen = together.note(HOLDING, {}, 1000.0, SITE)
    assert together.overdue(HOLDING, seen, 1099.0, SITE) is None
    found = together.overdue(HOLDING, seen, 1100.0, SITE)
    halted = f"it has held {place_key(WAVE, 0)} for more than 100 s and has not become healthy"
    assert (
        found
        and found.puts[ROLL].halt == Halt("ctl1", halted)
        and found.compares[ROLL] == 7
        and len(found.compares) == 2
    )
    # It got on: the clock begins anew. What was never seen before is not overdue either.
    moved = replace(HOLDING, places={WAVE: {0: Place("ctl1", 10)}, "galera": {0: Place("ctl1", 10)}})
    assert together.overdue(moved, seen, 1100.0, SITE) is None
    assert together.note(moved, seen, 1100.0, SITE)[place_key(WAVE, 0)].since == 1100.0
    assert together.note(HOLDING, seen, 1050.0, SITE)[place_key(WAVE, 0)].since == 1000.0
    assert together.overdue(HOLDING, {}, 1e9, SITE) is None
    assert together.overdue(replace(HOLDING, roll=HALTED), seen, 1100.0, SITE) is None
    # Only the time counts in which it could go on: not that of a halt or a failure, and not one in which nobody saw whether there was one.
    for before in (Roll(OLD, 1, ("ctl1",), HALTED.halt), Roll(OLD, 1, ("ctl1",)), Roll(OLD), HALTED):
        earlier = together.note(replace(HOLDING, roll=before), {}, 1000.0, SITE)
        again = together.note(HOLDING, earlier, 1100.0, SITE)
        assert together.overdue(HOLDING, earlier, 1100.0, SITE) is None
        assert together.overdue(HOLDING, again, 1199.0, SITE) is None
        assert together.overdue(HOLDING, together.note(HOLDING, again, 1150.0, SITE), 1200.0, SITE)
    # But across commits it goes on, whatever is pushed.
    earlier = together.note(replace(HOLDING, roll=Roll(OLD)), {}, 1000.0, SITE)
    assert together.overdue(HOLDING, together.note(HOLDING, earlier, 1099.0, SITE), 1099.0, SITE) is None
    assert together.overdue(HOLDING, together.note(HOLDING, earlier, 1099.0, SITE), 1100.0, SITE)
    known = replace(HOLDING, roll=Roll(NEW, 1, ("ctl1",)))
    assert together.overdue(known, seen, 1100.0, SITE) is None, "it is known to have failed: tolerated, or resumed"
    assert found.puts[ROLL].failed == ("ctl1",)
    lent = replace(HOLDING, places={"galera": {0: Place("ctl1", 9, lent=True)}})
    assert together.overdue(lent, together.note(lent, {}, 0.0, SITE), 1e9, SITE) is None


def test_a_look_at_other_budgets_keeps_what_it_did_not_ask_for() -> None:
    """A pass that heals something looks twice. A halt or a failure that it reads on the way counts for all all the same."""
    seen, key = together.note(HOLDING, {}, 1000.0, SITE), place_key("galera", 0)
    other = replace(HOLDING, places={WAVE: HOLDING.places[WAVE], "rack": {}})
    for roll, since in ((HOLDING.roll, 1000.0), (HALTED, 1099.0), (Roll(NEW, 1, ("ctl1",)), 1099.0)):
        between = together.note(replace(other, roll=roll), seen, 1050.0, SITE)
        assert together.note(HOLDING, between, 1099.0, SITE)[key].since == since
    assert key not in together.note(replace(HOLDING, places={"galera": {}}), seen, 1050.0, SITE), "it was given back"


# --- 9: a newer commit ------------------------------------------------------------------------------------------------


def test_a_host_that_an_older_commit_left_unproven_goes_first_and_keeps_its_places() -> None:
    view = replace(HOLDING, permit=replace(PERMIT, commit=OLD), roll=Roll(NEW))  # its own wave is not open yet
    found = writes(step(replace(CHANGE, begun=OLD), view))
    assert found.puts[permit_key("ctl1")] == PERMIT and set(PERMIT.places) <= found.puts.keys()
    assert found.compares == {ROLL: 7, permit_key("ctl1"): 9}
    halted = replace(view, roll=HALTED)
    waits(step(replace(CHANGE, begun=OLD), replace(halted, permit=PERMIT)), Reason.RolloutHalted)
    waits(step(replace(CHANGE, begun=OLD), halted), Reason.RolloutHalted)
    # What it never began it gives back, and takes its turn.
    assert not writes(step(replace(CHANGE, baked=True), view)).puts
    waits(step(CHANGE, view), Reason.WaitsForWave)  # unless something was healed under them that is not well yet


def test_it_claims_what_the_newer_commit_touches_besides_or_waits() -> None:
    own = replace(CHANGE, begun=OLD)
    view = replace(HOLDING, permit=Permit(OLD, ("budget/wave/0",), "here"), places={WAVE: {0: Place("ctl1", 9)}})
    found = writes(step(own, view))
    assert found.compares[place_key("galera", 0)] == 0 and place_key("galera", 0) in found.puts
    taken = replace(view, places={WAVE: {0: Place("ctl1", 9)}, "galera": {0: Place("ctl3", 3)}})
    assert "ctl3" in waits(step(own, taken), Reason.WaitsForBudget)


# --- 10: who is not there ---------------------------------------------------------------------------------------------


def opening(
    missing: set[str],
    *,
    opened: int = 1,
    more: Mapping[str, Any] | None = None,
    rollout: Rollout = SITE,
    failed: tuple[str, ...] = (),
) -> bool:
    wave = rollout.waves[opened]
    view = View(
        Roll(NEW, opened, failed),
        7,
        proved=len(wave.hosts) - len(missing),
        missing=frozenset(missing),
        present=frozenset(wave.hosts) - missing,
    )
    found = together.opening(replace(view, **(more or {})), rollout)
    if found:
        assert found == Transaction({ROLL: 7}, {ROLL: Roll(NEW, opened + 1, failed)})
    return found is not None


def test_a_wave_opens_when_the_one_before_is_complete() -> None:
    assert opening(set())
    assert opening({"ctl1"}), "as many as may be absent"
    assert not opening({"ctl1", "ctl2"}), "more than may be absent"
    assert not opening({"ctl1"}, more={"present": frozenset({"ctl1"})}), "it is there"
    assert not opening({"ctl1"}, more={"places": {WAVE: {0: Place("ctl1", 9)}}}), (
        "silent with a permit: failed, not gone"
    )
    assert not opening({"cmp1"}, opened=0), "absence proves nothing of the first wave"
    assert opening({"cmp1"}, opened=0, more={"excuses": {"cmp1": Said()}})
    assert not opening({"cmp1", "ctl3"}, opened=0, more={"excuses": {"cmp1": Said()}})
    assert not opening({"ctl1"}, more={"missing": None}), "nobody looked who it is"
    assert together.opening(View(HALTED, 7, proved=9), SITE) is None
    assert together.opening(View(Roll(NEW, 2), 7, proved=3), SITE) is None, "there is no further wave"


def test_what_a_removed_host_held_is_given_back() -> None:
    """All of it at once: whoever does it needs none of these budgets itself, and the next may not look before the host is there again."""
    permit = Permit(OLD, (place_key("grafana", 0), place_key("galera", 0)), "there", lent="leaves")
    found = together.void(replace(WAITING, holders=frozenset({"ctl1", "ctl9"}), gone={"ctl9": (permit, 5)}))
    assert found == Transaction(
        {ROLL: 7, permit_key("ctl9"): 5}, deletes=(permit_key("ctl9"), *permit.places, presence_key("ctl9"))
    )
    assert together.void(HOLDING) is None


@pytest.mark.parametrize("lent", [False, True])
def test_a_place_whose_host_has_no_permit_is_nobodys(lent: bool) -> None:
    view = replace(WAITING, places={"galera": {0: Place("ctl2", 5, lent)}})
    assert together.void(view) is None, "nobody looked who has one"
    assert together.void(replace(view, holders=frozenset({"ctl2"}))) is None
    found = together.void(replace(view, holders=frozenset({"ctl1"})))
    # It holds against a claim of that host meanwhile, which writes both.
    unclaimed = {place_key("galera", 0): 5, permit_key("ctl2"): 0}
    assert found == Transaction({ROLL: 7, **unclaimed}, deletes=(place_key("galera", 0),))


def test_chores_come_one_after_the_other() -> None:
    silent = {"galera": {0: Place("ctl9", 5)}}
    permit = Permit(OLD, (place_key("galera", 0),), "there")
    ready = replace(WAITING, proved=2, missing=frozenset(), places=silent, gone={"ctl9": (permit, 4)})
    seen = together.note(ready, {}, 0.0, SITE)
    waiting = replace(ready, proved=1, missing=None)
    for view, now, done in (
        (ready, 500.0, lambda t: t.puts[ROLL].opened == 2),
        # A commit that takes a host out is not halted by what that host held.
        (waiting, 500.0, lambda t: permit_key("ctl9") in t.deletes),
        (replace(waiting, gone={}), 500.0, lambda t: t.puts[ROLL].halt),
    ):
        found = together.chore(view, seen, now, SITE)
        assert found and done(found)


# --- 11, 16: what needs no permit, and what goes on without etcd -------------------------------------------------------

HEAL = replace(CHANGE, changes=False)


def test_healing_goes_under_the_same_budgets_in_no_wave_halted_or_not() -> None:
    for roll in (Roll(NEW), HALTED):
        permit = claimed(decide.heal(HEAL, replace(WAITING, roll=roll), SITE))
        assert permit.heals and permit.places == (place_key("galera", 0),)
    taken = replace(WAITING, places={"galera": {0: Place("ctl2")}})
    assert "ctl2" in waits(decide.heal(HEAL, taken, SITE), Reason.WaitsForBudget)
    waits(decide.heal(replace(HEAL, ready={"galera": False}), WAITING, SITE), Reason.WaitsForBudget)
    assert decide.heal(replace(HEAL, budgets=frozenset()), taken, SITE) == Go()
    assert decide.heal(HEAL, HOLDING, SITE) == Go()
    more = replace(HEAL, host="ctl1", budgets=frozenset({"galera", "compute"}), ready={"galera": True, "compute": True})
    assert place_key("compute", 0) in claimed(decide.heal(more, HOLDING, SITE)).places


def test_a_permit_for_healing_ends_with_it_and_proves_nothing() -> None:
    view = replace(HOLDING, permit=replace(PERMIT, heals=True, commit=OLD, places=("budget/galera/0",)))
    found = writes(step(replace(HEAL, settled=True), view))
    assert not found.puts and set(found.deletes) == {permit_key("ctl1"), "budget/galera/0"}
    assert found.compares == {permit_key("ctl1"): 9}
    assert step(HEAL, view) == Go()
    # It takes no newer commit along: what runs is put right before.
    waits(step(CHANGE, view), Reason.WaitsForWave)
    assert not writes(step(replace(CHANGE, settled=True), view)).puts


@pytest.mark.parametrize(
    ("own", "goes"),
    [
        (CHANGE, False),
        (replace(CHANGE, changes=False, budgets=frozenset()), True),
        (replace(CHANGE, is_new=True), True),
        (replace(CHANGE, held=PERMIT), False),
        (replace(CHANGE, held=PERMIT, begun=NEW), True),
        (replace(CHANGE, held=PERMIT, begun=OLD), False),
        (replace(CHANGE, begun=NEW, held=replace(PERMIT, commit=OLD)), False),
        (replace(CHANGE, begun=NEW, held=replace(PERMIT, places=("budget/wave/0",))), False),
    ],
)
def test_without_etcd_nothing_is_granted_but_what_is_held(own: Own, goes: bool) -> None:
    found = step(own, None)
    assert found == Go() if goes else waits(found, Reason.EtcdUnavailable)


def test_healing_without_etcd() -> None:
    waits(decide.heal(HEAL, None, SITE), Reason.EtcdUnavailable)
    assert decide.heal(replace(HEAL, held=PERMIT), None, SITE) == Go()
    assert decide.heal(replace(HEAL, budgets=frozenset()), None, SITE) == Go()


# --- 13: the holder of the address -------------------------------------------------------------------------------------

ADDRESS = replace(
    SITE, budgets={**SITE.budgets, "address": Budget("address", 1, ("ctl1", "ctl2", "ctl3"), address_last=True)}
)


def test_the_holder_of_the_address_goes_when_the_others_are_proved() -> None:
    own = replace(CHANGE, holds_address=True)
    view = replace(WAITING, present=frozenset({"ctl1", "ctl2", "ctl3"}), proved_hosts=frozenset({"ctl3"}))
    assert "ctl2 first" in waits(step(own, view, rollout=ADDRESS), Reason.WaitsForWave)
    # and the order of the wave does not make the others wait for it
    assert claimed(step(replace(CHANGE, host="ctl2"), view, rollout=ADDRESS))
    assert claimed(step(own, replace(view, proved_hosts=frozenset({"ctl2", "ctl3"})), rollout=ADDRESS))
    assert claimed(step(replace(own, holds_address=False), view, rollout=ADDRESS))


def test_as_a_canary_it_waits_for_nobody_of_a_later_wave() -> None:
    own = replace(CHANGE, host="ctl3", holds_address=True)
    view = replace(WAITING, roll=Roll(NEW), present=frozenset({"ctl1", "ctl2", "ctl3"}))
    assert claimed(step(own, view, rollout=ADDRESS))


# --- 17: hosts that are new ---------------------------------------------------------------------------------------------


def test_a_host_that_is_made_anew_waits_for_nobody_and_is_proved_or_halts() -> None:
    own = replace(CHANGE, is_new=True, budgets=frozenset())
    full = replace(WAITING, roll=Roll(NEW), places={WAVE: {0: Place("cmp1")}})
    assert step(own, full) == Go()
    assert writes(step(replace(own, changes=False, settled=True), full)).puts == {proof_key(NEW, 1, "ctl1"): {}}
    assert writes(step(replace(own, failed="no"), full)).puts[ROLL].halt
    assert step(own, replace(full, roll=Roll(OLD)), Kin.NEWER) == Go()


# --- lent hosts, and hosts that try a testing branch ----------------------------------------------------------------------


def test_a_host_is_lent_under_its_budgets_and_changes_nothing_meanwhile() -> None:
    permit = claimed(decide.lend(CHANGE, WAITING, SITE, "new disk"))
    assert permit.lent == "new disk" and permit.places == (place_key("galera", 0),)
    places = writes(decide.lend(CHANGE, WAITING, SITE, "new disk")).puts
    assert places[place_key("galera", 0)] == {"host": "ctl1", "lent": True}
    waits(decide.lend(CHANGE, replace(WAITING, places={"galera": {0: Place("ctl2")}}), SITE, ""), Reason.WaitsForBudget)
    waits(decide.lend(replace(CHANGE, ready={"galera": False}), WAITING, SITE, ""), Reason.WaitsForBudget)
    waits(decide.lend(CHANGE, HOLDING, SITE, ""), Reason.WaitsForBudget)
    lent = replace(HOLDING, permit=permit)
    assert decide.lend(CHANGE, lent, SITE, "again") == Go()
    assert "new disk" in waits(step(CHANGE, lent), Reason.WaitsForBudget)
    assert step(replace(HEAL, settled=True), lent) == Go(), "it is given back by hand"


def test_a_host_that_tries_its_testing_branch_is_excused_and_keeps_to_the_budgets() -> None:
    own = replace(CHANGE, apart=True)
    found = writes(step(own, WAITING))
    assert found.puts == {excuse_key(NEW, "ctl1"): {"by": "ctl1", "why": "it tries its testing branch"}}
    assert found.compares == {ROLL: 7}
    excused = replace(WAITING, excuses={"ctl1": Said()})
    assert claimed(step(own, excused)).heals
    waits(step(own, replace(excused, places={"galera": {0: Place("ctl2")}})), Reason.WaitsForBudget)
    heals = replace(HOLDING, permit=replace(PERMIT, heals=True), excuses={"ctl1": Said()})
    settled = replace(own, settled=True)
    assert not writes(step(settled, heals)).puts
    waits(step(replace(settled, installation="elsewhere"), heals), Reason.WaitsForBudget)
    waits(step(own, None), Reason.EtcdUnavailable)
