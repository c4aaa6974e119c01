"""The inventory of the site: hosts with addresses and interfaces, groups. Pure."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.importer.types import Assigned, Missing, Source, Tree
from reconciler.importer.writing import scalar
from reconciler.site.networks import BARE_INTERFACES, FALLBACK, NETWORKS
from reconciler.text import printable

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
INTERFACES: Final[Mapping[str, str]] = {f"{network}_interface": network for network in (*NETWORKS, *BARE_INTERFACES)}
_REFERENCE: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_FACTS: Final = (
    "hostname", "nodename", "fqdn", "processor_vcpus", "memtotal_mb", "distribution", "distribution_release",
)  # fmt: skip
_TEXT_FACTS: Final = ("distribution_version", "distribution_major_version", "os_family", "architecture", "service_mgr")


@dataclass(slots=True)
class Node:
    """A host of the site. `missing` says what nobody told."""

    name: str
    addresses: dict[str, str] = field(default_factory=dict)
    interfaces: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    assumed: str = ""  # the variable that the address was taken from, for want of facts


def effective(source: Source, host: str) -> dict[str, Assigned]:
    """Every variable that kolla-ansible's run would see on a host: globals beat the host's own, and those its groups'."""
    result: dict[str, Assigned] = {}
    for group in _groups_of(source.tree, host):
        if group in source.tree.groups:
            result |= {said.name: said for said in source.tree.groups[group].variables}
        for file in source.groups.get(group, ()):
            result |= {said.name: said for said in file.variables}
    result |= {said.name: said for said in source.tree.hosts[host].variables}
    for file in (*source.hosts.get(host, ()), *source.globals):
        result |= {said.name: said for said in file.variables}
    return result


def _groups_of(tree: Tree, host: str) -> list[str]:
    """As Ansible orders them: `all`, then by depth, on one level by name."""
    depth = dict.fromkeys(tree.groups, 0)
    for _ in tree.groups:  # a chain is at most that long
        deeper = {child: depth[name] + 1 for name, group in tree.groups.items() for child in group.children
                  if child in depth and depth[name] < len(depth) and depth[child] <= depth[name]}  # fmt: skip
        if not deeper:
            break
        depth |= deeper
    own = [name for name in tree.groups if name != "all" and host in tree.members(name)]
    return ["all", *sorted(own, key=lambda name: (depth[name], name))]


def node(source: Source, host: str, given: Mapping[tuple[str, str], str]) -> Node:
    """A host with what `given` ((host, network) → address), its facts and the source say of it: the first that knows counts."""
    seen = effective(source, host)
    facts = source.facts.get(host, {})
    made = Node(host, facts=_facts(facts))
    family = str(seen["network_address_family"].value) if "network_address_family" in seen else "ipv4"
    names = {network: _interface(seen, network) for network in NETWORKS}
    for network in NETWORKS:
        below = FALLBACK.get(network, "")
        if (host, network) in given:
            made.addresses[network] = given[host, network]
            continue
        if network == "kolla_external_vip" or (below and names[network] in (None, names[below])):
            continue
        found = _address(facts, names[network] or "", family)
        if found:
            made.addresses[network] = found
        elif not below:
            _management(made, seen, names[network] or "")
        else:
            made.missing.append(Missing(host, network, names[network] or ""))
    return made


def _management(made: Node, seen: Mapping[str, Assigned], interface: str) -> None:
    candidates = [(name, _value(seen, name)) for name in ("ansible_host", "ansible_ssh_host")]
    candidates.append(("the inventory's name", made.name))
    for origin, text in candidates:
        if text and (address := _parsed(str(text))) and not ipaddress.ip_address(address).is_loopback:
            made.addresses["network"] = address
            made.assumed = origin
            return
    made.missing.append(Missing(made.name, "network", interface))


def _value(seen: Mapping[str, Assigned], name: str) -> Any:
    return seen[name].value if name in seen else None


def _parsed(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return ""


def _interface(seen: Mapping[str, Assigned], network: str) -> str | None:
    """The interface's name where it is said, also by way of others (`{{ network_interface }}`); None where it falls back."""
    name = f"{network}_interface"
    for _ in range(10):
        if name not in seen:
            other = INTERFACES.get(name, "")
            return _interface(seen, FALLBACK[other]) if other in FALLBACK else None
        text = str(seen[name].value)
        match = _REFERENCE.fullmatch(text.strip())
        if match is None:
            return text
        name = match[1]
    return None


def _address(facts: Mapping[str, Any], interface: str, family: str) -> str:
    key = re.sub(r"[-:]", "_", interface)
    found = facts.get(f"ansible_{key}") or facts.get(key) or {}
    told = found.get(family) if isinstance(found, dict) else None
    for one in told if isinstance(told, list) else [told]:
        text = _parsed(str(one.get("address", ""))) if isinstance(one, dict) else ""
        if text and not ipaddress.ip_address(text).is_link_local:
            return text
    return ""


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in (*_FACTS, *_TEXT_FACTS):
        value = facts.get(f"ansible_{name}", facts.get(name))
        if isinstance(value, str | int) and value not in ("", None) and not isinstance(value, bool):
            result[name] = str(value) if name in _TEXT_FACTS else value
    return result


# --- the text --------------------------------------------------------------------------------------------------------


def inventory_text(nodes: list[Node], groups: Mapping[str, tuple[list[str], list[str]]]) -> str:
    """inventory.yml. `groups` are name → hosts and children."""
    lines = [
        "# The hosts and groups of kolla-ansible's inventory. Addresses are declared: nothing is asked at run time.",
        "hosts:",
    ]
    for one in nodes:
        body = list(_node_lines(one))
        lines += [f"  {_key(one.name)}:{'' if body else ' {}'}", *body]
    if groups:
        # Among groups of one level the last counts. Ansible has them in the order of their names.
        lines += ["", "groups:"]
        lines += [f"  {_key(name)}: {_group(*groups[name])}" for name in sorted(groups)]
    return "\n".join(lines) + "\n"


def _node_lines(one: Node) -> Iterator[str]:
    for title, content in (("addresses", one.addresses), ("interfaces", one.interfaces), ("facts", one.facts)):
        if content:
            yield f"    {title}:"
            yield from (f"      {name}: {scalar(value)}" for name, value in content.items())
    if one.missing and not (one.addresses or one.interfaces or one.facts):
        yield "    addresses: {}"
    for what in one.missing:
        yield f"    # missing: {printable(str(what), limit=1000)}"


def _group(hosts: list[str], children: list[str]) -> str:
    parts = [
        f"{title}: [{', '.join(map(_key, names))}]"
        for title, names in (("hosts", hosts), ("children", children))
        if names
    ]
    return "{" + ", ".join(parts) + "}"


def _key(name: str) -> str:
    text = scalar(name)
    return text if "/" not in text else f'"{name}"'
