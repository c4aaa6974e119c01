"""Which member of a Galera cluster begins it again: a table of cases, and that nobody begins who could lose something."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.rollout.galera import FRESH, NOBODYS, Member, decide

HOSTS = ("a", "b", "c")
ONE, OTHER = "11111111-aaaa-11ee-8000-000000000000", "22222222-bbbb-11ee-8000-000000000000"
NOW = 1_000_000.0


def one(
    host: str, seqno: int = 5, uuid: str = ONE, *, at: float = NOW, data: bool = True, safe: bool = False
) -> Member:
    return Member(host, at, data, uuid if data else "", seqno if data else -1, safe)


@pytest.mark.parametrize(
    ("said", "lost", "host", "why"),
    [
        ([one("a", 5), one("b", 7), one("c", 6)], (), "b", "has all 7 transactions"),
        ([one("a"), one("b"), one("c")], (), "a", "as have 2 others"),
        ([one("a"), one("b"), one("c", safe=True)], (), "c", "as have 2 others"),
        ([one("a", 7), one("b", 7, safe=True), one("c", 3)], (), "b", "as have 1 others"),
        ([one("a", 7), one("b", data=False), one("c", 3)], (), "a", "has all 7"),
        # Somebody may have more.
        ([one("a", 5), one("b", 7)], (), "", "c said nothing"),
        ([one("a", 5), one("b", 7)], ("c",), "b", "has all 7"),
        ([], (), "", "a, b, c said nothing"),
        ([one("a", 5), one("b", 7), one("c", -1)], (), "", "c has data and does not know how far"),
        ([one("a", 5), one("b", 7), one("c", -1)], ("c",), "b", "has all 7"),
        ([one("a", 5), one("b", 7), one("c", 3, NOBODYS)], (), "", "c has data and does not know"),
        ([one("a", 5), one("b", 7), one("c", 9, at=NOW - FRESH - 1)], (), "", "c looked more than an hour ago"),
        ([one("a", 5), one("b", 7), one("c", 9, at=NOW + FRESH + 1)], (), "", "its clock is wrong"),
        # Somebody went on alone.
        ([one("a", 5), one("b", 7), one("c", 9, OTHER)], (), "", "different histories"),
        ([one("a", 5), one("b", 7), one("c", 9, OTHER)], ("c",), "b", "has all 7"),
        ([one("a", 5, safe=True), one("b", 7), one("c", 5)], (), "", "left last in order and yet has fewer"),
        # It is not down, or there is nothing.
        ([replace(one("a"), serves=True), one("b"), one("c", -1)], (), "", "a serves: the cluster is not down"),
        ([one("a"), one("b"), replace(one("c", -1), serves=True)], (), "", "c serves: the cluster is not down"),
        ([one("a"), one("b"), replace(one("c", -1, ""), serves=True)], (), "", "c serves: the cluster is not down"),
        ([one("a"), one("b", 7), replace(one("c", -1, OTHER), serves=True)], (), "", "c serves another history than a, b has"),
        ([one("a"), one("b", 7), replace(one("c", -1, OTHER), serves=True)], ("c",), "b", "has all 7"),
        ([one(host, data=False) for host in HOSTS], (), "", "no member has data: restore a backup"),
        ([one("a"), one("b"), one("c"), one("d")], (), "", "d is no member"),
        ([one("a"), one("b"), one("c")], ("x",), "", "x is no member"),
        ([one("a"), one("b"), one("c")], HOSTS, "", "no member has data"),
    ],
)  # fmt: skip
def test_who_begins(said: Sequence[Member], lost: Sequence[str], host: str, why: str) -> None:
    found = decide(HOSTS, {one.host: one for one in said}, NOW, lost)
    assert found.host == host and why in found.why, found


MEMBERS = st.builds(
    Member,
    host=st.just(""),
    at=st.sampled_from([NOW, NOW - 2 * FRESH]),
    data=st.booleans(),
    uuid=st.sampled_from([ONE, OTHER, NOBODYS, ""]),
    seqno=st.integers(-1, 3),
    safe=st.booleans(),
    serves=st.booleans(),
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(HOSTS), MEMBERS), st.sets(st.sampled_from(HOSTS)))
def test_whoever_begins_has_everything_that_anybody_may_have(given: Mapping[str, Member], lost: set[str]) -> None:
    said = {host: replace(one, host=host) for host, one in given.items()}
    found = decide(HOSTS, said, NOW, lost)
    if not found.host:
        return
    assert set(HOSTS) - lost <= said.keys() and found.host not in lost
    chosen = said[found.host]
    for host, other in said.items():
        if host not in lost and other.data:
            assert (other.uuid, other.serves) == (chosen.uuid, False) and 0 <= other.seqno <= chosen.seqno
