"""Nova's flavors."""

from collections.abc import Sequence
from threading import RLock
from typing import Final

from reconciler.model import Registration
from reconciler.registrations.failures import refused, unknown_type
from reconciler.registrations.keys import name as name_of
from reconciler.registrations.openstack import Api, Item, identity_url
from reconciler.registrations.protocol import Connection, Observed

_PUBLIC: Final = "os-flavor-access:is_public"


class Nova:
    """One Nova. Connection: url, auth_url (of Keystone), username, password, project, user_domain, project_domain, ca_file?, verify?."""

    def __init__(self, connection: Connection) -> None:
        url = connection.text("url").rstrip("/")
        self._api = Api(
            connection, "Nova", url if url.endswith("/v2.1") else f"{url}/v2.1", identity_url(connection, "auth_url")
        )
        self._lock = RLock()

    @property
    def target(self) -> str:
        return self._api.target

    def close(self) -> None:
        self._api.close()

    def log_in(self) -> None:
        """See Backend."""
        self._api.log_in()

    def observe(self, registrations: Sequence[Registration]) -> dict[str, Observed]:
        """See Backend."""
        with self._lock, self._api.remembering():
            return {wanted.id: _observed(self._find(wanted)) for wanted in registrations}

    def identify(self, registrations: Sequence[Registration]) -> dict[str, str | None]:
        """See Identifies."""
        with self._lock, self._api.remembering():
            found = {wanted.id: self._find(wanted) for wanted in registrations}
            return {name: str(item["id"]) if item else None for name, item in found.items()}

    def converge(self, registration: Registration) -> None:
        """See Backend. Nova changes no flavor: one that differs is refused."""
        with self._lock:
            found, wanted = self._find(registration), registration.fields
            if found is None:
                sizes = {key: wanted[key] for key in ("vcpus", "ram", "disk")}
                body = {"name": name_of(registration), **sizes, _PUBLIC: wanted["public"]}
                self._api.create("flavor", "flavors", body)
                return
            observed = _observed(found) or {}
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


def _observed(found: Item | None) -> Observed:
    if found is None:
        return None
    return {**{key: found[key] for key in ("name", "vcpus", "ram", "disk")}, "public": bool(found[_PUBLIC])}
