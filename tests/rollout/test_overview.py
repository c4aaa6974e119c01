"""The whole of a rollout for people: held against what hosts of the model really decide."""

from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.rollout.decide import Wait
from reconciler.rollout.overview import Snapshot, lines, overview
from reconciler.rollout.policy import Budget, Rollout, Wave
from reconciler.rollout.records import ROLL, Halt, JobRecord, Permit, Place, Roll, Said

from .world import Fleet

CONTROLLERS = ("ctl1", "ctl2", "ctl3")
COMPUTES = tuple(f"cmp{n}" for n in range(1, 7))
ROLLOUT = Rollout(
    (Wave("canaries", ("cmp1", "ctl3"), 1), Wave("controllers", ("ctl1", "ctl2"), 2, in_order=True), Wave("rest", COMPUTES[1:], 2)),
    {"galera": Budget("galera", 1, CONTROLLERS)},
)  # fmt: skip
NOW, OLD = "b" * 40, "a" * 40


def permit(*places: str, commit: str = NOW, **more: Any) -> Permit:
    return Permit(commit, places, "x", **more)


def hosts(found: Snapshot, **said: str) -> dict[str, tuple[str, str]]:
    return {row["host"]: (row["state"], row["text"]) for row in overview(found, ROLLOUT, NOW, said)["hosts"]}


EVERYBODY = frozenset({*CONTROLLERS, *COMPUTES})
MIDDLE = Snapshot(
    Roll(NOW, 1),
    {"ctl1": permit("budget/wave/0", "budget/galera/0")},
    {"wave": {0: Place("ctl1")}, "galera": {0: Place("ctl1")}},
    frozenset({(0, "cmp1"), (0, "ctl3")}),
    EVERYBODY - {"cmp4"},
)


def test_who_is_at_what_in_the_middle_of_a_rollout() -> None:
    found = hosts(MIDDLE)
    assert found["cmp1"] == ("proved", "")
    assert found["ctl1"] == ("holds", f"carries out {NOW[:12]}")
    assert found["ctl2"] == ("waits", "its turn, unless it needs galera (ctl1)")
    assert found["cmp2"] == ("waits", "the wave controllers comes first: ctl1, ctl2")
    assert found["cmp4"] == ("absent", "not heard of for ten minutes")
    shown = overview(MIDDLE, ROLLOUT, NOW)
    assert [(w["name"], w["state"], w["proved"], w["at_it"]) for w in shown["waves"]] == [
        ("canaries", "done", 2, 0), ("controllers", "open", 0, 1), ("rest", "waits", 0, 0),
    ]  # fmt: skip
    assert [(b["name"], b["at_once"], b["holders"]) for b in shown["budgets"]] == [
        ("galera", 1, ["ctl1"]), ("wave", 2, ["ctl1"]),
    ]  # fmt: skip


def test_what_a_host_says_itself_goes_before_what_is_concluded() -> None:
    assert hosts(MIDDLE, ctl2="ctl1 holds the budget galera")["ctl2"] == ("waits", "ctl1 holds the budget galera")
    assert hosts(MIDDLE, ctl1="x", cmp1="x")["ctl1"][1] == f"carries out {NOW[:12]}"


def test_halted_failed_lent_excused_and_what_nobody_here_knows() -> None:
    found = replace(
        MIDDLE,
        roll=Roll(NOW, 1, ("ctl1",), Halt("ctl1", "it says bad")),
        permits={**MIDDLE.permits, "cmp2": permit(lent="op: a new disk"), "cmp3": permit(heals=True)},
        places={**MIDDLE.places, "racks": {0: Place("cmp2")}},
        excused={"cmp5": Said("op", "its disk is changed", "2026-03-01T12:00:00+00:00")},
    )
    shown = hosts(found)
    assert shown["ctl1"] == ("failed", f"carries out {NOW[:12]}")
    assert (shown["cmp2"], shown["cmp3"]) == (("holds", "lent: op: a new disk"), ("holds", "puts right what drifted"))
    assert shown["cmp5"] == ("excused", "excused by op: its disk is changed")
    assert shown["ctl2"] == ("waits", "the rollout is halted")
    document = overview(found, ROLLOUT, NOW)
    assert document["halt"]["why"] == "it says bad" and document["hosts"][0]["host"] == "ctl1"
    # A budget of which this host has no member: who holds it is known, and its size is not.
    assert {"name": "racks", "at_once": None, "holders": ["cmp2"]} in document["budgets"]


def test_jobs_that_others_wait_for() -> None:
    jobs = {
        "db_sync": JobRecord("1", "ctl1", "running", commit=NOW),
        "bootstrap": JobRecord("1", "ctl1", "done", commit=NOW),
        "fernet": JobRecord("1", "ctl2", "failed", commit=NOW, message="no space left"),
    }
    shown = overview(replace(MIDDLE, jobs=jobs), ROLLOUT, NOW)["jobs"]
    assert [(one["name"], one["state"], one["host"], one["message"]) for one in shown] == [
        ("db_sync", "running", "ctl1", ""), ("fernet", "failed", "ctl2", "no space left"),
    ]  # fmt: skip


