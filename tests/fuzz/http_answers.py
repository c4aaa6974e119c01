"""A server that answers nonsense: sound answers of forges and registrars, with what a hostile one would make of them.

Seeded, and with a state: what it says depends on how often it was asked before. It never takes longer than `Hostile.seconds`.
"""

import contextlib
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

_COMMIT = "a" * 40
_STATUS = {
    "id": 7, "sha": _COMMIT, "status": "success", "state": "success", "name": "reconciler/north", "context": "reconciler/north",
    "description": "3 containers", "target_url": "https://x.example/", "author": {"id": 1}, "ref": "main",
}  # fmt: skip
_NOTE = {"id": 3, "body": "<!-- reconciler -->\nold", "author": {"id": 1}, "user": {"id": 1}, "system": False}
_MERGE = {
    "iid": 4, "number": 4, "state": "merged", "merged_at": "2026-11-03", "title": "t", "web_url": "https://x.example/4",
    "html_url": "https://x.example/4", "author": {"username": "a"}, "user": {"login": "a"},
}  # fmt: skip
_DEPLOYED = {"id": 9, "sha": _COMMIT, "status": "running", "environment": {"name": "north/n0"}}
_ITEM = {
    "id": "i1",
    "name": "nova",
    "type": "compute",
    "enabled": True,
    "domain_id": "default",
    "description": "",
    "email": "",
}
_BROKER = {
    "name": "nova", "user": "nova", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*", "tags": ["a"],
    "password_hash": "QUJDREVGR0g=", "hashing_algorithm": "rabbit_password_hashing_sha256",
}  # fmt: skip
_TOKEN = {
    "token": {
        "user": {"id": "u1", "name": "admin"},
        "expires_at": "2999-01-01T00:00:00Z",
        "methods": ["password"],
        "issued_at": "2026-01-01T00:00:00Z",
    }
}
_LISTS = ("services", "endpoints", "domains", "projects", "roles", "users", "role_assignments", "regions")


def sound(path: str) -> Any:
    """What a well-meaning server could say there."""
    for words, value in (
        ("/user", {"id": 1}), ("/statuses", [_STATUS]), ("/notes", [_NOTE]), ("/comments", [_NOTE]), ("/merge_requests", [_MERGE]),
        ("/pulls", [_MERGE]), ("/pull", _MERGE), ("/deployments", [_DEPLOYED]), ("/auth/tokens", _TOKEN),
        ("/api/vhosts", [_BROKER]), ("/api/users", [_BROKER]), ("/api/permissions", [_BROKER]),
    ):  # fmt: skip
        if path.partition("?")[0].endswith(words):
            return value
    for name in _LISTS:
        if f"/{name}" in path:
            return {name: [_ITEM], name[:-1]: _ITEM, "links": {}}
    return [_BROKER] if random_like(path) else {"version": {"id": "v3.14", "status": "stable", "links": []}}


def random_like(path: str) -> bool:
    return "/api/" in path


_NONSENSE: list[Callable[[Random], Any]] = [
    lambda r: None, lambda r: [], lambda r: {}, lambda r: "", lambda r: -1, lambda r: 10**400, lambda r: float("nan"),
    lambda r: float("inf"), lambda r: True, lambda r: "\ud800", lambda r: "\x1b[2J\r\n\0\u202e", lambda r: "x" * r.choice([300, 30_000]),
    lambda r: [None, [], {}], lambda r: {"message": {"a": [["deep"]]}}, lambda r: [[]] * 50, lambda r: 1.5, lambda r: "../..",
    lambda r: {"id": {"id": "id"}}, lambda r: "12", lambda r: ["a", 1],
]  # fmt: skip


