"""A realistic site of any size, for benchmarks and for tests that need many hosts.

python -m tests.site.generate 500 DIR    writes it below DIR
python -m tests.site.generate 500        reads and validates it, and prints how long that took

With a `+` after the number it is a whole cloud: every service that goes together.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

HOSTS_PER_RACK = 20
RACKS_PER_ROW = 5


def make_site(hosts: int) -> dict[str, bytes]:
    """Files of a site with that many hosts: up to three controllers, the rest computes, in racks and rows.

    Every host has a file of its own, every rack and row a group file, and some hosts config overrides. There are no
    passwords: those need a key.
    """
    controllers = min(3, max(1, hosts // 10))
    names = [f"ctl{number:02}" for number in range(1, controllers + 1)]
    names += [f"cmp{number:04}" for number in range(1, hosts - controllers + 1)]
    files = _site(names, dict.fromkeys(names[:controllers], "control, network, monitoring"), _GLOBALS)
    for name in names[:controllers]:
        files[f"config/mariadb/{name}/galera.cnf"] = b"[mysqld]\nmax_connections = 20000\n"
    files["config/galera.cnf"] = b"[mysqld]\nwsrep_slave_threads = {{ openstack_service_workers }}\n"
    return files


def make_cloud(hosts: int) -> dict[str, bytes]:
    """As `make_site`, of every service that goes together: three controllers, two network nodes, the rest computes."""
    roles = {f"ctl{number:02}": "control, monitoring, storage" for number in range(1, 4)}
    roles |= {f"net{number:02}": "network" for number in range(1, 3)}
    names = [*roles, *(f"cmp{number:04}" for number in range(1, hosts - len(roles) + 1))]
    files = _site(names, roles, _GLOBALS + _CLOUD)
    for number in range(1, 4):
        files[f"config/mariadb/ctl{number:02}/galera.cnf"] = b"[mysqld]\nmax_connections = 20000\n"
    files["config/nova.conf"] = (
        b"[DEFAULT]\ncpu_allocation_ratio = {{ 4 if inventory_hostname in groups['compute'] else 1 }}\n"
    )
    gpu = b"{% if site_gpu is defined %}\n[devices]\nenabled_mdev_types = {{ site_gpu }}\n{% endif %}\n"
    files["config/nova/nova-compute.conf"] = gpu
    for name in _BY_HAND:
        files[f"config/{name}"] = b"in its place\n"
    for name in names[7::40]:
        files[f"hosts/{name}.yml"] += b"site_gpu: nvidia-35\n"
    return files


def _site(names: Sequence[str], roles: Mapping[str, str], settings: str) -> dict[str, bytes]:
    """Inventory, globals, and a file for each host, rack and row; hosts without a role are computes."""
    racks = [names[start : start + HOSTS_PER_RACK] for start in range(0, len(names), HOSTS_PER_RACK)]
    files = {"inventory.yml": _inventory(racks, roles).encode(), "globals.yml": settings.encode()}
    for number in range(len(racks)):
        files[f"groups/rack{number + 1:02}.yml"] = f"site_rack: {number + 1}\nsite_gateway: 10.{number}.0.1\n".encode()
    for number in range(_rows(racks)):
        files[f"groups/row{number + 1}.yml"] = f"site_row: {number + 1}\nopenstack_logging_debug: 'no'\n".encode()
    for number, name in enumerate(names):
        files[f"hosts/{name}.yml"] = _host(name, number).encode()
    files["reconciler.yml"] = b"drift: {mode: heal, services: {rabbitmq: report}}\n"
    files["README.md"] = b"# A generated site\n"
    return files


def _rows(racks: Sequence[Sequence[str]]) -> int:
    return -(-len(racks) // RACKS_PER_ROW)


def _inventory(racks: Sequence[Sequence[str]], roles: Mapping[str, str]) -> str:
    lines = ["hosts:"]
    for number, rack in enumerate(racks):
        for position, name in enumerate(rack):
            groups = roles.get(name, "compute")
            lines += [
                f"  {name}:",
                "    addresses:",
                f"      network: 10.{number}.0.{position + 11}",
                f"      tunnel: 10.{number}.1.{position + 11}",
                "    interfaces: {network: bond0, tunnel: bond1}",
                f"    groups: [{groups}, rack{number + 1:02}]",
                f"    facts: {{hostname: {name}, processor_vcpus: {16 if name in roles else 64}, distribution: Debian}}",
            ]
    lines.append("groups:")
    for row in range(_rows(racks)):
        members = range(row * RACKS_PER_ROW, min((row + 1) * RACKS_PER_ROW, len(racks)))
        lines.append(f"  row{row + 1}: {{children: [{', '.join(f'rack{number + 1:02}' for number in members)}]}}")
    lines += [f"  rack{number + 1:02}: {{}}" for number in range(len(racks))]
    return "\n".join(lines) + "\n"


_GLOBALS = """\
# Kolla's spellings on purpose.
kolla_base_distro: debian
openstack_release: "2025.1"
kolla_internal_vip_address: 10.0.0.250
network_interface: bond0
enable_cron: "yes"
mariadb_max_connections: "10000"
openstack_region_name: RegionOne
site_contact: "{{ openstack_region_name }} operations"
"""


_BY_HAND = (
    *(f"octavia/{name}" for name in ("client.cert-and-key.pem", "client_ca.cert.pem", "server_ca.cert.pem", "server_ca.key.pem")),
    *(f"ironic/ironic-agent.{name}" for name in ("initramfs", "kernel")),
)  # fmt: skip
_CLOUD = """\
kolla_internal_fqdn: internal.cloud.example
kolla_external_vip_address: 203.0.113.250
kolla_external_fqdn: cloud.example
neutron_external_interface: bond3
enable_central_logging: "yes"
enable_fluentd: "yes"
enable_etcd: "yes"
enable_valkey: "yes"
enable_proxysql: "yes"
enable_mariabackup: "yes"
enable_barbican: "yes"
enable_cinder: "yes"
enable_cinder_backend_lvm: "yes"
enable_cinder_backup: "yes"
cinder_backup_driver: nfs
cinder_backup_share: nfs.cloud.example:/backup
enable_multipathd: "yes"
enable_heat: "yes"
enable_horizon: "yes"
enable_ironic: "yes"
enable_ironic_inspector: "yes"
ironic_dnsmasq_dhcp_ranges: [{range: "10.40.0.100,10.40.0.200", routers: 10.40.0.1}]
enable_neutron_dvr: "yes"
enable_neutron_provider_networks: "yes"
enable_neutron_qos: "yes"
enable_neutron_trunk: "yes"
enable_neutron_metering: "yes"
enable_nova_serialconsole_proxy: "yes"
enable_prometheus: "yes"
enable_grafana: "yes"
enable_octavia: "yes"
octavia_amp_flavor_id: 5b9c8d7a-1111-4222-8333-444455556666
octavia_amp_boot_network_list: 5b9c8d7a-1111-4222-8333-777788889999
octavia_amp_secgroup_list: 5b9c8d7a-1111-4222-8333-aaaabbbbcccc
enable_magnum: "yes"
enable_designate: "yes"
enable_manila: "yes"
enable_manila_backend_generic: "yes"
"""


def _host(name: str, number: int) -> str:
    return (
        f"# {name}\n"
        f"site_serial: S{number:06}\n"
        f"site_bmc: {{address: 10.250.{number // 250}.{number % 250 + 1}, model: r650}}\n"
        f"openstack_service_workers: {number % 8 + 1}\n"
        f'docker_log_max_size: "{50 + number % 3}m"\n'
    )


def main(arguments: list[str]) -> None:
    """Write a site, or time its validation."""
    from reconciler import catalogue, data, site

    hosts = int(arguments[0].removesuffix("+"))
    files = make_cloud(hosts) if arguments[0].endswith("+") else make_site(hosts)
    if len(arguments) > 1:
        for path, content in files.items():
            target = Path(arguments[1], path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return
    begin = time.perf_counter()
    shipped = catalogue.load(data.services(), "catalogue")
    middle = time.perf_counter()
    loaded = site.load(files, shipped)
    end = time.perf_counter()
    layers = sum(len(loaded.layers(host)) for host in loaded.hosts)
    last = time.perf_counter()
    print(
        f"catalogue {middle - begin:.3f} s, site of {len(loaded.hosts)} hosts ({len(files)} files) {end - middle:.3f} s"
    )
    print(f"{layers} layered values {last - end:.3f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
