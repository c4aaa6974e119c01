"""Real servers in genuine Kolla images, started once for this folder, all three at the same time."""

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pymysql
import pytest
import requests
from docker.models.containers import Container

from reconciler.model import Actual, Registrar, Registration
from reconciler.registrations.proofs import Proofs
from reconciler.registrations.registry import Registry
from tests.conftest import LABEL, PREFIX

START_SECONDS = 180.0  # of a busy machine; 12 s when it is not
# Fields that say who a registration is about: they cannot differ.
IDENTITY = {
    "name", "host", "user", "database", "table", "vhost", "service", "type", "interface", "region", "domain", "project",
    "role", "system", "on_domain", "provider",
}  # fmt: skip
NOTHING = Actual({}, {}, {}, deep=True)
_SCRIPTS = Path(__file__).parent / "servers"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `admin` is the password of its first user."""

    kind: str
    port: int
    admin: str = field(repr=False)

    def registrar(self, **changes: Any) -> Registrar:
        """The registrar that leads here; its password is the token of `admin`."""
        where: dict[str, object] = {  # type: ignore[assignment]
            "mariadb": {"host": "127.0.0.1", "port": self.port, "username": "root"},
            "rabbitmq": {"url": f"http://127.0.0.1:{self.port}", "username": "admin"},
            "keystone": {"url": f"http://127.0.0.1:{self.port}", "username": "admin", "project": "admin"},
        }[self.kind]
        return Registrar(self.kind, {**where, "password": "<<secret:admin>>", **changes})


class Secrets(dict[str, str]):
    """Name → value; `bind` replaces `<<secret:NAME>>`, `new` makes another secret and gives its token."""

    def bind(self, text: str) -> str:
        for name, value in self.items():
            text = text.replace(f"<<secret:{name}>>", value)
        return text

    def new(self, value: str | None = None) -> str:
        name = f"s{len(self)}"
        self[name] = value or secrets.token_urlsafe(24)
        return f"<<secret:{name}>>"


@dataclass
class Site:
    """One server and a registry for it."""

    server: Server
    secrets: Secrets
    registry: Registry

    def converge(self, *registrations: Registration) -> None:
        for registration in registrations:
            self.registry.converge(registration)

    def observe(self, *registrations: Registration) -> dict[str, object]:
        """Registration.id → observed fields. Fails when the registrar did not answer."""
        observed, unknown = self.registry.observe(registrations, NOTHING)
        assert not unknown
        assert set(observed) == {registration.id for registration in registrations}
        return observed  # type: ignore[return-value]

    def differing(self, *registrations: Registration) -> dict[str, object]:
        """What planning would see as different: id → None, or field → value."""
        observed = self.observe(*registrations)
        result: dict[str, object] = {}
        for registration in registrations:
            found = observed[registration.id]
            if found is None:
                result[registration.id] = None
                continue
            assert set(registration.fields) - IDENTITY <= set(found)
            compared = {name: value for name, value in registration.fields.items() if name in found}
            if wrong := {name: found[name] for name, value in compared.items() if found[name] != value}:
                result[registration.id] = wrong
        return result


class _Servers:
    def __init__(self, started: dict[str, tuple[Server, Container]]) -> None:
        self._started, self._ready = started, set[str]()

    def __getitem__(self, kind: str) -> Server:
        server, container = self._started[kind]
        if kind not in self._ready:
            _wait(server, container)
            self._ready.add(kind)
        return server


@pytest.fixture(scope="session")
def servers(kolla_images: dict[str, str], engine_url: str) -> Iterator[_Servers]:
    """MariaDB, RabbitMQ and Keystone by kind, all starting; asking for one waits for it."""
    images = {"mariadb": "mariadb-server", "rabbitmq": "rabbitmq", "keystone": "keystone"}
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client, contextlib.ExitStack() as stack:
        started = {}
        for kind, image in images.items():
            ports = _free_ports(4)
            server = Server(kind, ports[0], secrets.token_urlsafe(24))
            environment = {"ADMIN": server.admin, "PORT": str(ports[0])}
            environment |= {f"PORT_{number}": str(port) for number, port in enumerate(ports[1:], 2)}
            container = client.containers.run(
                kolla_images[image],
                [(_SCRIPTS / f"{kind}.sh").read_text()],
                entrypoint=["dumb-init", "--", "bash", "-c"],
                name=f"{PREFIX}registrations-{kind}-{os.getpid()}",
                labels={LABEL: "1"},
                environment=environment,
                network_mode="host",
                tmpfs={"/data": "mode=1777"},
                detach=True,
            )
            stack.callback(container.remove, force=True)
            started[kind] = (server, container)
        yield _Servers(started)


@pytest.fixture
def mariadb(servers: _Servers) -> Iterator[Site]:
    with _site(servers["mariadb"]) as site:
        yield site


@pytest.fixture
def rabbitmq(servers: _Servers) -> Iterator[Site]:
    with _site(servers["rabbitmq"]) as site:
        yield site


@pytest.fixture
def keystone(servers: _Servers) -> Iterator[Site]:
    with _site(servers["keystone"]) as site:
        yield site


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"t{secrets.token_hex(4)}"


@contextlib.contextmanager
def _site(server: Server) -> Iterator[Site]:
    known = Secrets(admin=server.admin)
    with Registry([server.registrar()], known.bind, patience=10, proofs=Proofs()) as registry:
        yield Site(server, known, registry)


def free_port() -> int:
    """A loopback port on which nothing listens."""
    return _free_ports(1)[0]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait(server: Server, container: Container) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(server):
        container.reload()
        if container.status != "running" or time.monotonic() > deadline:
            log = container.logs(tail=30).decode(errors="replace")
            pytest.fail(f"{server.kind} did not start ({container.status}):\n{log}", pytrace=False)
        time.sleep(0.2)


def _answers(server: Server) -> bool:
    try:
        if server.kind == "mariadb":
            connect(server, "root", server.admin).close()
        elif server.kind == "rabbitmq":
            url = f"http://127.0.0.1:{server.port}/api/whoami"
            return requests.get(url, auth=("admin", server.admin), timeout=2).ok
        else:
            return requests.get(f"http://127.0.0.1:{server.port}/v3", timeout=5).ok
    except (pymysql.Error, requests.RequestException):
        return False
    return True


def connect(server: Server, user: str, password: str) -> pymysql.Connection:
    """A MariaDB connection of the test's own."""
    return pymysql.connect(
        host="127.0.0.1", port=server.port, user=user, password=password.encode(), connect_timeout=3, autocommit=True,
        charset="utf8mb4",
    )  # fmt: skip
