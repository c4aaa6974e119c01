"""Kolla's networks, and which one a network falls back on when a host declares no address for it."""

from collections.abc import Mapping
from typing import Final

# In the order in which they are filled in: each falls back on one before it. As Kolla's `<network>_interface` variables do.
FALLBACK: Final[Mapping[str, str]] = {
    "api": "network",
    "tunnel": "network",
    "storage": "network",
    "dns": "network",
    "bifrost_network": "network",
    "kolla_external_vip": "network",
    "migration": "api",
    "octavia_network": "api",
    "ironic_http": "api",
    "ironic_tftp": "api",
    "dpdk_tunnel": "tunnel",
}
NETWORKS: Final = ("network", *FALLBACK)
# Interfaces that carry no address of the host.
BARE_INTERFACES: Final = ("neutron_external",)


def with_fallbacks(addresses: Mapping[str, str]) -> dict[str, str]:
    """An address for every network that has or inherits one."""
    result = dict(addresses)
    for network, other in FALLBACK.items():
        if network not in result and other in result:
            result[network] = result[other]
    return result
