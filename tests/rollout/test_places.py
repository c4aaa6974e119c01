"""Places that nobody needs any more, as histories of a fleet: who gives them back, and that no commit is halted for them."""

import pytest

from reconciler.rollout import decide, together
from reconciler.rollout.decide import Own, Write
from reconciler.rollout.policy import WAVE, Budget, Rollout, Wave
from reconciler.rollout.records import ROLL, Halt, Roll, place_key
from tests.rollout.world import Fleet, Host

CONTROLLERS = ("ctl1", "ctl2", "ctl3")
NAMES = ("mariadb", "rabbitmq", "grafana", "opensearch")
DEADLINE = 100.0


def site(*hosts: str) -> Rollout:
    budgets = {name: Budget(name, 1, hosts) for name in NAMES}
    return Rollout((Wave("controllers", hosts, 1),), budgets, deadline=DEADLINE)


def passes(fleet: Fleet, *names: str) -> None:
    """As many as it takes, in turn."""
    for _ in range(20):
        for name in names:
            fleet.pass_(fleet.hosts[name])


@pytest.fixture
def fleet() -> Fleet:
    found = Fleet(site(*CONTROLLERS))
    found.push()
    passes(found, *CONTROLLERS)
    assert found.proved() == set(CONTROLLERS) and not claims(found)
    return found


def claims(fleet: Fleet) -> list[str]:
    return sorted(key for key in fleet.store.keys if key.startswith(("permit/", "budget/")))


def drain(fleet: Fleet, name: str) -> None:
    host = fleet.hosts[name]
    own = Own(name, host.accepted, host.installation, budgets=frozenset(NAMES), ready=dict.fromkeys(NAMES, True))
    step = decide.lend(own, fleet.store.view(name, fleet.rollout, NAMES), fleet.rollout, "leaves")
    assert isinstance(step, Write) and fleet.store.try_(step.transaction)
    assert len(claims(fleet)) == 1 + len(NAMES)


@pytest.mark.parametrize("lent", [True, False], ids=["drained", "died in the middle"])
@pytest.mark.parametrize("touches", [(), ("mariadb", "rabbitmq")], ids=["stops nothing", "stops members"])
def test_a_controller_that_leaves_and_comes_back_blocks_nothing(
    fleet: Fleet, *, lent: bool, touches: tuple[str, ...]
) -> None:
    """The commit that takes it out stops members of some of the budgets that it held, or of none: whoever gives them back reads no other."""
    if lent:
        drain(fleet, "ctl3")
    else:
        fleet.push(touches=NAMES)
        for _ in range(2):
            fleet.pass_(fleet.hosts["ctl3"])  # begins the commit, and claims
        assert len(claims(fleet)) == 2 + len(NAMES)
    del fleet.hosts["ctl3"]
    fleet.push(touches=touches, rollout=site("ctl1", "ctl2"))
    fleet.pass_(fleet.hosts["ctl1"])
    fleet.pass_(fleet.hosts["ctl2"])
    assert not any("ctl3" in str(fleet.store.keys[key]) or "ctl3" in key for key in claims(fleet))
    passes(fleet, "ctl1", "ctl2")
    assert fleet.proved() == {"ctl1", "ctl2"} and not claims(fleet)
    fleet.hosts["ctl3"] = Host("ctl3", installation="a new disk")
    fleet.push(touches=("grafana",), rollout=site(*CONTROLLERS))
    passes(fleet, *CONTROLLERS)
    assert fleet.proved() == set(CONTROLLERS) and not claims(fleet)


@pytest.mark.parametrize("lent", [True, False])
def test_places_that_were_left_without_their_permit_go(fleet: Fleet, *, lent: bool) -> None:
    """As a program before gave back one place of a host, and the permit that named all of them."""
    place = {"host": "ctl3", "lent": True} if lent else {"host": "ctl3"}
    fleet.store.put(place_key("grafana", 0), place)
    fleet.push(touches=("grafana",))
    passes(fleet, *CONTROLLERS)
    assert fleet.proved() == set(CONTROLLERS) and not claims(fleet)


def test_what_is_claimed_anew_meanwhile_is_no_leftover(fleet: Fleet) -> None:
    fleet.store.put(place_key("grafana", 0), {"host": "ctl3"})
    late = together.void(fleet.store.view("ctl1", fleet.rollout, NAMES))
    assert late and fleet.store.try_(late)
    drain(fleet, "ctl3")
    assert not fleet.store.try_(late) and len(claims(fleet)) == 1 + len(NAMES)


def test_what_a_removed_host_claims_meanwhile_is_given_back_with_the_rest(fleet: Fleet) -> None:
    """It runs, and heals something before it hears that it is gone."""

    def heal(name: str) -> None:
        own = Own("ctl3", host.accepted, host.installation, budgets=frozenset({name}), ready={name: True})
        step = decide.heal(own, fleet.store.view("ctl3", fleet.rollouts[host.accepted], NAMES), fleet.rollout)
        assert isinstance(step, Write) and fleet.store.try_(step.transaction)

    host = fleet.hosts["ctl3"]
    heal("grafana")
    fleet.push(rollout=site("ctl1", "ctl2"))
    late = together.void(fleet.store.view("ctl1", fleet.rollout, {WAVE}))
    heal("mariadb")
    assert late and not fleet.store.try_(late) and not fleet.unpaired()
    passes(fleet, "ctl1", "ctl2")
    assert fleet.proved() == {"ctl1", "ctl2"} and not claims(fleet)


