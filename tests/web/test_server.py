"""The server: unknown paths, methods, large bodies, slow clients, a handler that fails; and the webhooks."""

import contextlib
import hashlib
import hmac
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import structlog

from reconciler.system.pacing import Bucket
from reconciler.web import Answer, Hooks, Request, Server
from reconciler.web.server import MAX_BODY
from tests.support.lab import wait_for


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


def raw(server: Server, data: bytes) -> bytes:
    """Everything that comes back for these bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(data)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := client.recv(1 << 16):
                answer += chunk
        return answer


def test_paths_and_methods(server: Server) -> None:
    assert requests.get(address(server, "/fine?x=1"), timeout=5).text == "fine"
    assert requests.head(address(server, "/fine"), timeout=5).content == b""
    assert requests.get(address(server, "/other"), timeout=5).status_code == 404
    refused = requests.post(address(server, "/fine"), data=b"x", timeout=5)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
    assert requests.get(address(server, "/echo"), timeout=5).headers["Allow"] == "POST"
    failed = requests.get(address(server, "/broken"), timeout=5)
    assert (failed.status_code, failed.content) == (500, b"")
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"):
        assert requests.request(method, address(server, "/fine"), timeout=5).status_code == 405
    for header, value in requests.get(address(server, "/other"), timeout=5).headers.items():
        assert not header.lower().startswith("access-control") and value


def test_bodies_have_a_limit(server: Server) -> None:
    assert len(requests.post(address(server, "/echo"), data=b"x" * MAX_BODY, timeout=5).content) == MAX_BODY
    assert requests.post(address(server, "/echo"), data=b"x" * (MAX_BODY + 1), timeout=5).status_code == 413
    unsized = requests.post(address(server, "/echo"), data=iter([b"x"]), timeout=5)
    assert unsized.status_code == 413


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
    # Who goes on guessing hears less, and is not in the way of whoever knows: behind a proxy both have one address.
    for _ in range(4):
        last = requests.post(address(server, "/hooks/gitlab"), data=body, timeout=5)
    assert last.status_code == 429 and int(last.headers["Retry-After"]) > 0
    for headers in (
        {"X-Gitlab-Token": secret},
        {"X-Gitlab-Token": secret, "X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"},
    ):
        assert requests.post(address(server, "/hooks/gitlab"), data=body, headers=headers, timeout=5).status_code == 202
    signed_hook = {"X-Hub-Signature-256": f"sha256={signature(secret, body)}"}
    assert requests.post(address(server, "/hooks/github"), data=body, headers=signed_hook, timeout=5).status_code == 202
    assert polls == ["poll"] * 3
    # Nobody becomes another by saying so.
    forged = {"X-Forwarded-For": "203.0.113.77", "X-Gitlab-Token": "wrong"}
    assert requests.post(address(server, "/hooks/gitlab"), headers=forged, timeout=5).status_code == 429
    clock.now += 60
    assert requests.post(address(server, "/hooks/gitlab"), data=body, timeout=5).status_code == 401


def test_guesses_do_not_fill_the_log(hooked: tuple[Server, list[str]]) -> None:
    server, _ = hooked
    with structlog.testing.capture_logs() as said:
        for _ in range(60):
            requests.post(address(server, "/hooks/gitlab"), headers={"X-Gitlab-Token": "x" * 20}, timeout=5)
    refused = [line for line in said if line["event"] == "hook.refused"]
    assert len(refused) == 10 and "x" * 20 not in str(said)


def test_two_headers_are_not_one_secret(hooked: tuple[Server, list[str]], secret: str) -> None:
    server, polls = hooked
    head = (
        f"POST /hooks/gitlab HTTP/1.1\r\nHost: localhost\r\nX-Gitlab-Token: wrong\r\nX-Gitlab-Token: {secret}\r\n\r\n"
    )
    assert raw(server, head.encode()).startswith(b"HTTP/1.1 401 ")
    assert polls == []


@pytest.mark.parametrize(
    ("content", "usable"),
    [("", ()), ("\n\n", ()), ("a" * 15, ()), ("{a}\n\n{b}\n", ("a", "b")), ("{a}\nshort\n", ()), ("{a}\n" * 500, ()),
     ("{ü}", ("ü",))],
)  # fmt: skip
def test_secrets_in_a_file(tmp_path: Path, content: str, usable: tuple[str, ...]) -> None:
    """Any line counts, so that a secret can be exchanged; one that is no secret is no reason to accept anything."""
    known = {"a": secrets.token_hex(12), "b": secrets.token_hex(12), "ü": secrets.token_hex(12) + "ü"}
    for name, value in known.items():
        content = content.replace("{" + name + "}", value)
    (tmp_path / "secret").write_text(content)
    server = Server("127.0.0.1:0", {}, Hooks(tmp_path / "secret", ("gitlab",), lambda: None).handlers())
    try:
        for name, value in known.items():
            for given in (value, ""):
                headers = {"X-Gitlab-Token": given.encode()}
                answer = requests.post(address(server, "/hooks/gitlab"), headers=headers, timeout=5)
                expected = 503 if not usable else 202 if given and name in usable else 401
                assert answer.status_code == expected, (name, given)
    finally:
        server.close()


def test_a_repeated_hook_hides_no_push(tmp_path: Path, secret: str) -> None:
    """Somebody plays genuine hooks back: the polls stay few, and what is turned away now is made up for."""
    polls: list[float] = []
    hooks = Hooks(tmp_path / "secret", ("gitea",), lambda: polls.append(time.monotonic()))
    hooks._granted = Bucket(2.0, 0.5, time.monotonic())
    request = Request("/hooks/gitea", {"x-gitea-signature": signature(secret, b"{}")}, "::1", lambda: b"{}")
    handle = hooks.handlers()["/hooks/gitea"]
    codes = [handle(request).code for _ in range(50)]
    assert codes.count(202) <= 3 and codes[-1] == 429
    wait_for("the poll that is owed", lambda: len(polls) > codes.count(202), 10)
    assert len(polls) == codes.count(202) + 1


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
