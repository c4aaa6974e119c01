"""What keeps MariaDB's backups, with the genuine image: taken, based on each other, restored on trial, late, and before a change."""

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from tests.services.test_first_member import FIRST, script
from tests.support.lab import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.images]

_DATABASE = """\
mkdir -p /run/mysqld && chown mysql /var/lib/mysql /run/mysqld
mariadb-install-db --datadir=/var/lib/mysql --user=mysql --skip-test-db > /dev/null
exec mariadbd --no-defaults --user=mysql --datadir=/var/lib/mysql --bind-address=127.0.0.1 --innodb-log-file-size=16M \
    --innodb-buffer-pool-size=64M --binlog-format=ROW --wsrep-on=ON --wsrep-provider=/usr/lib/galera/libgalera_smm.so \
    --wsrep-cluster-address=gcomm:// --wsrep-node-address=127.0.0.1
"""
_KEEPER = 'chown mysql /backup; exec setpriv --reuid mysql --regid mysql --init-groups env RECONCILER_BACKUP="$1" reconciler-backup'
# As the site registers the user.
_USER = """\
CREATE USER backup@'%' IDENTIFIED BY '{password}'; GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR ON *.* TO backup@'%';
GRANT CREATE, INSERT, SELECT, ALTER ON mysql.* TO backup@'%'; CREATE DATABASE shop;
CREATE TABLE shop.goods (id INT PRIMARY KEY AUTO_INCREMENT, name TEXT)"""


@dataclass(frozen=True, slots=True)
class Keeper:
    """`run` starts a container that keeps backups and has the work that it is given; `words` asks one that runs; `sql` the database."""

    run: Callable[..., Container]
    sql: Callable[[str], None]
    password: str

    @staticmethod
    def words(container: Container, *words: str) -> tuple[int, str]:
        done = container.exec_run(["reconciler-backup", *words], user="mysql")
        return int(done.exit_code or 0), str(done.output.decode())

    @staticmethod
    def shell(container: Container, text: str) -> str:
        done = container.exec_run(["bash", "-c", text], user="mysql")
        assert done.exit_code == 0, done.output
        return str(done.output.decode())


@dataclass(frozen=True, slots=True)
class Database:
    """A server with data in a volume; `settings` of the backup's user, and its `password`."""

    container: Container
    data: str
    image: str
    settings: Path
    password: str

    def sql(self, text: str) -> None:
        done = self.container.exec_run(["mariadb", "--user=root", "--execute", text])
        assert done.exit_code == 0, done.output


def _start(
    stack: ExitStack, client: docker.DockerClient, image: str, words: list[str], volumes: dict[str, str], **options: Any
) -> Container:
    found = client.containers.run(
        image,
        words,
        detach=True,
        entrypoint="bash",
        user="root",
        labels={"reconciler-test": "1"},
        volumes=[f"{source}:{target}" for source, target in volumes.items()],  # type: ignore[arg-type]
        **options,
    )
    assert isinstance(found, Container)
    stack.callback(_removed, found)
    return found


def _removed(container: Container) -> None:
    with contextlib.suppress(docker.errors.NotFound):
        container.remove(force=True, v=True)


@pytest.fixture(scope="module")
def database(
    engine_url: str, kolla_images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    folder, image, password = tmp_path_factory.mktemp("backup"), kolla_images["mariadb-server"], secrets.token_hex(16)
    folder.chmod(0o755)
    _settings(folder / "backup.cnf", password)
    with ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(docker.DockerClient(base_url=engine_url, timeout=300)))
        data = client.volumes.create(labels={"reconciler-test": "1"})
        stack.callback(data.remove, force=True)
        container = _start(stack, client, image, ["-c", _DATABASE], {data.name: "/var/lib/mysql"}, network_mode="none")

        def runs() -> bool:
            return bool(container.exec_run(["mariadb", "--user=root", "--execute", "SELECT 1"]).exit_code == 0)

        wait_for("the database", runs, 120, 0.5)
        made = Database(container, data.name, image, folder / "backup.cnf", password)
        made.sql(_USER.format(password=password))
        yield made


@pytest.fixture
def keeper(database: Database, docker_client: docker.DockerClient, tmp_path: Path) -> Iterator[Keeper]:
    """With an empty store."""
    program = tmp_path / "reconciler-backup"
    program.write_text(
        script(FIRST, "reconciler-backup", enable_mariadb_backup_schedule="true", mariadb_backup_keep="2")
    )
    program.chmod(0o755)
    with ExitStack() as stack:
        store = docker_client.volumes.create(labels={"reconciler-test": "1"})
        stack.callback(store.remove, force=True)

        def run(work: str, first: str = "") -> Container:
            volumes = {
                database.data: "/var/lib/mysql:ro",
                store.name: "/backup",
                str(program): "/usr/local/bin/reconciler-backup:ro",
                str(database.settings): "/etc/mysql/backup.cnf:ro",
            }
            words = ["-c", f"{first}\n{_KEEPER}", "bash", work]
            return _start(
                stack, docker_client, database.image, words, volumes, network_mode=f"container:{database.container.id}"
            )

        yield Keeper(run, database.sql, database.password)


def _settings(path: Path, password: str) -> None:
    given = f"host = 127.0.0.1\nport = 3306\nuser = backup\npassword = {password}\n"
    path.write_text(f"[client]\n{given}\n[mariadb-backup]\n{given}datadir = /var/lib/mysql\n")
    path.chmod(0o644)


