"""Keystone's REST API v3."""

import requests
from keystoneauth1 import exceptions

from reconciler.registrations import http, openstack
from reconciler.registrations.openstack import Item
from reconciler.registrations.protocol import Connection

__all__ = ["Api", "Item"]


class Api(openstack.Api):
    """See `openstack.Api`; here what is asked is who gives the tokens."""

    def __init__(self, connection: Connection) -> None:
        url = openstack.identity_url(connection, "url", "auth_url")
        super().__init__(connection, "Keystone", url, url)

    def exists(self, path: str) -> bool:
        """Whether HEAD finds it."""
        return self._call("HEAD", path) is not None

    def update(self, kind: str, path: str, body: Item) -> None:
        self.patch(path, {kind: body})

    def put(self, path: str, body: Item | None = None) -> None:
        """Make what the path names."""
        self._call("PUT", path, **({"json": body} if body else {}))

    def patch(self, path: str, body: Item) -> None:
        self._call("PATCH", path, json=body)

    def own_user_id(self) -> str:
        """The id of the user that the connection logs in as."""
        try:
            return str(self._session.get_user_id())
        except exceptions.ClientException as error:
            raise self._failure(error) from None

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
