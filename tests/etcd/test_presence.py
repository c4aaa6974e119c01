"""Who is there for the others: a host is as long as its main loop comes round, however seldom it has a pass."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler.etcd import Client, Store, UnavailableError
from reconciler.etcd.client import Found, Key, Range
from reconciler.etcd.store import LEASE
from reconciler.node.permits import Permits
from reconciler.rollout.policy import Rollout, Wave
from reconciler.rollout.records import presence_key
from tests.support.etcd import Cluster

COMMIT, SITE = "a" * 40, Rollout((Wave("all", ("ctl1", "ctl2"), 1),), {})
KEY = f"/reconciler/s/{presence_key('ctl1')}"


class Etcd:
    """One key under leases that end by a clock which the test moves."""

    def __init__(self) -> None:
        self.now, self.ends, self.under, self.requests, self.away = 0.0, dict[int, float](), 0, 0, False

    def _asked(self) -> None:
        self.requests += 1
        if self.away:
            raise UnavailableError("away")

    @property
    def present(self) -> bool:
        return self.ends.get(self.under, -1.0) > self.now

    def keep_alive(self, lease: int) -> bool:
        self._asked()
        if self.ends[lease] <= self.now:
            return False
        self.ends[lease] = self.now + LEASE
        return True

    def grant(self, seconds: int) -> int:
        self._asked()
        self.ends[len(self.ends) + 1] = self.now + seconds
        return len(self.ends)

    def transact(self, compares: object, puts: dict[str, tuple[bytes, int]], deletes: object) -> bool:
        self._asked()
        ((_, self.under),) = puts.values()
        return True

    def read(self, wanted: list[Range]) -> list[Found]:
        self._asked()
        return [Found((Key(KEY, b"", 1, self.under),) if self.present else (), int(self.present))]


def permits(etcd: Etcd) -> Permits:
    found = Permits.__new__(Permits)
    found._settings = cast(Any, SimpleNamespace(host="ctl1"))
    found._store, found.clock = Store(cast(Any, etcd), "s"), lambda: etcd.now
    return found


@pytest.mark.parametrize("interval", [1, 60, 300, 350, 389, 391, 600, 900, 3600, 86400])
@pytest.mark.parametrize("period", [40.0, 3600.0])  # of the watchdog; without one
def test_a_host_is_present_whatever_its_interval_is(interval: float, period: float) -> None:
    etcd = Etcd()
    own, absent = permits(etcd), 0
    assert own._store
    own._store.be_present("ctl1", 0.0)
    next_pass = float(interval)
    while etcd.now < 2 * 86400:
        wait = min(period, own.stay_present(), next_pass - etcd.now)
        assert wait > 0
        etcd.now += wait
        absent += not etcd.present
        if etcd.now >= next_pass:
            own._store.be_present("ctl1", etcd.now)
            next_pass += interval
    assert absent == 0
    assert etcd.requests <= 2 * 2 * 86400 / 390 + 2, "and asks no more than before"


def test_a_host_whose_main_loop_hangs_is_absent_after_a_while() -> None:
    etcd = Etcd()
    permits(etcd).stay_present()
    etcd.now += LEASE + 1
    assert not etcd.present


def test_an_etcd_that_does_not_answer_is_left_alone_between_passes_and_told_again() -> None:
    etcd = Etcd()
    own = permits(etcd)
    own.stay_present()
    etcd.now, etcd.away = 400.0, True
    before = etcd.requests
    for _ in range(60):  # events let the main loop come round every second
        assert 0 < own.stay_present() <= 60.0
        etcd.now += 1.0
    assert etcd.requests == before + 1
    etcd.away = False
    assert own.stay_present() == 390.0 and etcd.present


def test_who_agrees_with_nobody_tells_nobody() -> None:
    own = permits(Etcd())
    own._store = None
    assert own.stay_present() == float("inf")


@pytest.mark.parametrize("passes", [True, False], ids=["before the next pass", "no pass for an hour"])
def test_a_pass_by_hand_takes_no_presence_away(single: Cluster, passes: bool) -> None:
    """It says it under a lease of its own, which nobody keeps alive when its process has ended."""
    client = Client(single.urls)
    store, by_hand = (Store(client, f"by-hand-{passes}") for _ in range(2))
    store.be_present("ctl1", 0.0)
    by_hand.be_present("ctl1", 0.0)
    assert store.everything()[presence_key("ctl1")].lease == by_hand.lease != store.lease
    if passes:
        store.view("ctl1", COMMIT, SITE, set(), ())
        assert store.be_present("ctl1", 60.0) == 390.0
    else:
        assert store.be_present("ctl1", 400.0) == 390.0
    client._ask("/v3/lease/revoke", {"ID": str(by_hand.lease)}, bool)
    assert store.everything()[presence_key("ctl1")].lease == store.lease
    asked = client.requests
    store.view("ctl1", COMMIT, SITE, set(), ())
    store.be_present("ctl1", 410.0)
    assert client.requests == asked + 1, "it is its own again"
    client.close()


def test_who_was_forgotten_by_the_others_is_present_again(single: Cluster) -> None:
    client = Client(single.urls)
    store = Store(client, "forgotten")
    store.be_present("ctl1", 0.0)
    client.transact({}, {}, [Range(store.key(presence_key("ctl1")))])
    store.view("ctl1", COMMIT, SITE, set(), ())
    store.be_present("ctl1", 60.0)
    assert presence_key("ctl1") in store.everything()
    client.close()
