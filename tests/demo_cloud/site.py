"""The site of the whole cloud: what `reconciler init` makes, with more services and the size of this machine."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.support.paths import CHECKOUT

ADDRESS, VIP = "127.0.0.71", "127.0.0.72"
HOST, NAME = "ctl1", "whole"
GROUPS = ("control", "network", "compute", "storage", "monitoring")
FACTS = "facts: {processor_vcpus: 2, memtotal_mb: 8000, distribution: Debian}"
CONTAINERS = (
    "cron", "haproxy", "memcached", "mariadb", "mariadb_clustercheck", "rabbitmq",
    "keystone", "keystone_fernet", "keystone_ssh", "glance_api", "placement_api",
    "nova_api", "nova_metadata", "nova_scheduler", "nova_conductor", "nova_novncproxy", "nova_compute",
    "openvswitch_db", "openvswitch_vswitchd",
    "neutron_server", "neutron_openvswitch_agent", "neutron_dhcp_agent", "neutron_l3_agent", "neutron_metadata_agent",
    "heat_api", "heat_api_cfn", "heat_engine", "horizon",
    "cinder_api", "cinder_scheduler", "cinder_volume",
    "barbican_api", "barbican_keystone_listener", "barbican_worker",
)  # fmt: skip
VOLUMES = (
    "barbican", "cinder", "cinder_share", "glance", "haproxy_socket", "keystone_fernet_tokens", "kolla_logs", "letsencrypt_certificates",
    "libvirtd", "mariadb", "netns_run", "neutron_metadata_socket", "nova_compute", "openvswitch_db", "openvswitch_run", "rabbitmq",
)  # fmt: skip
MADE = "of-a-commit"  # what the commit makes in the cloud goes by this name
# The share of the volumes is a folder of this machine, mounted where cinder would mount it.
SHARE = f"{ADDRESS}:/volumes"
_MOUNTED = f"/var/lib/cinder/mnt/{hashlib.md5(SHARE.encode(), usedforsecurity=False).hexdigest()}"
GLOBALS = """
enable_cinder: true
enable_cinder_backend_nfs: true
enable_cinder_backup: false
enable_barbican: true

# One node, whose virtual address is a second loopback address: nothing has to be moved.
enable_keepalived: false
# Images that cannot be built from Debian's archive and PyPI.
enable_proxysql: false
enable_fluentd: false

# Instances are records of nova's fake driver, which starts nothing: there is no libvirt to ask and nobody to log in as.
enable_nova_libvirt_container: false
enable_nova_ssh: false
nova_libvirt_volume: libvirtd
nova_instance_datadir_volume: nova_compute
enable_shared_var_lib_nova_mnt: false
nova_discover_hosts_interval: 10

# Networks stay on this host: a loopback address carries no tunnel.
neutron_type_drivers: local,flat,vlan,vxlan
neutron_tenant_network_types: local

# What this machine asks for: it grants fewer open files than Kolla's default, and one worker each is enough.
default_container_dimensions: {{}}
haproxy_max_connections: 2000
openstack_service_workers: 1
node_config_directory: {config_root}
"""
# The host's consent, in its own settings, to what the exporter of its own figures looks at: the default, and all of it.
CONSENT = 'base = "kolla"\nexact = ["/", "/run", "/etc/localtime", "/etc/timezone"]\n'
FILES = {
    # A switch without a kernel module or tunnels, and no packet filter in the host's network.
    "config/neutron/openvswitch_agent.ini": """\
[ovs]
datapath_type = netdev
bridge_mappings =

[agent]
tunnel_types =
l2_population = false

[securitygroup]
firewall_driver = noop
""",
    "config/nova/nova-compute.conf": "[DEFAULT]\ncompute_driver = fake.FakeDriver\n",
    "config/nfs_shares": f"{SHARE}\n",
    # What the commit makes in the cloud, and a file with the identifiers that the cloud gave: as a service for load balancers needs them.
    "services/of-a-commit/service.yml": f"""\
description: A flavor, a network and a security group that the commit asks for
registrations:
  nova: {{flavors: [{{name: {MADE}, vcpus: 1, ram: 64, disk: 1}}]}}
  neutron:
    networks: [{{name: {MADE}, network_type: local, subnets: [{{name: {MADE}, cidr: 203.0.113.0/24}}]}}]
    security_groups: [{{name: {MADE}, rules: [icmp, tcp 22, udp 5000-5010 from 203.0.113.0/24]}}]
""",
    "config/heat/heat_engine.conf": f"""\
[of_a_commit]
flavor = {{{{ id_of('nova:flavor:{MADE}') }}}}
network = {{{{ id_of('neutron:network:{MADE}') }}}}
subnet = {{{{ id_of('neutron:subnet:{MADE}/{MADE}') }}}}
security_group = {{{{ id_of('neutron:security_group:{MADE}') }}}}
""",
}
# What watches the cloud, and the stores that services coordinate by, come with a second commit.
WATCH = """
enable_etcd: true
enable_valkey: true
enable_prometheus: true
prometheus_scrape_interval: 10s
# Their images cannot be built from Debian's archive and PyPI.
enable_prometheus_cadvisor: false
enable_prometheus_memcached_exporter: false
enable_prometheus_openstack_exporter: false
# No hypervisor is here.
enable_prometheus_libvirt_exporter: false
"""
RULES = """\
groups:
  - name: demo
    rules:
      - alert: NobodyAnswers
        expr: up == 0
