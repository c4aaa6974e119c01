"""Keystone's REST API v3 by keystoneauth: a session, and what its failures mean."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
from keystoneauth1 import exceptions
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from reconciler.errors import ReconcilerError
from reconciler.foreign import said
from reconciler.registrations import http
from reconciler.registrations.failures import denied, of_status, refused, unreachable
from reconciler.registrations.protocol import Connection

Item = Mapping[str, Any]


class Api:
    """Requests as the connection's user. Every method raises Transient or Terminal; none logs a request."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        url = connection.text("url", "auth_url").rstrip("/")
        self._url = url if url.endswith("/v3") else url + "/v3"
        self._http = http.session(connection)
        self._session = Session(
            auth=_auth(connection, self._url), session=self._http, verify=connection.verify, redirect=False
        )
        self._memory: dict[tuple[Any, ...], list[Item]] | None = None

    @property
    def target(self) -> str:
        return f"Keystone at {self._url}"

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

    def list(self, collection: str, **filters: str) -> list[Item]:
        """A collection, filtered by the server. Raises when the server cut it: what is cut off is not absent."""
        key = (collection, *sorted(filters.items()))
        if self._memory is not None and key in self._memory:
            return self._memory[key]
        answer = self._call("GET", f"/{collection}", params=filters)
        if answer.get("truncated") or not isinstance(answer.get(collection), list):
            raise refused(self.target, f"/{collection} is not listed whole (see Keystone's list_limit)")
        found: list[Item] = answer[collection]
        if self._memory is not None:
            self._memory[key] = found
        return found

    def exists(self, path: str) -> bool:
        """Whether HEAD finds it."""
        return self._call("HEAD", path) is not None

    def create(self, kind: str, collection: str, body: Item) -> None:
        self._call("POST", f"/{collection}", json={kind: body})

    def update(self, kind: str, path: str, body: Item) -> None:
        self._call("PATCH", path, json={kind: body})

    def put(self, path: str) -> None:
        self._call("PUT", path)

    def delete(self, path: str) -> None:
        """Delete; gone already is fine."""
        self._call("DELETE", path)

    def own_user_id(self) -> str:
        """The id of the user that the connection logs in as."""
        try:
            return str(self._session.get_user_id())
        except exceptions.ClientException as error:
            raise self._failure(error) from None

    def log_in(self) -> None:
        """Get a new token with the connection's own credentials."""
        try:
            _auth(self._connection, self._url).get_token(self._session)
        except exceptions.ClientException as error:
            raise self._failure(error) from None
        except (requests.RequestException, OSError) as error:
            raise http.failure(self.target, error) from None

    def logs_in(self, user_id: str, password: str) -> bool:
        """Whether this password is that user's. Keystone says the same 401 for a wrong one and a locked account."""
        identity = {"methods": ["password"], "password": {"user": {"id": user_id, "password": password}}}
        body = {"auth": {"identity": identity, "scope": "unscoped"}}
        try:
            answer = self._http.post(f"{self._url}/auth/tokens?nocatalog", json=body, allow_redirects=False)
        except (requests.RequestException, OSError) as error:
            raise http.failure(self.target, error) from None
        if answer.status_code in (201, 401):
            return answer.status_code == 201
        raise self._refusal(answer)

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        """The answer's JSON, {} when it has none; None for a GET, HEAD or DELETE of what is not there."""
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
        if answer.status_code >= 300:
            raise self._refusal(answer)
        if not answer.content:
            return {}
        try:
            return answer.json()
        except ValueError:
            raise unreachable(self.target, "the answer is not JSON") from None

    def _refusal(self, answer: requests.Response) -> ReconcilerError:
        try:
            why = said(str(answer.json()["error"]["message"]))
        except (ValueError, KeyError, TypeError):
            why = ""
        return of_status(self.target, self._connection.user, answer.status_code, why)

    def _failure(self, error: exceptions.ClientException) -> ReconcilerError:
        if isinstance(error, exceptions.HttpError):
            if error.http_status == 401:
                return denied(self.target, self._connection.user, "HTTP 401")
            return of_status(self.target, self._connection.user, error.http_status, "")
        return http.failure(self.target, error)


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
