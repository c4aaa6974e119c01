"""What the catalogue's jobs make of databases, with genuine images: of a fresh one, and of one of 2025.1 that goes to 2026.1."""

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

import docker
import pytest
from docker.models.containers import Container

from reconciler.model import Desired, Job
from tests.images import build, kolla
from tests.services import golden
from tests.services.test_backups import _start
from tests.support.lab import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.images, pytest.mark.slow]

_SERVER = """\
set -e
mkdir -p /run/mysqld && chown mysql /var/lib/mysql /run/mysqld
mariadb-install-db --datadir=/var/lib/mysql --user=mysql --auth-root-authentication-method=normal --skip-test-db > /dev/null
exec setpriv --reuid mysql --regid mysql --init-groups mariadbd --no-defaults --datadir=/var/lib/mysql --bind-address=127.0.0.1
"""
_EXTENDED = (
    "set -o errexit; . /usr/local/bin/kolla_extend_start; CMD={}; exec $CMD"  # split at spaces, as kolla_start does
)
# What a server of Glance does for a list of images.
_READ = """\
from glance.common import config
config.parse_args(args=[], default_config_files=["/etc/glance/glance-api.conf"])
from glance import context
from glance.db.sqlalchemy import api
print("names:", [image["name"] for image in api.image_get_all(context.get_admin_context())])
"""
_ROW = """\
INSERT INTO glance.images (id, name, status, visibility, created_at, updated_at, deleted, min_disk, min_ram, protected, os_hidden, owner)
VALUES ('7', 'before', 'active', 'private', NOW(), NOW(), 0, 0, 0, 0, 0, 'somebody')
"""


class Databases:
    """A server of 2025.1, and whatever works with it as the jobs of a site do."""

    def __init__(self, client: docker.DockerClient, stack: ExitStack, folder: Path, server: Container) -> None:
        self.client, self.stack, self.folder, self.server = client, stack, folder, server

    def query(self, text: str) -> str:
        done = self.server.exec_run(["mariadb", "-uroot", "-BNe", text])
        assert done.exit_code == 0, done.output
        return str(done.output.decode())

    def run(
        self,
        release: kolla.Release,
        image: str,
        command: str,
        environment: Mapping[str, str],
        programs: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[int, str]:
        """Exit code and output of a command in a container of an image, which finds the database in its settings."""
        service = image.partition("-")[0]
        name = {"glance": "glance-api.conf"}.get(service, f"{service}.conf")
        section = "placement_database" if service == "placement" else "database"
        file = self.folder / name
        file.write_text(f"[{section}]\nconnection = mysql+pymysql://job:secret@127.0.0.1/{service}\n")
        file.chmod(0o644)
        with ExitStack() as stack:
            found = _start(
                stack,
                self.client,
                kolla.default_target(release).name(image),
                ["-c", command],
                {str(file): f"/etc/{service}/{name}:ro", **programs},
                network_mode=f"container:{self.server.id}",
                environment=dict(environment),
            )
            code = int(found.wait(timeout=240)["StatusCode"])
            return code, str(found.logs().decode())

    def job(self, release: kolla.Release, name: str) -> tuple[int, str]:
        """Run a job as the catalogue has it for a release."""
        made: Desired = golden.desired("compute", "ctl", release.name)
        job: Job = next(one for one in made.jobs if one.name == name)
        file = next(f for f in made.files if f.path == f"{job.container.config_directory}/config.json")
        image = job.container.image.rpartition("/")[2].partition(":")[0]
        started = json.loads(file.content)
        command = _EXTENDED.format(shlex.quote(started["command"]))
        programs = {}
        for entry in started["config_files"]:
            if entry["dest"].startswith("/usr/local/bin/"):
                program = self.folder / Path(entry["dest"]).name
                program.write_text(str(next(f for f in made.files if f.path.endswith(f"/{program.name}")).content))
                programs[str(program)] = f"{entry['dest']}:ro"
        environment = {k: v for k, v in job.container.environment.items() if "proxy" not in k}
        return self.run(release, image, command, environment, programs)


@pytest.fixture(scope="module")
def databases(engine_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    client = docker.DockerClient(base_url=engine_url, timeout=300)
    wanted = [
        kolla.default_target().name(name)
        for name in ("mariadb-server", "glance-api", "placement-api", "neutron-server")
    ]
    wanted += [kolla.default_target(kolla.NEXT).name(name) for name in ("glance-api", "placement-api")]
    if absent := [name for name in wanted if not build.present(client, name)]:
        pytest.skip(f"images are missing: {', '.join(absent)}")
    folder = tmp_path_factory.mktemp("schemas")
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(client.close)
        data = client.volumes.create(labels={"reconciler-test": "1"})
        stack.callback(data.remove, force=True)
        server = _start(stack, client, wanted[0], ["-c", _SERVER], {data.name: "/var/lib/mysql"}, network_mode="none")
        found = Databases(client, stack, folder, server)
        wait_for(
            "the server", lambda: server.exec_run(["mariadb", "-uroot", "-e", "SELECT 1"]).exit_code == 0, pause=0.5
        )
        found.query("CREATE USER job@'%' IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO job@'%' WITH GRANT OPTION")
        for name in ("glance", "placement", "neutron"):
            found.query(f"CREATE DATABASE {name}")
        yield found


def checked(databases: Databases, release: kolla.Release) -> int:
    """0: it is whole; 3, 4, 5: what is left is to expand, to migrate, to contract."""
    return databases.run(release, "glance-api", "glance-manage db check", {})[0]


def test_glance_goes_to_another_release_and_servers_of_before_read_it(databases: Databases) -> None:
    """The schema of these two releases is the same, so what is taken away last is seen with a fresh one."""
    code, said = databases.job(kolla.FIRST, "glance_db_sync")
    assert code == 0, said
    assert checked(databases, kolla.FIRST) == 5, "nothing is taken away yet"
    databases.query(_ROW)
    for release in (kolla.FIRST, kolla.NEXT):
        for name in ("glance_db_contract", "glance_db_sync", "glance_db_contract"):  # what is done already does nothing
            code, said = databases.job(release, name)
            assert code == 0, said
        assert checked(databases, release) == 0
        code, said = databases.run(kolla.FIRST, "glance-api", f"/var/lib/kolla/venv/bin/python -c '{_READ}'", {})
        assert code == 0 and "names: ['before']" in said, said
    assert int(databases.query("SELECT COUNT(*) FROM glance.metadef_namespaces")) > 10


def test_placement_goes_to_another_release(databases: Databases) -> None:
    for release in (kolla.FIRST, kolla.FIRST, kolla.NEXT, kolla.NEXT):
        for name in ("placement_db_sync", "placement_online_migration"):
            code, said = databases.job(release, name)
            assert code == 0, said
    assert int(databases.query("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'placement'")) > 5


def test_neutron_says_whether_its_servers_would_have_to_be_stopped(databases: Databases) -> None:
    made = golden.desired("compute", "ctl", kolla.FIRST.name)
    check = next(one for one in made.prechecks if one.name == "neutron_offline_migrations")

    def asked() -> tuple[int, str]:
        assert check.command[:2] == ("bash", "-c")
        return databases.run(kolla.FIRST, "neutron-server", check.command[2], {})

    code, said = asked()
    assert code == 1 and "This will require all Neutron server instances to be shutdown" in said, said
    code, said = databases.job(kolla.FIRST, "neutron_db_sync")
    assert code == 0, said
    code, said = asked()
    assert code == 0 and "No offline migrations pending" in said, said
