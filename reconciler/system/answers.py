"""HTTP answers that cannot hold or fill the one who asked: the whole exchange ends by a deadline, and a body has a size.

What requests calls a timeout starts anew with every byte, so a server that drips a header a second is waited for as long as it likes;
and a body is read and unpacked however large it is. Sessions whose servers are not this program's mount `Bounded`.
"""

import io
import socket
import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPResponse
from typing import Any, Final

import requests
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from reconciler.system.sessions import Adapter

MOST: Final = 32 << 20  # bytes
LONGEST_WAIT: Final = 86_400.0  # seconds
_CHUNK = 1 << 16


def retry_after(said: str) -> float | None:
    """Seconds that a Retry-After header asks for, at most `LONGEST_WAIT`; None when it says nothing that can be understood."""
    said = said.strip()
    if said.isascii() and said.isdigit():
        return min(float(said[:9]), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(said[:100])
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, IndexError, ArithmeticError):  # dates that no calendar has raise all of these
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


class TooLarge(requests.RequestException):
    """The body is larger than was allowed."""


class Bounded(Adapter):
    """An adapter for `Session.mount`; its answers come with their whole body, whether or not `stream` was asked for.

    `seconds` are for the exchange, `connect` of them for the connection (None: all); a caller's `timeout`, when it is one number,
    makes both shorter. `most` is for the body, in bytes as they travel: packed ones are refused, for nobody asked for them. With
    `cut` a longer body is cut there instead. `authorities` (PEM) are believed beside the usual ones.
    Raises requests.Timeout, TooLarge and what else requests raises.
    """

    def __init__(
        self,
        seconds: float,
        *,
        connect: float | None = None,
        most: int = MOST,
        cut: bool = False,
        authorities: str = "",
    ) -> None:
        self._seconds, self._connect, self._most, self._cut = seconds, connect or seconds, most, cut
        super().__init__(authorities=authorities)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        asked = kwargs.get("timeout")
        seconds = min(self._seconds, asked) if isinstance(asked, (int, float)) else self._seconds
        kwargs |= {"stream": True, "timeout": (min(self._connect, seconds), seconds)}
        request.headers["Accept-Encoding"] = "identity"
        _exchange.deadline = time.monotonic() + seconds
        try:
            response = super().send(request, *args, **kwargs)
            try:
                body = self._body(response)
            except urllib3.exceptions.HTTPError as error:
                slow = isinstance(error, urllib3.exceptions.TimeoutError)
                kind = requests.exceptions.ReadTimeout if slow else requests.exceptions.ConnectionError
                raise kind(error, request=request) from None
            finally:
                if not response.raw.closed:
                    response.raw.release_conn()
        finally:
            _exchange.deadline = None
        # Of all that a header may name some are read in a time that grows with the square of what is read.
        response.encoding = "utf-8"
        response._content = body
        response._content_consumed = True  # type: ignore[attr-defined]
        return response

    def _body(self, response: requests.Response) -> bytes:
        packed = response.headers.get("Content-Encoding", "identity").strip().lower()
        if packed not in ("", "identity"):
            raise requests.exceptions.ContentDecodingError(
                f"the answer is packed ({packed[:20]!r}), which was not asked for"
            )
        data = bytearray()
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            data += chunk
            if len(data) > self._most:
                response.raw.close()  # the rest is not waited for
                if self._cut:
                    return bytes(data[: self._most])
                raise TooLarge(f"the answer has more than {self._most} bytes")
        return bytes(data)


class _Exchange(threading.local):
    """The exchange of this thread."""

    deadline: float | None = None

    def left(self) -> float:
        """Seconds until its end. Raises TimeoutError after it."""
        assert self.deadline is not None
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        return seconds


_exchange = _Exchange()


class _Timed(io.RawIOBase):
    """What arrives on a socket, until the deadline of the exchange."""

    def __init__(self, arriving: Any, connection: socket.socket) -> None:
        self._arriving, self._connection = arriving, connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connection.settimeout(_exchange.left())
        found: int | None = self._arriving.readinto(buffer)
        return found

    def close(self) -> None:
        self._arriving.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Timed(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Response

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # one that was kept, with what was left of the exchange before
            self.sock.settimeout(_exchange.left())
        super().request(*args, **kwargs)


class _TlsConnection(HTTPSConnection):
    response_class = _Response

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(_exchange.left())
        super().request(*args, **kwargs)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


# Messages of urllib3 begin with the name of the class, and `errors.root_cause` takes it away.
_Pool.__name__, _TlsPool.__name__ = "HTTPConnectionPool", "HTTPSConnectionPool"
