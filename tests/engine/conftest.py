"""An engine adapter for the tests, and the removal of all they make."""

import os
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from reconciler.engine import Engine
from reconciler.model import Actual, Container, Desired, Difference
from reconciler.plan.differences import differences

OWNER_SITE, OWNER_HOST = "rt-site", f"host-{os.getpid()}"
PREFIX = f"rt-{os.getpid()}-"


@pytest.fixture(scope="session")
def _client(engine_url: str) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=engine_url)
    yield client
    client.close()


@pytest.fixture
def engine(engine_url: str, busybox_image: str, _client: docker.DockerClient) -> Iterator[Engine]:
    """The adapter, as owner rt-site/host-PID. Containers and volumes of this run's prefix go at the end."""
    adapter = Engine(engine_url, owner=f"{OWNER_SITE}/{OWNER_HOST}", timeout=30)
    yield adapter
    adapter.close()
    for entry in _client.api.containers(all=True):
        if any(PREFIX in name for name in entry["Names"] or ()):
            _client.api.remove_container(entry["Id"], force=True, v=True)
    for volume in _client.api.volumes()["Volumes"] or ():
        if volume["Name"].startswith(PREFIX):
            _client.api.remove_volume(volume["Name"])


@pytest.fixture
def name() -> str:
    """A container name of this run."""
    return f"{PREFIX}one"


def desired(*containers: Container, **fields: Any) -> Desired:
    """Desired state of the test's host."""
    return Desired(OWNER_SITE, OWNER_HOST, "0" * 40, "/nonexistent/kolla", containers, **fields)  # type: ignore[arg-type]


def look(engine: Engine, *containers: Container, deep: bool = False) -> Actual:
    """Observe, with nothing unknown."""
    view = engine.observe(desired(*containers), deep=deep)
    assert not view.unknown
    return Actual(view.containers, view.images, {}, frozenset(view.volumes), view.stale, deep=deep)  # type: ignore[arg-type]


def compare(engine: Engine, container: Container) -> tuple[Difference, ...]:
    """What the engine has under the container's name, compared with it."""
    actual = look(engine, container)
    return differences(container, actual.containers[container.name], actual.images.get(container.image))
