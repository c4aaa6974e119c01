"""Three controllers with genuine images and a daemon each, whose first commit is proved, and what clients noted meanwhile.

What is stood in for: machines are network namespaces with engines of their own, VRRP does not exist (the addresses are plain ones of the first
machine), etcd is the site's own. One site at a time: the machines have the same names.
"""

import contextlib
import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.clusters.site import Site
from tests.images import build, kolla
from tests.support.lab import wait_for

PATIENCE = 600.0


@contextlib.contextmanager
def running(
    engine_url: str,
    *enabled: str,
    begin: Callable[[Site], None] = lambda site: None,
    releases: Sequence[kolla.Release] = (kolla.FIRST,),
    computes: Mapping[str, str] | None = None,
    patience: float = PATIENCE,
) -> Iterator[Site]:
    """A site whose daemons run and have proved its first commit, which is as `begin` makes it, within `patience` seconds."""
    with tempfile.TemporaryDirectory(prefix="rt-", dir="/tmp") as folder:  # short: sockets lie below it
        site = Site(Path(folder), enabled, releases, computes)
        with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
            absent = [name for name in site.images if not build.present(client, name)]
        if absent:
            pytest.skip(
                f"images are missing: {' '.join(absent)} (`python -m tests.images.build --release … NAME` makes each)"
            )
        with site:
            begin(site)
            commit = site.push("the first")
            for host in site.hosts:
                site.start(host)
            prove(site, commit, patience)
            yield site


def prove(site: Site, commit: str, patience: float = PATIENCE) -> None:
    """Wait until every host has proved a commit."""
    until(site, f"{commit} is proved by all", lambda: site.proved(commit) == site.hosts.keys(), patience)


def until(site: Site, what: str, ready: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Wait until something is so; what every host says of itself goes to whoever waited in vain."""
    try:
        wait_for(what, ready, patience, pause=1.0)
    except AssertionError:
        told = [f"not: {what}", site.program("cc2", "fleet", "status", check=False)]
        told += [f"{host}:\n{site.program(host, 'status', check=False)}" for host in site.hosts]
        raise AssertionError("\n".join(told)) from None


def notes(path: Path) -> list[dict[str, Any]]:
    """What a client noted; it may say other things besides."""
    return [json.loads(row) for row in path.read_text().splitlines() if row.startswith("{")]


def gap(rows: list[dict[str, Any]]) -> float:
    """The longest time in which nothing was done."""
    ends = [row["ended"] for row in rows]
    return max((b - a for a, b in itertools.pairwise(ends)), default=0.0)


def kept(site: Site, url: str) -> set[int]:
    """The numbers of the keys that a member of etcd has, of those that a client `keeper` put."""
    script = (
        "import base64, requests, sys; "
        "edges = [base64.b64encode(edge).decode() for edge in (b'/kept/', b'/kept0')]; "
        "asked = {'key': edges[0], 'range_end': edges[1], 'keys_only': True}; "
        "found = requests.post(sys.argv[1] + '/v3/kv/range', json=asked, timeout=10).json().get('kvs', []); "
        "print(*(base64.b64decode(row['key']).decode().rpartition('/')[2] for row in found))"
    )
    return {int(number) for number in site.lan.run([sys.executable, "-c", script, url]).split()}
