"""Run in a container of Neutron's server: a genuine Neutron with its database in a file, in front of which somebody stands who lets everybody in.

`containers.serve(container, "neutron_api")` makes the database, and records of agents: `old` has two, of which one has
a network, `older` and `new` one each.
"""

import datetime
import os
import uuid
from pathlib import Path

from tests.services import lets_in

SETTINGS = f"""\
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
[keystone_authtoken]{lets_in.settings("neutron")}
[ml2]
type_drivers = local
tenant_network_types = local
mechanism_drivers =
"""


class Keystone(lets_in.Keystone):
    urls = {"network": "http://127.0.0.1:9696"}


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
    lets_in.begin(Keystone)
    if (child := os.fork()) == 0:
        database()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os.execvp("neutron-server", ["neutron-server", "--config-file", "/etc/neutron/neutron.conf"])
