"""The names that a host has without a variable: who it is, its groups and addresses, its facts, and all others. Called as Ansible calls them."""

from collections.abc import Mapping
from typing import Any

from reconciler.site import Host


def names(host: Host, groups: Mapping[str, Any], hostvars: Mapping[str, Any]) -> dict[str, Any]:
    """By name. `groups` and `hostvars` are those of all hosts."""
    facts = _facts(host)
    addresses, interfaces = dict(host.addresses), dict(host.interfaces)
    return {
        "inventory_hostname": host.name,
        "inventory_hostname_short": host.name.partition(".")[0],
        "groups": groups,
        "group_names": [group for group in host.groups if group != "all"],
        "hostvars": hostvars,
        "host": {"name": host.name, "addresses": addresses, "interfaces": interfaces, "groups": list(host.groups)},
        "addresses": addresses,
        "interfaces": interfaces,
        "ansible_facts": facts,
        "ansible_hostname": facts["hostname"],
    }


def _facts(host: Host) -> dict[str, Any]:
    """The declared facts, with what follows from them and from the inventory."""
    declared = dict(host.facts)
    distribution = str(declared.get("distribution", "Debian"))
    vcpus = declared.pop("vcpus", None)
    return {
        "hostname": host.hostname,
        "fqdn": host.fqdn,
        "nodename": host.nodename,
        "processor_vcpus": vcpus or 4,
        "os_family": "Debian" if distribution.lower() in ("debian", "ubuntu") else "RedHat",
        "distribution": distribution,
        "architecture": "x86_64",
        "service_mgr": "systemd",
        **declared,
    }
