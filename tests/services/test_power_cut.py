"""Three genuine members of a Galera cluster in one network namespace, killed at once under writes: how far each says that its data go, who begins,
and who may not."""

import concurrent.futures
import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import docker
import pytest

from reconciler import errors
from reconciler.engine import Engine
from reconciler.model import Container, Job, Mount
from reconciler.node import beside, galera
from reconciler.render import render
from reconciler.rollout.galera import Member, decide
from tests.services import containers, golden
from tests.services.test_first_member import ADDRESSES, FIRST, OTHERS
from tests.support.lab import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.images, pytest.mark.slow]

HOSTS = {FIRST: ADDRESSES[0], **OTHERS}
CONFIG = "/var/lib/kolla/config_files"
GLOBALS = b"enable_proxysql: false\nmariadb_members_are_new: true\nmariadb_innodb_log_file_size_mb: 32\nmariadb_innodb_buffer_pool_size_mb: 64\n"
WRITES = 'for ((n = 0; ; n++)); do "$@" --execute="INSERT INTO written.numbers VALUES ($n)" 2> /dev/null || exit; echo $n; done'
NEW_DATABASE = """\
set -e
sudo -E kolla_set_configs > /dev/null 2>&1
find /var/lib/mysql -mindepth 1 -delete
mariadb-install-db --datadir=/var/lib/mysql --auth-root-authentication-method=normal --skip-test-db > /dev/null
"""


@dataclass
class Cluster:
    """Its members by host, and the password of their administrator."""

    engine: Engine
    members: Mapping[str, Container]
    password: str
    url: str
    folder: Path

    def client(self, host: str) -> list[str]:
        return [
            "mariadb",
            "--no-defaults",
            f"--host={HOSTS[host]}",
            "--user=root",
            f"--password={self.password}",
            "-BN",
        ]

    def query(self, host: str, text: str) -> list[str]:
        argv = (*self.client(host), f"--execute={text}")
        try:
            code, output = self.engine.execute(self.members[host].name, argv, 30.0)
        except errors.Terminal as error:
            assert error.reason == "ExecFailed" and self.engine.runs(self.members[host].name), self.log(host)
            return []
        return output.split() if code == 0 else []

    def log(self, host: str) -> str:
        """The last words of a server that has ended."""
        words = ("bash", "-c", "tail -n 25 /var/log/kolla/mariadb/mariadb.log")
        return self.engine.run_once(
            beside.once(self.members[host], "log", 60.0, command=words, validation=None, labels={})
        )[1]

    def size(self, host: str) -> str:
        return "".join(self.query(host, "SHOW GLOBAL STATUS LIKE 'wsrep_cluster_size'")[1:])

    def start(self, *hosts: str) -> None:
        """One after the other: data come in at a port that is taken in all of the namespace."""
        for host in hosts:
            self.engine.start(self.members[host].name)
            wait_for(f"{host} serves", lambda host=host: self.size(host), 240, 1)  # type: ignore[misc]

    def together(self) -> None:
        wait_for("all are one cluster", lambda: {self.size(host) for host in HOSTS} == {"3"}, 240, 1)

    def cut(self) -> set[int]:
        """Kill all members at once while somebody writes; the numbers that were acknowledged."""
        self.query(FIRST, "CREATE DATABASE IF NOT EXISTS written")
        self.query(FIRST, "CREATE OR REPLACE TABLE written.numbers (number INT PRIMARY KEY)")
        said = self.folder / f"said-{time.monotonic_ns()}"
        argv = ["docker", "exec", self.members[FIRST].name, "bash", "-c", WRITES, "writes", *self.client(FIRST)]
        with (
            said.open("wb") as output,
            subprocess.Popen(argv, stdout=output, env={**os.environ, "DOCKER_HOST": self.url}),
        ):
            wait_for("it writes", lambda: len(said.read_bytes().split()) > 50, 60)
            with concurrent.futures.ThreadPoolExecutor() as pool:
                list(pool.map(lambda one: self.engine.signal(one.name, "SIGKILL"), self.members.values()))
        return {int(number) for number in said.read_bytes().split()}

    def look(self, *hosts: str) -> dict[str, Member]:
        return {host: galera.look(self.engine, self.members[host], host) for host in hosts or HOSTS}

    def begin(self, said: Mapping[str, Member], lost: Sequence[str] = ()) -> str:
        """On whom it is decided; the others are started afterwards."""
        found = decide(tuple(HOSTS), said, time.time(), lost)
        assert found.host, found
        galera.begin(self.engine, self.members[found.host], 180)
        self.start(*(host for host in HOSTS if host != found.host))
        self.together()
        return found.host

    def began(self) -> list[str]:
        """Of the members, as they were started last, those that were told to begin a cluster."""
        return [
            host for host, one in self.members.items() if "starting the cluster" in self.engine.last_words(one, 10_000)
        ]

    def require(self, acknowledged: set[int]) -> None:
        there = {
            host: {int(number) for number in self.query(host, "SELECT number FROM written.numbers")} for host in HOSTS
        }
        lost = {host: sorted(acknowledged - numbers) for host, numbers in there.items() if acknowledged - numbers}
        print(json.dumps({"acknowledged": len(acknowledged), "lost": lost}), flush=True)
        assert lost == {}


