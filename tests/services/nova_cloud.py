"""Run in containers that share a network of their own: a genuine Nova with two computes of its fake driver, genuine Placement and RabbitMQ between
them, and a genuine MariaDB. Somebody who lets everybody in stands for Keystone, and answers for Glance and Neutron.

`containers.serve(container, "nova_cloud", "placement")` is for Placement's image, and with "nova" for Nova's: that makes the
databases, then serves the API, conductor, scheduler and computes, each a process.
"""

import os
import subprocess
import sys
import uuid
from pathlib import Path

from tests.services import lets_in

IMAGE = "11111111-1111-1111-1111-111111111111"
IMAGE_IS = {
    "id": IMAGE, "name": "i", "status": "active", "size": 1, "min_disk": 0, "min_ram": 0, "disk_format": "raw", "container_format": "bare",
    "visibility": "public", "owner": "admin", "checksum": "c", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
    "tags": [], "protected": False, "virtual_size": None,
}  # fmt: skip
URLS = {
    "compute": "http://127.0.0.1:8774/v2.1",
    "placement": "http://127.0.0.1:8778",
    "network": f"http://127.0.0.1:{lets_in.PORT}/network",
    "image": f"http://127.0.0.1:{lets_in.PORT}/image",
}
AS_NOVA = lets_in.settings("nova")
COMMON = f"""\
[DEFAULT]
transport_url = rabbit://guest:guest@127.0.0.1:5672/
state_path = /tmp/NAME
host = NAME
log_file = /tmp/NAME.log
report_interval = 2
service_down_time = 20
compute_driver = fake.FakeLiveMigrateDriver
update_resources_interval = 5
reserved_host_memory_mb = 0
[upgrade_levels]
compute = auto
[api]
auth_strategy = noauth2
[quota]
ram = -1
[vnc]
enabled = false
[oslo_concurrency]
lock_path = /tmp/NAME
[oslo_policy]
policy_file = /tmp/policy.yaml
[glance]
api_servers = {URLS["image"]}
[conductor]
workers = 1
[scheduler]
workers = 1
[placement]{AS_NOVA}
[neutron]{AS_NOVA}endpoint_override = {URLS["network"]}
[service_user]{AS_NOVA}
"""
DATABASES = """
[database]
connection = mysql+pymysql://root@127.0.0.1/nova?charset=utf8
[api_database]
connection = mysql+pymysql://root@127.0.0.1/nova_api?charset=utf8
"""
PLACEMENT = """\
[api]
auth_strategy = noauth2
[placement_database]
connection = sqlite:////tmp/placement.db?timeout=60
sync_on_startup = true
"""
COMPUTES = ("cmp1", "cmp2")


class Standing(lets_in.Keystone):
    """Has one image besides, and no network at all."""

    urls = URLS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].rstrip("/")
        if path.endswith("/schemas/image"):
            self.answer(200, {"name": "image", "properties": {key: {} for key in IMAGE_IS}})
        elif path.startswith("/image"):
            self.answer(200, IMAGE_IS if path.endswith(IMAGE) else {"images": [IMAGE_IS]})
        elif path.startswith("/network"):
            self.answer(200, {path.rpartition("/")[2].replace("-", "_"): []})
        else:
            super().do_GET()


# Nova changes how Python waits, so it comes before whatever waits, in a process of its own.
SERVE = """\
from nova import monkey_patch
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

# Whom nobody asked for a password has no token, by which Nova would ask others in the caller's name.
from nova import context
begin = context.RequestContext.__init__
def beginning(self, *words, **more):
    begin(self, *words, **{**more, "auth_token": more.get("auth_token") or "admin:admin"})
context.RequestContext.__init__ = beginning

sys.argv = ["nova-api"]
from nova.wsgi.osapi_compute import application
make_server("127.0.0.1", 8774, application, server_class=Server).serve_forever()
"""
PLACE = """\
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server
from placement.wsgi.api import application

class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

make_server("127.0.0.1", 8778, application, server_class=Server).serve_forever()
"""


def placement() -> None:
    Path("/etc/placement").mkdir(exist_ok=True)
    Path("/etc/placement/placement.conf").write_text(PLACEMENT)
    os.execv(sys.executable, [sys.executable, "-c", PLACE])


def nova() -> None:
    Path("/tmp/policy.yaml").write_text('"context_is_admin": "@"\n')
    for name in ("api", "conductor", "scheduler", *COMPUTES):
        Path("/tmp", name).mkdir(exist_ok=True)
        own = COMMON.replace("NAME", name) + ("" if name in COMPUTES else DATABASES)
        Path(f"/tmp/{name}.conf").write_text(own)
    Path("/etc/nova/nova.conf").write_text(COMMON.replace("NAME", "api") + DATABASES)
    for name in COMPUTES:
        Path(f"/tmp/{name}/compute_id").write_text(str(uuid.uuid4()))
    lets_in.begin(Standing)
    for words in (
        ["api_db", "sync"],
        ["cell_v2", "map_cell0", "--database_connection", "mysql+pymysql://root@127.0.0.1/nova_cell0?charset=utf8"],
        ["db", "sync"],
        ["cell_v2", "create_cell", "--name", "c", "--database_connection", "mysql+pymysql://root@127.0.0.1/nova?charset=utf8", "--transport-url", "rabbit://guest:guest@127.0.0.1:5672/"],
    ):  # fmt: skip
        subprocess.run(["nova-manage", *words], check=True, capture_output=True)
    programs = {"conductor": "nova-conductor", "scheduler": "nova-scheduler", **dict.fromkeys(COMPUTES, "nova-compute")}
    for name, program in programs.items():
        started = subprocess.Popen([program, "--config-file", f"/tmp/{name}.conf"])
        Path(f"/tmp/{name}.pid").write_text(str(started.pid))
    os.execv(sys.executable, [sys.executable, "-c", SERVE])


if __name__ == "__main__":
    {"placement": placement, "nova": nova}[sys.argv[1]]()
