"""What members of a database that is down say of themselves, left in etcd for each other."""

import contextlib
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler import errors
from reconciler.cli import recover
from reconciler.etcd import Store
from reconciler.etcd.client import Client
from reconciler.model import Container
from reconciler.node import galera
from reconciler.reasons import Reason
from reconciler.rollout.galera import Member, decide
from reconciler.rollout.records import Transaction
from tests.support.etcd import Cluster

HISTORY = "11111111-aaaa-11ee-8000-000000000000"


def test_each_host_sees_what_all_said_and_the_later_word_counts(tmp_path: Path) -> None:
    now = time.time()
    said = {host: Member(host, now, True, HISTORY, seqno) for host, seqno in (("a", 5), ("b", 7), ("c", 6))}
    with Cluster(tmp_path, 1) as etcd, contextlib.closing(Client(etcd.urls)) as client:
        store = Store(client, "lab")

        def here(host: str) -> Any:
            node = SimpleNamespace(settings=SimpleNamespace(host=host))
            return recover._Here(cast(Any, node), cast(Any, None), cast(Any, None), tuple(said), store)

        for host in ("a", "b"):
            assert recover._tell(here(host), said[host], instead="")
        assert "c said nothing" in decide(tuple(said), recover._said(here("a"), []), now).why
        # From a host that reaches no etcd, by hand; and an older word of one that has spoken since.
        files = [tmp_path / "c.json", tmp_path / "b.json"]
        for path, one in zip(files, (said["c"], replace(said["b"], seqno=9, at=now - 60)), strict=True):
            path.write_text(json.dumps(asdict(one)))
        found = recover._said(here("c"), files)
        assert found == said and decide(tuple(said), found, now).host == "b"
        # Of another site nothing counts.
        other = replace(here("a"), store=Store(client, "another"))
        assert recover._said(other, []) == {}
        for text in ('{"host": "c"}', "[" * 100_000):
            files[0].write_text(text)
            with pytest.raises(errors.Terminal, match="is not what `reconciler recover mariadb look --out` writes"):
                recover._said(here("a"), files)


@pytest.mark.parametrize(
    "word",
    [
        {"host": "b", "at": 10**400, "data": True},  # a number that is no float
        {"host": "b", "at": 1.0, "data": True, "seqno": 1 << 63},
        {"host": "b", "at": 1.0, "data": True, "seqno": -2},
        {"host": "a", "at": 1.0, "data": False},  # another one's word
    ],
)
def test_a_stranger_in_etcd_speaks_for_nobody(tmp_path: Path, word: dict[str, Any]) -> None:
    with Cluster(tmp_path, 1) as etcd, contextlib.closing(Client(etcd.urls)) as client:
        store = Store(client, "lab")
        node = SimpleNamespace(settings=SimpleNamespace(host="a"))
        here = recover._Here(cast(Any, node), cast(Any, None), cast(Any, None), ("a", "b"), store)
        assert recover._tell(here, Member("a", 1.0, True, HISTORY, 5), instead="")
        assert store.try_(Transaction({}, {f"{recover._PREFIX}b": word}))
        with pytest.raises(
            errors.ReconcilerError, match=r"etcd's key .*/b holds something that this program did not write"
        ):
            recover._said(here, [])


class Stopped:
    """An engine with a member that does not run, and what is found when its data are looked at."""

    def __init__(self, told: str) -> None:
        self.told = told

    def execute(self, *_: object) -> tuple[int, str]:
        raise errors.Terminal("is not running", reason=Reason.ExecFailed)

    def exists(self, _: str) -> bool:
        return False

    def run_once(self, _: object) -> tuple[int, str]:
        return 0, self.told


def test_what_is_no_position_is_not_taken_for_one() -> None:
    """A part of it stands in a file that the database itself writes."""
    member = Container("mariadb", "image")
    found = galera.look(cast(Any, Stopped('{"data": true, "uuid": "u", "seqno": 9, "safe": true}')), member, "h")
    assert found == Member("h", found.at, True, "u", 9, True)
    for told in ('{"data": "yes"}', '{"data": true, "seqno": "9"}', '{"data": true, "more": 1}', "[1]", "[" * 100_000):
        with pytest.raises(errors.Terminal, match="is not known"):
            galera.look(cast(Any, Stopped(told)), member, "h")


def test_what_says_nothing_of_a_cluster_is_not_taken_for_one_that_is_down() -> None:
    """What may serve is not stopped, whatever its container answers."""

    class Odd(Stopped):
        def execute(self, *_: object) -> tuple[int, str]:
            return 0, self.told

    for told in ("", "wsrep_cluster_status", "wsrep_cluster_status Primary", "wsrep_ready=ON"):
        with pytest.raises(errors.Terminal, match="cannot be told"):
            galera.serving(cast(Any, Odd(told)), Container("mariadb", "image"))
    assert (
        galera.serving(
            cast(Any, Odd("wsrep_cluster_status=non-Primary wsrep_ready=OFF")), Container("mariadb", "image")
        )
        == {}
    )


def test_who_only_begins_to_listen_is_waited_for() -> None:
    """It ends a connection before it has said anything; and an engine may be too busy to ask it."""
    answers: list[tuple[int, str] | Exception] = [
        (1, "ERROR 2002 (HY000): Can't connect to server on '192.0.2.11' (115)"),
        (1, "ERROR 2013 (HY000): Lost connection to server at 'handshake: reading initial communication packet'"),
        errors.Transient("the engine did not answer", reason=Reason.EngineTimeout),
        (0, "wsrep_cluster_status=Primary wsrep_ready=ON"),
    ]

    class Starting(Stopped):
        def start(self, _: str) -> None: ...
        def execute(self, *_: object) -> tuple[int, str]:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    galera.begin(cast(Any, Starting("")), Container("mariadb", "image"), 60)
    assert answers == []


def test_who_never_serves_is_told_of_with_its_last_words() -> None:
    class Silent(Stopped):
        def start(self, _: str) -> None: ...
        def last_words(self, *_: object) -> str:
            return "[ERROR] InnoDB: The log was applied to the intended LSN\n"

        def execute(self, *_: object) -> tuple[int, str]:
            return 1, "ERROR 2013 (HY000): Lost connection to server"

    with pytest.raises(errors.Terminal, match=r"does not serve after 0 s: .*intended LSN") as caught:
        galera.begin(cast(Any, Silent("")), Container("mariadb", "image"), 0)
    assert caught.value.reason is Reason.RecoveryFailed
