"""Hosts come before the owner of what was registered, and leave: whoever is next owns it, nobody withdraws what the site asks for, and what it asks for no
more goes, whoever had registered it. Real nodes, etcd and MariaDB."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from reconciler.node.cycle import reconcile
from tests.registrations.conftest import Server, connect
from tests.support import many as support
from tests.support.etcd import Cluster
from tests.support.many import Many

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

HOSTS = ("ctl1", "ctl2", "ctl3", "ctl4")


class Nodes:
    """Nodes of which the first registers accounts; `there` are those of the inventory."""

    def __init__(self, many: Many, server: Server) -> None:
        self.many, self.server, self.secret = many, server, secrets.token_hex(12)
        self.names = tuple(f"t{secrets.token_hex(4)}" for _ in range(2))

    def carry_out(self, there: tuple[str, ...], names: tuple[str, ...]) -> None:
        """A commit with these hosts and accounts, until every host has proved it and has looked at everything since."""
        users = ", ".join(f'{{name: {name}, host: "%", password: {self.secret}}}' for name in names)
        service = (
            f"{support._SERVICE.replace('@AT_ONCE@', '1')}"
            f"provides:\n  mariadb: {{host: 127.0.0.1, port: {self.server.port}, username: root, password: {self.server.admin}}}\n"
            f"registrations:\n  mariadb:\n    users: [{users}]\n"
        )
        self.many.hosts = there
        try:
            commit = self.many.push(f"{there} {names}", text="fine", more={"services/page/service.yml": service})
        finally:
            self.many.hosts = HOSTS
        for _ in range(8):
            self.many.passes(1, there)
            with self.many.store() as store:
                if not store.left(commit, there):
                    break
        for host in there:
            report = reconcile(self.many.node(host), deep=True)
            assert report.converged, (host, report)

    @property
    def accounts(self) -> set[str]:
        """Of the names those that MariaDB lets in."""
        found = set()
        for name in self.names:
            try:
                connect(self.server, name, self.secret).close()
                found.add(name)
            except pymysql.OperationalError:
                pass
        return found

    def remembers(self, host: str) -> set[str]:
        """The accounts that a host remembers to have registered."""
        registered = self.many.node(host).state.memory().registered
        return {str(one.key).partition("@")[0] for one in registered if one.type == "user"}

    @property
    def told(self) -> set[str]:
        with self.many.store() as store:
            return set(store.registered())


@pytest.fixture
def nodes(tmp_path: Path, engine_url: str, busybox_image: str, servers: dict[str, Server]) -> Iterator[Nodes]:
    (tmp_path / "etcd").mkdir()
    with Cluster(tmp_path / "etcd", 1) as etcd, Many(tmp_path / "many", engine_url, HOSTS, etcd=etcd.urls) as many:
        yield Nodes(many, servers["mariadb"])


def test_what_was_registered_outlives_its_host_and_goes_when_the_site_says_so(nodes: Nodes) -> None:
    both, (one, other) = set(nodes.names), nodes.names
    nodes.carry_out(HOSTS[1:], nodes.names)
    assert nodes.accounts == nodes.remembers("ctl2") == both
    nodes.carry_out(HOSTS, nodes.names)
    assert nodes.accounts == both, "the former owner withdrew what the new one has"
    assert nodes.remembers("ctl1") == nodes.remembers("ctl2") == both and nodes.remembers("ctl3") == set()
    nodes.carry_out(HOSTS[2:], nodes.names)
    assert nodes.accounts == nodes.remembers("ctl3") == both and nodes.remembers("ctl4") == set()
    assert nodes.told == {"ctl3"}
    nodes.carry_out(HOSTS[2:], (one,))
    assert nodes.accounts == nodes.remembers("ctl3") == {one}, f"{other} is left behind"
