"""An etcd that was restored from an old backup, or made anew: nobody is granted anything until an operator has accepted it."""

import shutil
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.etcd import Client, Store
from reconciler.reasons import Reason
from reconciler.rollout.policy import Rollout, Wave
from reconciler.rollout.records import ACCEPTED, ROLL, Mark, Permit, Roll, Transaction, permit_key
from tests.support.etcd import Cluster

NEW = "b" * 40
SITE = Rollout((Wave("all", ("ctl1", "ctl2"), 1),), {})


class Host:
    """What one node's process keeps."""

    def __init__(self, urls: list[str], mark: Mark | None = None) -> None:
        self.kept: list[Mark] = []
        self.store = Store(Client(urls), "s")
        self.store.mark, self.store.remember = mark, self.kept.append

    def look(self) -> Roll | None:
        return self.store.view("ctl1", NEW, SITE, (), ()).roll

    def refused(self) -> str:
        with pytest.raises(errors.Transient) as caught:
            self.look()
        assert caught.value.reason is Reason.EtcdUnavailable
        return str(caught.value)


def accept(urls: list[str], number: int) -> None:
    """As `reconciler fleet accept-restored` does."""
    Store(Client(urls), "s").try_(Transaction({}, {ACCEPTED: {"by": "me", "why": "x", "at": "", "id": str(number)}}))


def test_an_older_backup_is_noticed_and_grants_nothing(tmp_path: Path) -> None:
    with Cluster(tmp_path, 1) as cluster:
        host = Host(cluster.urls)
        host.store.try_(Transaction({}, {ROLL: Roll(NEW)}))
        assert host.look() == Roll(NEW) and host.kept
        cluster.kill(0)
        shutil.copytree(tmp_path / "member0", tmp_path / "backup")
        cluster.start(0)
        cluster.await_leader()
        assert host.look() == Roll(NEW), "started again is no older"
        permit = Permit(NEW, ("budget/wave/0",), "there")
        host.store.try_(Transaction({}, {permit_key("ctl2"): permit, "budget/wave/0": {"host": "ctl2"}}))
        for _ in range(20):
            host.store.try_(Transaction({}, {"elsewhere": {}}))
        host.look()
        mark = host.kept[-1]

        def restore() -> None:
            cluster.kill(0)
            shutil.rmtree(tmp_path / "member0")
            shutil.copytree(tmp_path / "backup", tmp_path / "member0")
            cluster.start(0)
            cluster.await_leader()

        restore()
        after = Host(cluster.urls, mark)  # its process was started anew: what it remembers is on the disk
        for one in (host, after):
            found = one.refused()
            assert f"was at {mark.revision} before" in found and "fleet accept-restored" in found
            assert one.kept[-1:] in ([mark], []), "what it had seen stays remembered"
        assert Host(cluster.urls).look() == Roll(NEW), "a new host has seen nothing newer"
        accept(cluster.urls, 1)
        for one in (host, after):
            assert one.look() == Roll(NEW) and one.kept[-1].accepted == "1"
        # The same once more: what was accepted then does not count now.
        mark = host.kept[-1]
        accept_later = Host(cluster.urls, Mark(mark.cluster, mark.revision + 1000, "1"))
        assert f"was at {mark.revision + 1000} before" in accept_later.refused()
        accept(cluster.urls, 2)
        assert accept_later.look() == Roll(NEW)


def test_another_cluster_is_noticed_whatever_its_revision(tmp_path: Path) -> None:
    with Cluster(tmp_path, 1) as cluster:
        host = Host(cluster.urls, Mark("12345", 1))
        assert "etcd is another cluster than before" in host.refused()
        accept(cluster.urls, 1)
        host.look()
        assert host.kept[-1].cluster not in ("", "12345")
