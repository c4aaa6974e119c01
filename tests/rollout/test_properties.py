"""A fleet under every fault at once: budgets hold at every instant, a halt stops everything, and every quiet end is all proved or halted."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reconciler.rollout import decide
from reconciler.rollout.decide import Own, Write
from reconciler.rollout.policy import WAVE, Budget, Rollout, Wave
from reconciler.rollout.records import excuse_key, permit_key, presence_key
from tests.rollout.world import Fleet, Host

NAMES = ("ctl1", "ctl2", "ctl3", "cmp1", "cmp2", "cmp3", "cmp4")
CONTROLLERS, RACKS = NAMES[:3], (NAMES[2:5], NAMES[4:])
names = st.sampled_from(NAMES)
budgets = st.sets(st.sampled_from(("galera", "rack-1", "rack-2")))


def rollout(at_once: int, rack: int, tolerate: int, max_absent: int) -> Rollout:
    """Two canaries, controllers one by one, the rest; a budget for controllers, and two racks that overlap with each other and with them."""
    waves = (
        Wave("canaries", ("cmp1", "ctl1"), min(at_once, 2)),
        Wave("controllers", ("ctl2", "ctl3"), 1, in_order=True),
        Wave("the rest", ("cmp2", "cmp3", "cmp4"), at_once),
    )
    sizes = {
        "galera": Budget("galera", 1, CONTROLLERS),
        "rack-1": Budget("rack-1", rack, RACKS[0]),
        "rack-2": Budget("rack-2", rack, RACKS[1]),
    }
    return Rollout(waves, sizes, deadline=100.0, tolerate=tolerate, max_absent=max_absent)


def without(whole: Rollout, name: str) -> Rollout:
    """The same site once a host has left it."""

    def rest(hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(host for host in hosts if host != name)

    return replace(
        whole,
        waves=tuple(replace(wave, hosts=rest(wave.hosts)) for wave in whole.waves),
        budgets={key: replace(one, members=rest(one.members)) for key, one in whole.budgets.items()},
    )


@dataclass
class Held:
    """A place as it is: since when it has been unchanged, and when something kept its holder from going on last, a halt or its failure: from
    which step of the history to which, and until what time."""

    revision: int
    since: float
    first: int = -1
    last: int = -1
    until: float = 0.0


class Machine(RuleBasedStateMachine):
    @initialize(
        at_once=st.integers(1, 3), rack=st.integers(1, 2), tolerate=st.integers(0, 1), max_absent=st.integers(0, 1)
    )
    def begin(self, at_once: int, rack: int, tolerate: int, max_absent: int) -> None:
        self.whole = rollout(at_once, rack, tolerate, max_absent)
        self.fleet = Fleet(self.whole, CONTROLLERS[::-1])
        self.lent: set[str] = set()
        self.gone = ""
        self.steps = 0
        self.held: dict[str, Held] = {}
        self.looks: dict[str, set[int]] = {name: set() for name in NAMES}  # at which steps each host has surely looked
        self.fleet.push()
        self.quiet_end()

    @rule(bad=st.booleans(), touches=st.none() | budgets, job=st.booleans())
    def push(self, bad: bool, touches: set[str] | None, job: bool) -> None:
        self.fleet.push(bad=bad, touches=touches, job=job)

    @rule(name=names, lose=st.booleans(), cut=st.booleans())
    def a_pass(self, name: str, lose: bool, cut: bool = False) -> None:
        if self.fleet.hosts[name].up and not self.fleet.store.down and not lose:
            self.looks[name].add(self.steps + 1)
        self.watched(name, lambda host: self.fleet.pass_(host, lose=lose, cut=cut))

    @rule(name=names, others=st.lists(names, min_size=1, max_size=4))
    def a_slow_pass(self, name: str, others: list[str]) -> None:
        """Others act between what a host reads and what it does."""
        host = self.fleet.hosts[name]
        if not host.up:
            return
        step, view, own = self.fleet.look(host)
        for other in others:
            if other != name:
                self.a_pass(other, lose=False)
        if isinstance(step, Write):
            self.watched(name, lambda host: self.fleet.do(host, step, view, own))

    @rule(some=st.lists(names, min_size=2, max_size=7, unique=True))
    def a_race(self, some: list[str]) -> None:
        """All read before any of them writes."""
        looks = [(name, *self.fleet.look(self.fleet.hosts[name])) for name in some if self.fleet.hosts[name].up]
        for name, step, view, own in looks:
            if isinstance(step, Write):
                self.watched(name, lambda host, step=step, view=view, own=own: self.fleet.do(host, step, view, own))  # type: ignore[misc]

    @rule(
        bad=st.booleans(), touches=budgets, job=st.booleans(), down=st.booleans(),
        some=st.lists(names, min_size=3, max_size=14),
    )  # fmt: skip
    def a_push_in_the_middle(self, bad: bool, touches: set[str], job: bool, down: bool, some: list[str]) -> None:
        """A commit that everybody goes on with at once, perhaps while the store is away for a moment."""
        self.fleet.push(bad=bad, touches=touches, job=job)
        self.passes(some)
        if down:
            self.passes_without_the_store(some[:4])
        self.passes(some)

    def watched(self, name: str, act: Callable[[Host], object]) -> None:
        """Whoever claims anew does so while nothing is halted, within the wave's places and after those before it."""
        fleet, key = self.fleet, permit_key(name)
        before, roll = set(fleet.store.keys), fleet.roll  # after its claim it may halt for another's silence
        self.look_at_places()
        act(fleet.hosts[name])
        if fleet.roll and fleet.roll.halt and "has held" in fleet.roll.halt.why and roll and not roll.halt:
            held = self.held[fleet.roll.halt.why.split()[3]]
            assert fleet.now - held.since >= fleet.rollout.deadline, "it has got on meanwhile"
            knew = any(held.first <= step <= held.last for step in self.looks[name])
            assert not knew or fleet.now - held.until >= fleet.rollout.deadline, "the time of a halt counts"
        self.look_at_places()
        claimed = fleet.store.keys.get(key)
        if key in before or claimed is None or claimed[0].heals:
            return
        wave = fleet.rollout.wave_of(name)
        assert roll and roll.halt is None and roll.commit == claimed[0].commit, f"{name} starts after a halt"
        assert fleet.taken(WAVE) <= fleet.rollout.waves[roll.opened].at_once
        assert wave is not None and wave <= roll.opened, f"{name} starts before its wave"

    def look_at_places(self) -> None:
        self.steps += 1
        roll, keys = self.fleet.roll, self.fleet.store.keys
        places = {key: entry for key, entry in keys.items() if key.startswith("budget/")}
        self.held = {key: held for key, held in self.held.items() if key in places}
        for key, (place, revision) in places.items():
            held = self.held.get(key)
            if held is None or held.revision != revision:
                held = self.held[key] = Held(revision, self.fleet.now)
            if roll is None or roll.halt or place["host"] in roll.failed:
                held.first = held.first if held.last == self.steps - 1 else self.steps
                held.last, held.until = self.steps, self.fleet.now

    @rule(name=names)
    def dies_on_a_busy_branch(self, name: str) -> None:
        """Whoever dies with a place is noticed, whatever is pushed meanwhile: no later than the deadline after it, or after the last halt."""
        fleet = self.fleet
        fleet.not_ready = set()
        self.give_back()
        if name == self.gone or permit_key(name) not in fleet.store.keys:
            return
        for host in fleet.hosts.values():
            host.up, host.deaf = host.name not in (name, self.gone), False
        fleet.hosts[name].kill()
        fleet.store.keys.pop(presence_key(name), None)
        begun = fleet.now
        for _ in range(60):
            fleet.push(touches=set(fleet.rollout.budgets))
            for other in (*fleet.hosts, *fleet.hosts):
                self.a_pass(other, lose=False)
            halt = fleet.roll.halt if fleet.roll else None
            if permit_key(name) not in fleet.store.keys or (halt and halt.by == name and "has held" in halt.why):
                return
            begun = fleet.now if halt else begun
            assert fleet.now - begun <= fleet.rollout.deadline + 60, "nobody notices that it is dead"
            fleet.now += 30
        raise AssertionError("another one halts every commit")

    @rule(name=names)
    def kill(self, name: str) -> None:
        self.fleet.hosts[name].kill()

    @rule(name=names)
    def power(self, name: str) -> None:
        host = self.fleet.hosts[name]
        host.up = not host.up and name != self.gone
        host.kill()
        if not host.up:
            self.fleet.store.keys.pop(presence_key(name), None)

    @rule(name=names, budget=st.sampled_from(("galera", "rack-1", "rack-2")))
    def falls_ill(self, name: str, budget: str) -> None:
        host = self.fleet.hosts[name]
        if host.running and not host.begun and budget in self.fleet.budgets(host):
            host.sick = budget

    @rule(budget=st.sampled_from(("galera", "rack-1")))
    def unready(self, budget: str) -> None:
        """A member elsewhere is missing, or back again."""
        self.fleet.not_ready ^= {budget}

    @rule(name=names)
    def lend(self, name: str) -> None:
        fleet, host = self.fleet, self.fleet.hosts[name]
        wanted = fleet.budgets(host)
        own = Own(name, host.accepted, "operator", budgets=wanted, ready={b: b not in fleet.not_ready for b in wanted})
        step = decide.lend(own, fleet.store.view(name, fleet.rollout, wanted), fleet.rollout, "a new disk")
        if wanted and name != self.gone and isinstance(step, Write) and fleet.store.try_(step.transaction):
            host.stopped |= wanted
            host.baking = 1_000
            self.lent.add(name)

    @rule()
    def give_back(self) -> None:
        for name in self.lent:
            permit, _ = self.fleet.store.keys.pop(permit_key(name))  # of one that is gone for good nothing is left
            for place in permit.places:
                self.fleet.store.keys.pop(place)
            self.fleet.hosts[name].baking = 0
            self.fleet.hosts[name].stopped = frozenset()
        self.lent = set()

    @rule(name=names)
    def goes_deaf(self, name: str) -> None:
        """It gets no newer commit, or refuses it."""
        self.fleet.hosts[name].deaf = True

    @precondition(lambda self: not self.gone)
    @rule(name=st.sampled_from(RACKS[1]), drained=st.booleans(), touches=budgets)
    def leaves(self, name: str, drained: bool, touches: set[str]) -> None:
        """A host is taken out of the inventory, after a drain or as it died."""
        fleet, host = self.fleet, self.fleet.hosts[name]
        if drained and host.accepted == fleet.commits[-1]:
            self.lend(name)
        self.lent.discard(name)
        self.gone, host.up, host.stopped = name, True, frozenset()
        self.power(name)
        fleet.push(touches=touches, rollout=without(self.whole, name))

    @precondition(lambda self: self.gone)
    @rule(touches=budgets)
    def comes_back(self, touches: set[str]) -> None:
        """With an empty disk."""
        self.fleet.hosts[self.gone] = Host(self.gone, installation=f"of {len(self.fleet.commits)}")
        held, _ = self.fleet.store.keys.get(permit_key(self.gone), (None, 0))
        if held is not None and held.lent:  # nobody has taken up that it was gone: an operator gives it back
            self.lent.add(self.gone)
        self.gone = ""
        self.fleet.push(touches=touches, rollout=self.whole)

    @rule(seconds=st.sampled_from((10.0, 60.0, 120.0)))
    def time_passes(self, seconds: float) -> None:
        self.fleet.now += seconds

    @rule(some=st.lists(names, min_size=1, max_size=4))
    def passes_without_the_store(self, some: list[str]) -> None:
        self.fleet.store.down = True
        for name in some:
            self.a_pass(name, lose=False)
        self.fleet.store.down = False

    @rule(some=st.lists(names, min_size=5, max_size=20))
    def passes(self, some: list[str]) -> None:
        for name in some:
            self.a_pass(name, lose=False)

    @precondition(lambda self: self.fleet.roll is not None)
    @rule(name=names)
    def excuse(self, name: str) -> None:
        assert self.fleet.roll
        self.fleet.store.put(excuse_key(self.fleet.roll.commit, name), {})

    @invariant()
    def budgets_hold(self) -> None:
        if hasattr(self, "fleet"):
            for name, budget in self.fleet.rollout.budgets.items():
                assert len(self.fleet.stopped(name)) <= budget.at_most, (name, self.fleet.stopped(name))
                assert self.fleet.taken(name) <= budget.at_most, name

    @invariant()
    def a_place_has_its_permit(self) -> None:
        if hasattr(self, "fleet"):
            assert not self.fleet.unpaired()

    @invariant()
    def a_job_runs_once(self) -> None:
        if hasattr(self, "fleet"):
            assert len(self.fleet.ran) == len(set(self.fleet.ran)), "twice with the same inputs"

    def snapshot(self) -> object:
        fleet = self.fleet
        kept = {key: entry for key, entry in fleet.store.keys.items() if not key.startswith("present/")}
        return kept, [(host.running, host.broken, host.sick, host.baking) for host in fleet.hosts.values()]

    def until_still(self) -> None:
        still, rounds = 0, 0
        while still < 3:
            before, rounds = self.snapshot(), rounds + 1
            for name in self.fleet.hosts:
                self.a_pass(name, lose=False)
                self.budgets_hold()
            still = still + 1 if self.snapshot() == before else 0
            assert rounds < 500, "it never becomes quiet"

    @rule()
    def quiet_end(self) -> None:
        """Everybody is up and the store answers: it ends, all proved or halted, and nothing is held that nobody needs."""
        fleet = self.fleet
        fleet.store.down, fleet.not_ready = False, set()
        self.give_back()
        for host in fleet.hosts.values():
            host.up = host.name != self.gone
        self.until_still()
        self.nobody_waits_for_the_deaf()
        if fleet.taken(WAVE):
            fleet.now += 2 * fleet.rollout.deadline  # whoever waits for each other is seen
            self.until_still()
            fleet.now += 2 * fleet.rollout.deadline
            self.until_still()
        assert fleet.roll and fleet.roll.commit == fleet.commits[-1]
        stuck = fleet.rollout.hosts - fleet.proved()
        broken = {name for name in fleet.rollout.hosts if fleet.hosts[name].broken}
        if fleet.roll.halt is None:
            # What is tolerated keeps its budgets, and whoever needs those waits for the next commit.
            kept = {name for name in fleet.rollout.budgets if broken & set(fleet.stopped(name))}
            assert len(broken) <= fleet.rollout.tolerate
            assert all(name in broken or kept & fleet.budgets(fleet.hosts[name]) for name in stuck), stuck
            assert not fleet.taken(WAVE)
            assert not any(fleet.taken(name) for name in fleet.rollout.budgets if name not in kept)
            present = [fleet.hosts[name] for name in fleet.rollout.hosts]
            assert not any(host.sick for host in present if not kept & fleet.budgets(host))
        else:
            assert broken or "has held" in fleet.roll.halt.why, "halted, and nobody failed"

    def nobody_waits_for_the_deaf(self) -> None:
        """Whoever gets no newer commit and is well holds no place, and halts nobody."""
        fleet = self.fleet
        deaf = [host for host in fleet.hosts.values() if host.deaf]
        if deaf:
            holding = {name for name in fleet.hosts if permit_key(name) in fleet.store.keys}
            behind = {host.name for host in deaf if host.is_well and host.accepted != fleet.commits[-1]}
            assert not holding & behind, holding & behind
            for host in deaf:
                host.deaf = False
            self.until_still()

    def teardown(self) -> None:
        if hasattr(self, "fleet"):
            self.quiet_end()
            self.fleet.push()
            self.quiet_end()


# The same examples everywhere and every time. `python -m tests.rollout.search` draws new ones.
Machine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, derandomize=True, database=None, report_multiple_bugs=False,
    phases=(Phase.generate,),
)  # fmt: skip
TestFleet = Machine.TestCase
