"""A change to a cloud of 42 hosts, made of desired states, for tests of what a reviewer sees.

python -m tests.review.sample DIR     writes note.md, plan.html and plan.json there
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.document.yaml import Place
from reconciler.errors import Problem
from reconciler.model import (
    Container,
    Desired,
    Difference,
    File,
    Interruption,
    Job,
    Order,
    Plan,
    Registrar,
    Registration,
)
from reconciler.plan import preview
from reconciler.render import stand_in
from reconciler.review import Review, as_json, claims, note, page
from reconciler.review.grouping import Collector, join
from reconciler.review.shape import readable
from reconciler.rollout import policy
from reconciler.site import Host

REGISTRY = "quay.io/openstack.kolla"
CONTROLLERS = tuple(f"ctl{number}" for number in range(1, 4))
COMPUTES = tuple(f"cmp{number}" for number in range(1, 40))
HOSTS = CONTROLLERS + COMPUTES
GROUPS = {"control": CONTROLLERS, "compute": COMPUTES}
BUDGETS = {
    "mariadb": policy.Budget("mariadb", 1, CONTROLLERS),
    "nova_libvirt": policy.Budget("nova_libvirt", 3, COMPUTES),
}
# As it is when reconciler.yml says nothing.
ROLLOUT = {
    "waves": [
        {"name": "canaries", "hosts": [{"group": "compute", "first": 1}, {"group": "control", "last": 1}], "at_once": 1, "in_order": False},
        {"name": "controllers", "hosts": [{"group": "control"}], "at_once": 1, "in_order": False},
    ],
    "rest": "10%", "bake": 60, "deadline": 1800, "tolerate": 0, "max_absent": "5%",
}  # fmt: skip
BASE, HEAD = "3f9c2d1a77b04e5586aa01c4ddf03b9b7f2e6a10", "b81e07d54c1f9a3e62d0b7a8c5f4e3d2c1b0a998"


def host(name: str) -> Host:
    """A host of the sample as the inventory has it."""
    number = HOSTS.index(name) + 11
    addresses = {"network": f"10.0.0.{number}", "api": f"10.0.0.{number}", "tunnel": f"10.0.1.{number}"}
    return Host(name, addresses, {"network": "bond0"}, ("all",), {"hostname": name}, Place("inventory.yml"))


def container(name: str, image: str, service: str, tag: str = "2025.1", **more: Any) -> Container:
    values = {"kolla": True, "config_directory": name.replace("_", "-"), "service": service, **more}
    return Container(name=name, image=f"{REGISTRY}/{image}:{tag}", **values)  # type: ignore[arg-type]


def file(owner: Container, name: str, content: str, **more: Any) -> File:
    path = f"{owner.config_directory}/{name}"
    return File(path=path, content=content, container=owner.name, service=owner.service, **more)  # type: ignore[arg-type]


def before(name: str) -> Desired:
    """What a host is before the change."""
    return _controller(name, after=False) if name in CONTROLLERS else _compute(name, after=False)


def after(name: str) -> Desired:
    """What it is afterwards."""
    return _controller(name, after=True) if name in CONTROLLERS else _compute(name, after=True)


def _controller(name: str, *, after: bool) -> Desired:
    address = host(name).addresses["api"]
    keystone = container("keystone", "keystone", "keystone", "2025.1.1" if after else "2025.1", depends_on=("mariadb",))
    mariadb = container("mariadb", "mariadb-server", "mariadb", stateful=True, rollback="never")
    memcached = container("memcached", "memcached", "memcached")
    glance = container("glance_api", "glance-api", "glance")
    files = [
        file(keystone, "keystone.conf", _KEYSTONE.format(address=address), secrets=("keystone_database_password",)),
        file(glance, "glance-api.conf", _GLANCE.format(address=address), secrets=("glance_database_password",)),
        file(mariadb, "galera.cnf", _GALERA.format(address=address, connections=20000 if after else 10000)),
    ]
    job = Job(
        name="keystone_db_sync",
        container=replace(keystone, name="keystone_db_sync", config_directory=""),
        inputs="2" if after else "1",
        before=("keystone",),
        after=("mariadb",),
        service="keystone",
        owner="ctl1",
        migration=True,
    )
    user = Registration("mariadb", "user", "memcache_stats", {"plugin": "native"}, "memcached", "ctl1")
    return Desired(
        site="cloud",
        host=name,
        revision=HEAD if after else BASE,
        config_root="/etc/kolla",
        containers=(glance, keystone, mariadb) if after else (glance, keystone, mariadb, memcached),
        files=tuple(files),
        jobs=(job,),
        registrations=() if after or name != "ctl1" else (user,),
        registrars=(Registrar("mariadb", {}, ("mariadb",)),),
        orders=(Order("mariadb", at_once=1, ready=("mariadb_cluster",), groups=("control",)),),
        secrets={"glance_database_password": "2" * 64 if after else "1" * 64, "keystone_database_password": "3" * 64},
    )


def _compute(name: str, *, after: bool) -> Desired:
    addresses = host(name).addresses
    nova = container("nova_compute", "nova-compute", "nova")
    libvirt = container("nova_libvirt", "nova-libvirt", "nova", data_plane=True, privileged=True)
    agent = container("neutron_openvswitch_agent", "neutron-openvswitch-agent", "neutron", data_plane=True)
    if after and name in ("cmp38", "cmp39"):
        libvirt = replace(libvirt, environment={"LIBVIRT_DEBUG": "1"})
    ratio = "4.0" if after else "2.0"
    files = [
        file(nova, "nova.conf", _NOVA.format(ratio=ratio, **addresses), secrets=("nova_keystone_password",)),
        file(agent, "openvswitch_agent.ini", _AGENT.format(l2="true" if after else "false", **addresses)),
    ]
    return Desired(
        site="cloud",
        host=name,
        revision=HEAD if after else BASE,
        config_root="/etc/kolla",
        containers=(agent, nova, libvirt),
        files=tuple(files),
        orders=(Order("nova_libvirt", at_once=3, groups=("compute",)),),
        secrets={"nova_keystone_password": "5" * 64},
    )


def review(change: Callable[[str], Desired] = after) -> Review:
    """The sample's review; `change` gives what a host should become."""
    collector, found = Collector(), []
    for name in HOSTS:
        plan = planned(name, change)
        collector.add(host(name), plan)
        found.append(claims.of(change(name), plan, BUDGETS))
    return Review(
        site="cloud",
        base=BASE[:12],
        head=HEAD[:12],
        hosts=HOSTS,
        groups=join([collector.rows], {name: number for number, name in enumerate(HOSTS)}),
        rollout=policy.of(ROLLOUT, HOSTS, GROUPS, BUDGETS),
        claims=claims.merged(found),
        rotated={"glance_database_password": CONTROLLERS},
        policy=(Difference("prune.max", "10", "5"),),
        measured={
            "ctl1": {"keystone": Interruption(9.2, 3), "mariadb": Interruption(31.0, 1)},
            "ctl2": {"keystone": Interruption(8.6, 2)},
        },
        backends={"keystone": ("ctl1", "ctl2", "ctl3"), "glance_api": ("ctl1", "ctl2", "ctl3", "ctl4")},
        warnings=(Problem("globals.yml", 12, 1, "'enable_memcached' is about to be renamed", "", "warning"),),
    )


