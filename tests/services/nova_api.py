"""Run in a container of Nova's API: a genuine Nova with databases in files, in front of which somebody stands who lets everybody in.

`containers.serve(container, "nova_api")` makes the databases, and records of hosts: `old` does not report any more and has an
instance, `new` does both.
"""

import datetime
import os
import subprocess
import sys
from pathlib import Path

from tests.services import lets_in

SETTINGS = f"""\
[DEFAULT]
transport_url = fake://
state_path = /tmp
compute_driver = fake.FakeDriver
[api]
auth_strategy = noauth2
[database]
connection = sqlite:////tmp/cell.db
[api_database]
connection = sqlite:////tmp/api.db
[oslo_concurrency]
lock_path = /tmp
[oslo_policy]
policy_file = /tmp/policy.yaml
[service_user]{lets_in.settings("nova")}"""


class Keystone(lets_in.Keystone):
    urls = {"compute": "http://127.0.0.1:8774/v2.1"}


def databases() -> None:
    """Nova's, of one cell."""
    for words in (
        ["api_db", "sync"],
        ["cell_v2", "map_cell0", "--database_connection", "sqlite:////tmp/cell0.db"],
        ["db", "sync"],
        [
            "cell_v2",
            "create_cell",
            "--name",
            "c",
            "--database_connection",
            "sqlite:////tmp/cell.db",
            "--transport-url",
            "fake://",
        ],
    ):
        subprocess.run(["nova-manage", *words], check=True, capture_output=True)


def records() -> None:
    """What two hosts left in them."""
    from nova import config, context, objects  # type: ignore[import-not-found]

    config.parse_args(["nova-api"])
    objects.register_all()
    everybody = context.get_admin_context()
    cell = next(one for one in objects.CellMappingList.get_all(everybody) if not one.is_cell0())
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    with context.target_cell(everybody, cell) as inside:
        for host, binary, seen in (
            ("old", "nova-compute", 600),
            ("old", "nova-conductor", 600),
            ("new", "nova-compute", -3600),
        ):
            service = objects.Service(inside, binary=binary, host=host, topic=binary, report_count=1, disabled=False)
            service.create()
            service.last_seen_up = now - datetime.timedelta(seconds=seen)
            service.save()
        for host in ("old", "new"):
            instance = objects.Instance(
                inside, user_id="admin", project_id="admin", host=host, display_name=f"on-{host}", vm_state="active"
            )
            instance.flavor = objects.Flavor(
                name="f",
                memory_mb=1,
                vcpus=1,
                root_gb=0,
                ephemeral_gb=0,
                flavorid="f",
                swap=0,
                rxtx_factor=1.0,
                vcpu_weight=1,
                disabled=False,
                is_public=True,
                extra_specs={},
            )
            instance.create()
            objects.InstanceMapping(
                everybody,
                instance_uuid=instance.uuid,
                cell_mapping=cell,
                project_id="admin",
                user_id="admin",
                queued_for_delete=False,
            ).create()
    for host in ("old", "new"):
        objects.HostMapping(everybody, host=host, cell_mapping=cell).create()


# Nova changes how Python waits, so it comes before whatever waits, in a process of its own.
SERVE = """\
from nova import monkey_patch
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

sys.argv = ["nova-api"]
from nova.wsgi.osapi_compute import application
make_server("127.0.0.1", 8774, application, server_class=Server).serve_forever()
"""


if __name__ == "__main__":
    Path("/etc/nova/nova.conf").write_text(SETTINGS)
    Path("/tmp/policy.yaml").write_text('"context_is_admin": "@"\n')
    lets_in.begin(Keystone)
    databases()
    if (child := os.fork()) == 0:  # Nova reads its settings once in a process
        records()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os.execv(sys.executable, [sys.executable, "-c", SERVE])
