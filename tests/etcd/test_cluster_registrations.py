"""What hosts have registered, as they tell each other through a real etcd: each with a state of its own, and no registrar."""

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from reconciler.etcd import Client, Store, UnavailableError
from reconciler.model import Desired, Registrar, Registration
from reconciler.node.cluster_registrations import ClusterRegistrations
from reconciler.node.target import make_target
from reconciler.rollout.policy import Rollout, Wave
from reconciler.rollout.records import Transaction, registered_key
from reconciler.source.prepare import Prepared
from reconciler.state import StateDirectory
from tests.support.etcd import Cluster

HOSTS = ("ctl1", "ctl2", "ctl3")
GLANCE, NOVA = "keystone:user:default/glance", "keystone:user:default/nova"
GRANT = "mariadb:grant:nova@%:nova_cell0.*"
EVERYTHING = frozenset({GLANCE, NOVA, GRANT})


def registration(name: str) -> Registration:
    kind, type_, key = name.split(":", 2)
    return Registration(kind, type_, key, {"name": key})


class Node:
    """What a node has of registrations; the first of the hosts owns what the site asks for."""

    def __init__(self, cluster: Cluster, folder: Path, site: str, host: str) -> None:
        (folder / host).mkdir()
        self.host, self.state = host, StateDirectory(folder / host)
        self.client = Client(cluster.urls)
        self.store, self.own = Store(self.client, site), ClusterRegistrations(self.state)

    @property
    def remembers(self) -> set[str]:
        return {one.id for one in self.state.memory().registered}

    def carries_out(self, commit: str, asked: Collection[str] = EVERYTHING, hosts: tuple[str, ...] = HOSTS) -> None:
        """A pass that accepts a commit, and one after it was carried out; what is there already is registered by nobody again."""
        mine = tuple(map(registration, sorted(asked))) if self.host == hosts[0] else ()
        elsewhere = () if mine else tuple(sorted(asked))
        registrars = (Registrar("keystone", {}), Registrar("mariadb", {}))
        desired = Desired(
            "s", self.host, commit, "/none", registrations=mine, registrars=registrars, registered_elsewhere=elsewhere
        )
        rollout = Rollout((Wave("all", hosts, 3),), {})
        for _ in range(2):
            self.own.settle(self.store, make_target(Prepared(desired, {})), rollout)
            self.state.converged(desired)


@pytest.fixture
def nodes(single: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Node, Node, Node]]:
    """The first has registered everything, and all of them have carried out the commit."""
    found = tuple(Node(single, tmp_path, request.node.name, host) for host in HOSTS)
    for name in EVERYTHING:
        found[0].state.registered(registration(name))
    for node in found:
        node.carries_out("one")
    yield found  # type: ignore[misc]
    for node in found:
        node.client.close()


def told(node: Node) -> dict[str, frozenset[str]]:
    return {host: one.ids for host, one in node.store.registered().items()}


def test_a_host_that_leaves_hands_over_what_it_had_registered(nodes: tuple[Node, Node, Node]) -> None:
    _, second, third = nodes
    assert told(second) == {"ctl1": EVERYTHING} and second.remembers == set()
    for node in (third, second):
        node.carries_out("two", hosts=HOSTS[1:])
    assert second.remembers == EVERYTHING and third.remembers == set()
    assert {one.fields["name"] for one in second.state.memory().registered} == {
        "default/glance",
        "default/nova",
        "nova@%:nova_cell0.*",
    }
    assert told(second) == {"ctl2": EVERYTHING}, "nothing of the host that left stays"


def test_what_goes_with_the_same_commit_is_taken_over_as_well(nodes: tuple[Node, Node, Node]) -> None:
    """Whoever is left withdraws it then, with its key alone: `registrations/keys.py`."""
    _, second, third = nodes
    second.carries_out("two", {NOVA}, HOSTS[1:])
    assert second.remembers == EVERYTHING
    third.carries_out("two", {NOVA}, HOSTS[1:])
    assert third.remembers == set(), "one is enough"


def test_who_comes_before_the_owner_takes_over_what_is_there(nodes: tuple[Node, Node, Node]) -> None:
    """Else nobody would know when the former owner leaves later. That one goes on remembering: withdrawing what is gone is nothing."""
    first, second, _ = nodes
    second.carries_out("two", hosts=("ctl2", "ctl1", "ctl3"))
    first.carries_out("two", hosts=("ctl2", "ctl1", "ctl3"))
    assert second.remembers == first.remembers == EVERYTHING


def test_what_was_there_before_the_site_asked_for_it_is_nobodys(nodes: tuple[Node, Node, Node]) -> None:
    first, second, _ = nodes
    first.carries_out("two", {*EVERYTHING, "keystone:role:member"})
    second.carries_out("three", {*EVERYTHING, "keystone:role:member"}, HOSTS[1:])
    assert second.remembers == EVERYTHING


def test_a_host_that_lost_its_state_knows_again_what_it_had_registered(
    nodes: tuple[Node, Node, Node], single: Cluster, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "anew").mkdir()
    anew = Node(single, tmp_path / "anew", request.node.name, "ctl1")
    anew.carries_out("one")
    anew.client.close()
    assert anew.remembers == EVERYTHING


def test_whoever_writes_into_etcd_has_nothing_withdrawn_that_the_site_did_not_ask_for(
    nodes: tuple[Node, Node, Node],
) -> None:
    _, second, third = nodes
    customer = "keystone:user:default/customer"
    for host in ("ctl1", "ghost"):
        key = registered_key(host)
        revision = second.store.registered()[host].revision if host == "ctl1" else 0
        assert second.store.try_(Transaction({key: revision}, {key: {"ids": [customer, NOVA]}}))
    second.carries_out("two", hosts=HOSTS[1:])
    third.carries_out("two", hosts=HOSTS[1:])
    assert second.remembers == {NOVA} and third.remembers == set()


@pytest.mark.parametrize("value", [{"ids": "keystone:user:x"}, {"ids": [1]}, {"ids": ["no id"]}, {}])
def test_what_no_host_said_counts_as_no_answer(nodes: tuple[Node, Node, Node], value: object) -> None:
    _, second, _ = nodes
    second.store.try_(Transaction({}, {registered_key("ghost"): value}))
    with pytest.raises(UnavailableError, match="registered/ghost holds something that this program did not write"):
        second.carries_out("two", hosts=HOSTS[1:])


def test_who_registers_nothing_asks_nothing_and_the_others_once_a_commit(nodes: tuple[Node, Node, Node]) -> None:
    first, _, third = nodes
    before = first.client.requests, third.client.requests
    first.carries_out("one")
    third.carries_out("one")
    third.carries_out("two")
    assert (first.client.requests, third.client.requests) == before
    first.carries_out("two")
    assert first.client.requests == before[0] + 1


def test_what_is_registered_later_is_told(nodes: tuple[Node, Node, Node]) -> None:
    first, _, _ = nodes
    first.state.unregistered(NOVA)
    first.carries_out("two", {GLANCE, GRANT})
    assert told(first) == {"ctl1": EVERYTHING - {NOVA}}
