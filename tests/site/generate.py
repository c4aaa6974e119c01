"""A realistic site of any size, for benchmarks and for tests that need many hosts.

python -m tests.site.generate 500 DIR    writes it below DIR
python -m tests.site.generate 500        reads and validates it, and prints how long that took
"""

import sys
import time
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
    racks = [names[start : start + HOSTS_PER_RACK] for start in range(0, hosts, HOSTS_PER_RACK)]
    files = {"inventory.yml": _inventory(racks, controllers).encode(), "globals.yml": _GLOBALS.encode()}
    for number in range(len(racks)):
        files[f"groups/rack{number + 1:02}.yml"] = f"site_rack: {number + 1}\nsite_gateway: 10.{number}.0.1\n".encode()
    for number in range(_rows(racks)):
        files[f"groups/row{number + 1}.yml"] = f"site_row: {number + 1}\nopenstack_logging_debug: 'no'\n".encode()
    for number, name in enumerate(names):
        files[f"hosts/{name}.yml"] = _host(name, number).encode()
    for name in names[:controllers]:
        files[f"config/mariadb/{name}/galera.cnf"] = b"[mysqld]\nmax_connections = 20000\n"
    files["config/galera.cnf"] = b"[mysqld]\nwsrep_slave_threads = {{ openstack_service_workers }}\n"
    files["reconciler.yml"] = b"drift: {mode: heal, services: {rabbitmq: report}}\n"
    files["README.md"] = b"# A generated site\n"
    return files


def _rows(racks: list[list[str]]) -> int:
    return -(-len(racks) // RACKS_PER_ROW)


def _inventory(racks: list[list[str]], controllers: int) -> str:
    lines = ["hosts:"]
    for number, rack in enumerate(racks):
        for position, name in enumerate(rack):
            control = number == 0 and position < controllers
            groups = "control, network, monitoring" if control else "compute"
            lines += [
                f"  {name}:",
                "    addresses:",
                f"      network: 10.{number}.0.{position + 11}",
                f"      tunnel: 10.{number}.1.{position + 11}",
                "    interfaces: {network: bond0, tunnel: bond1}",
                f"    groups: [{groups}, rack{number + 1:02}]",
                f"    facts: {{hostname: {name}, processor_vcpus: {16 if control else 64}, distribution: Debian}}",
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

    files = make_site(int(arguments[0]))
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
