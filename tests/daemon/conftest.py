"""A node per test; its containers are removed afterwards."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker import errors as docker_errors

from tests.daemon.node import TestNode


@pytest.fixture
def node(tmp_path: Path, engine_url: str, busybox_image: str, docker_client: docker.DockerClient) -> Iterator[TestNode]:
    made = TestNode(tmp_path, engine_url, busybox_image)
    yield made
    for name in made.containers:
        for called in (name, f"reconciler-aside-{name}"):
            with contextlib.suppress(docker_errors.NotFound):
                docker_client.containers.get(called).remove(force=True)