def planned(name: str, change: Callable[[str], Desired] = after) -> Plan:
    """The plan of one host."""
    old, new = before(name), change(name)
    return readable(preview(old, new, bind=stand_in), old, new)


_KEYSTONE = """\
[DEFAULT]
debug = False
[database]
connection = mysql+pymysql://keystone:<<secret:keystone_database_password>>@{address}:3306/keystone
"""
_GLANCE = """\
[DEFAULT]
bind_host = {address}
[database]
connection = mysql+pymysql://glance:<<secret:glance_database_password>>@10.0.0.250:3306/glance
"""
_GALERA = """\
[mysqld]
bind-address={address}
datadir=/var/lib/mysql/
max_connections={connections}
innodb_buffer_pool_size=8192M
"""
_NOVA = """\
[DEFAULT]
my_ip = {api}
cpu_allocation_ratio = {ratio}
ram_allocation_ratio = 1.0
[keystone_authtoken]
password = <<secret:nova_keystone_password>>
"""
_AGENT = """\
[ovs]
local_ip = {tunnel}
[agent]
tunnel_types = vxlan
l2_population = {l2}
arp_responder = {l2}
"""


def main(folder: Path) -> None:
    """Write the sample's views."""
    found = review()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "note.md").write_text(note(found))
    (folder / "plan.html").write_text(page(found))
    (folder / "plan.json").write_text(json.dumps(as_json(found), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
