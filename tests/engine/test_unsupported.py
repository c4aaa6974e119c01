"""What answers like a Docker Engine and is none is refused before anything is asked of it: a genuine Podman, and answers of others."""

import contextlib
import os
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from reconciler import errors
from reconciler.engine import Engine
from reconciler.engine.connection import supported
from reconciler.node import doctor
from reconciler.reasons import Reason
from reconciler.settings import parse
from tests.conftest import LABEL, PREFIX
from tests.images import build, kolla
from tests.support.lab import wait_for

PODMAN = {"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine", "Version": "4.3.1"}]}


@pytest.mark.parametrize("version", ["1.41", "1.44", "1.52", "2.0"])
def test_a_docker_engine_is_asked_in_its_own_version(version: str) -> None:
    told = {"Version": "29.0.1", "ApiVersion": version, "Components": [{"Name": "Engine", "Version": "29.0.1"}]}
    assert supported(told) == version


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (PODMAN, "Podman 4.3.1 answers there"),
        ({"Version": "19.03.15", "ApiVersion": "1.40"}, "Docker Engine 19.03.15 is too old"),
        ({"Version": "1.9", "ApiVersion": "1.9"}, "is too old"),
        ({}, "its API is ''"),
        ({"ApiVersion": 7, "Components": ["x", None]}, "its API is '7'"),
        ({"ApiVersion": "1.40", "Components": 7}, "is too old"),
        ([], "is no Docker Engine"),
        (None, "is no Docker Engine"),
        ({"ApiVersion": "1.41\n2", "Components": None}, "is no Docker Engine"),
    ],
)
def test_anything_else_is_refused_with_what_to_do(told: Any, says: str) -> None:
    with pytest.raises(errors.Terminal) as caught:
        supported(told)
    assert caught.value.reason is Reason.EngineUnsupported
    assert says in str(caught.value) and "install Docker Engine 20.10 or later" in str(caught.value)
    assert "\n" not in str(caught.value)


class _Odd(socketserver.StreamRequestHandler):
    """Answers everything with the text of its server."""

    def handle(self) -> None:
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        said: bytes = self.server.said  # type: ignore[attr-defined]
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said)
        )


@pytest.mark.parametrize("said", [b"[]", b"7", b"null", b"<html>", b""])
def test_whoever_else_listens_there_is_refused(said: bytes, tmp_path: Path) -> None:
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "s"), _Odd) as server:
        server.said, server.daemon_threads = said, True  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        refused = pytest.raises(errors.Terminal, match="what answers there is no Docker Engine")
        with contextlib.closing(Engine(f"unix://{tmp_path}/s", owner="", timeout=20)) as engine, refused as caught:
            engine.exists("anything")
        server.shutdown()
    assert caught.value.reason is Reason.EngineUnsupported


@pytest.fixture
def podman(docker_client: docker.DockerClient, tmp_path: Path) -> Iterator[str]:
    """The URL of a genuine one, from Debian's package in a container."""
    image = f"{kolla.BASE_IMAGE}:bookworm"
    if not build.present(docker_client, image):
        pytest.skip(f"{image} is missing: it comes with the images that are built on it (`make images`)")
    found = docker_client.containers.run(
        image, ["sleep", "infinity"], name=f"{PREFIX}podman-{os.getpid()}", labels={LABEL: "1"}, detach=True, cap_add=["SYS_ADMIN"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"], network_mode="host",  # Debian's mirror
        volumes={str(tmp_path): {"bind": "/sock", "mode": "rw"}},
    )  # fmt: skip
    try:
        install = (
            "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends podman"
        )
        done = found.exec_run(["sh", "-c", install])
        assert done.exit_code == 0, done.output.decode()
        found.exec_run(["podman", "system", "service", "--time", "0", "unix:///sock/podman.sock"], detach=True)
        wait_for("Podman", (tmp_path / "podman.sock").exists, 60, 0.5)
        yield f"unix://{tmp_path}/podman.sock"
    finally:
        found.remove(force=True, v=True)


@pytest.mark.slow
@pytest.mark.engine
def test_a_genuine_podman_is_refused_and_doctor_says_so(podman: str, tmp_path: Path) -> None:
    with contextlib.closing(Engine(podman, owner="", timeout=20)) as engine, pytest.raises(errors.Terminal) as caught:
        engine.exists("anything")
    assert caught.value.reason is Reason.EngineUnsupported and "Podman 4" in str(caught.value)
    settings = parse(f'[git]\nurl = "file:///nowhere"\n[engine]\nurl = "{podman}"\n', tmp_path / "reconciler.toml")
    (found,) = doctor._engine(settings)
    assert found.verdict == "fail" and "Podman 4" in found.message and not found.advice
