"""Members that are cut off from each other and not from their clients: no two hosts ever hold what only one may."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.etcd import Client, Store
from reconciler.reasons import Reason
from reconciler.rollout import decide
from reconciler.rollout.decide import Go, Kin, Own, Step, Wait, Write
from reconciler.rollout.policy import Budget, Rollout, Wave
from reconciler.rollout.records import ROLL, Permit, Roll, Transaction, View
from tests.etcd.apart import Apart
from tests.support.lab import wait_for

NEW = "b" * 40
HOSTS = ("ctl1", "ctl2", "ctl3")
SITE = Rollout((Wave("all", HOSTS, 3),), {"galera": Budget("galera", 1, HOSTS)})


class Host:
    """One host that has a change, and what it remembers; it asks only the members that it is given."""

    def __init__(self, name: str, urls: list[str]) -> None:
        self.name, self.store = name, Store(Client(urls, seconds=2.0), "s")
        self.held: Permit | None = None
        self.begun = ""

    def pass_(self) -> Step:
        """Read, decide and write until there is nothing to write, as a node does."""
        for _ in range(8):
            view: View | None = None
            try:
                view = self.store.view(self.name, NEW, SITE, {"galera"}, ())
                self.held = view.permit
                step = self._decide(view)
                if not isinstance(step, Write):
                    break
                self.store.try_(step.transaction)
            except errors.Transient as error:
                assert error.reason is Reason.EtcdUnavailable
                step = self._decide(None)
                break
        if isinstance(step, Go):
            self.begun = NEW
        return step

    def _decide(self, view: View | None) -> Step:
        own = Own(
            self.name,
            NEW,
            self.name,
            changes=True,
            budgets=frozenset({"galera"}),
            ready={"galera": True},
            begun=self.begun,
            held=self.held,
        )
        return decide.step(own, view, Kin.SAME, SITE)


def until(ready: Callable[[], object]) -> None:
    wait_for("the hosts see it so", ready, 120.0, pause=0.2)


def reason(step: Step) -> Reason:
    assert isinstance(step, Wait), step
    return step.why


@pytest.mark.slow
def test_no_two_hosts_hold_what_only_one_may_however_the_members_are_cut_off(tmp_path: Path) -> None:
    with Apart(tmp_path) as apart:
        urls = apart.cluster.urls
        client = Client(urls)
        Store(client, "s").try_(Transaction({}, {ROLL: Roll(NEW)}))
        leader = next(urls.index(member.url) for member in client.members() if member.leader)
        others = [url for number, url in enumerate(urls) if number != leader]

        # The leader alone: it believes in itself for a moment yet, and grants nothing.
        apart.cut(leader)
        lonely, lucky = Host("ctl1", [urls[leader]]), Host("ctl2", others)
        assert reason(lonely.pass_()) is Reason.EtcdUnavailable
        until(lambda: isinstance(lucky.pass_(), Go))
        assert reason(lonely.pass_()) is Reason.EtcdUnavailable and not lonely.begun
        # Whoever is given all members asks on until one of the majority answers.
        third = Host("ctl3", [urls[leader], *others])
        until(lambda: reason(third.pass_()) is Reason.WaitsForBudget)

        # No majority anywhere: what was begun goes on, nothing else does; also not from what was read a moment ago.
        for number in range(3):
            if number != leader:
                apart.cut(number)
        until(lambda: reason(third.pass_()) is Reason.EtcdUnavailable)
        assert isinstance(lucky.pass_(), Go) and lucky.held is not None
        assert reason(lonely.pass_()) is Reason.EtcdUnavailable

        # The cuts are mended: all see the one holder, and none of what was asked for meanwhile was carried out late.
        for number in range(3):
            apart.mend(number)
        apart.cluster.await_leader()
        until(lambda: reason(lonely.pass_()) is Reason.WaitsForBudget)
        assert reason(third.pass_()) is Reason.WaitsForBudget and isinstance(lucky.pass_(), Go)
        keys = Store(client, "s").everything()
        assert [key for key in keys if key.startswith("permit/")] == ["permit/ctl2"]
        assert b"ctl2" in keys["budget/galera/0"].value
