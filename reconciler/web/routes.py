"""The way to every handler: a table of paths, behind checks that none of its entries can do without. Pure.

What is checked is whether the one who asks may hear the answer. A browser of somebody who can reach this server is made to
ask by any page that it shows; what it must not do is tell that page what it heard.

- The name asked for. A page may have its own name lead here (DNS rebinding), and is then of one origin with this server. So
  only names that nobody else can have are answered to: the address that was reached, those of this host itself, and what
  the settings name.
- Where the question comes from, as browsers tell (`Sec-Fetch-*`, `Origin`): foreign pages may link here, and nothing else.
"""

import ipaddress
import re
import socket
from collections.abc import Collection, Iterator, Mapping
from http import HTTPStatus
from typing import Final

from reconciler.web.message import MAX_BODY, Handler, Head, Refused

_AUTHORITY: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_READING: Final = ("GET", "HEAD")
_WRONG_NAME: Final = "this server answers to its address, to localhost, to its host's name, and to the `names` in its settings; not to this one"


class Routes:
    """Path → handler, for reading (`get`) and for what asks for something (`post`).

    `names` are names or addresses of this host, beside that of its system.
    """

    def __init__(
        self, get: Mapping[str, Handler], post: Mapping[str, Handler] | None = None, names: Collection[str] = ()
    ) -> None:
        self._get, self._post = dict(get), dict(post or {})
        system = socket.gethostname()
        self._names = frozenset(_plain(name) for name in ("localhost", system, system.partition(".")[0], *names))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Each (method, path)."""
        yield from (("GET", path) for path in self._get)
        yield from (("POST", path) for path in self._post)

    def handler(self, head: Head, local: str) -> Handler:
        """Who answers this request, which came in at the address `local`. Raises Refused: there is no other way to one."""
        if not self._is_ours(head, local):
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST, _WRONG_NAME)
        if _is_foreign(head):
            raise Refused(HTTPStatus.FORBIDDEN, "a page of somebody else's may not ask this")
        table = self._get if head.method in _READING else self._post if head.method == "POST" else {}
        if head.path not in table:
            raise self._unknown(head.path)
        if head.length is None or head.length > MAX_BODY:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has a Content-Length of at most {MAX_BODY}")
        if head.length and head.method in _READING:
            raise Refused(HTTPStatus.BAD_REQUEST, "what only asks has no body")
        if head.headers.get("expect", "100-continue").lower() != "100-continue":
            raise Refused(HTTPStatus.EXPECTATION_FAILED, "only 100-continue can be expected")
        return table[head.path]

    def _is_ours(self, head: Head, local: str) -> bool:
        asked = [head.authority] if head.target_authority is None else [head.authority, head.target_authority]
        return all(self._is_name(authority, local) for authority in asked)

    def _is_name(self, authority: str, local: str) -> bool:
        found = _AUTHORITY.fullmatch(authority)
        if found is None:
            return False
        name = _plain(found["name"])
        return name in self._names or name == _plain(local) or _is_loopback(name)

    def _unknown(self, path: str) -> Refused:
        allowed = [*(_READING if path in self._get else ()), *(("POST",) if path in self._post else ())]
        if not allowed:
            return Refused(HTTPStatus.NOT_FOUND, "nothing is here")
        return Refused(HTTPStatus.METHOD_NOT_ALLOWED, "not with this method", {"Allow": ", ".join(allowed)})


def _is_foreign(head: Head) -> bool:
    """Whether a browser says that a page of another origin asks. First match wins."""
    headers = head.headers
    if "origin" in headers:
        return headers["origin"].lower().partition("://")[2] != head.authority.lower()
    if headers.get("sec-fetch-site", "none").lower() in ("none", "same-origin"):
        return False
    link = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    return not (link and head.method in _READING)


def _plain(name: str) -> str:
    """One spelling of a name or an address."""
    name = name.strip("[]").rstrip(".").lower()
    address = _address(name)
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or address)
    return str(address) if address else name


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return address is not None and address.is_loopback


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def crowd(address: str) -> str:
    """Who an address counts as, when connections are shared out: an IPv6 network of 64 bits is one host's to choose from."""
    plain = _plain(address.partition("%")[0])
    found = _address(plain)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return plain
