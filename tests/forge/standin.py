"""What every stand-in forge shares: an HTTP server on 127.0.0.1 with a log, routes, and faults to inject."""

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """One request as it came. `path` is still percent-encoded, as routes see it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> dict[str, Any]:
        try:
            value = json.loads(self.data or b"{}")
        except ValueError:
            raise Refused(400, {"error": "The provided content-type 'application/json' is not valid JSON"}) from None
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class Reply:
    """An answer: `body` is sent as JSON unless it is bytes or None."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):
    """Raised by a handler to answer with an error."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status, body)
        self.reply = Reply(status, body)


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong once. `done`: only after the request has been carried out, so the client cannot know."""

    kind: Literal["status", "hang", "drip", "garbage", "close", "large"]
    status: int = 500
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 30.0
    done: bool = False

    @classmethod
    def answer(cls, status: int, message: str = "", *, retry_after: str | None = None, done: bool = False) -> Self:
        """Answer `status`, with a Retry-After when given."""
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        return cls("status", status, {"message": message or f"{status} injected"}, headers, done=done)


@dataclass
class Seen:
    """One line of the log, written when the request arrives."""

    method: str
    path: str
    status: int | None  # None: no whole answer was sent
    headers: tuple[str, ...] = ()  # names only: values hold tokens


Handler = Callable[..., Reply]


def route(method: str, pattern: str) -> Callable[[Handler], Handler]:
    """Mark a method of a server as the handler of `pattern`, where `{x}` matches one path segment."""

    def mark(handler: Handler) -> Handler:
        handler.route = (method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)))  # type: ignore[attr-defined]
        return handler

    return mark


class StandIn:
    """A server with state behind one lock. Use as a context manager, or call `start` and `close`."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._scheme = "https" if tls else "http"
        self.lock = threading.RLock()
        self.seen: list[Seen] = []
        self.violations: list[str] = []
        self._faults: list[tuple[str, str, Fault]] = []
        self._closing = threading.Event()
        found = [getattr(type(self), name) for name in dir(type(self))]
        self._routes = [(*handler.route, handler) for handler in found if hasattr(handler, "route")]
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def fail(self, method: str, fragment: str, *faults: Fault) -> None:
        """Queue `faults` for the next requests of `method` whose path contains `fragment`, one each."""
        with self.lock:
            self._faults += [(method, fragment, fault) for fault in faults]

    def count(self, method: str, fragment: str = "") -> int:
        """How many requests of `method` had `fragment` in their path."""
        with self.lock:
            return sum(1 for seen in self.seen if seen.method == method and fragment in seen.path)

    def check_request(self, request: Request) -> None:
        """Record what is wrong with `request` in `violations`."""

    def check_answer(self, request: Request, reply: Reply) -> None:
        """Record what is wrong with our own answer in `violations`."""

    def _take_fault(self, request: Request) -> Fault | None:
        with self.lock:
            for number, (method, fragment, fault) in enumerate(self._faults):
                if method == request.method and fragment in request.path:
                    del self._faults[number]
                    return fault
        return None

    def _reply(self, request: Request) -> Reply:
        for method, pattern, handler in self._routes:
            if method == request.method and (match := pattern.fullmatch(request.path)):
                try:
                    with self.lock:
                        reply: Reply = handler(self, request, **match.groupdict())
                except Refused as refused:
                    reply = refused.reply
                return reply
        return Reply(404, {"error": "404 Not Found"})

    def _answer(self, request: Request, http: BaseHTTPRequestHandler) -> int | None:
        self.check_request(request)
        fault = self._take_fault(request)
        if fault is None or fault.done:
            reply = self._reply(request)
            self.check_answer(request, reply)
        if fault is None:
            self._send(http, reply)
            return reply.status
        return self._misbehave(fault, http)

    def _send(self, http: BaseHTTPRequestHandler, reply: Reply) -> None:
        data = (
            reply.body
            if isinstance(reply.body, bytes)
            else b""
            if reply.body is None
            else json.dumps(reply.body).encode()
        )
        http.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            http.send_header(name, value)
        if reply.status != 204:
            http.send_header("Content-Length", str(len(data)))
        http.end_headers()
        if reply.status != 204:
            http.wfile.write(data)

    def _misbehave(self, fault: Fault, http: BaseHTTPRequestHandler) -> int | None:
        if fault.kind == "status":
            self._send(http, Reply(fault.status, fault.body, fault.headers))
            return fault.status
        if fault.kind == "garbage":
            self._send(http, Reply(200, b"<html>Deploy in progress\xff</html>", {"Content-Type": "text/html"}))
            return 200
        http.close_connection = True
        if fault.kind == "hang":
            self._closing.wait(fault.seconds)
        elif fault.kind in ("drip", "large"):
            http.send_response(200)
            http.send_header("Content-Length", str(1 << 40))
            http.end_headers()
            piece, pause = (b" ", 0.05) if fault.kind == "drip" else (b" " * (1 << 20), 0.0)
            while not self._closing.wait(pause):
                http.wfile.write(piece)
        http.connection.shutdown(socket.SHUT_RDWR)
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            disable_nagle_algorithm = True

            def _any(self) -> None:
                parts = urlsplit(self.path)
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.title(): value for name, value in self.headers.items()}
                request = Request(self.command, parts.path, dict(parse_qsl(parts.query)), headers, data)
                seen = Seen(request.method, request.path, None, tuple(headers))
                with owner.lock:
                    owner.seen.append(seen)
                try:
                    seen.status = owner._answer(request, self)
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

            def log_message(self, format: str, *args: object) -> None:
                """The log is `seen`."""

        return Handler