@pytest.mark.parametrize("heals", [False, True], ids=["its commit", "what drifted"])
def test_a_well_host_that_gets_no_newer_commit_halts_nobody(fleet: Fleet, *, heals: bool) -> None:
    """It has finished and waits for the bake time when a newer commit begins elsewhere, which it refuses."""
    host = fleet.hosts["ctl1"]
    if heals:
        host.deaf, host.sick = True, "mariadb"
        fleet.push(touches=("mariadb",))
        fleet.pass_(fleet.hosts["ctl2"])
        fleet.pass_(host)
        fleet.pass_(host)
    else:
        fleet.push(touches=("mariadb",))
        for _ in range(3):
            fleet.pass_(host)
        assert host.running == fleet.commits[-1]
        host.deaf = True
        fleet.push(touches=("mariadb",))
    fleet.pass_(fleet.hosts["ctl2"])
    assert "permit/ctl1" in claims(fleet) and host.baking
    for _ in range(20):
        passes(fleet, *CONTROLLERS)
        fleet.now += DEADLINE / 2
    assert fleet.roll and fleet.roll.halt is None
    assert fleet.proved() == {"ctl2", "ctl3"} and not claims(fleet)


def test_the_commit_that_mends_a_failed_one_is_not_halted_for_how_long_that_took(fleet: Fleet) -> None:
    """Whoever failed keeps its places all the time, and others see them unchanged."""
    fleet.push(bad=True, touches=("mariadb",))
    passes(fleet, *CONTROLLERS)
    assert fleet.roll and fleet.roll.halt and fleet.roll.failed == ("ctl2",)
    fleet.now += 2 * DEADLINE
    passes(fleet, "ctl1", "ctl3")
    fleet.push(touches=("mariadb",))
    passes(fleet, "ctl3", "ctl1")  # before the host that failed has heard of it
    assert fleet.roll.halt is None
    passes(fleet, *CONTROLLERS)
    assert fleet.proved() == set(CONTROLLERS) and not claims(fleet)


def test_a_halt_that_lasts_is_held_against_nobody_once_it_is_over(fleet: Fleet) -> None:
    """As above, where an operator halts the mending commit for long."""
    fleet.push(bad=True, touches=("mariadb",))
    passes(fleet, *CONTROLLERS)
    commit = fleet.push(touches=("mariadb",))
    fleet.store.put(ROLL, Roll(commit, halt=Halt("ada", "the network is being moved")))
    passes(fleet, *CONTROLLERS)
    assert "permit/ctl2" in claims(fleet)
    fleet.now += 2 * DEADLINE
    passes(fleet, "ctl1", "ctl3")
    fleet.store.put(ROLL, Roll(commit, resumed="ada"))
    passes(fleet, "ctl3", "ctl1")
    assert fleet.roll and fleet.roll.halt is None
    passes(fleet, *CONTROLLERS)
    assert fleet.proved() == set(CONTROLLERS) and not claims(fleet)


@pytest.mark.parametrize("before", ["well", "failed"])
def test_a_holder_that_died_halts_a_busy_branch(fleet: Fleet, *, before: str) -> None:
    """Commits come faster than the deadline; whoever waits for its budget would wait for ever."""
    if before == "failed":  # it fails a commit, claims nothing anew, and dies as the next one begins
        fleet.push(bad=True, touches=("mariadb",))
        passes(fleet, "ctl1", "ctl2", "ctl3")
        died = fleet.roll.failed[0] if fleet.roll else ""
        fleet.now += 2 * DEADLINE
    else:
        died = "ctl1"
        fleet.push(touches=("mariadb",))
        for _ in range(3):
            fleet.pass_(fleet.hosts[died])
    assert f"permit/{died}" in claims(fleet)
    fleet.hosts[died].up = False
    others = [name for name in CONTROLLERS if name != died]
    begun, halts, halted = fleet.now, list[float](), ""
    for second in range(0, int(8 * DEADLINE), 10):
        if second % 60 == 0:
            fleet.push(touches=("mariadb",))
        for name in others:
            fleet.pass_(fleet.hosts[name])
            if fleet.roll and fleet.roll.halt and fleet.roll.commit != halted:
                assert fleet.roll.halt.by == died and "has held" in fleet.roll.halt.why
                halted = fleet.roll.commit
                halts.append(fleet.now - begun)
        fleet.now += 10
    # The commit that follows a halt begins its time anew; else it goes on whatever is pushed.
    gaps = [later - earlier for earlier, later in zip([0.0, *halts], halts, strict=False)]
    assert len(halts) >= 4 and all(DEADLINE <= gap <= DEADLINE + 60 for gap in gaps), gaps
    fleet.hosts[died].up = True
    fleet.push(touches=("mariadb",))
    passes(fleet, *CONTROLLERS)
    assert fleet.proved() == set(CONTROLLERS) and not claims(fleet)


def test_whoever_is_silent_under_the_commit_itself_halts_it(fleet: Fleet) -> None:
    fleet.push(touches=("mariadb",))
    for _ in range(3):
        fleet.pass_(fleet.hosts["ctl1"])
    passes(fleet, "ctl2", "ctl3")
    fleet.now += DEADLINE
    passes(fleet, "ctl2", "ctl3")
    assert fleet.roll and fleet.roll.halt and fleet.roll.halt.by == "ctl1"
