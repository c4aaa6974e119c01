"""A rule of a security group as one line of text, and as Neutron has it: `[ipv6 ]PROTOCOL[ PORT[-PORT]][ from CIDR]`. Pure."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Final

_RULE: Final = re.compile(
    r"(?P<ipv6>ipv6 )?(?P<protocol>[a-z][a-z0-9-]*|[0-9]{1,3})(?: (?P<low>[0-9]{1,5})(?:-(?P<high>[0-9]{1,5}))?)?(?: from (?P<cidr>\S+))?"
)
_WITH_PORTS: Final = ("tcp", "udp", "sctp", "dccp", "udplite")
_SAME: Final = {"ipv6-icmp": "icmp", "icmpv6": "icmp"}  # how Neutron may spell it, and some of its clients


def spelled(rule: str) -> str:
    """A rule in its one spelling. Raises ValueError, which says what is wrong with it."""
    match = _RULE.fullmatch(" ".join(rule.lower().split()))
    if match is None:
        raise ValueError(f"{rule[:60]!r} is no rule, such as `tcp 22` or `udp 5000-5010 from 10.0.0.0/8`")
    protocol, ports = _SAME.get(match["protocol"], match["protocol"]), ""
    ipv6 = bool(match["ipv6"]) or match["protocol"] in _SAME
    if match["low"]:
        low, high = int(match["low"]), int(match["high"] or match["low"])
        if protocol not in _WITH_PORTS or not 1 <= low <= high <= 65535:
            raise ValueError(f"{rule[:60]!r} has ports that there are not")
        ports = f" {low}" if low == high else f" {low}-{high}"
    source = ""
    if match["cidr"]:
        try:
            network = ipaddress.ip_network(match["cidr"])
        except ValueError as error:
            raise ValueError(f"{rule[:60]!r}: {error}") from None
        if match["ipv6"] and network.version == 4:
            raise ValueError(f"{rule[:60]!r} is of IPv6 and lets in addresses of IPv4")
        ipv6 = network.version == 6
        source = f" from {network}" if network.prefixlen else ""
    return f"{'ipv6 ' if ipv6 else ''}{protocol}{ports}{source}"


def body(rule: str) -> dict[str, Any]:
    """A rule in its one spelling as Neutron takes it."""
    match = _RULE.fullmatch(rule)
    assert match is not None, rule
    protocol = match["protocol"]
    if match["ipv6"] and protocol == "icmp":
        protocol = "ipv6-icmp"
    return {
        "direction": "ingress",
        "ethertype": "IPv6" if match["ipv6"] else "IPv4",
        "protocol": None if protocol == "any" else protocol,
        "port_range_min": int(match["low"]) if match["low"] else None,
        "port_range_max": int(match["high"] or match["low"]) if match["low"] else None,
        "remote_ip_prefix": match["cidr"],
    }


def of(item: Mapping[str, Any]) -> str:
    """A rule that Neutron has; one that these words cannot say is told by what is in it, and is so no rule that is wanted."""
    protocol = str(item.get("protocol") or "any")
    low, high = item.get("port_range_min"), item.get("port_range_max")
    ports = "" if low is None and high is None else f" {low}" if low == high else f" {low}-{high}"
    source = f" from {item['remote_ip_prefix']}" if item.get("remote_ip_prefix") else ""
    group = item.get("remote_group_id") or item.get("remote_address_group_id")
    text = f"{'ipv6 ' if item.get('ethertype') == 'IPv6' else ''}{protocol}{ports}{source}"
    if group:
        return f"{text} from the group {group}"
    try:
        return spelled(text)
    except ValueError:
        return text