def mutated(random: Random, value: Any) -> Any:
    """The value with something in it replaced, dropped or doubled."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        key = random.choice(list(value))
        if random.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: mutated(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.8:
        at = random.randrange(len(value))
        return [*value[:at], mutated(random, value[at]), *value[at:]]
    return random.choice(_NONSENSE)(random)


_CODES = [200] * 12 + [
    201,
    204,
    206,
    300,
    301,
    302,
    303,
    304,
    307,
    308,
    400,
    401,
    403,
    404,
    404,
    405,
    409,
    409,
    422,
    429,
    500,
    502,
    503,
    100,
    101,
    199,
    299,
    599,
    999,
]
_HEADERS = [
    ("Retry-After", ["-1", "0", "\xb2", "9" * 400, "Mon, 99 Foo 99999 00:00:00 GMT", "Thu, 01 Jan 99999999999 00:00:00 GMT", "x" * 5000]),
    ("Location", ["http://[", "//evil.example/", "http://127.0.0.1:1/", "/", "\xff", "http://x:99999999/", "javascript:1", ""]),
    ("Link", ['<http://evil.example/>; rel="next"', "<;;;>=,=,<", 'rel="next"', '<a>; rel="next' * 500]),
    ("Content-Encoding", ["gzip", "identity", "deflate", "x" * 3000, "br"]),
    ("X-RateLimit-Remaining", ["0", "-1", "x"]),
    ("X-RateLimit-Reset", ["\xb2", "9" * 300, "-5", "x"]),
    ("Set-Cookie", ["a=b; Domain=.example; Expires=x", "=" * 2000]),
    ("X-Subject-Token", ["t" * 20, "\xff", ""]),
    ("Content-Type", ["application/json", "text/html; charset=utf-7", "application/json; charset=\xff", "x"]),
    ("Transfer-Encoding", ["chunked", "gzip, chunked", "x"]),
    ("Content-Length", ["0", "1", "-1", "9" * 30, "9" * 5000, "x"]),
    ("Connection", ["close", "keep-alive", "upgrade"]),
]  # fmt: skip


def answer(random: Random, path: str) -> bytes:
    """The bytes of one answer."""
    value = sound(path)
    for _ in range(random.choice([0, 0, 1, 1, 2, 4])):
        value = mutated(random, value)
    body = json.dumps(value).encode()
    kind = random.randrange(16)
    if kind == 0:
        body = random.randbytes(random.choice([1, 100, 5000]))
    elif kind == 1:
        body = b"[" * random.choice([900, 100_000])
    elif kind == 2:
        body = b'{"message":' * 500 + b"1" + b"}" * 500
    elif kind == 3:
        body = gzip.compress(b"0" * (8 << 20))
    elif kind == 4:
        body = b"[" + b"{}," * 400_000 + b"{}]"
    code = random.choice(_CODES)
    lines = [f"HTTP/1.1 {code} {random.choice(['OK', '', 'x' * 200])}"]
    if random.random() < 0.85:
        lines.append(f"Content-Length: {len(body)}")
    for name, values in random.sample(_HEADERS, random.choice([0, 0, 1, 2, 4])):
        lines.append(f"{name}: {random.choice(values)}")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    data = head + body
    if random.random() < 0.1:
        data = data[: random.randrange(len(data))]
    if random.random() < 0.05:
        data = b"HTTP/1.1 100 Continue\r\n\r\n" * random.choice([1, 500]) + data
    if random.random() < 0.05:
        data = random.randbytes(200)
    return data


class Hostile:
    """Answers on loopback. `seconds`: the longest that it drips one answer."""

    def __init__(self, seed: int, seconds: float = 3.0) -> None:
        self._seed, self._seconds = seed, seconds
        self._asked = 0
        self._guard = threading.Lock()
        self.elsewhere: list[str] = []  # what was asked of it under another name: nobody may be led away
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.settimeout(10)
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    chunk = client.recv(1 << 16)
                    if not chunk:
                        return
                    head += chunk
                with self._guard:
                    self._asked += 1
                    random = Random(f"{self._seed} {self._asked}")
                words = head.split(b" ")
                path = words[1].decode("latin-1") if len(words) > 1 else "/"
                data = answer(random, path)
                if random.random() < 0.06:
                    self._drip(client, random, data)
                else:
                    client.sendall(data)
                if random.random() < 0.5:
                    return

    def _drip(self, client: socket.socket, random: Random, data: bytes) -> None:
        until = time.monotonic() + self._seconds
        at = random.randrange(1, 200)
        client.sendall(data[:at])
        while time.monotonic() < until and at < len(data):
            client.sendall(data[at : at + 1])
            at += 1
            time.sleep(0.02)