def listed(container: Container) -> list[dict[str, Any]]:
    code, output = Keeper.words(container, "list")
    assert code == 0, output
    found: list[dict[str, Any]] = json.loads(output)
    return found


def begun(keeper: Keeper) -> Container:
    """The schedule, with its first backup."""
    container = keeper.run("schedule")
    wait_for("the first backup", lambda: listed(container), 120, 0.5)
    return container


@contextlib.contextmanager
def not_let_in(keeper: Keeper) -> Iterator[None]:
    """The database does not let the backup's user in."""
    keeper.sql("ALTER USER backup@'%' IDENTIFIED BY 'another'")
    try:
        yield
    finally:
        keeper.sql(f"ALTER USER backup@'%' IDENTIFIED BY '{keeper.password}'")


def tried(container: Container, *words: str) -> dict[str, Any]:
    code, output = Keeper.words(container, "verify", *words)
    assert code == 0, output
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return found


def rows(number: int) -> str:
    return f"USE shop; INSERT INTO goods (name) SELECT seq FROM seq_1_to_{number}"


def test_the_schedule_takes_the_first_and_what_is_based_on_it_is_read(keeper: Keeper) -> None:
    container = begun(keeper)
    (first,) = listed(container)
    assert (first["kind"], first["base"], first["verified"]) == ("full", "", None) and first["size"] > first[
        "packed"
    ] > 0
    base = tried(container)
    for number in (5000, 300):
        keeper.sql(rows(number))
        assert keeper.words(container, "now", "incremental")[0] == 0
    newest, middle, _ = listed(container)
    assert newest["base"] == middle["name"] and middle["base"] == first["name"]
    found = tried(container, middle["name"]), tried(container)
    assert [one["tables"] for one in found] == [base["tables"]] * 2
    assert abs(found[0]["rows"] - base["rows"] - 5000) < 20 and abs(found[1]["rows"] - base["rows"] - 5300) < 20, (
        base,
        found,
    )
    assert all(one["verified"] for one in listed(container))
    assert keeper.words(container, "age") == (0, f"{newest['name']}\n")

    # Bytes that the disk lost.
    keeper.shell(container, f"printf xxxxxxxx | dd of=/backup/{middle['name']}/data.gz bs=1 seek=5000 conv=notrunc")
    code, output = keeper.words(container, "verify")
    assert code == 1 and f"{middle['name']}: the file is not the one that was written" in output
    assert keeper.password not in container.logs().decode()


@pytest.mark.slow
def test_older_ones_go_with_all_that_is_based_on_them(keeper: Keeper) -> None:
    container = begun(keeper)
    for kind in ("incremental", "full", "incremental", "full", "incremental"):
        time.sleep(1.1)  # names tell seconds
        assert keeper.words(container, "now", kind)[0] == 0
    assert [one["kind"] for one in listed(container)] == ["incremental", "full", "incremental", "full"]
    assert tried(container)["rows"] > 0
    keeper.shell(container, "mkdir /backup/mine && touch /backup/mine/manifest")
    time.sleep(1.1)
    assert keeper.words(container, "now", "full")[0] == 0
    assert "mine" in keeper.shell(container, "ls /backup"), "what it did not write it does not remove"


@pytest.mark.slow
def test_a_late_one_is_told_with_its_reason(keeper: Keeper) -> None:
    container = begun(keeper)
    with not_let_in(keeper):
        keeper.shell(
            container,
            "echo 1500000000 > /backup/.since; sed -i 's/^started=.*/started=1600000000/' /backup/*/manifest",
        )
        wait_for("a failure", lambda: "let the backup's user in" in keeper.words(container, "age")[1], 60, 0.5)
        code, output = keeper.words(container, "age")
        assert (
            code == 1
            and "h old, and one is wanted every 24 h: the database does not let the backup's user in: ERROR 1045"
            in output
        )
        keeper.shell(container, "rm -r /backup/full-* /backup/incremental-* || true")
        assert "there is no backup, and the schedule began" in keeper.words(container, "age")[1]
    assert keeper.words(container, "now")[0] == 0 and keeper.words(container, "age")[0] == 0


@pytest.mark.slow
def test_before_a_change_there_is_one(keeper: Keeper) -> None:
    container = begun(keeper)
    before = listed(container)[0]["started"]
    time.sleep(1.1)
    job = keeper.run("before 2026.1")
    assert job.wait(timeout=120)["StatusCode"] == 0 and b"was taken before the change" in job.logs()
    assert listed(container)[0]["started"] > before and listed(container)[0]["kind"] == "full"
    # What takes it fails: so does what asks for it, with the reason.
    with not_let_in(keeper):
        job = keeper.run("before 2026.1")
        assert job.wait(timeout=120)["StatusCode"] == 1 and b"let the backup's user in" in job.logs(), job.logs()
    # Nobody keeps them at the moment, and the version is the same: what asks takes it itself.
    before = listed(container)[0]["started"]
    container.remove(force=True, v=True)
    job = keeper.run("before 2026.1", first="touch --date='2 hours ago' /backup/.alive")
    assert job.wait(timeout=120)["StatusCode"] == 0 and b"taken: " in job.logs(), job.logs()
    assert listed(keeper.run("schedule"))[0]["started"] > before
