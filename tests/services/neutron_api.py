"""Run in a container of Neutron's server: a genuine Neutron with its database in a file, in front of which somebody stands who lets everybody in.

`containers.serve(container, "neutron_api")` makes the database, and records of agents: `old` has two, of which one has
a network, `older` and `new` one each. With configuration files of a site as arguments it is that site's server, and the
agents are those that report to it.
"""

import datetime
import os
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path

from tests.services import lets_in

SETTINGS = f"""\
[DEFAULT]
bind_host = 127.0.0.1
bind_port = 9696
api_workers = 1
rpc_workers = {{workers}}
rpc_state_report_workers = 0
auth_strategy = noauth
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
state_path = /tmp
log_dir =
use_stderr = true
[oslo_concurrency]
lock_path = /tmp
[database]
connection = sqlite:////tmp/neutron.db?timeout=60
[keystone_authtoken]{lets_in.settings("neutron")}
"""
# Of a server that has no site, and no agents that speak with it.
ALONE = """\
[DEFAULT]
core_plugin = ml2
service_plugins =
transport_url = fake:/
agent_down_time = 60
[ml2]
type_drivers = local
tenant_network_types = local
mechanism_drivers =
"""
AGENTS = (
    ("old", "neutron-dhcp-agent", -600),
    ("old", "neutron-l3-agent", -600),
    ("older", "neutron-dhcp-agent", -600),
    ("new", "neutron-dhcp-agent", 3600),
)


class Keystone(lets_in.Keystone):
    urls = {"network": "http://127.0.0.1:9696"}


def database(agents: Iterable[tuple[str, str, int]]) -> None:
    """All tables at once, and agents: host, program, and how many seconds from now it was seen."""
    import sqlalchemy  # type: ignore[import-not-found,unused-ignore]
    from neutron.db.migration.models import head  # type: ignore[import-not-found]

    engine = sqlalchemy.create_engine("sqlite:////tmp/neutron.db")
    tables = head.get_metadata()
    tables.create_all(engine)
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    with engine.begin() as connection:
        for host, binary, seen in agents:
            seen_at = now + datetime.timedelta(seconds=seen)
            connection.execute(
                tables.tables["agents"].insert().values(
                    id=str(uuid.uuid4()), agent_type=binary, binary=binary, topic=binary, host=host, admin_state_up=True, created_at=seen_at,
                    started_at=seen_at, heartbeat_timestamp=seen_at, configurations="{}", load=0,
                )
            )  # fmt: skip


if __name__ == "__main__":
    site = sys.argv[1:]
    first, last = Path("/tmp/alone.conf"), Path("/etc/neutron/neutron.conf")
    if not site:
        first.write_text(ALONE)
    last.write_text(SETTINGS.format(workers=1 if site else 0))
    lets_in.begin(Keystone)
    if (child := os.fork()) == 0:
        database(agents=() if site else AGENTS)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    files = [f"--config-file={file}" for file in (*(site or [str(first)]), str(last))]
    os.execvp("neutron-server", ["neutron-server", *files])
