"""A host that left for good, as a genuine Cinder forgets it: its records in a database of a file."""

import docker
import pytest

from reconciler.render import render
from tests.services import containers, golden
from tests.services.containers import python

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.images]

CONF = """\
[DEFAULT]
transport_url = fake://
state_path = /tmp
[database]
connection = sqlite:////tmp/cinder.db
[oslo_concurrency]
lock_path = /tmp
"""
BEGIN = """
import datetime, sys
from cinder import context, objects, version
from cinder.common import config
from oslo_config import cfg
cfg.CONF(["--config-file", "/etc/cinder/cinder.conf"], project="cinder", version=version.version_string())
objects.register_all()
everybody = context.get_admin_context()
"""
RECORDS = """
now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
for host, binary in (
    ("old", "cinder-scheduler"), ("old@nfs-1", "cinder-volume"), ("old@lvm", "cinder-volume"), ("old", "cinder-backup"),
    ("older@nfs-1", "cinder-volume"), ("rbd:volumes@rbd-1", "cinder-volume"), ("new", "cinder-scheduler"),
):
    service = objects.Service(everybody, host=host, binary=binary, topic=binary)
    service.create()
    service.updated_at = now - datetime.timedelta(hours=1)
    service.save()
for host in ("old@nfs-1#nfs-1", "older@nfs-1#nfs-1"):
    objects.Volume(everybody, host=host, size=1, user_id="u", project_id="p", status="available", display_name=host, volume_type_id=sys.argv[1]).create()
"""
TYPE = """
from cinder.volume import volume_types
print(volume_types.get_default_volume_type()["id"])
"""
LIST = """
print(*sorted(f"{one.host}:{one.binary}" for one in objects.ServiceList.get_all(everybody)))
"""
HAND_OVER = ["cinder-manage", "volume", "update_host", "--currenthost", "old@nfs-1#nfs-1", "--newhost", "new@nfs-1#nfs-1"]  # fmt: skip


def test_it_is_forgotten_once_no_volume_is_with_it(docker_client: docker.DockerClient) -> None:
    folder = golden.HERE / "volumes" / "site"
    inventory = (folder / "inventory.yml").read_text()
    inventory += '\nleft:\n  old: {since: "2026-11-27", groups: [control, storage]}\n'
    made = render(golden.load(folder, {"inventory.yml": inventory.encode()}), "aio", "0" * 40)
    program = next(file.content for file in made.files if file.path == "cinder-leave-old/cinder-leave")
    with containers.idle(docker_client, "cinder-api") as running:

        def done(*words: str) -> str:
            code, said = containers.run(running, *words)
            assert code == 0, said[-2000:]
            return said

        containers.put(running, "/etc/cinder/cinder.conf", CONF)
        done("cinder-manage", "--config-file", "/etc/cinder/cinder.conf", "db", "sync")
        code, kind = python(running, BEGIN + TYPE)
        assert code == 0, kind
        code, said = python(running, BEGIN + RECORDS, kind.split()[-1])
        assert code == 0, said

        def known() -> list[str]:
            return python(running, BEGIN + LIST)[1].splitlines()[-1].split()

        everything = known()
        assert len(everything) == 7
        code, said = python(running, program)
        assert code == 1 and "error: 1 volumes are with old@nfs-1 still: " in said and "update_host" in said, said
        assert known() == everything, "nothing was changed"
        done(*HAND_OVER)
        code, said = python(running, program)
        assert code == 0 and "cinder-volume on old@lvm is forgotten." in said, said
        assert known() == ["new:cinder-scheduler", "older@nfs-1:cinder-volume", "rbd:volumes@rbd-1:cinder-volume"]
        code, said = python(running, program)
        assert code == 0 and "Cinder does not know old." in said and "forgotten" not in said, said
