"""Checks of a service: read, and made against real servers."""

import base64
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from reconciler import errors
from reconciler.engine import Engine
from reconciler.errors import SiteInvalid
from reconciler.model import Check, CheckResult
from reconciler.node import probe
from reconciler.reasons import Reason
from tests.render.sites import rendered
from tests.support.engine import free_port

SERVICE = """
    groups: {app: [control]}
    containers:
      app: {group: app, image: x, command: y, kolla: false}
    checks:
"""


def read(*lines: str, host: str = "ctl1") -> tuple[Check, ...]:
    return rendered(SERVICE + "".join(f"      {line}\n" for line in lines), host=host).checks


def test_every_kind_is_read() -> None:
    checks = read(
        "web: {http: 'http://127.0.0.1:{{ 8000 + 80 }}/', expect: [200, 300], contains: fine, verify: false, group: app}",
        "db: {tcp: '127.0.0.1:3306', timeout: 3}",
        "own: {command: {container: app, command: check --all}}",
        "off: {enabled: false, tcp: 'a:1'}",
    )
    assert checks == (
        Check("db", "app", tcp="127.0.0.1:3306", timeout=3.0),
        Check("own", "app", container="app", command=("check", "--all")),
        Check("web", "app", http="http://127.0.0.1:8080/", expect=(200, 300), contains="fine", verify=False),
    )


def test_only_hosts_of_the_group_make_it() -> None:
    line = "db: {tcp: 'a:1', group: app}"
    assert read(line) and not read(line, host="cmp1")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x: {http: a, tcp: 'b:1'}", "exactly one of http, tcp, command, not http, tcp"),
        ("x: {expect: 200}", "exactly one of http, tcp, command, not none"),
        ("x: {command: {container: app}}", "either a command or a script"),
        ("x: {command: {container: app, command: a, script: b.j2}}", "unknown template 'b.j2'"),
        ("x: {tcp: 'a:1', send: hello}", "judged by the answer"),
        ("x: {tcp: 'a:1', credentials: rabbitmq}", "credentials"),
        ("x: {tcp: nowhere}", "'nowhere' is not host:port"),
        ("x: {tcp: 'a:1', group: nobody}", "unknown group 'nobody'"),
    ],
)
def test_mistakes(line: str, message: str) -> None:
    with pytest.raises(SiteInvalid) as caught:
        read(line)
    assert message in str(caught.value)


ALARM = json.dumps(
    {"status": "failed", "reason": "There are\x1b alarms", "alarms": [{"resource": "memory", "node": "rabbit@ctl1"}]}
).encode()


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        code = int(self.path.strip("/"))
        if (
            code == 401
            and self.headers.get("Authorization") == "Basic " + base64.b64encode("rené:pass".encode()).decode()
        ):
            code = 503
        self.send_response(code)
        self.end_headers()
        self.wfile.write(ALARM if code == 503 else b"it is fine")

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Doors:
    """Lets in whoever is called so, and gives the credentials of the connection."""

    authorities = ""

    def log_in(self, check: Check) -> None:
        if check.connection.get("username") != "right":
            raise errors.Terminal("the door says no", reason=Reason.RegistrarDenied)

    def credentials(self, check: Check) -> tuple[str, str]:
        return check.connection["username"], check.connection["password"]


def made(*checks: Check, patience: float = 0.0) -> list[CheckResult]:
    engine = Engine("unix:///nowhere", owner="a/b")
    try:
        return list(probe.make(checks, engine, Doors(), patience=patience, stop=threading.Event()))
    finally:
        engine.close()