def _placed(container: Container, name: str, files: Path, volumes: Sequence[str], image: str, place: str) -> Container:
    """A container of the catalogue, in the namespace and with the files of this test."""
    mounts = (Mount(str(files), CONFIG, "ro"), Mount(volumes[0], "/var/lib/mysql"), Mount(volumes[1], "/var/log/kolla"))
    return replace(
        container, name=name, image=image, mounts=mounts, network_mode=f"container:{place}", restart_policy="no", healthcheck=None,
        depends_on=(), ulimits=(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def cluster(
    engine_url: str, kolla_images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    folder, password, label = tmp_path_factory.mktemp("power"), secrets.token_hex(16), {"reconciler-test": "1"}
    folder.chmod(0o755)
    with ExitStack() as stack:
        client = stack.enter_context(closing(docker.DockerClient(base_url=engine_url, timeout=300)))
        place = stack.enter_context(containers.namespace(client, HOSTS.values()))
        engine = stack.enter_context(closing(Engine(engine_url, owner="power", timeout=60)))
        image = kolla_images["mariadb-server"]
        members = {}
        for host in HOSTS:
            text = (golden.HERE / "three_nodes/site/globals.yml").read_text()
            text = re.sub("^kolla_base_distro:.*$", "kolla_base_distro: debian", text, flags=re.MULTILINE)
            assert "kolla_base_distro: debian" in text
            files = {"globals.yml": text.encode() + GLOBALS}
            desired = render(golden.load(golden.HERE / "three_nodes" / "site", files), host, "0" * 40)
            for file in desired.files:
                path = folder / host / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(file.content.replace("<<secret:database_password>>", password))
            volumes = [client.volumes.create(labels=label).name for _ in range(2)]
            for volume in volumes:
                stack.callback(client.volumes.get(volume).remove, force=True)

            name = f"rt-power-{host}-{os.getpid()}"
            if host == FIRST:
                job = next(job for job in desired.jobs if job.name == "mariadb_bootstrap")
                code, output = engine.run_once(
                    Job(
                        f"{name}-new",
                        _placed(
                            job.container,
                            f"{name}-new",
                            folder / host / "mariadb-bootstrap",
                            volumes,
                            image,
                            str(place.id),
                        ),
                        "",
                        timeout=300.0,
                    )
                )
                assert code == 0, output
            found = next(one for one in desired.containers if one.name == "mariadb")
            members[host] = _placed(found, name, folder / host / "mariadb", volumes, image, str(place.id))
            engine.create(members[host], labels=label)
            stack.callback(engine.remove, name)
        found_all = Cluster(engine, members, password, engine_url, folder)
        found_all.start(*HOSTS)
        found_all.together()
        yield found_all


def test_every_acknowledged_write_is_there_and_the_others_join(cluster: Cluster) -> None:
    done = cluster.cut()
    said = cluster.look()
    assert len({one.uuid for one in said.values()}) == 1 and all(one.data and not one.serves for one in said.values())
    first = cluster.begin(said)
    assert said[first].seqno == max(one.seqno for one in said.values())
    cluster.require(done)
    assert cluster.began() == [first], "the others joined"


def test_whoever_finds_another_member_running_does_not_begin(cluster: Cluster) -> None:
    (other,) = {host for host in OTHERS if host != "ctl-a"}
    cluster.engine.stop(cluster.members[other].name, 60)
    with pytest.raises(errors.Terminal) as caught:
        galera.begin(cluster.engine, cluster.members[other], 30)
    assert caught.value.reason == "RecoveryRefused" and "runs (port 4567 answers)" in str(caught.value)
    cluster.start(other)
    cluster.together()


def test_two_histories_are_told_apart_while_one_serves_and_when_none_does(cluster: Cluster) -> None:
    """Somebody made a new database on one of them while all were down."""
    done, strange = cluster.cut(), cluster.members["ctl-c"]
    code, output = cluster.engine.run_once(
        beside.once(strange, "new", 120.0, command=("bash", "-c", NEW_DATABASE), validation=None, labels={})
    )
    assert code == 0, output
    cluster.engine.start(strange.name)
    monitor = f"CREATE USER IF NOT EXISTS {strange.environment['MYSQL_USERNAME']}@'%'"

    def made() -> bool:
        # Its environment names its own address, from which nobody is let in yet.
        argv = ("mariadb", "--no-defaults", "--host=localhost", "--user=root", f"--execute={monitor}")
        return cluster.engine.execute(strange.name, argv, 30.0)[0] == 0

    wait_for("it serves a database of its own", made, 120, 1)
    said = cluster.look()
    assert said["ctl-c"].serves and not said["ctl-a"].serves
    assert "ctl-c serves another history than ctl-a, ctl-b has" in decide(tuple(HOSTS), said, time.time()).why.replace(
        "ctl-b, ctl-a", "ctl-a, ctl-b"
    )
    chosen = decide(tuple(HOSTS), said, time.time(), ["ctl-c"])
    with pytest.raises(errors.Terminal) as caught:
        galera.begin(cluster.engine, cluster.members[chosen.host], 30)
    assert caught.value.reason == "RecoveryRefused" and HOSTS["ctl-c"] in str(caught.value), "while that one runs"
    cluster.engine.stop(strange.name, 60)
    said |= cluster.look("ctl-c")
    assert "members have different histories" in decide(tuple(HOSTS), said, time.time()).why
    cluster.begin(said, ["ctl-c"])
    cluster.require(done)
