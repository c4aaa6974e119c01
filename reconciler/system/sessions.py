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


def trusting(authorities: str, context: ssl.SSLContext | None = None) -> ssl.SSLContext:
    """A context, or this one, that believes these certificates (PEM) too. One that cannot be read is believed by nobody."""
    context = context or create_urllib3_context()
    for piece in authorities.split(_END)[:-1]:
        with suppress(ssl.SSLError, ValueError):
            context.load_verify_locations(cadata=f"{piece}{_END}\n")
    return context


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]
