"""Real members: what a host reads and writes, and what it is told when they are killed, paused, full, or lose an answer."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from reconciler import errors
from reconciler.data import schema
from reconciler.etcd import Client, Store, UnavailableError, snapshot
from reconciler.etcd.client import Range
from reconciler.reasons import Reason
from reconciler.rollout import decide, together
from reconciler.rollout.decide import Kin, Own, Write
from reconciler.rollout.policy import WAVE, Budget, Rollout, Wave
from reconciler.rollout.records import (
    ROLL,
    Halt,
    Permit,
    Place,
    Roll,
    Transaction,
    View,
    excuse_key,
    permit_key,
    place_key,
    presence_key,
    proof_key,
)
from tests.support.certificates import authority
from tests.support.etcd import Cluster, Proxy

NEW, OLD = "b" * 40, "a" * 40
SITE = Rollout(
    (Wave("canaries", ("ctl1", "cmp1"), 1), Wave("the rest", ("ctl2", "ctl3"), 1, in_order=True)),
    {"galera": Budget("galera", 1, ("ctl1", "ctl2", "ctl3"))},
    max_absent=1,
)


def view(store: Store, host: str = "ctl1", commit: str = NEW) -> View:
    return store.view(host, commit, SITE, {"galera"}, SITE.before(host))


def own(host: str = "ctl1") -> Own:
    return Own(host, NEW, "here", changes=True, budgets=frozenset({"galera"}), ready={"galera": True})


def claim(store: Store, host: str = "ctl1") -> Transaction:
    step = decide.step(own(host), view(store, host), Kin.SAME, SITE)
    assert isinstance(step, Write), step
    return step.transaction


def test_what_is_written_is_read(store: Store) -> None:
    assert view(store) == View(places={WAVE: {}, "galera": {}}, holders=frozenset())
    assert store.try_(Transaction({ROLL: 0}, {ROLL: Roll(NEW, 0, ("cmp9",), Halt("cmp9", "no", "then"))}))
    assert view(store).roll == Roll(NEW, 0, ("cmp9",), Halt("cmp9", "no", "then"))
    assert not store.try_(Transaction({ROLL: 0}, {ROLL: Roll(OLD)})), "somebody was first"
    assert store.try_(Transaction({ROLL: view(store).roll_revision}, {ROLL: Roll(NEW)}))
    assert store.try_(claim(store))
    found = view(store)
    assert found.permit == Permit(NEW, (place_key("galera", 0), place_key(WAVE, 0)), "here")
    revision = found.permit_revision
    assert found.places == {WAVE: {0: Place("ctl1", revision)}, "galera": {0: Place("ctl1", revision)}}
    store.try_(Transaction({}, {proof_key(NEW, 0, "ctl1"): {}, excuse_key(NEW, "cmp1"): {}}))
    found = view(store)
    assert (found.is_proved, found.proved, found.excused) == (True, 1, frozenset({"cmp1"}))
    assert found.missing == frozenset({"cmp1"}), "as many are missing as are excused"


def test_who_goes_before_is_asked_by_name(store: Store) -> None:
    store.try_(Transaction({}, {ROLL: Roll(NEW, 1), proof_key(NEW, 1, "ctl2"): {}}))
    store.be_present("ctl2", 0.0)
    found = view(store, "ctl3")
    assert found.present == {"ctl2"} and found.proved_hosts == {"ctl2"}


def test_who_claims_nothing_reads_its_own_keys_and_now_and_then_looks_for_all(store: Store) -> None:
    store.try_(Transaction({}, {ROLL: Roll(NEW), proof_key(NEW, 0, "ctl1"): {}, place_key(WAVE, 0): {"host": "ctl2"}}))
    store.chance = lambda: 3.0
    short = store.view("ctl1", NEW, SITE, (), (), changes=False)
    assert (short.is_proved, short.roll, short.places, short.proved, short.partial) == (True, Roll(NEW), {}, 0, True)
    # The only place is taken: there is nothing more to know. With room, and for healing, everything is read.
    waiting = store.view("cmp1", NEW, SITE, (), ())
    assert waiting.partial and waiting.proved == 1 and waiting.taken == {WAVE: (1, "ctl2")}
    assert store.view("cmp1", NEW, SITE, (), (), heals=True).places[WAVE][0].host == "ctl2"
    store.try_(Transaction({}, deletes=(place_key(WAVE, 0),)))
    assert not store.view("cmp1", NEW, SITE, (), ()).partial
    assert store.view("ctl2", NEW, SITE, (), ()).partial, "its wave is not open"
    store.chance = lambda: 0.0
    assert not store.view("ctl1", NEW, SITE, (), (), changes=False).partial


def test_what_is_nobodys_is_given_back_by_whoever_looks(store: Store) -> None:
    """A host that left held places of budgets that nobody reads here; and a place of one that is there lost its permit."""
    left = Permit(OLD, (place_key("grafana", 0), place_key("galera", 0)), "there", lent="leaves")
    held = {key: {"host": "ctl9", "lent": True} for key in left.places}
    lost = {place_key(WAVE, 0): {"host": "ctl2"}}
    store.try_(Transaction({}, {ROLL: Roll(NEW), permit_key("ctl9"): left, **held, **lost}))
    store.chance = lambda: 3.0
    found = store.view("ctl1", NEW, SITE, {"galera"}, (), heals=True)
    assert found.holders is None and not found.gone and together.void(found) is None, "a few of many look"
    store.chance = lambda: 0.0
    found = store.view("ctl1", OLD, SITE, (), ())
    assert found.holders == frozenset({"ctl9"}) and not found.gone, "by another commit it may be there"
    found = store.view("ctl1", NEW, SITE, (), ())
    assert found.gone.keys() == {"ctl9"} and found.gone["ctl9"][0] == left
    wanted = together.void(found)
    # Whatever the host does meanwhile is seen.
    store.try_(Transaction({}, {permit_key("ctl9"): left}))
    assert wanted and not store.try_(wanted)
    for _ in range(2):
        wanted = together.void(store.view("ctl1", NEW, SITE, (), ()))
        assert wanted and store.try_(wanted)
    assert store.everything().keys() == {ROLL} and together.void(store.view("ctl1", NEW, SITE, (), ())) is None


def test_many_are_read_at_once() -> None:
    hosts = tuple(f"cmp{n}" for n in range(60))
    many = Rollout((Wave("all", hosts, 1, in_order=True),), {})

    class Asked(Client):
        def read(self, wanted: object) -> list[object]:  # type: ignore[override]
            self.wanted = wanted
            raise UnavailableError("")

    client = Asked(["http://127.0.0.1:9"])
    with pytest.raises(errors.Transient):
        Store(client, "s").view("cmp59", NEW, many, set(), many.before("cmp59"))
    assert len(client.wanted) < 10  # type: ignore[arg-type]


def test_as_many_waves_as_a_site_may_have_are_read_at_once(store: Store) -> None:
    most = schema("reconciler")["properties"]["rollout"]["properties"]["waves"]["maxItems"]
    rollout = Rollout(tuple(Wave(f"w{n}", (f"h{n}",), 1) for n in range(most)), {})
    store.client.transact({}, {store._prefix + ROLL: (json.dumps({"commit": NEW}).encode(), 0)}, [])
    store.chance = lambda: 0.0
    for changes in (True, False):
        assert store.view(
            "h0", NEW, rollout, [f"b{n}" for n in range(16)], [f"h{n}" for n in range(16)], changes=changes
        ).roll


def test_presence_ends_with_its_lease_and_begins_anew(store: Store) -> None:
    assert store.be_present("ctl1", 0.0) == 390.0
    asked = store.client.requests
    assert store.be_present("ctl1", 100.0) == 290.0
    assert store.client.requests == asked, "once in a while is enough"
    store.view("ctl1", OLD, SITE, set(), ())
    asked = store.client.requests
    assert store.be_present("ctl1", 400.0) == 390.0
    assert store.client.requests == asked + 1
    key = store.everything()[presence_key("ctl1")]
    store.client._ask("/v3/lease/revoke", {"ID": str(key.lease)}, bool)
    assert presence_key("ctl1") not in store.everything()
    store.be_present("ctl1", 800.0)
    assert presence_key("ctl1") in store.everything()


def test_a_claim_is_refused_when_anything_that_it_compares_moved(store: Store) -> None:
    store.try_(Transaction({}, {ROLL: Roll(NEW, 1)}))
    first, second = claim(store, "ctl1"), claim(store, "ctl2")
    assert store.try_(first) and not store.try_(second)
    assert view(store, "ctl2").permit is None
    # Everything is given back in one step, and the roll moved on: nothing of the old claim counts.
    found = view(store)
    store.try_(Transaction({permit_key("ctl1"): found.permit_revision}, deletes=(permit_key("ctl1"), *first.puts)))
    assert not view(store).places["galera"]
    late = claim(store, "ctl2")
    store.try_(Transaction({}, {ROLL: Roll(NEW, 1, (), Halt("ctl3", "it fails"))}))
    assert not store.try_(late)


def test_a_lost_answer_is_no_second_claim(cluster: Cluster, store: Store) -> None:
    store.try_(Transaction({}, {ROLL: Roll(NEW)}))
    proxy = Proxy(cluster.urls[0].removeprefix("http://"))
    try:
        # The answer is lost, the next endpoint is asked the same, and refuses; what counts is what is read.
        lossy = Store(Client([proxy.url, cluster.urls[1]]), store._prefix.split("/")[2])
        wanted = claim(lossy)
        proxy.drops = True
        assert not lossy.try_(wanted) and proxy.dropped == 1
        found = view(lossy)
        assert found.permit is not None and decide.step(own(), found, Kin.SAME, SITE) == decide.Go()
        # With no other endpoint nobody knows; the next pass reads, and goes on.
        proxy.drops = False
        alone = Store(Client([proxy.url]), "alone")
        alone.try_(Transaction({}, {ROLL: Roll(NEW)}))
        wanted = claim(alone)
        proxy.drops = True
        with pytest.raises(errors.Transient) as error:
            alone.try_(wanted)
        assert error.value.reason is Reason.EtcdUnavailable
        proxy.drops = False
        assert decide.step(own(), view(alone), Kin.SAME, SITE) == decide.Go()
    finally:
        proxy.close()


def test_values_that_nobody_of_us_wrote_are_no_answer(store: Store) -> None:
    beyond = [json.dumps({"commit": NEW, "opened": opened}).encode() for opened in (-1, len(SITE.waves))]
    for content in (b"{", b"[]", b'{"commit": 7}', b"\xff", b"{}", b"[" * 100_000, *beyond):
        store.client.transact({}, {store._prefix + ROLL: (content, 0)}, [])
        with pytest.raises(errors.Transient, match="roll holds something") as error:
            view(store)
        assert error.value.reason is Reason.EtcdUnavailable
    store.client.transact({}, {store._prefix + ROLL: (json.dumps({"commit": NEW}).encode(), 0)}, [])
    for place in ("galera", "budget/galera/x", "budget//0", "budget/a/b/0"):
        permit = json.dumps({"commit": NEW, "places": [place], "installation": "here"}).encode()
        store.client.transact({}, {store._prefix + permit_key("ctl1"): (permit, 0)}, [])
        with pytest.raises(errors.Transient, match="permit/ctl1 holds something"):
            view(store)
    store.client.transact({}, {}, [Range(store._prefix + permit_key("ctl1"))])
    for odd in ("x", "-1", "9" * 5000):  # no place has such a number
        store.client.transact({}, {store.key(f"budget/galera/{odd}"): (b'{"host": "ctl2"}', 0)}, [])
    assert view(store).places["galera"] == {} and snapshot(store).places == {}
    hostile = json.dumps({"commit": NEW, "halt": {"by": "x\x1b[2J", "why": "y\n" * 500, "at": ""}}).encode()
    store.client.transact({}, {store._prefix + ROLL: (hostile, 0)}, [])
    halt = view(store).roll.halt
    assert halt.by == "x\\x1b[2J" and "\n" not in halt.why and len(halt.why) <= 300


def test_a_killed_member_is_passed_over_and_comes_back(cluster: Cluster, store: Store) -> None:
    store.try_(Transaction({}, {ROLL: Roll(NEW)}))
    for number in range(3):
        cluster.kill(number)
        try:
            # A new leader may have to be found: until then nobody answers, and the next pass asks again.
            for _ in range(20):
                try:
                    assert view(store).roll == Roll(NEW)
                    break
                except errors.Transient:
                    continue
            else:
                pytest.fail("two of three members never answered")
        finally:
            cluster.start(number)
            cluster.await_leader()
    assert store.try_(claim(store))


def test_without_a_quorum_nobody_answers_and_nothing_old_is_told(cluster: Cluster) -> None:
    alone = Store(Client(cluster.urls[:1]), "quorum")
    assert alone.try_(Transaction({ROLL: 0}, {ROLL: Roll(OLD)}))
    with cluster.paused([1, 2]):
        with pytest.raises(errors.Transient) as error:
            view(Store(Client(cluster.urls[:1], seconds=1.0), "quorum"))
        assert error.value.reason is Reason.EtcdUnavailable and cluster.urls[0] in str(error.value)
        faults = [member.fault for member in Client(cluster.urls, seconds=0.5).members() if member.fault]
        assert len(faults) >= 2
    cluster.await_leader()
    assert view(alone, commit=OLD).roll == Roll(OLD)
    members = Client(cluster.urls).members()
    assert [bool(member.fault) for member in members] == [False] * 3 and sum(member.leader for member in members) == 1


def test_clients_show_a_certificate(tmp_path: Path) -> None:
    authority(tmp_path, "server", "client")
    with Cluster(tmp_path, 1, tls=tmp_path) as secured:
        ca, certificate, key = tmp_path / "ca.pem", tmp_path / "client.pem", tmp_path / "client.key"
        known = Client(secured.urls, ca_file=ca, cert_file=certificate, key_file=key)
        assert Store(known, "s").try_(Transaction({ROLL: 0}, {ROLL: Roll(NEW)}))
        with pytest.raises(errors.Transient, match="etcd cannot be asked"):
            Client(secured.urls, ca_file=ca).read([Range("x")])
        with pytest.raises(errors.Transient, match="certificate"):
            Client(secured.urls).read([Range("x")])


def test_a_full_database_refuses_to_grant_and_still_tells(tmp_path: Path) -> None:
    with Cluster(tmp_path, 1, quota=300_000) as small:
        store = Store(Client(small.urls), "s")
        store.try_(Transaction({}, {ROLL: Roll(NEW)}))
        with pytest.raises(errors.Transient, match="space exceeded"):
            for _ in range(40):
                store.client.transact({}, {"/elsewhere": (b"x" * 50_000, 0)}, [])
        assert view(store).roll == Roll(NEW)
        with pytest.raises(errors.Transient, match="space exceeded"):
            store.try_(claim(store))


@pytest.mark.parametrize(
    "answer",
    [
        "[]", '"etcd"', "null", '{"header": []}', '{"header": {"revision": "many"}}', '{"result": 7}', '{"responses": 7}', '{"responses": [7]}',
        '{"responses": [{"response_range": {"kvs": [{"key": "!"}]}}]}', '{"responses": [{"response_range": {"count": "x"}}]}',
        '{"ID": [], "responses": []}', '{"header": {"member_id": 1}, "dbSize": "large"}', "[" * 100_000, '{"error": {"a": 1}}',
        '{"header": {"revision": 1e999}}', '{"header": {"member_id": 1}, "dbSize": 1e999}',  # numbers that no whole one is
    ],
)  # fmt: skip
def test_whatever_answers_in_its_place_ends_no_pass(answer: str) -> None:
    """Not one question is answered by what makes no sense, and each says so."""

    class Odd(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        client = Client([f"http://127.0.0.1:{server.server_port}"], seconds=30.0)
        try:
            for ask in (lambda: client.read([Range("x")]), lambda: client.grant(60), lambda: client.keep_alive(7)):
                with pytest.raises(errors.Transient) as caught:
                    ask()
                assert caught.value.reason is Reason.EtcdUnavailable and "127.0.0.1" in str(caught.value)
            assert client.members()[0].fault
        finally:
            client.close()
            server.shutdown()


def test_what_answers_in_its_place_is_named(cluster: Cluster) -> None:
    with pytest.raises(errors.Transient, match=r"127\.0\.0\.1:9: "):
        Client(["http://127.0.0.1:9"]).read([Range("x")])
    with pytest.raises(errors.Transient, match="more than etcd takes"):
        Client(cluster.urls).transact(dict.fromkeys(map(str, range(129)), 0), {}, [])
