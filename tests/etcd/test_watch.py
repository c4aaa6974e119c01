"""Hearing of a change, from real members: at once, again after a member is gone, and not at all where nobody could tell."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from reconciler.etcd import Store, Watch
from reconciler.rollout.policy import Rollout, Wave
from reconciler.rollout.records import ROLL, Halt, Roll, Transaction, proof_key
from tests.rollout.simulation import EVENT
from tests.support.etcd import Cluster
from tests.support.lab import wait_for

NEW = "b" * 40
HOSTS = tuple(f"h{number}" for number in range(40))
SITE = Rollout((Wave("canaries", HOSTS[:1], 1), Wave("the rest", HOSTS[1:], 2)), {})


@pytest.fixture
def store(store: Store) -> Store:
    store.chance = lambda: 1.0  # it looks for nobody else
    return store


def until(ready: Callable[[], object]) -> None:
    wait_for("the stream says so", ready, 60.0, pause=0.02)


def test_a_change_is_heard_and_a_lost_member_is_replaced(cluster: Cluster, store: Store) -> None:
    heard: list[int] = []
    watch = Watch(cluster.urls, store.key(ROLL), lambda: heard.append(1))
    try:
        until(lambda: watch.epoch is not None)
        first = watch.epoch
        store.try_(Transaction({}, {"elsewhere": {}}))
        store.try_(Transaction({}, {ROLL: Roll(NEW)}))
        until(lambda: watch.epoch not in (None, first))
        assert watch.epoch == (first or 0) + 1, "and of nothing else"
        # Whichever member it listens to: another takes its place, and what may have been missed counts as a change.
        for number in range(3):
            before = len(heard)
            listens_here = watch._endpoints[0] == cluster.urls[number]
            cluster.kill(number)
            if listens_here:
                until(lambda before=before: len(heard) > before and watch.epoch is not None)  # type: ignore[misc]
            cluster.start(number)
            cluster.await_leader()
    finally:
        watch.close()
    assert not watch._thread.is_alive() and watch.epoch is None


def test_a_member_without_the_others_is_not_listened_to(cluster: Cluster, store: Store) -> None:
    watch = Watch(cluster.urls[:1], store.key(ROLL), lambda: None)
    try:
        until(lambda: watch.epoch is not None)
        cluster.kill(1)
        cluster.kill(2)
        until(lambda: watch.epoch is None)
    finally:
        watch.close()
        cluster.start(1)
        cluster.start(2)
        cluster.await_leader()


def test_who_waits_or_is_proved_reads_nothing_until_something_is_heard(cluster: Cluster, store: Store) -> None:
    epoch: list[int | None] = [1]
    store.epoch = lambda: epoch[0]
    store.try_(Transaction({}, {ROLL: Roll(NEW)}))

    def asked(*, changes: bool = True, heals: bool = False) -> int:
        before = store.client.requests
        store.view("h7", NEW, SITE, (), (), changes=changes, heals=heals)
        return store.client.requests - before

    assert (asked(), asked(), asked(heals=True), asked()) == (1, 0, 1, 0), "its wave is not open"
    for change in ((2,), (None, None)):  # a change, and a time when nobody would have heard of one
        for now in change:
            epoch[0] = now
            assert asked() == 1
    epoch[0] = 3
    assert (asked(), asked()) == (1, 0)
    store.try_(Transaction({}, {ROLL: Roll(NEW, 1)}))  # by this host: its own write it reads
    assert asked() == 2, "there is room: everything is read"
    assert asked() == 2, "whoever may claim reads in every pass"
    store.try_(Transaction({}, {ROLL: Roll(NEW, 1, halt=Halt("h0", "no"))}))
    assert (asked(), asked()) == (1, 0), "halted"
    store.try_(Transaction({}, {ROLL: Roll(NEW, 1), proof_key(NEW, 1, "h7"): {}}))
    epoch[0] = None
    assert (asked(changes=False), asked(changes=False)) == (1, 0), "proved"
    store.be_present("h7", 0.0)
    assert asked(changes=False) == 1, "now and then everybody looks"
    store.chance = lambda: 0.0
    assert asked(changes=False) >= 1, "whoever looks for all looks"


def test_an_event_is_as_large_as_the_simulation_counts_it(cluster: Cluster, store: Store) -> None:
    watch = Watch(cluster.urls, store.key(ROLL), lambda: None)
    try:
        until(lambda: watch.epoch is not None and watch._stream is not None)
        before = watch.received
        store.try_(Transaction({}, {ROLL: Roll(NEW, 1, ("h0",))}))
        until(lambda: watch.received > before)
        assert watch.received - before + len("1a4\r\n\r\n") <= EVENT
    finally:
        watch.close()


@contextlib.contextmanager
def talking(head: bytes, piece: bytes) -> Iterator[tuple[str, threading.Event]]:
    """Something in etcd's place that says `piece` again and again; the event: the other side has hung up on it."""
    over, left = threading.Event(), threading.Event()

    def talk() -> None:
        while not over.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + head)
                for _ in range(1 << 12):  # 256 MiB
                    connection.sendall(piece)
                continue
            left.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", left
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)
    thread.join(30.0)


@pytest.mark.parametrize(
    "head", [b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n40000000\r\n"], ids=["without-end", "one-chunk"]
)
def test_an_answer_without_end_is_not_kept(head: bytes) -> None:
    heard: list[int] = []
    with talking(head, bytes(1 << 16)) as (url, left):
        watch = Watch([url], "key", lambda: heard.append(1))
        try:
            until(left.is_set)
            assert watch.received < 1 << 24 and not heard
        finally:
            watch.close()


def test_changes_without_end_are_followed_at_a_walk() -> None:
    change, heard = b'{"result":{}}\n', list[int]()
    with talking(b"\r\n", change * 4096) as (url, _):
        watch = Watch([url], "key", lambda: heard.append(1))
        try:
            until(lambda: len(heard) > 3)
        finally:
            watch.close()
    assert watch.received // len(change) > 20 * len(heard)