def test_a_holder_that_the_inventory_does_not_know_is_not_lost() -> None:
    found = replace(MIDDLE, permits={**MIDDLE.permits, "old1": permit("budget/galera/1")})
    row = next(row for row in overview(found, ROLLOUT, NOW)["hosts"] if row["host"] == "old1")
    assert (row["state"], row["holds"], row["text"]) == ("holds", ["galera"], "holds places, and is in no inventory")


def test_the_same_in_lines() -> None:
    found = replace(
        MIDDLE,
        roll=Roll(NOW, 1, (), Halt("op", "it is moved", "2026-03-01T12:00:00+00:00")),
        jobs={"db_sync": JobRecord("1", "ctl1", "running", commit=NOW)},
        excused={"cmp5": Said("op", "its disk is changed")},
        released={"cmp9": Said("op", "gone", "2026-03-01T12:00:00+00:00")},
    )
    assert list(lines(overview(found, ROLLOUT, NOW))) == [
        f"rolling out {NOW[:12]}",
        "HALTED by op: it is moved (2026-03-01T12:00:00+00:00)",
        "  canaries             done   2 of 2 hosts, 1 at once",
        "  controllers          open   0 of 2 hosts, 2 at once, in order",
        "  rest                 waits  0 of 5 hosts, 2 at once",
        f"  ctl1 holds galera, wave (carries out {NOW[:12]})",
        "  db_sync runs on ctl1",
        "  ctl2, cmp2, cmp3 and 1 more wait: the rollout is halted",
        "  cmp4 is absent: not heard of for ten minutes",
        "  cmp5 is excused by op: its disk is changed",
        "  cmp9: given back by op at 2026-03-01T12:00:00+00:00: gone",
    ]
    told = list(lines(overview(Snapshot(Roll(NOW)), ROLLOUT, OLD)))
    assert told[1] == f"this host has accepted {OLD[:12]}: the waves are shown as that commit has them"
    assert next(lines(overview(Snapshot(), ROLLOUT, NOW))) == "no commit was ever rolled out through this etcd"


def test_nothing_was_ever_rolled_out_or_the_waves_are_another_commits() -> None:
    assert set(hosts(Snapshot(present=EVERYBODY)).values()) == {("waits", "no commit is being rolled out")}
    assert overview(Snapshot(), ROLLOUT, NOW)["rolling"] == ""
    later = replace(MIDDLE, roll=Roll(NOW, 9), proved=frozenset({(9, "cmp1")}))  # more waves than are known here
    assert overview(later, ROLLOUT, OLD)["accepted"] == OLD
    assert overview(Snapshot(Roll(NOW)), Rollout((), {}), NOW)["waves"] == []


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.randoms(use_true_random=False))
def test_a_host_that_waits_is_never_shown_as_anything_else(steps: int, order: Random) -> None:
    """At any moment of a rollout of the model: whoever decides to wait holds nothing and is not proved, and so it is shown."""
    fleet = Fleet(ROLLOUT)
    before = fleet.push()
    for host in fleet.hosts.values():
        host.running = host.accepted = before
    commit = fleet.push(touches=["galera"])
    for _ in range(steps):
        fleet.pass_(order.choice(list(fleet.hosts.values())))
    for host in fleet.hosts.values():
        step, _, _ = fleet.look(host)
        shown = {row["host"]: row for row in overview(_snapshot(fleet), ROLLOUT, commit)["hosts"]}[host.name]
        if isinstance(step, Wait) and not host.remembered and fleet.roll and fleet.roll.commit == commit:
            assert shown["state"] == "waits" and shown["text"], (step, shown)
        if host.name in (fleet.proved() if fleet.roll and fleet.roll.commit == commit else ()) and not host.remembered:
            assert shown["state"] == "proved"


def _snapshot(fleet: Fleet) -> Snapshot:
    keys = fleet.store.keys
    below = {name: fleet.store.names(name) for name in ("permit/", "present/")}
    roll = keys[ROLL][0] if ROLL in keys else None
    proofs = [name.split("/") for name in fleet.store.names(f"proof/{roll.commit}/")] if roll else []
    places: dict[str, dict[int, Place]] = {}
    for name in fleet.store.names("budget/"):
        budget, number = name.split("/")
        places.setdefault(budget, {})[int(number)] = Place(keys[f"budget/{name}"][0]["host"])
    return Snapshot(
        roll,
        {name: keys[f"permit/{name}"][0] for name in below["permit/"]},
        places,
        frozenset((int(wave), host) for wave, host in proofs),
        frozenset(below["present/"]),
    )
