"""RabbitMQ's virtual hosts, users and permissions, through its management API."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from threading import RLock
from typing import Any, Final
from urllib.parse import quote

import requests

from reconciler.errors import Terminal
from reconciler.foreign import said
from reconciler.model import Registration
from reconciler.reasons import Reason
from reconciler.registrations import http
from reconciler.registrations.failures import denied, holds_data, not_yet, of_status, refused, unknown_type, unreachable
from reconciler.registrations.keys import name as name_of
from reconciler.registrations.protocol import DIFFERS, Connection, Observed
from reconciler.registrations.rabbitmq import keys

_HASHES: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "rabbit_password_hashing_sha256": lambda data: hashlib.sha256(data).digest(),
    "rabbit_password_hashing_sha512": lambda data: hashlib.sha512(data).digest(),
    "rabbit_password_hashing_md5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
}
_SALT: Final = 4  # bytes
_RIGHTS: Final = ("configure", "write", "read")


class RabbitMQ:
    """One broker. Connection: url, username, password, ca_file?, verify?. Passwords are checked against the salted hash
    that the broker shows an administrator: no login, whatever the user's tags are."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._url = connection.text("url").rstrip("/")
        self._session = http.session(connection)
        # As bytes, because requests would encode them as latin-1.
        self._session.auth = (connection.user.encode(), connection.password.encode())  # type: ignore[assignment]
        self._lock = RLock()

    @property
    def target(self) -> str:
        return f"RabbitMQ at {self._url}"

    def close(self) -> None:
        self._session.close()

    def log_in(self) -> None:
        """See Backend. Whose tags do not let into the management API is told so, but only with the right password."""
        try:
            answer = self._session.get(f"{self._url}/api/whoami", allow_redirects=False)
        except (requests.RequestException, OSError) as error:
            raise http.failure(self.target, error) from None
        why = self._why(answer)
        if answer.status_code >= 300 and "not management user" not in why.lower():
            raise of_status(self.target, self._connection.user, answer.status_code, why)

    def observe(self, registrations: Sequence[Registration]) -> dict[str, Observed]:
        """See Backend. One request per type, however many registrations there are."""
        types = {registration.type for registration in registrations}
        with self._lock:
            vhosts = {item["name"] for item in self._list("/api/vhosts")} if "vhost" in types else set()
            users = {item["name"]: item for item in self._list("/api/users")} if "user" in types else {}
            granted = self._list("/api/permissions") if "permission" in types else []
        permissions = {(item["user"], item["vhost"]): item for item in granted}
        observed: dict[str, Observed] = {}
        for wanted in registrations:
            if wanted.type == "vhost":
                observed[wanted.id] = {} if name_of(wanted) in vhosts else None
            elif wanted.type == "user":
                observed[wanted.id] = _user(wanted, users.get(name_of(wanted)))
            elif wanted.type == "permission":
                item = permissions.get(keys.permission(wanted))
                observed[wanted.id] = item and {right: item[right] for right in _RIGHTS}
            else:
                raise unknown_type(wanted)
        return observed

    def converge(self, registration: Registration) -> None:
        """See Backend."""
        with self._lock:
            if registration.type == "vhost":
                self._converge_vhost(name_of(registration))
            elif registration.type == "user":
                self._converge_user(registration)
            elif registration.type == "permission":
                self._converge_permission(registration)
            else:
                raise unknown_type(registration)

    def withdraw(self, registration: Registration) -> None:
        """See Backend."""
        if registration.type == "vhost":
            raise holds_data(registration)
        with self._lock:
            if registration.type == "user":
                name = name_of(registration)
                if name == self._connection.user:
                    raise refused(self.target, f"user {name!r} is the one this program works as; it stays")
                self._request("DELETE", _path("users", name))
            elif registration.type == "permission":
                user, vhost = keys.permission(registration)
                self._request("DELETE", _path("permissions", vhost, user))
            else:
                raise unknown_type(registration)

    def _converge_vhost(self, name: str) -> None:
        if self._request("GET", _path("vhosts", name)) is None:
            self._request("PUT", _path("vhosts", name), {})

    def _converge_user(self, wanted: Registration) -> None:
        path = _path("users", name_of(wanted))
        item = self._request("GET", path)
        found = _user(wanted, item)
        if found is not None and all(
            found.get(name) == value for name, value in wanted.fields.items() if name in found
        ):
            return
        body: dict[str, Any] = {"tags": ",".join(wanted.fields.get("tags") or _tags(item))}
        if item and found and (found["password"] != DIFFERS):
            # The same password keeps its salt: nothing but the tags is written.
            body |= {"password_hash": item["password_hash"], "hashing_algorithm": item["hashing_algorithm"]}
        else:
            if not wanted.fields.get("password"):
                raise refused(self.target, f"user {name_of(wanted)!r} has no password to be made with")
            body["password"] = wanted.fields["password"]
        self._request("PUT", path, body)

    def _converge_permission(self, wanted: Registration) -> None:
        user, vhost = keys.permission(wanted)
        path = _path("permissions", vhost, user)
        rights = {right: str(wanted.fields.get(right, "")) for right in _RIGHTS}
        found = self._request("GET", path)
        if found and all(found[right] == rights[right] for right in _RIGHTS):
            return
        for kind, name in (("vhosts", vhost), ("users", user)):
            if self._request("GET", _path(kind, name)) is None:
                raise not_yet(self.target, f"{kind[:-1]} {name!r} does not exist yet")
        self._request("PUT", path, rights)

    def _list(self, path: str) -> list[dict[str, Any]]:
        found = self._request("GET", path)
        if not isinstance(found, list):
            raise unreachable(self.target, f"{path} did not give a list")
        return found

    def _request(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON; None for 404 or an empty answer."""
        try:
            answer = self._session.request(method, self._url + path, json=body, allow_redirects=False)
        except (requests.RequestException, OSError) as error:
            raise http.failure(self.target, error) from None
        if answer.status_code == 404 and method != "PUT" and path.count("/") > 2:
            return None
        if answer.status_code == 401:
            raise denied(self.target, self._connection.user, "HTTP 401")
        if answer.status_code >= 300:
            raise of_status(self.target, self._connection.user, answer.status_code, self._why(answer))
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise unreachable(self.target, "the answer is not JSON") from None

    def _why(self, answer: requests.Response) -> str:
        try:
            found = answer.json()
            return said(str(found.get("reason") or found.get("error") or ""))
        except (ValueError, AttributeError):
            return ""


def _path(*parts: str) -> str:
    if any(part in ("", ".", "..") for part in parts):  # would name another resource
        raise Terminal(f"RabbitMQ cannot have the name {parts[-1]!r}", reason=Reason.RegistrarRefused)
    return "/api/" + "/".join(quote(part, safe="") for part in parts)


def _user(wanted: Registration, item: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if item is None:
        return None
    password = wanted.fields.get("password")
    tags, asked = _tags(item), wanted.fields.get("tags") or []
    return {
        "password": password if not password or _password_is(password, item) else DIFFERS,
        "tags": wanted.fields.get("tags") if set(tags) == set(asked) else tags,
    }


def _tags(item: Mapping[str, Any] | None) -> list[str]:
    """A list, or one text with commas as brokers before 3.9 have it."""
    tags = (item or {}).get("tags") or []
    return sorted(tags) if isinstance(tags, list) else sorted(tag.strip() for tag in tags.split(",") if tag.strip())


def _password_is(password: str, item: Mapping[str, Any]) -> bool:
    algorithm = _HASHES.get(item.get("hashing_algorithm") or "")
    stored = base64.b64decode(item["password_hash"])
    if algorithm is None or len(stored) <= _SALT:
        return False
    return hmac.compare_digest(algorithm(stored[:_SALT] + password.encode()), stored[_SALT:])
