"""What cannot be reached is unknown, not absent; what is denied says so without the secret."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from reconciler import errors
from reconciler.model import Actual, Container, Registrar, Registration, Running, State
from reconciler.registrations.proofs import Proofs
from reconciler.registrations.registry import Registry
from tests.registrations.conftest import NOTHING, Secrets, Server, Site, free_port

KINDS = ("mariadb", "rabbitmq", "keystone")
SECRET = "very-secret-admin-password"
WANTED = {
    "mariadb": Registration("mariadb", "database", "nova"),
    "rabbitmq": Registration("rabbitmq", "vhost", "/"),
    "keystone": Registration("keystone", "role", "reader"),
}


def registry(kind: str, port: int, patience: float = 0.0) -> Registry:
    known = Secrets(admin=SECRET)
    return Registry([Server(kind, port, SECRET).registrar()], known.bind, patience=patience, proofs=Proofs())


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_listens(kind: str) -> None:
    port = free_port()
    with registry(kind, port) as there:
        observed, unknown = there.observe([WANTED[kind]], NOTHING)
        assert observed == {}
        assert set(unknown) == {f"registrar:{kind}"}
        assert str(port) in unknown[f"registrar:{kind}"]
        assert "refused" in unknown[f"registrar:{kind}"]
        assert "\n" not in unknown[f"registrar:{kind}"]
        for method in (there.converge, *([] if kind != "keystone" else [there.withdraw])):
            with pytest.raises(errors.Transient) as caught:
                method(WANTED[kind])
            assert caught.value.reason == "RegistrarUnreachable"


@pytest.mark.parametrize("kind", KINDS)
def test_it_closes_the_connection(kind: str) -> None:
    with _listener() as port, registry(kind, port) as there:
        observed, unknown = there.observe([WANTED[kind]], NOTHING)
        assert observed == {}
        assert set(unknown) == {f"registrar:{kind}"}


def test_one_that_does_not_answer_hides_only_its_own_kind() -> None:
    registrars = [Server(kind, free_port(), SECRET).registrar() for kind in KINDS]
    with Registry(registrars, Secrets(admin=SECRET).bind, patience=0) as there:
        observed, unknown = there.observe([*WANTED.values(), Registration("etcd", "user", "x")], NOTHING)
    assert observed == {}
    assert set(unknown) == {*(f"registrar:{kind}" for kind in KINDS), "registrar:etcd"}
    assert "provides" in unknown["registrar:etcd"]


def test_a_registrar_whose_container_is_down_is_not_asked() -> None:
    container = Running(Container("mariadb", "x"), "id", "image", State.EXITED, None)
    actual = Actual({"mariadb": container}, {}, {}, deep=True)
    registrar = Registrar(
        "mariadb", {"host": "127.0.0.1", "port": 1, "username": "root", "password": "x"}, ("mariadb",)
    )
    with Registry([registrar], str) as there:
        observed, unknown = there.observe([WANTED["mariadb"]], actual)
    assert observed == {}
    assert "container mariadb is exited" in unknown["registrar:mariadb"]


@pytest.mark.engine
@pytest.mark.images
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_password_of_ours_is_denied_and_not_shown(kind: str, request: pytest.FixtureRequest) -> None:
    site: Site = request.getfixturevalue(kind)
    started = time.monotonic()
    with registry(kind, site.server.port, patience=120) as there:
        observed, unknown = there.observe([WANTED[kind]], NOTHING)
        assert observed == {}
        with pytest.raises(errors.Terminal) as caught:
            there.converge(WANTED[kind])
    assert caught.value.reason == "RegistrarDenied"
    assert time.monotonic() - started < 100  # not tried again: that could lock the account
    for text in (str(caught.value), unknown[f"registrar:{kind}"]):
        assert str(site.server.port) in text
        assert "denies access" in text
        assert SECRET not in text
    assert caught.value.__cause__ is None


@pytest.mark.engine
@pytest.mark.images
def test_converging_waits_for_a_service_that_just_starts(rabbitmq: Site, name: str) -> None:
    port = free_port()
    with contextlib.ExitStack() as stack:
        threading.Timer(1.5, lambda: stack.enter_context(_forward(port, rabbitmq.server.port))).start()
        there = stack.enter_context(
            Registry([Server("rabbitmq", port, "").registrar()], rabbitmq.secrets.bind, patience=30)
        )
        wanted = Registration("rabbitmq", "user", name, {"name": name, "password": rabbitmq.secrets.new(), "tags": []})
        started = time.monotonic()
        there.converge(wanted)
        assert time.monotonic() - started > 1
    assert rabbitmq.differing(wanted) == {}
    rabbitmq.registry.withdraw(wanted)


@contextlib.contextmanager
def _listener() -> Iterator[int]:
    """A port that accepts and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@contextlib.contextmanager
def _forward(port: int, to: int) -> Iterator[None]:
    """Carries connections to `port` on to `to`, one request and answer at a time."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    with socket.create_server(("127.0.0.1", port)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, far = server.accept()[0], socket.create_connection(("127.0.0.1", to))
                    for pair in ((near, far), (far, near)):
                        threading.Thread(target=pump, args=pair, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield
        server.shutdown(socket.SHUT_RDWR)
