"""Neutron's networks, subnets and security groups."""

from collections.abc import Mapping
from typing import Any, Final

import structlog

from reconciler.errors import Transient
from reconciler.model import Registration
from reconciler.reasons import Reason
from reconciler.registrations.failures import not_yet, refused, unknown_type
from reconciler.registrations.keys import name as name_of
from reconciler.registrations.keys import pair
from reconciler.registrations.neutron import rules
from reconciler.registrations.openstack import Item, Service, api_of
from reconciler.registrations.protocol import Connection, Observed

log = structlog.get_logger()

# Type → the path of its collection, and Neutron's names of its fields.
_COLLECTION: Final = {"network": "networks", "subnet": "subnets", "security_group": "security-groups"}
_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "network": {
        "name": "name",
        "network_type": "provider:network_type",
        "physical_network": "provider:physical_network",
        "segmentation_id": "provider:segmentation_id",
        "shared": "shared",
        "external": "router:external",
    },
    "subnet": {"name": "name", "cidr": "cidr", "dhcp": "enable_dhcp", "gateway": "gateway_ip"},
    "security_group": {"name": "name", "description": "description"},
}
# Once it is made; another gateway would be one of the addresses that Neutron gives to machines.
_FIXED: Final = ("network_type", "physical_network", "segmentation_id", "cidr", "gateway")


class Neutron(Service):
    """One Neutron. Connection: url, auth_url (of Keystone), username, password, project, user_domain, project_domain, ca_file?,
    verify?. Everything is looked for and made in that project: others may have networks of the same name."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(api_of(connection, "Neutron", "v2.0"))

    # --- observe -----------------------------------------------------------------------------------------------------

    def _observed(self, wanted: Registration) -> Observed:
        found = self._find(wanted)
        return _fields(wanted, found) if found else None

    def _find(self, wanted: Registration) -> Item | None:
        if wanted.type == "network":
            return self._only("network", name_of(wanted))
        if wanted.type == "security_group":
            return self._only("security_group", name_of(wanted))
        if wanted.type == "subnet":
            network, name = _subnet(wanted)
            within = self._only("network", network)
            return self._only("subnet", name, network_id=str(within["id"])) if within else None
        raise unknown_type(wanted)

    def _only(self, type_: str, name: str, **filters: str) -> Item | None:
        """By name, in our project. Two of one name are for an operator to tell apart."""
        path = f"/{_COLLECTION[type_]}"
        mine = {"project_id": self._api.own_project_id(), "name": name, **filters}
        found = self._api.list(path[1:].replace("-", "_"), path, **mine)
        if len(found) > 1:
            what = type_.replace("_", " ")
            raise refused(
                self.target, f"{len(found)} {what}s of one project are called {name!r} (remove the wrong ones)"
            )
        return found[0] if found else None

    # --- converge ----------------------------------------------------------------------------------------------------

    def converge(self, registration: Registration) -> None:
        """See Backend. How a network is carried, and a subnet's addresses and gateway, cannot be changed once they are there."""
        with self._lock:
            found = self._find(registration)
            if found is None:
                found = self._create(registration)
            else:
                self._update(registration, found)
            if registration.type == "security_group":
                self._let_in(registration, found)

    def _create(self, wanted: Registration) -> Item:
        names = _NAMES[wanted.type]
        body = {names[key]: value for key, value in wanted.fields.items() if key in names}
        if wanted.type == "subnet":
            within = self._only("network", _subnet(wanted)[0])
            if within is None:
                raise not_yet(self.target, f"the network of the subnet {wanted.key!r} does not exist yet")
            body |= {
                "network_id": within["id"],
                "ip_version": 6 if ":" in str(wanted.fields["cidr"]) else 4,
                "gateway_ip": body["gateway_ip"] or None,
            }
        made: Item = self._api.create(wanted.type, _COLLECTION[wanted.type], body)[wanted.type]
        return made

    def _update(self, wanted: Registration, found: Item) -> None:
        observed, names = _fields(wanted, found), _NAMES[wanted.type]
        wrong = {key: value for key, value in wanted.fields.items() if key in names and observed[key] != value}
        if fixed := [key for key in wrong if key in _FIXED]:
            differences = ", ".join(
                f"{key} {observed[key] or 'none'} instead of {wrong[key] or 'none'}" for key in fixed
            )
            what = wanted.type.replace("_", " ")
            why = f"the {what} {wanted.key!r} has {differences}, which cannot be changed (say what it has, or remove it by hand)"
            raise refused(self.target, why)
        if wrong:
            body = {names[key]: value for key, value in wrong.items()}
            self._api.replace(wanted.type, f"/{_COLLECTION[wanted.type]}/{found['id']}", body)

    def _let_in(self, wanted: Registration, found: Item) -> None:
        there = {rules.of(item): item for item in _ingress(found)}
        for rule in wanted.fields["rules"]:
            if rule not in there:
                body = {**rules.body(rule), "security_group_id": found["id"]}
                self._api.create("security_group_rule", "security-group-rules", body)
        for rule, item in there.items():
            if rule not in wanted.fields["rules"]:
                self._api.delete(f"/security-group-rules/{item['id']}")

    # --- withdraw ----------------------------------------------------------------------------------------------------

    def withdraw(self, registration: Registration) -> None:
        """See Backend. What somebody's ports are still in stays."""
        with self._lock:
            if (found := self._find(registration)) is None:
                return
            try:
                self._api.delete(f"/{_COLLECTION[registration.type]}/{found['id']}")
            except Transient as error:
                if error.reason is not Reason.RegistrarRefused:
                    raise
                log.warning("registration.left", registration=registration.id, reason="it is in use")


def _subnet(wanted: Registration) -> tuple[str, str]:
    """Network and name."""
    return pair(wanted, "network", "name", "/", last=True)


def _fields(wanted: Registration, found: Item) -> dict[str, Any]:
    observed: dict[str, Any] = {key: found.get(name) for key, name in _NAMES[wanted.type].items()}
    if wanted.type == "subnet":
        observed |= {"network": _subnet(wanted)[0], "gateway": observed["gateway"] or ""}
    if wanted.type == "security_group":
        observed["rules"] = sorted(map(rules.of, _ingress(found)))
    return observed


def _ingress(found: Item) -> list[Item]:
    return [item for item in found.get("security_group_rules") or () if item["direction"] == "ingress"]
