"""Run in a container of Neutron's server: a genuine Neutron with its database in a file, in front of which somebody stands who lets everybody in.

python3 neutron_api.py          makes the database, and records of agents: `old` has two, of which one has a network, `older` and `new` one each
"""

import datetime
import json
import os
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

SETTINGS = """\
[DEFAULT]
bind_host = 127.0.0.1
bind_port = 9696
core_plugin = ml2
service_plugins =
api_workers = 1
rpc_workers = 0
transport_url = fake:/
auth_strategy = noauth
agent_down_time = 60
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
state_path = /tmp
[oslo_concurrency]
lock_path = /tmp
[database]
connection = sqlite:////tmp/neutron.db?timeout=60
[keystone_authtoken]
auth_type = password
auth_url = http://127.0.0.1:5999/v3
username = neutron
password = none
project_name = service
user_domain_id = default
project_domain_id = default
[ml2]
type_drivers = local
tenant_network_types = local
mechanism_drivers =
"""


class Keystone(BaseHTTPRequestHandler):
    """Lets everybody in, and knows one service."""

    def _answer(self, code: int, body: object, **headers: str) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        links = [{"rel": "self", "href": "http://127.0.0.1:5999/v3/"}]
        self._answer(200, {"version": {"id": "v3.14", "status": "stable", "links": links}})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        domain = {"id": "default", "name": "Default"}
        url = "http://127.0.0.1:9696"
        endpoint = {"id": "e", "interface": "internal", "region": "RegionOne", "region_id": "RegionOne", "url": url}
        token = {
            "methods": ["password"], "user": {"id": "admin", "name": "neutron", "domain": domain},
            "project": {"id": "admin", "name": "service", "domain": domain}, "roles": [{"id": "a", "name": "admin"}],
            "issued_at": "2020-01-01T00:00:00.000000Z", "expires_at": "2099-01-01T00:00:00.000000Z",
            "catalog": [{"id": "s", "type": "network", "name": "neutron", "endpoints": [endpoint]}],
        }  # fmt: skip
        self._answer(201, {"token": token}, X_Subject_Token="any")

    def log_message(self, *words: object) -> None:
        pass


def database() -> None:
    """All tables at once, and agents."""
    import sqlalchemy  # type: ignore[import-not-found,unused-ignore]
    from neutron.db.migration.models import head  # type: ignore[import-not-found]

    engine = sqlalchemy.create_engine("sqlite:////tmp/neutron.db")
    tables = head.get_metadata()
    tables.create_all(engine)
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    with engine.begin() as connection:
        for host, binary, seen in (
            ("old", "neutron-dhcp-agent", -600),
            ("old", "neutron-l3-agent", -600),
            ("older", "neutron-dhcp-agent", -600),
            ("new", "neutron-dhcp-agent", 3600),
        ):
            seen_at = now + datetime.timedelta(seconds=seen)
            connection.execute(
                tables.tables["agents"].insert().values(
                    id=str(uuid.uuid4()), agent_type=binary, binary=binary, topic=binary, host=host, admin_state_up=True, created_at=seen_at,
                    started_at=seen_at, heartbeat_timestamp=seen_at, configurations="{}", load=0,
                )
            )  # fmt: skip


if __name__ == "__main__":
    Path("/etc/neutron/neutron.conf").write_text(SETTINGS)
    if os.fork() == 0:
        HTTPServer(("127.0.0.1", 5999), Keystone).serve_forever()
    if (child := os.fork()) == 0:
        database()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os.execvp("neutron-server", ["neutron-server", "--config-file", "/etc/neutron/neutron.conf"])
