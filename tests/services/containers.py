"""Containers that tests of services stand in: a genuine image in which nothing runs yet, a network namespace with addresses of its own."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from tests.images import build, kolla
from tests.support.lab import wait_for

_LABELS = {"reconciler-test": "1"}


@contextmanager
def idle(client: docker.DockerClient, name: str, network: str = "none") -> Iterator[Container]:
    """A container of the genuine image `name`, without a network or in that of another (`container:ID`), in which root can run commands. Skips
    the test where the image is missing."""
    image = kolla.default_target().name(name)
    if not build.present(client, image):
        pytest.skip(f"{image} is missing: `python -m tests.images.build {name}`")
    found = client.containers.run(
        image, ["-c", "exec sleep 1000000"], entrypoint="bash", user="root", network_mode=network, detach=True, labels=_LABELS
    )  # fmt: skip
    try:
        yield found
    finally:
        found.remove(force=True, v=True)


def run(container: Container, *words: str) -> tuple[int | None, str]:
    """How a command ended there, and what it said."""
    code, output = container.exec_run(list(words))
    return code, output.decode()


def python(container: Container, program: str, *words: str) -> tuple[int | None, str]:
    """The same of a program's text."""
    return run(container, "python3", "-W", "ignore", "-c", program, *words)


def put(container: Container, path: str, text: str) -> None:
    """A file there."""
    code, said = run(container, "bash", "-c", 'mkdir -p "${1%/*}" && printf %s "$0" > "$1"', text, path)
    assert code == 0, said


def serve(container: Container, program: str, *words: str) -> None:
    """Begin a program of this folder there, with the stand-in for Keystone beside it. What it says is in /tmp/PROGRAM.out."""
    put(container, "/t/tests/__init__.py", "")
    put(container, "/t/tests/services/__init__.py", "")
    for name in ("lets_in", program):
        put(container, f"/t/tests/services/{name}.py", Path(__file__).with_name(f"{name}.py").read_text())
    command = f'cd /t && exec python3 -m tests.services.{program} "$@" > /tmp/{program}.out 2>&1'
    container.exec_run(["bash", "-c", command, program, *words], detach=True)


def listens(container: Container, port: int) -> bool:
    """Whether somebody accepts connections there."""
    return python(container, f"import socket; socket.create_connection(('127.0.0.1', {port}))")[0] == 0


@contextmanager
def namespace(client: docker.DockerClient, addresses: Iterable[str]) -> Iterator[Container]:
    """A container that others share the network of (`container:ID`): nothing but these addresses, which are there."""
    wanted = list(addresses)
    adding = "".join(f"ip addr add {address}/32 dev lo; " for address in wanted)
    found = client.containers.run(
        build.BUSYBOX, ["sh", "-c", f"{adding} exec sleep 1000000"], network_mode="none", cap_add=["NET_ADMIN"], detach=True, labels=_LABELS
    )  # fmt: skip
    try:
        wait_for("the addresses", lambda: wanted[-1].encode() in found.exec_run(["ip", "addr"]).output, pause=0.1)
        yield found
    finally:
        found.remove(force=True, v=True)
