"""Neutron: networks, their subnets, and security groups, each in the project of the registrar's own user.

    type            key           fields
    network         name          name, network_type?, physical_network?, segmentation_id?, shared, external
    subnet          network/name  name, network, cidr, dhcp, gateway ("": none)
    security_group  name          name, description, rules: what is let in, in the spelling of `rules`

Fields with `?` are there only when the service gives them; what is withdrawn may have its key only.
"""

import ipaddress
from collections.abc import Iterator
from typing import Final

from reconciler.registrations.neutron import rules
from reconciler.registrations.neutron.grammar import GRAMMAR
from reconciler.registrations.proofs import Proofs
from reconciler.registrations.protocol import (
    Backend,
    Connection,
    Item,
    Kind,
    Section,
    Type,
    enabled,
    given,
    own_credentials,
)


def _read(part: Section, _: str) -> Iterator[Item]:
    for entry, name in enabled(part, "networks"):
        carried = given(entry, "network_type", "physical_network")
        if entry.value("segmentation_id") is not None:
            carried["segmentation_id"] = entry.integer("segmentation_id") or 0
        flags = {key: entry.flag(key) for key in ("shared", "external")}
        yield "network", name, {"name": name, **carried, **flags}
        for subnet, of in enabled(entry, "subnets"):
            about = {"cidr": _cidr(subnet), "dhcp": subnet.flag("dhcp", True), "gateway": subnet.text("gateway")}
            yield "subnet", f"{name}/{of}", {"name": of, "network": name, **about}
    for entry, name in enabled(part, "security_groups"):
        yield (
            "security_group",
            name,
            {"name": name, "description": entry.text("description"), "rules": _rules(entry)},
        )


def _cidr(entry: Section) -> str:
    """As Neutron writes it."""
    text = entry.text("cidr")
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        entry.problem("cidr", f"cidr is no network such as 10.1.0.0/24: {error}")
        return text


def _rules(entry: Section) -> list[str]:
    found = set()
    for rule in entry.texts("rules"):
        try:
            found.add(rules.spelled(rule))
        except ValueError as error:
            entry.problem("rules", str(error))
    return sorted(found)


def _backend(connection: Connection, _: Proofs) -> Backend:
    from reconciler.registrations.neutron.backend import Neutron

    return Neutron(connection)


KIND: Final = Kind(
    name="neutron",
    types={
        "network": Type(identified=True),
        "subnet": Type(after=("network",), identified=True),
        "security_group": Type(identified=True),
    },
    grammar=GRAMMAR,
    read=_read,
    backend=_backend,
    as_user=own_credentials,
)
