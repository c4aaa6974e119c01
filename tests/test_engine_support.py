"""The set-up's own parts: the engine, the registry on loopback, the small image, the list of Debian packages."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker import errors as docker_errors

from tests.images import build
from tests.support import engine, packages
from tests.support.registry import Registry, RegistryError, start

pytestmark = pytest.mark.engine


def test_ensure_twice_is_one_engine(engine_url: str, docker_client: docker.DockerClient) -> None:
    first = docker_client.info()["ID"]
    again = subprocess.run(
        [sys.executable, "-m", "tests.support.engine", "ensure", "--as", "session-1"],
        check=True,
        capture_output=True,
        text=True,
    )
    engine.release("session-1")
    assert again.stdout.strip() == f"DOCKER_HOST={engine_url}"
    assert docker_client.info()["ID"] == first


def test_one_user_leaving_does_not_stop_it_for_the_others(engine_url: str) -> None:
    engine.ensure("session-1")
    assert not engine.release("session-1")
    assert engine.answers(engine_url)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder short enough for an engine's sockets."""
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:
        yield Path(folder)


@pytest.mark.slow
def test_a_killed_engine_starts_again(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pidfiles name processes of others by then, its run folder and mounts are stale, and containers' processes go on."""
    if os.geteuid() != 0:
        pytest.skip("needs root to start an engine")
    monkeypatch.setenv("RECONCILER_CACHE", str(short_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.socket_path()}")
    try:
        url = engine.ensure("manual").url
        with contextlib.closing(docker.DockerClient(base_url=url)) as client:
            image = build.busybox(client)
            client.containers.run(image, ["sleep", "600"], name="rt-orphan", detach=True, network_mode="host")
            orphan = client.api.inspect_container("rt-orphan")["State"]["Pid"]
        run = engine.home() / "run"
        killed = [*engine.processes(str(run)), *engine.processes(str(engine.home() / "daemon.json"))]
        assert len(killed) >= 2  # dockerd and containerd
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while engine.processes(str(short_path)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pidfile in (run / "docker.pid", run / "containerd" / "containerd.pid"):
            pidfile.write_text(str(os.getpid()))
        assert not engine.ended(orphan)
        assert engine.ensure("manual").ours
        assert engine.in_use() == ["manual"]
        assert engine.ended(orphan)
        with contextlib.closing(docker.DockerClient(base_url=url)) as client:
            assert client.containers.list(all=True) == []
    finally:
        stopped = engine.release("manual")
    assert stopped
    assert engine.processes(str(short_path)) == []
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(short_path) in line]


def test_pushed_image_comes_back_by_digest(
    registry: Registry, busybox_image: str, docker_client: docker.DockerClient
) -> None:
    digest = registry.push(busybox_image, "support/busybox:1")
    assert digest.startswith("sha256:")
    name = f"{registry.address}/support/busybox"
    assert not [i for i in docker_client.images.list(name) if f"{name}:1" in i.tags]
    pulled = docker_client.images.pull(name, tag=digest)
    try:
        assert f"{name}@{digest}" in pulled.attrs["RepoDigests"]
    finally:
        docker_client.images.remove(f"{name}@{digest}")


def test_an_image_the_registry_does_not_have(registry: Registry, docker_client: docker.DockerClient) -> None:
    with pytest.raises(RegistryError, match="has no support/nosuch:1"):
        registry.digest("support/nosuch")
    with pytest.raises(docker_errors.NotFound):
        docker_client.images.pull(f"{registry.address}/support/nosuch", tag="1")


def test_a_stopped_registry_refuses(engine_url: str, tmp_path: Path, docker_client: docker.DockerClient) -> None:
    other = start(engine_url, storage=tmp_path)
    other.stop()
    with pytest.raises(docker_errors.APIError, match="connection refused"):
        docker_client.images.pull(f"{other.address}/support/busybox", tag="1")


def test_busybox_runs_its_programs(busybox_image: str, docker_client: docker.DockerClient) -> None:
    output = docker_client.containers.run(
        busybox_image,
        ["sh", "-c", "which sleep httpd nc wget"],
        remove=True,
        network_mode="host",
    )
    assert output.decode().split() == ["/bin/sleep", "/bin/httpd", "/bin/nc", "/bin/wget"]


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "wanted", lambda **_: {"no-such-package": "no-such-program", "coreutils": "ls"})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(packages.PackagesMissing, match=r"sudo apt-get install --no-install-recommends no-such-package"):
        packages.install()
