"""What a review says of a rollout before it begins: it must never promise what the rollout then does not hold."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.rollout import policy
from reconciler.rollout.decide import Own
from reconciler.rollout.outlook import outlook
from reconciler.rollout.policy import Budget, Rollout, Wave
from reconciler.rollout.records import View

from .world import Fleet, Host

CONTROLLERS, COMPUTES = ("ctl1", "ctl2", "ctl3"), tuple(f"cmp{n}" for n in range(1, 21))
ROLLOUT = Rollout(
    (Wave("canaries", ("cmp1", "ctl3"), 2), Wave("controllers", ("ctl1", "ctl2"), 1, in_order=True), Wave("rest", COMPUTES[1:], 4)),
    {"galera": Budget("galera", 1, CONTROLLERS), "ovs": Budget("ovs", 2, COMPUTES)},
    bake=30.0,
)  # fmt: skip
HOSTS = [host for wave in ROLLOUT.waves for host in wave.hosts]


def test_a_wave_takes_as_many_steps_as_its_size_asks_for() -> None:
    found = outlook(ROLLOUT, HOSTS, {})
    assert [(turn.wave, turn.steps, turn.narrow) for turn in found.turns] == [
        ("canaries", 1, ""), ("controllers", 2, ""), ("rest", 5, ""),
    ]  # fmt: skip
    assert (found.steps, found.seconds) == (8, 240.0)


def test_a_budget_makes_them_more_and_is_named() -> None:
    found = outlook(ROLLOUT, HOSTS, {"ovs": COMPUTES, "galera": ("ctl1", "ctl3")})
    assert [(turn.steps, turn.narrow) for turn in found.turns] == [(1, ""), (2, ""), (10, "ovs")]
    assert [(budget.name, hosts) for budget, hosts in found.touched] == [
        ("galera", ("ctl3", "ctl1")), ("ovs", COMPUTES),
    ]  # fmt: skip


def test_who_changes_nothing_and_who_is_new_wait_for_nobody() -> None:
    found = outlook(ROLLOUT, ("cmp5", "cmp6", "cmp7"), {"ovs": ("cmp5", "cmp6")}, new=("cmp6", "ctl1"))
    (turn,) = found.turns
    assert (turn.hosts, turn.others, turn.steps) == (("cmp5", "cmp7"), 17, 1)
    assert (found.new, [hosts for _, hosts in found.touched]) == (("cmp6",), [("cmp5",)])
    assert outlook(ROLLOUT, (), {}).seconds == 0
    assert outlook(ROLLOUT, ("cmp6",), {}, new=("cmp6",)).seconds == 30.0  # it has to stay well itself


def test_budgets_of_hosts_that_do_not_agree_count_as_the_smaller() -> None:
    wide, narrow = (
        {"ovs": Budget("ovs", 3, COMPUTES)},
        {"ovs": Budget("ovs", 1, COMPUTES), "galera": ROLLOUT.budgets["galera"]},
    )
    assert policy.together(wide, narrow) == policy.together(narrow, wide) == narrow


class Some(Fleet):
    """Of the commit that is rolled only `changing` have something to do. `depth`: of each host that began, how many had to be proved
    before it, one after the other, itself included."""

    def __init__(self, changing: set[str], touches: set[str]) -> None:
        super().__init__(ROLLOUT)
        self.changing = changing
        before = self.push()
        for host in self.hosts.values():
            host.running = host.accepted = before
        self.push(touches=touches)
        self.depth: dict[str, int] = {}

    def between(self, host: Host) -> list[frozenset[str]]:
        return super().between(host) if host.name in self.changing else []

    def act(self, host: Host, own: Own, view: View | None) -> None:
        seen = len(self.started)
        super().act(host, own, view)
        for _, name in self.started[seen:]:
            self.depth[name] = 1 + max((self.depth[other] for other in self.proved() & self.depth.keys()), default=0)


@settings(max_examples=30, deadline=None)
@given(
    st.sets(st.sampled_from(HOSTS), min_size=1),
    st.sets(st.sampled_from(["galera", "ovs"])),
    st.randoms(use_true_random=False),
)
def test_no_rollout_is_faster_than_was_said(changing: set[str], touches: set[str], order: Random) -> None:
    """Hosts of the model, which decide as real ones do, and come in any order."""
    stops = {name: changing & set(ROLLOUT.budgets[name].members) for name in touches}
    promised = outlook(ROLLOUT, changing, stops)
    fleet = Some(changing, touches)
    for _ in range(300):
        hosts = list(fleet.hosts.values())
        order.shuffle(hosts)
        for host in hosts:
            fleet.pass_(host)
        if len(fleet.proved()) == len(HOSTS):
            break
    assert fleet.depth.keys() == changing
    assert max(fleet.depth.values()) >= promised.steps


def test_a_rollout_may_be_as_fast_as_was_said() -> None:
    """A promise that any rollout keeps would be worth nothing."""
    fleet = Some(set(HOSTS), {"ovs"})
    for _ in range(300):
        for host in fleet.hosts.values():
            fleet.pass_(host)
    assert max(fleet.depth.values()) == outlook(ROLLOUT, HOSTS, {"ovs": COMPUTES}).steps == 13
