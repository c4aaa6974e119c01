"""Jobs that a cluster runs once: one host, the record that it read, and what it does."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.reasons import Reason
from reconciler.rollout import decide, jobs
from reconciler.rollout.decide import Own
from reconciler.rollout.jobs import Done, Known, Once, Result, Self
from reconciler.rollout.policy import Rollout, Wave
from reconciler.rollout.records import (
    ROLL,
    Halt,
    JobRecord,
    Permit,
    Roll,
    Transaction,
    View,
    job_key,
    place_key,
    proof_key,
)
from reconciler.rollout.steps import Go, Wait, Write

NEW, OLD = "b" * 40, "a" * 40
ROLLED = View(Roll(NEW), 7)
OWNER = Self("ctl1", NEW, "here", ROLLED)
SYNC = Once("sync", "new", "ctl1")
MAKE = Once("make", "new", "ctl1", creates=True, members=("ctl1", "ctl2", "ctl3"))
CLAIM = JobRecord("new", "ctl1", "running", "mine", "here", NEW)
DONE = replace(CLAIM, state="done")


def writes(found: object) -> Transaction:
    assert isinstance(found, Write), found
    return found.transaction


def message(found: object, why: Reason = Reason.WaitsForOthers) -> str:
    assert isinstance(found, Wait) and found.why is why, found
    return found.message


# --- the owner ---------------------------------------------------------------------------------------------------------


def test_a_job_is_claimed_before_it_runs_and_the_claim_compares_everything() -> None:
    found = writes(jobs.run(OWNER, SYNC, Known(), "mine"))
    assert found == Transaction({ROLL: 7, job_key("sync"): 0}, {job_key("sync"): CLAIM})
    assert jobs.run(OWNER, SYNC, Known(CLAIM, 3), "another") == Go(), (
        "the claim is read, and goes on with its own nonce"
    )


@pytest.mark.parametrize(
    ("record", "compared"),
    [
        (replace(DONE, inputs="old"), 3),
        (replace(CLAIM, state="failed"), 3),
        (replace(CLAIM, inputs="old"), 3),  # its own, for what an older commit asked for
        (replace(DONE, inputs="old", host="ctl9"), 3),
    ],
)
def test_it_is_claimed_anew_for_what_was_not_run_yet(record: JobRecord, compared: int) -> None:
    found = writes(jobs.run(OWNER, SYNC, Known(record, compared), "mine"))
    assert found.compares == {ROLL: 7, job_key("sync"): compared} and found.puts == {job_key("sync"): CLAIM}


def test_what_another_host_has_run_is_not_run_again() -> None:
    assert jobs.run(OWNER, SYNC, Known(replace(DONE, host="ctl9"), 3), "") == Done("ctl9")


@pytest.mark.parametrize("other", [{"host": "ctl9"}, {"installation": "before"}])
def test_what_another_began_is_never_taken_over(other: dict[str, Any]) -> None:
    found = message(jobs.run(OWNER, SYNC, Known(replace(CLAIM, **other), 3), ""))
    assert "has begun sync" in found and "fleet release sync" in found


def test_nothing_is_claimed_for_another_commit_or_after_a_halt() -> None:
    behind = replace(OWNER, view=View(Roll(OLD), 7))
    assert "another commit" in message(jobs.run(behind, SYNC, Known(), ""))
    halted = replace(OWNER, view=View(Roll(NEW, halt=Halt("cmp1", "it fails")), 7))
    assert "it fails" in message(jobs.run(halted, SYNC, Known(CLAIM, 3), ""), Reason.RolloutHalted)


# --- what exists once ---------------------------------------------------------------------------------------------------


def test_what_exists_once_is_made_only_when_every_member_says_that_it_has_it_not() -> None:
    silent = message(jobs.run(OWNER, MAKE, Known(), "mine"))
    assert silent.startswith("ctl2, ctl3 have not said to be without what make makes")
    one = message(jobs.run(OWNER, MAKE, Known(facts={"ctl2": False}), "mine"))
    assert one.startswith("ctl3 has not said")
    everybody = Known(facts={"ctl2": False, "ctl3": False})
    assert writes(jobs.run(OWNER, MAKE, everybody, "mine")).puts == {job_key("make"): CLAIM}
    # What failed before asks them again.
    failed = replace(CLAIM, state="failed")
    message(jobs.run(OWNER, MAKE, Known(failed, 3), "mine"))
    assert writes(jobs.run(OWNER, MAKE, replace(everybody, record=failed, revision=3), "mine"))


def test_where_a_member_has_it_nothing_is_made_and_that_is_written_down() -> None:
    found = writes(jobs.run(OWNER, MAKE, Known(facts={"ctl3": True}), "mine"))
    said = found.puts[job_key("make")]
    assert (said.state, said.host) == ("done", "ctl3") and found.compares[job_key("make")] == 0
    assert jobs.run(OWNER, MAKE, Known(said, 3), "mine") == Done("ctl3")


def test_what_was_made_once_is_not_made_again_for_other_inputs() -> None:
    made = replace(DONE, inputs="old", host="ctl1")
    assert jobs.run(OWNER, MAKE, Known(made, 3), "mine") == Done("ctl1")
    assert jobs.run(replace(OWNER, installation="made anew"), MAKE, Known(made, 3), "mine") == Done("ctl1")


# --- what became of it --------------------------------------------------------------------------------------------------


def test_a_result_counts_only_for_the_claim_that_it_was_run_with() -> None:
    mine = [(SYNC, Result(True, "mine"))]
    found = jobs.told(OWNER, mine, {"sync": Known(CLAIM, 3)})
    assert found == Transaction({ROLL: 7, job_key("sync"): 3}, {job_key("sync"): DONE})
    assert jobs.told(OWNER, mine, {"sync": Known(DONE, 4)}) is None
    failed = [(SYNC, Result(False, "mine", "no such table"))]
    said = jobs.told(OWNER, failed, {"sync": Known(CLAIM, 3)})
    assert said and said.puts[job_key("sync")] == replace(CLAIM, state="failed", message="no such table")
    stale = [(SYNC, Result(False, "an older one", "no such table"))]
    assert jobs.told(OWNER, stale, {"sync": Known(CLAIM, 3)}) is None
    assert jobs.told(OWNER, failed, {"sync": Known()}) is None, "it was released meanwhile"
    # One that is not told leaves the others.
    both = jobs.told(OWNER, [*stale, (MAKE, Result(True))], {"sync": Known(CLAIM, 3), "make": Known()})
    assert both and both.puts.keys() == {job_key("make")}


def test_what_is_lost_with_what_it_was_done_to_is_said_to_have_failed_and_is_claimed_anew() -> None:
    lost = [(SYNC, Result(False, "", "the database keystone was made anew", lost=True))]
    for known in (DONE, replace(DONE, host="ctl9", commit=OLD)):
        said = jobs.told(OWNER, lost, {"sync": Known(known, 3)})
        assert said and said.compares[job_key("sync")] == 3
        record = said.puts[job_key("sync")]
        assert (record.state, record.host, record.message) == ("failed", "ctl1", "the database keystone was made anew")
        assert writes(jobs.run(OWNER, SYNC, Known(record, 4), "mine")).puts[job_key("sync")] == CLAIM
    for other in (None, CLAIM, replace(CLAIM, state="failed")):
        assert jobs.told(OWNER, lost, {"sync": Known(other, 3)}) is None


def test_what_was_run_without_a_record_is_said_once_for_each_commit() -> None:
    before = [(SYNC, Result(True))]
    first = jobs.told(OWNER, before, {"sync": Known()})
    assert first and first.puts[job_key("sync")] == replace(DONE, nonce="")
    older = replace(DONE, nonce="", commit=OLD)
    again = jobs.told(OWNER, before, {"sync": Known(older, 3)})
    assert again and again.puts[job_key("sync")].commit == NEW and again.compares[job_key("sync")] == 3


def test_nobody_writes_over_what_another_runs_or_a_successor_said() -> None:
    theirs = replace(CLAIM, host="ctl9")
    assert jobs.told(OWNER, [(SYNC, Result(True))], {"sync": Known(theirs, 3)}) is None
    behind = replace(OWNER, commit=OLD)
    assert jobs.told(behind, [(SYNC, Result(True))], {"sync": Known(DONE, 3)}) is None


# --- who waits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "waits"),
    [
        (None, "sync has to run on ctl1 first"),
        (CLAIM, "ctl1 runs sync"),
        (replace(DONE, inputs="old", commit=OLD), "sync has to run on ctl1 first"),
        (replace(CLAIM, state="failed", message="no such table"), "sync failed on ctl1: no such table"),
        (DONE, ""),
        (replace(DONE, inputs="as its owner renders it"), ""),  # for this commit
        (replace(DONE, commit=OLD), ""),  # with these inputs
    ],
)
def test_others_wait_until_it_is_done(record: JobRecord | None, waits: str) -> None:
    found = jobs.awaited([SYNC], NEW, {"sync": record} if record else {})
    assert found == ({"sync": waits} if waits else {})


def test_nobody_waits_again_for_what_was_made_once() -> None:
    """Whatever another commit would make it with, and whether its owner is there to say so or not."""
    made = replace(DONE, inputs="old", commit=OLD)
    assert jobs.awaited([MAKE], NEW, {"make": made}) == {}
    assert jobs.awaited([MAKE], NEW, {"make": replace(made, state="running")}) == {"make": "ctl1 runs make"}


@pytest.mark.parametrize("asked", ["before", "now", "meanwhile without"])
def test_what_was_done_before_a_commit_without_the_job_is_done_anew(asked: str) -> None:
    """Its database may have been dropped since; but what is said of this commit counts, and of one that had it for other hosts."""
    known = Known(
        replace(DONE, host="ctl9", commit={"before": "c" * 40, "now": NEW, "meanwhile without": OLD}[asked]), 3
    )
    assert known.record
    back = replace(SYNC, without=OLD)
    waits, runs = jobs.awaited([back], NEW, {"sync": known.record}), jobs.run(OWNER, back, known, "mine")
    if asked == "before":
        assert waits == {"sync": "sync has to run on ctl1 first"}
        assert writes(runs) == Transaction({ROLL: 7, job_key("sync"): 3}, {job_key("sync"): CLAIM})
    else:
        assert (waits, runs) == ({}, Done("ctl9"))
    made = replace(MAKE, without=OLD)
    assert jobs.run(OWNER, made, known, "mine") == Done("ctl9"), "what exists once is never made a second time"
    assert jobs.awaited([made], NEW, {"make": known.record}) == {}


SITE = Rollout((Wave("canaries", ("ctl3",), 1), Wave("controllers", ("ctl1", "ctl2"), 1)), {})
CANARY = Own("ctl3", NEW, "there", changes=True, ready={}, awaits=(SYNC,))


def test_a_host_claims_nothing_while_it_waits_for_a_job() -> None:
    view = View(Roll(NEW), 7, places={"wave": {}})
    assert "sync has to run on ctl1 first" in message(decide.step(CANARY, view, decide.Kin.SAME, SITE))
    partial = replace(view, partial=True, taken={"wave": (0, "")})
    message(decide.step(CANARY, partial, decide.Kin.SAME, SITE))
    assert isinstance(decide.step(CANARY, replace(view, jobs={"sync": DONE}), decide.Kin.SAME, SITE), Write)


def test_a_host_claims_nothing_while_a_changed_password_is_not_let_in() -> None:
    view = View(Roll(NEW), 7, places={"wave": {}}, jobs={"sync": DONE})
    own = replace(CANARY, shut_out="mariadb login of nova: its new password is not let in yet")
    assert "login of nova" in message(decide.step(own, view, decide.Kin.SAME, SITE))
    assert isinstance(decide.step(replace(own, shut_out=""), view, decide.Kin.SAME, SITE), Write)


def test_the_owner_runs_it_ahead_of_its_turn_and_a_failure_halts() -> None:
    own = replace(CANARY, host="ctl1", installation="here", awaits=(), jobs=("sync",))
    view = View(Roll(NEW), 7, places={"wave": {}})
    step = decide.step(own, view, decide.Kin.SAME, SITE)
    assert isinstance(step, Wait) and decide.goes_ahead(own, view, step)
    assert decide.goes_ahead(replace(own, jobs=(), registers=True), view, step), (
        "others wait for changed passwords, too"
    )
    for other, seen in (
        (replace(own, jobs=()), view),
        (replace(own, free=False), view),
        (own, None),
        (own, replace(view, roll=Roll(OLD))),
        (own, replace(view, roll=Roll(NEW, halt=Halt("cmp1", "it fails")))),
        (own, replace(view, permit=Permit(NEW, (), "here", lent="a new disk"))),
    ):
        assert not decide.goes_ahead(other, seen, step)
    assert not decide.goes_ahead(own, view, Wait(Reason.RolloutHalted, ""))
    failed = writes(decide.step(replace(own, failed="sync: no such table"), view, decide.Kin.SAME, SITE))
    assert failed.puts[ROLL].halt == Halt("ctl1", "sync: no such table")


@pytest.mark.parametrize(
    "permit",
    [
        Permit(NEW, (place_key("galera", 0),), "here", heals=True),
        Permit(OLD, (place_key("galera", 0),), "here", heals=True),
        Permit(OLD, (place_key("galera", 0),), "here"),
        Permit(NEW, (place_key("galera", 0),), "here", lent="a new disk"),
    ],
)
def test_a_failure_ahead_of_its_turn_halts_whatever_its_host_holds(permit: Permit) -> None:
    """The job that failed keeps the host from being well, so it would never give the places back, and nobody would hear of it."""
    own = replace(CANARY, host="ctl1", installation="here", awaits=(), jobs=("sync",), failed="sync: no such table")
    view = View(Roll(NEW), 7, places={"wave": {}}, permit=permit, permit_revision=9)
    said = writes(decide.step(own, view, decide.Kin.SAME, SITE))
    assert said.puts[ROLL].halt == Halt("ctl1", "sync: no such table") and not said.deletes
    after = replace(view, roll=said.puts[ROLL])
    assert not isinstance(decide.step(own, after, decide.Kin.SAME, SITE), Write), "it is said once"


def test_a_first_convergence_that_fails_under_places_that_it_took_halts() -> None:
    own = replace(CANARY, host="ctl1", installation="here", awaits=(), is_new=True, failed="sync: no such table")
    view = View(
        Roll(NEW),
        7,
        places={"wave": {}},
        permit=Permit(NEW, (place_key("galera", 0),), "here", heals=True),
        permit_revision=9,
    )
    assert writes(decide.step(own, view, decide.Kin.SAME, SITE)).puts[ROLL].halt == Halt("ctl1", "sync: no such table")
    kept = replace(own, is_new=False)
    assert not isinstance(decide.step(kept, view, decide.Kin.SAME, SITE), Write), (
        "to heal a host is no part of the commit"
    )


def test_what_fails_after_its_host_was_proved_halts_as_well() -> None:
    own = replace(CANARY, awaits=(), changes=False, late=True, failed="agent did not become healthy")
    proved = View(Roll(NEW), 7, is_proved=True)
    assert writes(decide.step(own, proved, decide.Kin.SAME, SITE)).puts[ROLL].failed == ("ctl3",)
    assert decide.step(replace(own, late=False), proved, decide.Kin.SAME, SITE) == Go()


def test_a_proof_says_what_is_left_and_is_written_anew_when_that_is_done() -> None:
    """Else what goes after the agents of all hosts would not wait for one that waits itself."""
    own = replace(CANARY, awaits=(), changes=False, late=True, left=frozenset({"agent", "contract"}), settled=True)
    wave = View(Roll(NEW), 7, places={"wave": {}})
    proof = proof_key(NEW, 0, "ctl3")
    assert writes(decide.step(own, wave, decide.Kin.SAME, SITE)).puts == {proof: {"left": ["agent", "contract"]}}
    view = View(Roll(NEW), 7, is_proved=True, left=own.left)
    assert decide.step(own, view, decide.Kin.SAME, SITE) == Go()
    for left in ({"contract"}, set[str]()):
        goes = replace(own, left=frozenset(left))
        said = writes(decide.step(goes, view, decide.Kin.SAME, SITE))
        assert said == Transaction({ROLL: 7}, {proof: {"left": [*left]} if left else {}})
        # Not while it is being done, or has yet to show that it is well.
        assert decide.step(replace(goes, changes=True), view, decide.Kin.SAME, SITE) == Go()
        assert decide.step(replace(goes, settled=False), view, decide.Kin.SAME, SITE) == Go()
