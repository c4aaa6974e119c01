"""Floods of real connections: who is slow and honest is served, who is quick is served at once, and nothing grows."""

import contextlib
import itertools
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from subprocess import PIPE

import pytest

from reconciler import errors
from reconciler.web import Answer, Request, Server
from reconciler.web import server as implementation
from reconciler.web.places import BUFFERED, MOST_PLACES, Connection, Places, Stage

LARGE = b"x" * (8 << 20)  # more than the kernel takes for a client that does not read
Act = Callable[[socket.socket], object]


@pytest.fixture(autouse=True)
def files() -> Iterator[None]:
    """As many files as systemd grants the daemon, or nearly: how many connections there may be follows from that."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 8192 if before[1] == resource.RLIM_INFINITY else min(8192, before[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], enough), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def server() -> Iterator[Server]:
    get = {"/fine": lambda r: Answer(200, b"fine"), "/large": lambda r: Answer(200, LARGE)}
    made = Server("0.0.0.0:0", get, {"/echo": lambda r: Answer(200, r.read())})
    yield made
    made.close()


def connect(server: Server, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20, source_address=(source, 0))


def whole(client: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := client.recv(1 << 20):
            answer += chunk
    return answer


def quick(server: Server) -> bytes:
    with connect(server) as client:
        client.sendall(b"GET /fine HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return whole(client)


def drip(server: Server, request: bytes, pieces: int, pause: float) -> bytes:
    """An honest client with a bad line."""
    size = -(-len(request) // pieces)
    with connect(server) as client:
        for start in range(0, len(request), size):
            client.sendall(request[start : start + size])
            time.sleep(pause)
        return whole(client)


@contextlib.contextmanager
def flood(server: Server, act: Act, sources: int = 1, held: int = 400) -> Iterator[list[int]]:
    """Connections as fast as one thread makes them, `held` of them open at a time. Gives how many there were."""
    count, stop = [0], threading.Event()

    def run() -> None:
        kept: list[socket.socket] = []
        for number in itertools.count():
            if stop.is_set():
                break
            with contextlib.suppress(OSError):
                kept.append(connect(server, f"127.0.{number % sources // 250}.{number % sources % 250 + 1}"))
                count[0] += 1
                act(kept[-1])
            if len(kept) > held:
                kept.pop(0).close()
        for one in kept:
            one.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield count
    finally:
        stop.set()
        thread.join()


FLOODS: dict[str, Act] = {
    "silent": lambda client: None,
    "half a head": lambda client: client.sendall(b"GET /fine HTTP/1.1\r\nX: "),
    "half a body": lambda client: client.sendall(
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000
    ),
    "whole requests": lambda client: client.sendall(b"GET /fine HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "unread answers": lambda client: client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"),
}


@pytest.mark.parametrize(
    ("what", "sources"),
    [
        ("silent", 1),
        ("half a head", 1),
        ("half a head", 200),
        ("half a body", 1),
        ("whole requests", 200),
        ("unread answers", 1),
    ],
)
def test_who_is_slow_and_honest_is_served(server: Server, what: str, sources: int) -> None:
    """The flood comes from the very address of the honest ones, as behind a proxy, or from many."""
    answers: list[bytes] = []
    head = b"GET /fine HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"y" * 200 + b"\r\n\r\n"
    body = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n" + b"z" * 60_000
    slow = [
        threading.Thread(target=lambda: answers.append(drip(server, head, 12, 0.15))),
        threading.Thread(target=lambda: answers.append(drip(server, body, 6, 0.3))),
    ]
    for one in slow:
        one.start()
        time.sleep(0.3)
    with flood(server, FLOODS[what], sources) as count:
        while any(one.is_alive() for one in slow):
            assert quick(server).endswith(b"\r\n\r\nfine")
            time.sleep(0.1)
    assert [answer[:13] for answer in answers] == [b"HTTP/1.1 200 "] * 2
    assert count[0] > (5 if what == "unread answers" else 100)
    assert (
        len(server._places) <= MOST_PLACES and server._places.buffered <= BUFFERED + 65_536
    )  # read in the middle of a turn


def test_a_deadline_is_for_the_whole(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something comes all the time, and never an end."""
    monkeypatch.setattr(implementation, "_SECONDS", dict.fromkeys(Stage, 1.0))
    for start, piece in (
        (b"GET /fine HTTP/1.1\r\n", b"X: y\r\n"),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n", b"x"),
    ):
        began = time.monotonic()
        with connect(server) as client, contextlib.suppress(ConnectionError):
            client.sendall(start)
            while time.monotonic() - began < 30:
                client.sendall(piece)
                time.sleep(0.05)
        assert time.monotonic() - began < 25
    for read in (b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /fine HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with connect(server) as client:
            client.sendall(read)
            wait_until(lambda: len(server._places) == 0)  # whether it reads nothing, or never hangs up


def test_a_handler_that_hangs_is_alone() -> None:
    gate = threading.Event()

    def hang(request: Request) -> Answer:
        gate.wait(60)
        return Answer(200, b"late")

    made = Server("127.0.0.1:0", {"/hang": hang, "/fine": lambda r: Answer(200, b"fine")})
    try:
        room = made._places.room // 8 + 2
        waiting = [connect(made) for _ in range(room + 20)]
        for one in waiting:
            one.sendall(b"GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: len(made._places) == room)  # two at work and some that wait
        assert quick(made).endswith(b"fine")
        assert sum(thread.name == "http-handler" for thread in threading.enumerate()) <= 4
        gate.set()
        codes = [whole(one)[:12] for one in waiting]
        assert codes.count(b"HTTP/1.1 200") == room and codes.count(b"HTTP/1.1 503") == 20
        for one in waiting:
            one.close()
    finally:
        gate.set()
        made.close()


def test_nothing_grows(server: Server) -> None:
    def now() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    quick(server)
    wait_until(lambda: len(server._places) == 0)
    before = now()
    for what in ("silent", "half a head", "whole requests"):
        with flood(server, FLOODS[what], 50):
            time.sleep(0.4)
    wait_until(lambda: len(server._places) == 0)
    wait_until(lambda: now() == before)
    assert server._places.buffered == 0 and not server._places._crowds


FEW = """
import os, resource, sys
from reconciler.web import Answer, Server
server = Server("127.0.0.1:0", {"/fine": lambda r: Answer(200, b"fine")})
resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
print(server.port, flush=True)
sys.stdin.read()
times = os.times()
print(times.user + times.system)
"""


def test_without_file_descriptors() -> None:
    """It waits until there are some again, and does not turn in circles meanwhile."""
    with subprocess.Popen([sys.executable, "-c", FEW], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin and process.stdout
        port = int(process.stdout.readline())
        held = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(60)]
        time.sleep(2.0)
        for one in held:
            one.close()
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(b"GET /fine HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert whole(client).endswith(b"fine")
        seconds = float(process.communicate(timeout=20)[0])
        assert seconds < 1.5  # most of it is the start


def wait_until(ready: Callable[[], bool], seconds: float = 25.0) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.02)


# --- who gives way, without any socket --------------------------------------------------------------------------------


def place(places: Places, crowd: str, now: float, *moments: float, stage: Stage = Stage.HEAD) -> Connection:
    left, right = socket.socketpair()
    right.close()
    made = Connection(left, crowd, crowd, now + 10, now, stage)
    for moment in moments:
        made.moved(moment)
    places.take(made)
    return made


ROOM = 128
SHARE = 96


@pytest.fixture
def places() -> Iterator[Places]:
    found = Places(ROOM)
    yield found
    for one in found:
        one.socket.close()


def ends(places: Places, leaving: list[Connection]) -> None:
    for one in leaving:
        places.leave(one)
        one.socket.close()


def test_room_is_made_by_addresses_that_have_many(places: Places) -> None:
    honest = place(places, "honest", 0.0)  # has not even said anything
    many = [place(places, f"flood{n % 3}", 1.0 + n, 1.0 + n, 2.0 + n) for n in range(ROOM - 1)]
    newest = place(places, "other", 500.0)
    leaving = places.too_many()
    assert leaving and set(map(id, leaving)) <= set(map(id, many))
    assert honest not in leaving and newest not in leaving


def test_a_few_connections_are_not_many(places: Places) -> None:
    """A flood from as many addresses as there are places does not make the one with three connections the worst."""
    honest = [place(places, "honest", float(n), *(float(n) + m for m in range(3))) for n in range(3)]
    flood = [place(places, f"flood{n}", 10.0 + n, 10.0 + n) for n in range(ROOM - 3)]
    place(places, "new", 300.0)
    leaving = places.too_many()
    assert leaving == flood[: len(leaving)] and not set(map(id, honest)) & set(map(id, leaving))


def test_room_is_made_by_whoever_showed_least(places: Places) -> None:
    steady = place(places, "one", 0.0, 0.0, 0.3, 0.6, 0.9)
    once = place(places, "one", 0.1, 0.1)
    silent = [place(places, "one", 1.0 + n) for n in range(SHARE - 2)]
    assert places.too_many() == []
    gone: list[Connection] = []
    for number in itertools.count():
        if once in gone:
            break
        newest = place(places, "one", 300.0 + number, 300.0 + number)
        leaving = places.too_many()
        assert newest not in leaving
        gone += leaving
        ends(places, leaving)
    assert gone[: len(silent)] == silent  # the one that was silent for longest goes first
    assert steady not in gone


def test_who_has_just_come_may_speak_first(places: Places) -> None:
    """Its request may be on the way: among those that said half of theirs it is not the first to go."""
    half = [place(places, "one", float(n), float(n)) for n in range(SHARE)]
    just = place(places, "one", 99.99)
    leaving = places.too_many()
    assert leaving == half[: len(leaving)] and just not in leaving
    for number in range(ROOM // 4):
        place(places, "one", 101.0 + number, 101.0 + number)
    assert places.too_many()[0] is just


def test_who_waits_for_a_handler_does_not_give_way(places: Places) -> None:
    for number in range(ROOM):
        place(places, f"{number % 3}", 0.0, 0.0, stage=Stage.WORK)
    newest = place(places, "3", 1.0)
    assert places.too_many() == [newest]
    ends(places, [newest])
    for one in list(places)[:20]:
        one.stage = Stage.LINGER  # they have had their answers
    place(places, "3", 1.0)
    assert all(one.stage is Stage.LINGER for one in places.too_many())


def test_a_burst_is_one_sign_of_life(places: Places) -> None:
    quick = place(places, "a", 10.0, *(10.0 + n / 1000 for n in range(99)))
    slow = place(places, "a", 10.0, 10.0, 11.0)
    assert quick.signs <= slow.signs == 2


def test_memory_is_taken_from_whoever_fills_it(places: Places) -> None:
    def fill(one: Connection, size: int) -> None:
        one.received += b"x" * size
        places.buffered += size

    small = place(places, "many", 0.0, 0.0, stage=Stage.BODY)
    many = [place(places, "many", 1.0 + n, 1.0 + n, stage=Stage.BODY) for n in range(6)]
    alone = place(places, "alone", 0.0, stage=Stage.BODY)
    assert places.too_much() == []
    fill(small, 1000)
    fill(alone, 2_000_000)
    for number, one in enumerate(many):
        fill(one, 1_000_000 + number)
    work = place(places, "many", 0.0, stage=Stage.WORK)
    fill(work, 3_000_000)  # what is whole will be gone in a moment
    gone = []
    while full := places.too_much():
        gone += full
        places.leave(full[0])
        full[0].socket.close()
    assert gone == many[:2:-1] and places.buffered == 8_001_003


def test_it_is_said_where_nothing_can_be_served() -> None:
    for address in ("127.0.0.1:99999", "127.0.0.1:x", "192.0.2.1:0", "", "nowhere.invalid:0"):
        with pytest.raises(errors.Terminal) as caught:
            Server(address, {})
        assert caught.value.reason == "MetricsAddress"
