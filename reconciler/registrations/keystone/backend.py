"""Keystone's catalogue and identities: services, endpoints, domains, projects, users, roles and their assignment, and federation."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog

from reconciler.model import Registration
from reconciler.registrations.failures import not_yet, refused, unknown_type
from reconciler.registrations.keys import name as name_of
from reconciler.registrations.keystone import federation, keys
from reconciler.registrations.keystone.api import Api, Item
from reconciler.registrations.openstack import Service
from reconciler.registrations.proofs import Proofs
from reconciler.registrations.protocol import DIFFERS, Connection, Observed

log = structlog.get_logger()

_DISABLED: Final = " (disabled)"
_ATTRIBUTES: Final[Mapping[str, tuple[str, ...]]] = {
    "service": ("type", "description", "enabled"),
    "domain": ("description", "enabled"),
    "project": ("description", "enabled"),
    "role": ("description",),
    "user": ("description", "email", "enabled"),
}
_COLLECTION: Final = {
    "service": "services",
    "domain": "domains",
    "project": "projects",
    "role": "roles",
    "user": "users",
}


class Keystone(Service):
    """One Keystone. Connection: url, username, password, project, user_domain, project_domain or system_scope, region,
    ca_file?, verify?.

    A user's password is set only when it does not work: setting it would end all of that user's tokens. Whether it works is
    tried by a login, which `proofs` remembers.
    """

    _api: Api

    def __init__(self, connection: Connection, proofs: Proofs) -> None:
        super().__init__(Api(connection))
        self._proofs = proofs
        self._federation = federation.Federation(self._api, self._domain)
        self._user_name = connection.user

    # --- observe -----------------------------------------------------------------------------------------------------

    def _observed(self, wanted: Registration) -> Observed:
        if wanted.type in federation.TYPES:
            return self._federation.observed(wanted)
        if wanted.type == "endpoint":
            return self._endpoint(wanted)
        if wanted.type == "role_assignment":
            path = self._assignment(wanted)
            return {} if path and self._api.exists(path) else None
        found = self._find(wanted)
        if found is None:
            return None
        observed: dict[str, Any] = {name: _value(found, name) for name in _ATTRIBUTES[wanted.type]}
        if wanted.type == "user":
            observed["password"] = self._password(wanted, found)
        return observed

    def _password(self, wanted: Registration, found: Item) -> Any:
        password = wanted.fields.get("password")
        if not password:
            return password
        if not found.get("enabled", True):  # no login would tell
            return password if wanted.fields.get("enabled") is False else DIFFERS + _DISABLED
        return password if self._works(found["id"], str(password)) else DIFFERS

    def _works(self, user_id: str, password: str) -> bool:
        return self._proofs.works(self.target, user_id, password, lambda: self._api.logs_in(user_id, password))

    def _endpoint(self, wanted: Registration) -> Observed:
        found = self._endpoints(wanted)
        if not found:
            return None
        urls = [item["url"] + ("" if item.get("enabled", True) else _DISABLED) for item in found]
        return {"url": " and ".join(urls)}

    # --- find --------------------------------------------------------------------------------------------------------

    def _find(self, wanted: Registration) -> Item | None:
        if wanted.type in ("project", "user"):
            domain, name = keys.in_domain(wanted)
            return self._in_domain(_COLLECTION[wanted.type], domain, name)
        if wanted.type == "service":
            return self._service(name_of(wanted), _type(wanted))
        if wanted.type == "domain":
            return self._domain(name_of(wanted))
        if wanted.type == "role":
            return _pick(self._api.list("roles", name=name_of(wanted)), name_of(wanted))
        raise unknown_type(wanted)

    def _in_domain(self, collection: str, domain: str, name: str) -> Item | None:
        where = self._domain(domain)
        if where is None:
            return None
        return _pick(self._api.list(collection, name=name, domain_id=where["id"]), name)

    def _domain(self, name: str) -> Item | None:
        """By name or, as everybody writes `default`, by id."""
        domains = self._api.list("domains")
        exact = [item for item in domains if item["name"] == name] or [item for item in domains if item["id"] == name]
        return exact[0] if exact else _pick(domains, name)

    def _service(self, name: str, type_: str) -> Item | None:
        """By name, and by type where several have that name."""
        named = [item for item in self._api.list("services") if item.get("name") == name]
        of_type = [item for item in named if type_ and item["type"] == type_]
        if len(named) > 1 and not of_type:
            raise refused(self.target, f"{len(named)} services are called {name!r} (remove the wrong ones)")
        return next(iter(of_type or named), None)

    def _endpoints(self, wanted: Registration) -> list[Item]:
        """Usually one; each more is a duplicate that clients may pick."""
        name, interface, region = keys.endpoint(wanted)
        service = self._service(name, _type(wanted))
        if service is None:
            return []
        found = [
            item
            for item in self._api.list("endpoints")
            if (item["service_id"], item["interface"], item.get("region_id")) == (service["id"], interface, region)
        ]
        return sorted(found, key=lambda item: str(item["id"]))

    def _assignment(self, wanted: Registration) -> str:
        """The path of a role assignment; empty when something of it does not exist."""
        who = keys.role_assignment(wanted)
        user = self._in_domain("users", who.domain, who.user)
        role = _pick(self._api.list("roles", name=who.role), who.role)
        if user is None or role is None:
            return ""
        if who.target == "system":
            return f"/system/users/{user['id']}/roles/{role['id']}"
        collection = "domains" if who.target == "domain" else "projects"
        where = (
            self._domain(who.domain) if who.target == "domain" else self._in_domain("projects", who.domain, who.project)
        )
        return f"/{collection}/{where['id']}/users/{user['id']}/roles/{role['id']}" if where else ""

    # --- converge ----------------------------------------------------------------------------------------------------

    def converge(self, registration: Registration) -> None:
        """See Backend."""
        with self._lock:
            if registration.type in federation.TYPES:
                self._federation.converge(registration)
            elif registration.type == "endpoint":
                self._converge_endpoint(registration)
            elif registration.type == "role_assignment":
                self._converge_assignment(registration)
            elif (found := self._find(registration)) is None:
                self._create(registration)
            else:
                self._update(registration, found)

    def _create(self, wanted: Registration) -> None:
        body = {name: wanted.fields[name] for name in _ATTRIBUTES[wanted.type] if wanted.fields.get(name) is not None}
        if wanted.type in ("project", "user"):
            domain, body["name"] = keys.in_domain(wanted)
            where = self._domain(domain)
            if where is None:
                raise not_yet(self.target, f"the domain {domain!r} of {wanted.key!r} does not exist")
            body["domain_id"] = where["id"]
        else:
            body["name"] = name_of(wanted)
            if wanted.type == "service" and not _type(wanted):
                raise refused(self.target, f"the service {wanted.key!r} has no type")
        if wanted.fields.get("password"):
            body["password"] = wanted.fields["password"]
        self._api.create(wanted.type, _COLLECTION[wanted.type], body)

    def _update(self, wanted: Registration, found: Item) -> None:
        body = {
            name: wanted.fields[name]
            for name in _ATTRIBUTES[wanted.type]
            if wanted.fields.get(name) is not None and wanted.fields[name] != _value(found, name)
        }
        path = f"/{_COLLECTION[wanted.type]}/{found['id']}"
        password = str(wanted.fields.get("password") or "") if wanted.type == "user" else ""
        usable = bool(password) and wanted.fields.get("enabled", True) is not False
        if usable and not found.get("enabled", True):
            body["enabled"] = True
        if body:
            self._api.update(wanted.type, path, body)
        if usable:
            self._proofs.forget(self.target, found["id"])
            if not self._works(found["id"], password):
                self._api.update("user", path, {"password": password})
                self._proofs.forget(self.target, found["id"])

    def _converge_endpoint(self, wanted: Registration) -> None:
        name, interface, region = keys.endpoint(wanted)
        url = str(wanted.fields.get("url", ""))
        found = self._endpoints(wanted)
        if not found:
            service = self._service(name, _type(wanted))
            if service is None:
                raise not_yet(self.target, f"the service {name!r} of an endpoint does not exist yet")
            if not any(item["id"] == region for item in self._api.list("regions")):
                self._api.create("region", "regions", {"id": region})
            body = {"service_id": service["id"], "interface": interface, "region_id": region, "url": url}
            self._api.create("endpoint", "endpoints", body)
            return
        kept = next((item for item in found if item["url"] == url), found[0])
        if kept["url"] != url or not kept.get("enabled", True):
            self._api.update("endpoint", f"/endpoints/{kept['id']}", {"url": url, "enabled": True})
        for item in found:
            if item is not kept:
                self._api.delete(f"/endpoints/{item['id']}")

    def _converge_assignment(self, wanted: Registration) -> None:
        path = self._assignment(wanted)
        if not path:
            raise not_yet(self.target, f"user, project or role of {wanted.key!r} does not exist yet")
        if not self._api.exists(path):
            self._api.put(path)

    # --- withdraw ----------------------------------------------------------------------------------------------------

    def withdraw(self, registration: Registration) -> None:
        """See Backend. A domain, and a project, role or mapping that somebody still uses, stays: it is not only ours."""
        with self._lock:
            if registration.type in federation.TYPES:
                self._left(registration, self._federation.withdraw(registration))
            elif registration.type == "endpoint":
                for item in self._endpoints(registration):
                    self._api.delete(f"/endpoints/{item['id']}")
            elif registration.type == "role_assignment":
                if path := self._assignment(registration):
                    self._api.delete(path)
            elif (found := self._find(registration)) is not None:
                self._remove(registration, found)

    def _remove(self, registration: Registration, found: Item) -> None:
        if registration.type == "user" and found["id"] == self._api.own_user_id():
            raise refused(self.target, f"user {self._user_name!r} is the one this program works as; it stays")
        if reason := self._in_use(registration.type, found):
            self._left(registration, reason)
            return
        self._api.delete(f"/{_COLLECTION[registration.type]}/{found['id']}")
        self._proofs.forget(self.target, found["id"])

    def _left(self, registration: Registration, reason: str) -> None:
        if reason:
            log.warning("registration.left", registration=registration.id, reason=reason)

    def _in_use(self, type_: str, found: Item) -> str:
        if (found.get("options") or {}).get("immutable"):
            return "it is immutable"
        if type_ == "domain":
            return "domains are not removed"
        if type_ == "project" and self._api.list("role_assignments", **{"scope.project.id": found["id"]}):
            return "somebody has a role in it"
        if type_ == "role" and self._api.list("role_assignments", **{"role.id": found["id"]}):
            return "somebody has this role"
        return ""


def _type(wanted: Registration) -> str:
    """The type of a service, which its endpoints have as well."""
    return str(wanted.fields.get("type", ""))


def _value(item: Item, name: str) -> Any:
    if name == "enabled":
        return item.get(name, True)
    return item.get(name) or ""


def _pick(items: Sequence[Item], name: str) -> Item | None:
    """By name; databases that ignore case have one at most in another case."""
    exact = [item for item in items if item.get("name") == name]
    alike = [item for item in items if str(item.get("name", "")).casefold() == name.casefold()]
    return next(iter(exact or alike), None)
