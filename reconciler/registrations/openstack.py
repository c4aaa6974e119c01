"""An API of OpenStack by keystoneauth: a session, its requests, and what its failures mean; and what the back ends on one have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any, Final

import requests
from keystoneauth1 import exceptions
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from reconciler.errors import ReconcilerError
from reconciler.foreign import said
from reconciler.model import Registration
from reconciler.registrations import http
from reconciler.registrations.failures import denied, of_status, refused, unreachable
from reconciler.registrations.protocol import Connection, Observed

Item = Mapping[str, Any]

_PAGES: Final = 50  # of one list


class Api:
    """Requests as the connection's user, to the API `called` so at `url`; `identity` is Keystone's v3. Every method raises Transient or
    Terminal; none logs a request."""

    def __init__(self, connection: Connection, called: str, url: str, identity: str) -> None:
        self._connection = connection
        self._called = called
        self._url = url
        self._identity = identity
        self._http = http.session(connection)
        self._auth = _auth(connection, identity)
        self._session = Session(auth=self._auth, session=self._http, verify=connection.verify, redirect=False)
        self._memory: dict[tuple[Any, ...], list[Item]] | None = None

    @property
    def target(self) -> str:
        return f"{self._called} at {self._url}"

    def close(self) -> None:
        self._http.close()

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Within this, the same list is asked for once."""
        self._memory = {}
        try:
            yield
        finally:
            self._memory = None

    def list(self, collection: str, path: str = "", **filters: str) -> list[Item]:
        """A collection, filtered by the server, all pages of it. Raises when the server cut it: what is cut off is not absent."""
        key = (collection, path, *sorted(filters.items()))
        if self._memory is not None and key in self._memory:
            return self._memory[key]
        found: list[Item] = []
        more: dict[str, str] = {}
        for _ in range(_PAGES):
            answer = self._call("GET", path or f"/{collection}", params={**filters, **more})
            items = answer.get(collection)
            if answer.get("truncated") or not isinstance(items, list):
                raise refused(self.target, f"/{collection} is not listed whole (see Keystone's list_limit)")
            found += items
            if not items or not any(link.get("rel") == "next" for link in answer.get(f"{collection}_links") or ()):
                break
            more = {"marker": str(items[-1]["id"])}
        else:
            raise refused(self.target, f"/{collection} has more than {_PAGES} pages")
        if self._memory is not None:
            self._memory[key] = found
        return found

    def create(self, kind: str, collection: str, body: Item) -> Any:
        return self._call("POST", f"/{collection}", json={kind: body})

    def replace(self, kind: str, path: str, body: Item) -> None:
        """Change what is there as Neutron has it: with PUT, and what is not said stays."""
        self._call("PUT", path, json={kind: body})

    def delete(self, path: str) -> None:
        """Delete; gone already is fine."""
        self._call("DELETE", path)

    def log_in(self) -> None:
        """Get a new token with the connection's own credentials."""
        try:
            _auth(self._connection, self._identity).get_token(self._session)
        except exceptions.ClientException as error:
            raise self._failure(error) from None
        except (requests.RequestException, OSError) as error:
            raise http.failure(self._keystone, error) from None

    def own_project_id(self) -> str:
        """The id of the project that the connection works in; empty when it works in none."""
        try:
            return str(self._auth.get_access(self._session).project_id or "")
        except exceptions.ClientException as error:
            raise self._failure(error) from None
        except (requests.RequestException, OSError) as error:
            raise http.failure(self._keystone, error) from None

    @property
    def _keystone(self) -> str:
        """Whom a login speaks with, for messages."""
        return (
            self.target
            if self._url == self._identity
            else f"Keystone at {self._identity}, which {self._called} trusts,"
        )

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        """The answer's JSON, {} when it has none; None for a HEAD or DELETE of what is not there."""
        try:
            answer = self._session.request(
                self._url + path, method, authenticated=True, raise_exc=False, log=False, connect_retries=0, **arguments
            )
        except exceptions.ClientException as error:
            raise self._failure(error) from None
        except (requests.RequestException, OSError) as error:
            raise http.failure(self.target, error) from None
        if answer.status_code == 404 and method in ("HEAD", "DELETE"):
            return None
        if answer.status_code == 401:
            # A login that is denied fails before. Tokens of the very second in which their user's password changed do not count.
            raise unreachable(self.target, "it does not take the token that Keystone gave just now")
        if answer.status_code >= 300:
            raise self._refusal(answer)
        if not answer.content:
            return {}
        try:
            return answer.json()
        except ValueError:
            raise unreachable(self.target, "the answer is not JSON") from None

    def _refusal(self, answer: requests.Response) -> ReconcilerError:
        """`{"error": {"message": …}}` is Keystone's; others have a word of their own in the place of `error`."""
        try:
            (about,) = answer.json().values()
            why = said(str(about["message"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            why = ""
        return of_status(self.target, self._connection.user, answer.status_code, why)

    def _failure(self, error: exceptions.ClientException) -> ReconcilerError:
        if isinstance(error, exceptions.HttpError):
            if error.http_status == 401:
                return denied(self.target, self._connection.user, "HTTP 401")
            return of_status(self.target, self._connection.user, error.http_status, "")
        return http.failure(self._keystone, error)


class Service(ABC):
    """The half of a back end that is the same for every API: it lets in, and looks. See Backend and Identifies."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = RLock()

    @property
    def target(self) -> str:
        return self._api.target

    def close(self) -> None:
        self._api.close()

    def log_in(self) -> None:
        self._api.log_in()

    def observe(self, registrations: Sequence[Registration]) -> dict[str, Observed]:
        """Lists are read once per pass."""
        with self._lock, self._api.remembering():
            return {wanted.id: self._observed(wanted) for wanted in registrations}

    def identify(self, registrations: Sequence[Registration]) -> dict[str, str | None]:
        """Nothing but lists is read."""
        with self._lock, self._api.remembering():
            found = {wanted.id: self._find(wanted) for wanted in registrations}
            return {name: str(item["id"]) if item else None for name, item in found.items()}

    @abstractmethod
    def _find(self, wanted: Registration) -> Item | None:
        """What the API has of a registration."""

    @abstractmethod
    def _observed(self, wanted: Registration) -> Observed:
        """Its fields as they are."""


def api_of(connection: Connection, called: str, version: str) -> Api:
    """The API of a service that trusts Keystone; `version` ends its address."""
    return Api(connection, called, versioned(connection.text("url"), version), identity_url(connection, "auth_url"))


def identity_url(connection: Connection, *names: str) -> str:
    """Where Keystone's v3 is, by the first of these values that is set."""
    return versioned(connection.text(*names), "v3")


def versioned(url: str, version: str) -> str:
    """The address of an API, whether or not its version was said."""
    url = url.rstrip("/")
    return url if url.endswith(f"/{version}") else f"{url}/{version}"


def _auth(connection: Connection, url: str) -> v3.Password:
    arguments: dict[str, Any] = {"username": connection.user, "password": connection.password, "include_catalog": False}
    if connection.values.get("unscoped"):
        arguments["unscoped"] = True
    elif connection.text("system_scope"):
        arguments["system_scope"] = connection.text("system_scope")
    else:
        arguments["project_name"] = connection.text("project", "project_name", default="admin")
        arguments |= _domain("project_domain", connection.text("project_domain", "project_domain_name"))
    arguments |= _domain("user_domain", connection.text("user_domain", "user_domain_name"))
    return v3.Password(url, **arguments)


def _domain(what: str, name: str) -> dict[str, str]:
    """`default` is the id of the domain called Default, as everybody writes it."""
    return {f"{what}_id": "default"} if name in ("", "default") else {f"{what}_name": name}
