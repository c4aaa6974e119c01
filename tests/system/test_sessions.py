"""HTTP sessions: nothing of the environment leaves the machine, and no other host is asked than the one that was meant."""

import ast
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from reconciler import errors
from reconciler.engine.connection import Connection as EngineConnection
from reconciler.etcd.watch import _Lasting
from reconciler.git.lsrefs import Guard, _GuardedAdapter
from reconciler.model import Check
from reconciler.node import probe
from reconciler.registrations import http as registrar_http
from reconciler.registrations.protocol import Connection
from reconciler.registrations.registry import Registry
from reconciler.system.answers import Bounded
from reconciler.system.sessions import PROXY, Session, trusting

SOURCES = sorted(Path("reconciler").rglob("*.py"))


class _Server:
    """Answers everything, notes the headers; `/away` leads to `elsewhere`, `/near` to `/end`."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.elsewhere = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append((self.path, dict(self.headers)))
                target = {"/away": outer.elsewhere, "/near": "/end"}.get(self.path)
                self.send_response(302 if target else 200)
                if target:
                    self.send_header("Location", target)
                self.send_header("Set-Cookie", "a=b")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[_Server]:
    made = _Server()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[_Server]:
    made = _Server()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home with passwords for every host, a proxy that is not there and a CA bundle of somebody."""
    (tmp_path / ".netrc").write_text(
        "default login root password fromnetrc\nmachine 127.0.0.1 login a password fromnetrc\n"
    )
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv(PROXY, raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / ".netrc"))


def test_a_check_sends_nobodys_password(server: _Server) -> None:
    check = Check("web", "app", http=f"{server.url}/x")
    found = probe.make([check], None, Registry([], str), patience=0, stop=Event())  # type: ignore[arg-type]
    assert found[0].ok
    assert [path for path, _ in server.seen] == ["/x"] and "Authorization" not in server.seen[0][1]


def test_a_registrars_session_sends_only_its_own(server: _Server) -> None:
    session = registrar_http.session(Connection({}))
    assert session.get(f"{server.url}/x").status_code == 200
    assert "Authorization" not in server.seen[0][1]


def test_an_engine_over_tcp_gets_no_password(server: _Server) -> None:
    with pytest.raises(errors.ReconcilerError):
        EngineConnection(f"tcp://127.0.0.1:{server.port}", timeout=5).api.ping()
    assert server.seen and all("Authorization" not in headers for _, headers in server.seen)


def test_a_redirect_leads_to_no_other_host(server: _Server, other: _Server) -> None:
    server.elsewhere = f"{other.url}/there"
    session = Session()
    answer = session.get(f"{server.url}/away", headers={"PRIVATE-TOKEN": "x"})
    assert answer.status_code == 302 and other.seen == []
    assert session.get(f"{server.url}/near").status_code == 200
    assert session.get(f"{server.url}/x").status_code == 200 and "Cookie" not in server.seen[-1][1]
    server.elsewhere = f"http://user@127.0.0.1:{server.port}/end"
    assert session.get(f"{server.url}/away").status_code == 200


def test_a_proxy_is_named_for_this_program(server: _Server, other: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROXY, other.url)
    assert Session(outside=True).get(f"{server.url}/x").status_code == 200
    assert [path for path, _ in other.seen] == [f"{server.url}/x"] and server.seen == []
    assert Session().get(f"{server.url}/x").status_code == 200 and len(server.seen) == 1


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_every_session_is_made_in_one_place(path: Path) -> None:
    """`requests.get(…)` and `requests.Session()` read the environment; so does any other client that is made by itself."""
    if path.name == "sessions.py":
        return
    verbs = {"get", "head", "post", "put", "patch", "delete", "options", "request", "Session", "session"}
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            called = (node.func.value.id, node.func.attr)
            assert not (called[0] == "requests" and called[1] in verbs), f"{path}:{node.lineno}"
            assert called not in {("docker", "from_env"), ("docker", "APIClient"), ("urllib3", "request")}, node.lineno
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
            assert not names & {"urllib.request", "httpx", "aiohttp"}, f"{path}:{node.lineno}"


def test_a_certificate_counts_with_every_version_of_python() -> None:
    """Newer ones ask more of an authority than git and older ones do. A context that asks for it says no more so either."""
    strict = ssl.create_default_context()
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    adapters: tuple[Any, ...] = (Session().get_adapter("https://x"), Bounded(1.0), _Lasting(), _GuardedAdapter(Guard()))
    contexts = [trusting("", strict), *(one.poolmanager.connection_pool_kw["ssl_context"] for one in adapters)]
    assert [context.verify_flags & ssl.VERIFY_X509_STRICT for context in contexts] == [0] * 5
    assert {context.verify_mode for context in contexts} == {ssl.CERT_REQUIRED}
