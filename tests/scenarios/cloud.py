"""A control plane of genuine Kolla containers on one machine, on loopback addresses."""

from tests.support.lab import ADDRESS, HOST, SITE, VIP, Lab

INVENTORY = f"""\
hosts:
  {HOST}:
    addresses: {{network: {ADDRESS}}}
    groups: [control, network]
    facts: {{processor_vcpus: 2, memtotal_mb: 8000, distribution: Debian}}
"""

GLOBALS = """\
# One node, whose virtual address is a second loopback address: nothing has to be moved.
kolla_base_distro: debian
kolla_internal_vip_address: {VIP}
enable_keepalived: false
enable_openstack_core: false
enable_keystone: true
enable_glance: false
enable_proxysql: false
enable_fluentd: false

# The machine grants fewer open files than Kolla's default asks for.
default_container_dimensions: {{}}
haproxy_max_connections: 2000

node_config_directory: {config_root}
"""


def first(lab: Lab, *operators: str) -> None:
    """Write the site into the lab's work tree, with fresh passwords that the node's own host key opens, and those of operators (public keys)."""
    node = " ".join(lab.host_key.with_suffix(".pub").read_text().split()[:2])
    lab.write(
        {
            "inventory.yml": INVENTORY,
            "globals.yml": GLOBALS.format(VIP=VIP, config_root=lab.config_root),
            "reconciler.yml": f"name: {SITE}\n",
            ".sops.yaml": f"creation_rules:\n  - age: {','.join((node, *operators))}\n",
        }
    )
    lab.run("secrets", "generate", str(lab.site), timeout=120)
