"""Nova's flavors."""

from typing import Any, Final

from reconciler.model import Registration
from reconciler.registrations.failures import refused, unknown_type
from reconciler.registrations.keys import name as name_of
from reconciler.registrations.openstack import Item, Service, api_of
from reconciler.registrations.protocol import Connection, Observed

_PUBLIC: Final = "os-flavor-access:is_public"


class Nova(Service):
    """One Nova. Connection: url, auth_url (of Keystone), username, password, project, user_domain, project_domain, ca_file?, verify?."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(api_of(connection, "Nova", "v2.1"))

    def converge(self, registration: Registration) -> None:
        """See Backend. Nova changes no flavor: one that differs is refused."""
        with self._lock:
            found, wanted = self._find(registration), registration.fields
            if found is None:
                sizes = {key: wanted[key] for key in ("vcpus", "ram", "disk")}
                body = {"name": name_of(registration), **sizes, _PUBLIC: wanted["public"]}
                self._api.create("flavor", "flavors", body)
                return
            observed = _fields(found)
            wrong = [key for key, value in wanted.items() if observed[key] != value]
            if wrong:
                differences = ", ".join(f"{key} {observed[key]} instead of {wanted[key]}" for key in wrong)
                why = f"the flavor {registration.key!r} has {differences}, and a flavor cannot be changed (give the new one another name)"
                raise refused(self.target, why)

    def withdraw(self, registration: Registration) -> None:
        """See Backend. Machines that were made of it keep what they have."""
        with self._lock:
            if (found := self._find(registration)) is not None:
                self._api.delete(f"/flavors/{found['id']}")

    def _find(self, wanted: Registration) -> Item | None:
        if wanted.type != "flavor":
            raise unknown_type(wanted)
        every = self._api.list("flavors", "/flavors/detail", is_public="None")
        return next((item for item in every if item["name"] == name_of(wanted)), None)

    def _observed(self, wanted: Registration) -> Observed:
        found = self._find(wanted)
        return _fields(found) if found else None


def _fields(found: Item) -> dict[str, Any]:
    return {**{key: found[key] for key in ("name", "vcpus", "ram", "disk")}, "public": bool(found[_PUBLIC])}