def test_all_of_them_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever time a commit gives to each: a pass waits for them, and the next commit for the pass."""
    monkeypatch.setattr(probe, "_WHOLE", 0.4)
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        checks = [Check(str(n), tcp=where, send="?", contains="!", timeout=3e8) for n in range(40)]
        started = time.monotonic()
        results = made(*checks)
    assert time.monotonic() - started < 10
    assert results[0].message == f"{where} does not answer within 0.4 s"
    assert results[-1].message == "not made: those before it took too long" and not any(one.ok for one in results)


def test_http(url: str) -> None:
    results = made(
        Check("any", http=f"{url}/204"),
        Check("listed", http=f"{url}/300", expect=(200, 300)),
        Check("text", http=f"{url}/200", contains="fine"),
        Check("bad", http=f"{url}/503"),
        Check("unlisted", http=f"{url}/200", expect=(201, 300)),
        Check("other text", http=f"{url}/200", contains="nothing"),
        Check("closed", http=f"http://127.0.0.1:{free_port()}/"),
        Check("no tls", http=f"{url.replace('http', 'https')}/200"),
        Check("no url", http="nonsense"),
    )
    assert [result.ok for result in results] == [True] * 3 + [False] * 6
    said = [result.message for result in results[3:]]
    assert said[0] == f"{url}/503 answers 503: There are\\x1b alarms (memory rabbit@ctl1)"
    assert said[1] == f"{url}/200 answers 200, not 201 or 300"
    assert said[2] == f"{url}/200 answers without 'nothing'"
    assert said[3].endswith("does not answer: Connection refused")
    assert "certificate" in said[4] or "does not answer" in said[4]
    assert "nonsense" in said[5]


def test_http_with_the_credentials_of_a_registrar(url: str) -> None:
    who = {"username": "rené", "password": "pass"}
    wrong, right = made(
        Check("wrong", http=f"{url}/401", credentials="rabbitmq", connection={**who, "password": "other"}),
        Check("right", http=f"{url}/401", credentials="rabbitmq", connection=who),
    )
    assert wrong.message == f"{url}/401 answers 401"
    assert right.message.startswith(f"{url}/401 answers 503: There are")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([b"VER", b"SION 1.6\r\n"], ""),
        ([b"ERROR\r\n"], "answers without 'VERSION '"),
        ([], "answers without 'VERSION '"),
    ],
)
def test_tcp_that_is_spoken_to(answers: list[bytes], message: str) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(100))
                for answer in answers:
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        tcp = f"127.0.0.1:{server.getsockname()[1]}"
        (result,) = made(Check("cache", tcp=tcp, send="version\r\n", contains="VERSION "))
    assert heard == [b"version\r\n"]
    assert result.message == (f"{tcp} {message}" if message else "")


def test_a_server_that_never_says_anything_is_left(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        tcp = f"127.0.0.1:{server.getsockname()[1]}"
        (result,) = made(Check("mute", tcp=tcp, send="version\r\n", contains="VERSION ", timeout=0.3))
    assert result.message == f"{tcp} does not answer within 0.3 s"


def test_tcp_and_an_engine_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        open_, closed, lost, command = made(
            Check("open", tcp=f"127.0.0.1:{port}"),
            Check("closed", tcp=f"127.0.0.1:{free_port()}"),
            Check("lost", tcp="does-not-exist.invalid:1"),
            Check("command", container="app", command=("true",)),
        )
    assert open_.ok and not closed.ok and not lost.ok and not command.ok
    assert closed.message.endswith("does not answer: Connection refused")
    assert command.message


def test_what_comes_up_in_time_counts() -> None:
    port = free_port()
    late: list[socket.socket] = []
    timer = threading.Timer(1.5, lambda: late.append(socket.create_server(("127.0.0.1", port))))
    timer.start()
    (result,) = made(Check("late", tcp=f"127.0.0.1:{port}"), patience=60.0)
    timer.join()
    late[0].close()
    assert result.ok


def test_an_end_is_not_waited_for() -> None:
    stop = threading.Event()
    stop.set()
    engine = Engine("unix:///nowhere", owner="a/b")
    began = time.monotonic()
    (result,) = probe.make(
        [Check("closed", tcp=f"127.0.0.1:{free_port()}")], engine, Doors(), patience=600.0, stop=stop
    )
    engine.close()
    assert not result.ok and time.monotonic() - began < 60
