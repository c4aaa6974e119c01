"""The one place where HTTP sessions are made: nothing of the environment, and no host but the one that was asked.

What requests takes from the environment by itself is not ours to send or to trust: the passwords in ~/.netrc, proxies, CA bundles.
A proxy counts only when the operator names it for this program, in RECONCILER_PROXY, and only for hosts outside: forges and
receivers of alerts.
"""

import os
import ssl
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.ssl_ import create_urllib3_context

PROXY = "RECONCILER_PROXY"
_END = "-----END CERTIFICATE-----"


class Session(requests.Session):
    """A session that keeps no cookies, reads no environment and follows a redirect within one origin only.

    `verify` is the CA file, or whether certificates are checked; `outside` says that the host is none of the site's own, so
    that a proxy may lie before it.
    """

    def __init__(self, verify: bool | str = True, *, outside: bool = False) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = verify
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.mount("https://", Adapter())
        if outside and (proxy := os.environ.get(PROXY)):
            self.proxies = {"http": proxy, "https": proxy}

    def get_redirect_target(self, resp: Any) -> str | None:
        """Where an answer leads, as requests asks before it goes there; None for another origin, or for what is no address: the
        answer is then the last."""
        target = super().get_redirect_target(resp)
        try:
            return target if target and _origin(urljoin(resp.url, target)) == _origin(resp.url) else None
        except ValueError:
            return None


class Adapter(HTTPAdapter):
    """What every session is to be mounted with, as it is or as a base: a certificate counts here, or does not, with every version of Python.
    `authorities` (PEM) are believed beside the usual ones."""

    def __init__(self, *, authorities: str = "", **how: Any) -> None:
        self._authorities = authorities
        super().__init__(**how)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=trusting(self._authorities), **kwargs)

    def cert_verify(self, conn: Any, url: str, verify: bool | str, cert: Any) -> None:
        super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
        if not verify and "ssl_context" in conn.conn_kw:
            conn.conn_kw["ssl_context"].check_hostname = False  # asked for, it would ask for a certificate


def trusting(authorities: str, context: ssl.SSLContext | None = None) -> ssl.SSLContext:
    """A context, or this one, that believes these certificates (PEM) too. One that cannot be read is believed by nobody."""
    context = context or create_urllib3_context()
    # Python 3.13 asks more of a certificate by default than older ones and than git do: `openssl req -x509` makes authorities without a
    # key usage, and they would be nobody's on one host and everybody's on the next.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    for piece in authorities.split(_END)[:-1]:
        with suppress(ssl.SSLError, ValueError):
            context.load_verify_locations(cadata=f"{piece}{_END}\n")
    return context


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]
