"""Whether a member of Galera may be stopped, and how far one is that copies the whole database, as their checks say. Genuine servers, three in
one network namespace."""

import re
from collections.abc import Iterator
from functools import cache

import docker
import pytest
from docker.models.containers import Container

from reconciler.render import render
from tests.services import containers, golden
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

# As the golden site names them; the script is asked at addresses of this namespace.
MEMBERS = {"198.51.100.12": "127.0.0.1", "198.51.100.11": "127.0.0.2", "198.51.100.13": "127.0.0.3"}
NAMES = {1: "n1", 2: "n2", 3: "controller-a"}  # the checks are those of that host
COPIES = re.compile(r"this member copies the database of n[12], ([0-9]+) MiB so far\n")
_CONFIGURATION = """\
[mariadbd]
user=mysql
datadir=/t/{one}/data
socket=/t/{one}/socket
pid-file=/t/{one}/pid
bind-address=127.0.0.{one}
log-error=/var/log/kolla/mariadb/mariadb{one}.log
innodb_buffer_pool_size=32M
innodb_flush_method=fsync
binlog_format=ROW
wsrep_on=ON
wsrep_provider=/usr/lib/galera/libgalera_smm.so
wsrep_cluster_address=gcomm://127.0.0.1,127.0.0.2,127.0.0.3
wsrep_node_address=127.0.0.{one}
wsrep_node_name={name}
wsrep_provider_options="gmcast.listen_addr=tcp://127.0.0.{one}:4567;ist.recv_addr=127.0.0.{one};gcache.size=4M"
wsrep_sst_method=mariabackup
wsrep_sst_auth=root:root
wsrep_sst_receive_address=127.0.0.{one}:4444
"""
_FIRST = """\
set -e
mkdir -p /var/log/kolla/mariadb; chmod 777 /var/log/kolla/mariadb; chown -R mysql /t
rm -rf /var/lib/mysql; ln -s /t/3/data /var/lib/mysql
ln -s mariadb3.log /var/log/kolla/mariadb/mariadb.log
mariadb-install-db --no-defaults --user=mysql --datadir=/t/1/data --auth-root-authentication-method=normal
mariadbd --defaults-file=/t/1/my.cnf --wsrep-new-cluster > /dev/null 2>&1 &
for _ in {1..240}; do mariadb --no-defaults --socket=/t/1/socket --execute='SELECT 1' && break; sleep 0.5; done
mariadb --no-defaults --socket=/t/1/socket << 'END'
CREATE USER haproxy@'%'; GRANT REPLICATION CLIENT ON *.* TO haproxy@'%'; ALTER USER root@localhost IDENTIFIED BY 'root';
CREATE DATABASE large; USE large; CREATE TABLE rows_of (id INT AUTO_INCREMENT PRIMARY KEY, content LONGTEXT);
INSERT INTO rows_of (content) SELECT REPEAT(MD5(RAND()), 30000) FROM seq_1_to_40;
INSERT INTO rows_of (content) SELECT REPEAT(MD5(RAND()), 30000) FROM seq_1_to_40;
INSERT INTO rows_of (content) SELECT REPEAT(MD5(RAND()), 30000) FROM seq_1_to_40;
END
"""


@cache
def script(name: str) -> str:
    """A check of the golden site, for the addresses of the test."""
    folder = golden.HERE / "three_nodes/site"
    globals_ = (folder / "globals.yml").read_text() + "enable_proxysql: no\n"
    desired = render(golden.load(folder, {"globals.yml": globals_.encode()}), "ctl-a", "0" * 40)
    found = next(check.script for check in (*desired.checks, *desired.readiness) if check.name == name)
    for written, address in MEMBERS.items():
        found = found.replace(written, address)
    return found


@pytest.fixture
def servers(docker_client: docker.DockerClient) -> Iterator[Container]:
    """The first of three members serves, with a database of 110 MiB."""
    with containers.idle(docker_client, "mariadb-server") as found:
        for one in (1, 2, 3):
            text = f"mkdir -p /t/{one}/data; cat > /t/{one}/my.cnf << 'END'\n{_CONFIGURATION.format(one=one, name=NAMES[one])}END\n"
            assert found.exec_run(["bash", "-c", text]).exit_code == 0
        done = found.exec_run(["bash", "-c", _FIRST])
        assert done.exit_code == 0, done.output[-2000:]
        yield found


def test_none_may_be_stopped_while_one_copies_everything(servers: Container) -> None:
    def said(name: str, member: int) -> str:
        asking = {"MYSQL_HOST": f"127.0.0.{member}", "MYSQL_USERNAME": "haproxy"}
        done = servers.exec_run(["bash", "-c", script(name)], environment=asking)
        assert bool(done.exit_code) == bool(done.output), done
        return str(done.output.decode())

    def start(member: int) -> None:
        servers.exec_run(["mariadbd", f"--defaults-file=/t/{member}/my.cnf"], detach=True)

    assert "1 of 3 members are in the cluster" in said("mariadb_cluster", 1)
    start(2)
    wait_for("two are in step", lambda: not said("mariadb_member", 2), 180)
    assert "2 of 3 members are in the cluster" in said("mariadb_cluster", 2)
    start(3)
    heard, copied = set(), []

    def settled() -> bool:
        # Whichever member asks: one of them gives its data, and the other has no part in it.
        answer = said("mariadb_cluster", 2)
        heard.add(answer)
        copied.extend(map(int, COPIES.findall(said("mariadb_member", 3))))
        return not answer

    wait_for("all are in step", settled, 180, pause=0.1)
    assert any("Donor/Desynced, not Synced" in answer for answer in heard), heard
    assert copied and max(copied) > 0, "it says how much it has"
    assert said("mariadb_cluster", 1) == said("mariadb_cluster", 3) == said("mariadb_member", 3) == ""
