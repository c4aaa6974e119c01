"""Asks hosts for their signed reports: several at a time, each within a time and a size, and believes none of it yet.

Reasons of a host that gave no report, all errors.Transient: ReportUnreachable, ReportUnavailable (it answers, and not with a
report).
"""

import http.client
import io
import socket
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

from reconciler import errors
from reconciler.reasons import Reason
from reconciler.report.signed import MAX_BYTES
from reconciler.text import printable

A = TypeVar("A")
B = TypeVar("B")
_HEADERS = 16 << 10  # bytes allowed beside the report


def fetch(address: str, port: int, seconds: float) -> bytes:
    """What `http://address:port/report` holds. `seconds` is the limit of the whole: one that drips cannot hold a place.

    Raises errors.Transient (ReportUnreachable, ReportUnavailable).
    """
    deadline = time.monotonic() + seconds
    name = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    data = bytearray()
    try:
        with socket.create_connection((address, port), timeout=seconds) as connection:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            connection.sendall(f"GET /report HTTP/1.0\r\nHost: {name}\r\nUser-Agent: reconciler\r\n\r\n".encode())
            while len(data) <= MAX_BYTES + _HEADERS:
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                chunk = connection.recv(1 << 16)
                if not chunk:
                    return _content(name, bytes(data))
                data += chunk
    except TimeoutError:
        raise errors.Transient(
            f"{name} gave no whole answer within {seconds:g} s", reason=Reason.ReportUnreachable
        ) from None
    except OSError as error:
        raise errors.Transient(f"{name}: {error.strerror or error}", reason=Reason.ReportUnreachable) from None
    raise _unavailable(f"{name} answers with more than a report may have ({MAX_BYTES >> 10} KiB)")


def each(action: Callable[[A], B], items: Iterable[A], parallel: int) -> list[B]:
    """The results in the order of the items, `parallel` of them at a time."""
    with ThreadPoolExecutor(parallel, thread_name_prefix="poll") as pool:
        return list(pool.map(action, items))


class _Received:
    """What http.client takes for a socket: bytes that are all here."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def _content(name: str, data: bytes) -> bytes:
    response = http.client.HTTPResponse(cast(socket.socket, _Received(data)))
    try:
        response.begin()
        body = response.read()
    # Whatever these bytes do to the parser (lengths that are no lengths raise OverflowError) is this host's matter alone.
    except Exception:
        raise _unavailable(f"{name} does not answer in HTTP, or not to the end") from None
    if response.status != 200:
        said = printable(" ".join(body[:200].decode(errors="replace").split()), limit=200)
        raise _unavailable(f"{name} answers {response.status}{': ' + said if said else ''}")
    return body


def _unavailable(message: str) -> errors.Transient:
    return errors.Transient(message, reason=Reason.ReportUnavailable)
