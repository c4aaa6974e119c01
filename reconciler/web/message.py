"""HTTP messages: the head of a request as a value, an answer as bytes. Pure.

h11 reads the head. What it would forgive is refused before: a server that reads a doubtful message in one way, behind a proxy
that reads it in another, is how requests are smuggled past the proxy.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import h11

MAX_HEAD = 16 << 10  # bytes of a request line with its headers
MAX_BODY = 1 << 20  # bytes
MAX_HEADERS = 100
_END: Final = b"\r\n\r\n"
# Line ends that are not CRLF, and lines that continue the one before.
_DOUBTFUL: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)|\n[ \t]")
_BARE: Final = re.compile(rb"(?<!\r)\n")
_LINES: Final = "lines end with CR LF and are not continued"
# h11 lets most of these into values; others cut a value there, or replace them.
_CONTROLS: Final = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")

_ALWAYS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Connection": "close",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What a handler may know. Header names are in lower case; `read` gives the body, which is all here already."""

    path: str
    headers: Mapping[str, str]
    peer: str
    read: Callable[[], bytes] = field(default=lambda: b"", repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """`tagged`: it gets an entity tag, and who has this very content already gets a 304."""

    code: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    tagged: bool = False


Handler = Callable[[Request], Answer]


@dataclass(frozen=True, slots=True)
class Head:
    """The first part of a request. `authority`: the Host header, and `target_authority` that of a target in absolute form."""

    method: str
    path: str
    headers: Mapping[str, str]
    authority: str
    target_authority: str | None = None
    length: int | None = 0  # bytes of the body; None when its length is not told in advance


class Refused(Exception):
    """A message that is not served. `answer` says why."""

    def __init__(self, code: int, why: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(why)
        self.answer = Answer(code, f"{why}\n".encode(), headers=headers)


def head_end(data: bytes | bytearray, start: int = 0) -> int | None:
    """Where the head ends in what came so far, None when it is not whole. `start`: up to where was looked before.

    Raises Refused when it is too long, or will never end as it should.
    """
    found = data.find(_END, max(0, start - len(_END)), MAX_HEAD)
    if found >= 0:
        return found + len(_END)
    if _BARE.search(data, max(0, start - 1)):
        raise Refused(HTTPStatus.BAD_REQUEST, _LINES)
    if len(data) >= MAX_HEAD:
        raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {MAX_HEAD >> 10} KiB before the body")
    return None


def parse(head: bytes) -> Head:
    """The head of a request, line ends included. Raises Refused."""
    if _DOUBTFUL.search(head):
        raise Refused(HTTPStatus.BAD_REQUEST, _LINES)
    if _CONTROLS.search(head):
        raise Refused(HTTPStatus.BAD_REQUEST, "a head has no control characters")
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
    try:
        reader.receive_data(head)
        found = reader.next_event()
    except h11.RemoteProtocolError as error:
        raise Refused(error.error_status_hint, "this is not a request of HTTP/1.1") from None
    if not isinstance(found, h11.Request):
        raise Refused(HTTPStatus.BAD_REQUEST, "this is not a request of HTTP/1.1")
    if found.http_version not in (b"1.0", b"1.1"):
        raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if len(found.headers) > MAX_HEADERS:
        raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for name, value in ((name.decode("ascii"), value.decode("latin-1")) for name, value in found.headers):
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    path, authority = _target(found.target.decode("ascii"))
    return Head(found.method.decode("ascii"), path, headers, headers.get("host", ""), authority, _length(headers))


def _target(target: str) -> tuple[str, str | None]:
    """(path, authority) of a target; the authority is None unless the form is absolute."""
    if target.startswith("/"):
        return target.partition("?")[0], None
    try:
        parts = urlsplit(target)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise Refused(HTTPStatus.BAD_REQUEST, "what is asked for is named by a path")
    return parts.path or "/", parts.netloc


def _length(headers: Mapping[str, str]) -> int | None:
    if "transfer-encoding" in headers:
        if "content-length" in headers:
            raise Refused(HTTPStatus.BAD_REQUEST, "a body has one length, not a length and an encoding")
        return None
    # h11 made sure that it is one number.
    return int(headers["content-length"]) if "content-length" in headers else 0


def encode(answer: Answer, method: str, headers: Mapping[str, str]) -> bytes:
    """An answer as it travels, to a request with these headers."""
    code, body, more = answer.code, answer.body, {**_ALWAYS, **answer.headers}
    if answer.tagged:
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        more |= {"ETag": tag, "Cache-Control": "private, no-cache"}
        if tag in headers.get("if-none-match", ""):
            code, body = HTTPStatus.NOT_MODIFIED, b""
    if code != HTTPStatus.NOT_MODIFIED:
        more |= {"Content-Type": answer.content_type, "Content-Length": str(len(body))}
    lines = [f"HTTP/1.1 {int(code)} {HTTPStatus(code).phrase}", *(f"{name}: {value}" for name, value in more.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header of an answer has more than one line")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if method == "HEAD" else body)
