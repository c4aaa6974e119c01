"""A small HTTP server: a table of paths, one answer per connection, limits on everything a client can send.

When more clients are connected than it has places for, the one that has been there longest is let go: who sends slowly
cannot keep others out.
"""

import hashlib
import http.server
import socket
import socketserver
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import structlog

from reconciler import errors

log = structlog.get_logger()

MAX_BODY = 1 << 20  # bytes
_DRAINED = 8 << 20  # bytes of a body that is too large
_PLACES = 32  # connections at the same time
_PATIENCE = 10.0  # seconds a client may be silent


@dataclass(frozen=True, slots=True)
class Request:
    """What a handler may know. Header names are in lower case; `body` is empty unless the method is POST."""

    path: str
    headers: Mapping[str, str]
    peer: str
    read: Callable[[], bytes] = field(default=lambda: b"", repr=False)  # the body; raises TooLarge


@dataclass(frozen=True, slots=True)
class Answer:
    """`tagged`: it gets an entity tag, and who has this very content already gets a 304."""

    code: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    tagged: bool = False


class TooLarge(Exception):
    """The body is larger than `MAX_BODY`, or its length is not told."""


Handler = Callable[[Request], Answer]


class Server:
    """Serves `get` and `post`, path → handler, on `host:port` from threads of its own.

    Handlers must be safe to call from several threads. Raises errors.Terminal (MetricsAddress).
    """

    def __init__(
        self,
        address: str,
        get: Mapping[str, Handler],
        post: Mapping[str, Handler] | None = None,
    ) -> None:
        self.get, self.post = get, post or {}
        host, _, port = address.rpartition(":")
        host = host.strip("[]") or "127.0.0.1"
        try:
            self._server = _Listener((host, int(port)), self)
        except (OSError, ValueError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise errors.Terminal(
                f'nothing can be served on {address}: {reason} (correct the address in the settings, or "" for none)',
                reason="MetricsAddress",
            ) from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], owner: Server) -> None:
        self.owner = owner
        self._guard = threading.Lock()
        self._open: OrderedDict[int, socket.socket] = OrderedDict()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without the name look-up of the class above, which can take as long as a name server likes."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open[id(request)] = request
            oldest = next(iter(self._open.values())) if len(self._open) > _PLACES else None
        if oldest is not None:
            self._end(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.pop(id(request), None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nothing to talk about."""

    def _end(self, request: socket.socket) -> None:
        with self._guard:
            self._open.pop(id(request), None)
        try:
            request.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Listener
    timeout = _PATIENCE
    server_version = "reconciler"
    sys_version = ""

    def do_GET(self) -> None:
        self._serve(self.server.owner.get, self.server.owner.post, "POST")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._serve(self.server.owner.post, self.server.owner.get, "GET, HEAD")

    def _serve(self, table: Mapping[str, Handler], others: Mapping[str, Handler], allowed: str) -> None:
        path = urlsplit(self.path).path
        headers = {name.lower(): value for name, value in self.headers.items()}
        if path not in table:
            known = path in others
            code = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
            self._answer(Answer(code, headers={"Allow": allowed} if known else {}), headers)
            return
        try:
            answer = table[path](Request(path, headers, str(self.client_address[0]), lambda: self._body(headers)))
        except TooLarge:
            answer = Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"too large\n")
        except OSError:
            return
        except Exception as error:  # whatever a handler meets, the others go on; the text may hold anything
            log.error("http.failed", path=path, error=type(error).__name__)
            answer = Answer(HTTPStatus.INTERNAL_SERVER_ERROR)
        self._answer(answer, headers)

    def _body(self, headers: Mapping[str, str]) -> bytes:
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()) or len(length) > 9:
            raise TooLarge
        if int(length) > MAX_BODY:
            # Who is answered while still sending may not hear the answer; what is far too much is not waited for.
            left = min(int(length), _DRAINED)
            while left > 0 and (chunk := self.rfile.read(min(left, 1 << 16))):
                left -= len(chunk)
            raise TooLarge
        return self.rfile.read(int(length))

    def _answer(self, answer: Answer, headers: Mapping[str, str]) -> None:
        code, body, more = answer.code, answer.body, dict(answer.headers)
        if answer.tagged:
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            more["ETag"] = tag
            if tag in headers.get("if-none-match", ""):
                code, body = HTTPStatus.NOT_MODIFIED, b""
        self.send_response_only(code)
        if code != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(body)))
        fixed = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        for name, value in {**fixed, **more}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent: what strangers ask for is no news."""
