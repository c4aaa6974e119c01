"""The server: unknown paths, methods, large bodies, slow clients, a handler that fails; and the webhooks."""

import hashlib
import hmac
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from reconciler.web import Answer, Hooks, Request, Server
from reconciler.web.server import MAX_BODY


@pytest.fixture
def server() -> Iterator[Server]:
    def broken(request: Request) -> Answer:
        raise KeyError("a secret")

    def echo(request: Request) -> Answer:
        return Answer(200, request.read())

    made = Server("127.0.0.1:0", {"/fine": lambda r: Answer(200, b"fine"), "/broken": broken}, {"/echo": echo})
    yield made
    made.close()


def address(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def test_paths_and_methods(server: Server) -> None:
    assert requests.get(address(server, "/fine?x=1"), timeout=5).text == "fine"
    assert requests.head(address(server, "/fine"), timeout=5).content == b""
    assert requests.get(address(server, "/other"), timeout=5).status_code == 404
    refused = requests.post(address(server, "/fine"), data=b"x", timeout=5)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
    assert requests.get(address(server, "/echo"), timeout=5).headers["Allow"] == "POST"
    failed = requests.get(address(server, "/broken"), timeout=5)
    assert (failed.status_code, failed.content) == (500, b"")


def test_bodies_have_a_limit(server: Server) -> None:
    assert len(requests.post(address(server, "/echo"), data=b"x" * MAX_BODY, timeout=5).content) == MAX_BODY
    assert requests.post(address(server, "/echo"), data=b"x" * (MAX_BODY + 1), timeout=5).status_code == 413
    unsized = requests.post(address(server, "/echo"), data=iter([b"x"]), timeout=5)
    assert unsized.status_code == 413


def test_slow_clients_keep_nobody_out(server: Server) -> None:
    slow = []
    try:
        for _ in range(60):
            slow.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            slow[-1].sendall(b"GET /fine HTTP/1.1\r\nX: ")
        assert requests.get(address(server, "/fine"), timeout=5).text == "fine"
    finally:
        for one in slow:
            one.close()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def secret(tmp_path: Path) -> str:
    value = secrets.token_hex(20)
    (tmp_path / "secret").write_text(value + "\n")
    return value


@pytest.fixture
def hooked(tmp_path: Path, secret: str, clock: Clock) -> Iterator[tuple[Server, list[str]]]:
    polls: list[str] = []
    hooks = Hooks(tmp_path / "secret", ("gitlab", "github", "gitea"), lambda: polls.append("poll"), clock)
    made = Server("127.0.0.1:0", {}, hooks.handlers())
    yield made, polls
    made.close()


def signature(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def test_genuine_hooks(hooked: tuple[Server, list[str]], secret: str) -> None:
    server, polls = hooked
    body = b'{"ref": "refs/heads/main"}'
    signed = signature(secret, body)
    for kind, headers in (
        ("gitlab", {"X-Gitlab-Token": secret}),
        ("github", {"X-Hub-Signature-256": f"sha256={signed}"}),
        ("gitea", {"X-Gitea-Signature": signed}),
    ):
        answer = requests.post(address(server, f"/hooks/{kind}"), data=body, headers=headers, timeout=5)
        assert answer.status_code == 202
    assert polls == ["poll"] * 3


def test_hooks_of_strangers(hooked: tuple[Server, list[str]], secret: str, clock: Clock) -> None:
    server, polls = hooked
    body = b"{}"
    signed = signature(secret, body)
    wrong = [
        ("gitlab", {}), ("gitlab", {"X-Gitlab-Token": ""}), ("gitlab", {"X-Gitlab-Token": secret[:-1]}),
        ("github", {}), ("github", {"X-Hub-Signature-256": signed}), ("github", {"X-Hub-Signature-256": "sha256=" + "0" * 64}),
        ("gitea", {"X-Gitea-Signature": signature(secret, b"another body")}), ("gitea", {"X-Gitlab-Token": secret}),
    ]  # fmt: skip
    for kind, headers in wrong:
        assert (
            requests.post(address(server, f"/hooks/{kind}"), data=body, headers=headers, timeout=5).status_code == 401
        )
    assert polls == []
    assert requests.get(address(server, "/hooks/gitlab"), timeout=5).status_code == 405
    # Who goes on guessing is not even looked at any more, for a while.
    right = {"X-Gitlab-Token": secret}
    for _ in range(4):
        last = requests.post(address(server, "/hooks/gitlab"), data=body, timeout=5)
    assert last.status_code == 429 and int(last.headers["Retry-After"]) > 0
    assert requests.post(address(server, "/hooks/gitlab"), data=body, headers=right, timeout=5).status_code == 429
    clock.now += 60
    assert requests.post(address(server, "/hooks/gitlab"), data=body, headers=right, timeout=5).status_code == 202
    assert polls == ["poll"]


def test_too_many_and_too_large(hooked: tuple[Server, list[str]], secret: str, clock: Clock) -> None:
    server, polls = hooked
    headers = {"X-Gitlab-Token": secret}
    large = requests.post(address(server, "/hooks/gitlab"), data=b"x" * (MAX_BODY + 1), headers=headers, timeout=5)
    assert large.status_code == 413
    codes = [requests.post(address(server, "/hooks/gitlab"), headers=headers, timeout=5).status_code for _ in range(12)]
    assert codes == [202] * 10 + [429] * 2
    assert len(polls) == 10
    clock.now += 5
    assert requests.post(address(server, "/hooks/gitlab"), headers=headers, timeout=5).status_code == 202


def test_a_secret_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("short")
    server = Server("127.0.0.1:0", {}, Hooks(tmp_path / "secret", ("gitlab",), lambda: None).handlers())
    try:
        answer = requests.post(address(server, "/hooks/gitlab"), headers={"X-Gitlab-Token": "short"}, timeout=5)
        assert answer.status_code == 503
        assert requests.post(address(server, "/hooks/github"), timeout=5).status_code == 404
    finally:
        server.close()