"""
WATCHING = (
    "etcd", "valkey_server", "valkey_sentinel", "prometheus_server", "prometheus_alertmanager", "prometheus_node_exporter",
    "prometheus_mysqld_exporter", "prometheus_blackbox_exporter",
)  # fmt: skip
# A test machine grants no container the whole host and may have no kernel modules, and what a container mounts stays its own.
# Of the services that ask for these the site has copies that ask for less: what the switch and the agents do is their own.
_ASKING = ("cinder", "neutron", "nova", "nova-cell", "openvswitch")
_NETWORKING = ("neutron", "openvswitch")
# What the agents' helpers keep when they give up the rest.
_CAPABILITIES = ["DAC_READ_SEARCH", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"]
_BINDS = {
    "/lib/modules:/lib/modules:ro": None,
    "/run:/run:shared": None,
    "/dev:/dev": None,
    "/dev/:/dev/": None,
    "/run/openvswitch:/run/openvswitch:shared": "openvswitch_run:/run/openvswitch",
    "/run/netns:/run/netns:shared": "netns_run:/run/netns",
    "/:/host:ro,rslave": "/:/host:ro",
}
# The image loads the kernel's module before the switch starts; its userspace datapath needs none.
_NO_MODULE = {
    "name": "extend-start.sh",
    "content": "touch /var/log/kolla/openvswitch/ovs-vswitchd.log\n",
    "format": "text",
    "destination": "/usr/local/bin/kolla_openvswitch_extend_start",
    "owner": "root",
    "perm": "0644",
}


def init(public_key: Path) -> tuple[str, ...]:
    """How an operator makes the site, less the folder; the key opens its passwords."""
    return (
        "init", "--yes", "--name", NAME, "--host", f"{HOST}={ADDRESS},{','.join(GROUPS)}", "--vip", VIP, "--interface", "lo",
        "--host-key", f"{HOST}={public_key}", "--no-age-key",
    )  # fmt: skip


def complete(folder: Path, config_root: Path) -> None:
    """Fit a site that `reconciler init` made in `folder` to this machine.

    Raises ValueError when the catalogue or what `init` writes no longer has what is changed here.
    """
    edit(
        folder / "inventory.yml",
        "    # facts: {processor_vcpus: 8, memtotal_mb: 32000, distribution: Debian}",
        f"    {FACTS}",
    )
    path = folder / "globals.yml"
    path.write_text(path.read_text() + GLOBALS.format(config_root=config_root))
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    for service in _ASKING:
        _copied(folder, service)


def watched(folder: Path) -> None:
    """Add what watches the cloud."""
    path = folder / "globals.yml"
    path.write_text(path.read_text() + WATCH)
    rules = folder / "config/prometheus/demo.rules"
    rules.parent.mkdir(parents=True)
    rules.write_text(RULES)
    _copied(folder, "prometheus")


def _copied(folder: Path, service: str) -> None:
    """A copy of a service of the catalogue that asks for less."""
    own = folder / "services" / service
    shutil.copytree(CHECKOUT / "services" / service, own)
    definition = modest(yaml.safe_load((own / "service.yml").read_text()), service in _NETWORKING)
    (own / "service.yml").write_text(yaml.safe_dump(definition, sort_keys=False))


def modest(definition: Any, networking: bool) -> Any:
    """A service.yml whose containers ask for no more than a test machine grants. Raises ValueError when none asked for more."""
    before = yaml.safe_dump(definition)
    # Kernel settings and modules of a machine are not for it to set; what stands in the switch's own database is.
    asked = definition.pop("host", {})
    if "open_vswitch" in asked:
        definition["host"] = {"open_vswitch": asked["open_vswitch"]}
    for container in [definition.get("defaults", {}).get("containers", {}), *definition["containers"].values()]:
        if isinstance(volumes := container.get("volumes"), list):
            container["volumes"] = [found for v in volumes if (found := _BINDS.get(v, v))]
        if container.pop("privileged", False) and networking:
            container |= {"cap_add": [*_CAPABILITIES], "devices": ["/dev/net/tun"]}
    if yaml.safe_dump(definition) == before:
        raise ValueError("a service that was to ask for something of the host no longer does")
    if volume := definition["containers"].get("cinder_volume"):
        volume["volumes"].append(f"cinder_share:{_MOUNTED}")
        volume["cap_add"] = ["SYS_ADMIN"]
    if switch := definition["containers"].get("openvswitch_vswitchd"):
        switch["files"] = [_NO_MODULE]
    return definition


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that is in a file. Raises ValueError when it is not."""
    content = path.read_text()
    if old not in content:
        raise ValueError(f"{path.name} has no {old!r}")
    path.write_text(content.replace(old, new, 1))
