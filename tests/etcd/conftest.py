"""Real members, which tests of a module share, and the keys of a site for each test."""

from collections.abc import Iterator

import pytest

from reconciler.etcd import Client, Store
from tests.support.etcd import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One member, for what needs no others."""
    with Cluster(tmp_path_factory.mktemp("etcd"), 1) as running:
        yield running


@pytest.fixture
def store(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Store]:
    cluster.await_leader()
    client = Client(cluster.urls)
    yield Store(client, request.node.name)
    client.close()
