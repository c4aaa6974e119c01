"""The page of a rollout on real members: what hosts wrote is what it shows, and it asks no more often than it has to."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors
from reconciler.daemon.rollout_page import RolloutPage
from reconciler.etcd import Client, Store, UnavailableError, snapshot
from reconciler.rollout.policy import Budget, Rollout, Wave
from reconciler.rollout.records import (
    ROLL,
    Halt,
    Permit,
    Roll,
    Transaction,
    excuse_key,
    permit_key,
    place_key,
    proof_key,
    release_key,
)
from tests.support.etcd import Cluster

COMMIT = "b" * 40
ROLLOUT = Rollout((Wave("first", ("ctl1",), 1), Wave("rest", ("ctl2", "ctl3"), 1)), {"galera": Budget("galera", 1, ("ctl1", "ctl2", "ctl3"))})  # fmt: skip


@contextlib.contextmanager
def store_of(cluster: Cluster, site: str) -> Iterator[Store]:
    client = Client(cluster.urls, seconds=1.0)
    try:
        yield Store(client, site)
    finally:
        client.close()


def written(store: Store) -> None:
    """What a site has in the middle of a rollout, as hosts and an operator write it."""
    places = (place_key("wave", 0), place_key("galera", 0))
    said = {"by": "op\x1b[31m", "why": "off\nfor good", "at": "2026-03-01T12:00:00+00:00"}
    puts: dict[str, Any] = {
        ROLL: Roll(COMMIT, 1, ("ctl9",), Halt("ctl9", "it\nsays bad", "")),
        permit_key("ctl2"): Permit(COMMIT, places, "abc"),
        **{key: {"host": "ctl2"} for key in places},
        proof_key(COMMIT, 0, "ctl1"): {},
        proof_key("a" * 40, 0, "ctl3"): {},
        excuse_key(COMMIT, "ctl3"): said,
        release_key("ctl9"): said,
    }
    assert store.try_(Transaction({}, puts))
    store.be_present("ctl1", 1000.0)


def test_what_hosts_wrote(single: Cluster) -> None:
    with store_of(single, "written") as store:
        written(store)
        found = snapshot(store)
    assert found.roll == Roll(COMMIT, 1, ("ctl9",), Halt("ctl9", "it says bad", ""))
    assert found.permits["ctl2"].budgets == {"wave", "galera"} and found.places["galera"][0].host == "ctl2"
    assert (found.proved, found.present) == (frozenset({(0, "ctl1")}), frozenset({"ctl1"}))  # of this commit alone
    said = found.excused["ctl3"]
    assert said == found.released["ctl9"] and (said.why, said.at) == ("off for good", "2026-03-01T12:00:00+00:00")
    assert "\x1b" not in said.by
    with store_of(single, "empty") as store:
        assert snapshot(store).roll is None and snapshot(store).excused == {}


def test_a_key_of_somebody_else_is_named(single: Cluster) -> None:
    with store_of(single, "foreign") as store:
        store.client.transact({}, {"/reconciler/foreign/permit/x": (b"[]", 0)}, [])
        with pytest.raises(errors.Transient, match="permit/x holds something"):
            snapshot(store)


def test_the_page_asks_once_in_a_while_and_keeps_what_it_had(single: Cluster, tmp_path: Path) -> None:
    now, clients = [0.0], list[Client]()

    def connect() -> Client:
        clients.append(Client(single.urls, seconds=0.5))
        return clients[-1]

    page = RolloutPage(connect, lambda: {"ctl2": "it says so"}, lambda: now[0])
    assert "no commit is accepted" in page.document()["problem"] and not clients
    with store_of(single, "page") as store:
        written(store)
    page.take(("page", COMMIT, ROLLOUT))
    page.take(None)  # a pass that learned nothing
    first = page.document()
    assert [wave["state"] for wave in first["waves"]] == ["done", "open"] and first["problem"] == ""
    asked = clients[0].requests
    assert page.document() == first and clients[0].requests == asked
    now[0] += 5
    page.document()
    assert clients[0].requests == asked + 1
    single.kill(0)
    now[0] += 5
    away = page.document()
    single.start(0)
    single.await_leader()
    assert "etcd cannot be asked" in away["problem"] and away["hosts"] == first["hosts"]
    now[0] += 5
    assert page.document()["problem"] == ""
    # Another site on the same etcd shows nothing of this one.
    page.take(("other", COMMIT, ROLLOUT))
    assert page.document()["rolling"] == ""
    page.close()


def test_who_looks_at_the_page_while_etcd_hangs_does_not_hold_up_the_others() -> None:
    """A look that took longer than its answer counts is not made once more for each who waited, and no pass waits for it."""
    now, asked = [0.0], list[int]()

    class Hanging(Client):
        def read(self, wanted: Any) -> Any:
            asked.append(1)
            now[0] += 9.0
            teller = threading.Thread(target=page.take, args=(("page", "c" * 40, ROLLOUT),), daemon=True)
            teller.start()
            teller.join(30.0)
            assert not teller.is_alive(), "a pass has a new commit meanwhile"
            raise UnavailableError("etcd cannot be asked (no answer in time)")

    page = RolloutPage(lambda: Hanging([]), clock=lambda: now[0])
    page.take(("page", COMMIT, ROLLOUT))
    assert "no answer in time" in page.document()["problem"] and len(asked) == 1
    assert page.document()["problem"] and len(asked) == 2, "by the waves of the new commit"
    assert page.document()["problem"] and len(asked) == 2, "as it was just read"
    now[0] += 2.0
    assert page.document()["problem"] and len(asked) == 3
    page.close()


def test_what_a_host_reads_of_an_excuse_and_of_what_was_given_back_for_it(single: Cluster) -> None:
    with store_of(single, "said") as store:
        written(store)
        store.chance = lambda: 0.0  # it looks at everything
        found = store.view("ctl9", COMMIT, ROLLOUT, (), (), held=True)
        assert found.excuses["ctl3"].why == "off for good" and found.excused == {"ctl3"}
        assert found.released and found.released.at == "2026-03-01T12:00:00+00:00"
        store.chance = lambda: 100.0
        asked = store.client.requests
        short = store.view("ctl9", COMMIT, ROLLOUT, (), (), changes=False)
        assert (short.partial, short.released, store.client.requests - asked) == (True, None, 1)
        assert (
            store.view("ctl2", COMMIT, ROLLOUT, (), (), changes=False, held=True).released is None
        )  # it holds its own
