"""HTTP sessions with short time-outs, and what their failures mean."""

from typing import Any

import requests

from reconciler.errors import ReconcilerError
from reconciler.registrations.failures import refused, unreachable, untrusted
from reconciler.registrations.protocol import CONNECT_SECONDS, READ_SECONDS, Connection
from reconciler.system.answers import Bounded
from reconciler.system.sessions import Session


class _Adapter(Bounded):
    """Gives every request its limits, also those that a library makes without, and another try on a new connection
    when the server closed the kept one just then."""

    def __init__(self, authorities: str) -> None:
        super().__init__(READ_SECONDS, connect=CONNECT_SECONDS, authorities=authorities)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        try:
            return super().send(request, *args, **kwargs)
        except requests.ConnectionError as error:
            if not any(words in repr(error) for words in ("RemoteDisconnected", "ConnectionResetError", "BrokenPipe")):
                raise
            return super().send(request, *args, **kwargs)


def session(connection: Connection) -> requests.Session:
    """A session that trusts what the connection says."""
    made, adapter = Session(connection.verify), _Adapter(connection.authorities)
    for scheme in ("http://", "https://"):
        made.mount(scheme, adapter)
    return made


def failure(target: str, error: Exception) -> ReconcilerError:
    """The error of the hierarchy for a request that got no answer. Says nothing of the request's content."""
    text = repr(error)
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text:
        return refused(target, untrusted(text))
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return refused(target, f"the CA file cannot be read: {error}")
    for words, meaning in _MEANINGS:
        if words in text:
            return unreachable(target, meaning)
    return unreachable(target, type(error).__name__)


_MEANINGS = (
    ("Connection refused", "connection refused"),
    ("ConnectTimeout", f"no connection within {CONNECT_SECONDS:g} s"),
    ("ReadTimeout", f"no answer within {READ_SECONDS:g} s"),
    ("Read timed out", f"no answer within {READ_SECONDS:g} s"),
    ("timed out", "timed out"),
    ("Name or service not known", "its name cannot be resolved"),
    ("NameResolutionError", "its name cannot be resolved"),
    ("No route to host", "no route to host"),
    ("Network is unreachable", "network is unreachable"),
    ("SSL", "TLS failed"),
    ("TooLarge", "its answer is too large"),
    ("ContentDecodingError", "its answer is packed, which was not asked for"),
    ("RemoteDisconnected", "it closed the connection"),
    ("Connection reset", "it closed the connection"),
)
