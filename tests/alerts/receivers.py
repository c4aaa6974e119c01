"""Servers that take alerts: a webhook that checks signatures, and a mail server."""

import base64
import contextlib
import email
import email.policy
import hashlib
import hmac
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema

from reconciler import data
from reconciler.document.grammar import formats


@dataclass
class Webhook:
    """Takes what is signed with `key` and keeps to the schema; anything else is answered 400 and kept in `wrong`."""

    key: str = ""
    url: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # given once each, before it takes anything
    hang: threading.Event = field(default_factory=threading.Event)  # set: does not answer until cleared
    arrived: int = 0  # requests, those that are not answered yet included
    requests: int = 0

    @property
    def alerts(self) -> list[dict[str, Any]]:
        return [alert for message in self.messages for alert in message["alerts"]]

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        self.requests += 1
        if self.answers:
            return self.answers.pop(0)
        expected = "sha256=" + hmac.new(self.key.encode(), body, hashlib.sha256).hexdigest()
        if self.key and not hmac.compare_digest(headers.get("X-Reconciler-Signature-256", ""), expected):
            self.wrong.append("signature")
            return 400, {}
        message = json.loads(body)
        validator = jsonschema.Draft202012Validator(data.schema("alert"), format_checker=formats)
        self.wrong += [error.message for error in validator.iter_errors(message)]
        self.messages.append(message)
        return 204, {}


@contextlib.contextmanager
def webhook(key: str = "") -> Iterator[Webhook]:
    """A webhook on 127.0.0.1."""
    state = Webhook(key)
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.arrived += 1
            while state.hang.is_set() and not closing.wait(0.05):
                pass
            with contextlib.suppress(ConnectionError):
                code, headers = state.take(dict(self.headers), body)
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing to say."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    with _serving(server):
        yield state
        closing.set()


@dataclass
class Mail:
    """A mail server that wants a password; `port` on 127.0.0.1."""

    user: str
    password: str
    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    refused: int = 0


@contextlib.contextmanager
def mail_server(user: str, password: str) -> Iterator[Mail]:
    """Enough of SMTP (RFC 5321, AUTH PLAIN and LOGIN) for a real client."""
    state = Mail(user, password)

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(line.encode() + b"\r\n")

        def hear(self) -> str:
            return self.rfile.readline().decode().rstrip("\r\n")

        def handle(self) -> None:
            self.say("220 mail.test ESMTP")
            while line := self.hear():
                word = line.upper()
                if word.startswith("EHLO"):
                    self.say("250-mail.test")
                    self.say("250 AUTH PLAIN LOGIN")
                elif word.startswith("AUTH"):
                    self.login(line)
                elif word.startswith("DATA"):
                    self.say("354 go on")
                    lines: list[bytes] = []
                    while (text := self.rfile.readline()) != b".\r\n":
                        lines.append(text.removeprefix(b"."))
                    made = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                    assert isinstance(made, EmailMessage)
                    state.messages.append(made)
                    self.say("250 taken")
                elif word.startswith("QUIT"):
                    self.say("221 bye")
                    return
                else:
                    self.say("250 fine")

        def login(self, line: str) -> None:
            _, method, *initial = line.split()
            if method.upper() == "PLAIN":
                if not initial:
                    self.say("334 ")
                    initial = [self.hear()]
                given = base64.b64decode(initial[0]).decode().split("\0")[1:]
            else:
                given = [base64.b64decode(initial[0]).decode()] if initial else []
                for prompt in ("VXNlcm5hbWU6", "UGFzc3dvcmQ6")[len(given) :]:
                    self.say(f"334 {prompt}")
                    given.append(base64.b64decode(self.hear()).decode())
            ok = given == [state.user, state.password]
            state.refused += not ok
            self.say("235 welcome" if ok else "535 authentication failed")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    with _serving(server):
        yield state


@contextlib.contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    serve: Callable[..., None] = server.serve_forever
    thread = threading.Thread(target=serve, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
