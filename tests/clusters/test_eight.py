"""Eight nodes, each a machine with an engine and a daemon of its own: three controllers with genuine images, and five computes.

The waves are those that a site has which says nothing: one compute and the last controller, then controllers, then the rest.
"""

import sys
from collections.abc import Iterator

import pytest

from tests.clusters.running import PATIENCE, prove, running
from tests.clusters.site import ETCD, HOSTS, SITE, Site
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

COMPUTES = {f"cd{number}": f"192.0.2.{20 + number}" for number in range(1, 6)}
PAGE = """\
description: A page on every compute
containers:
  page:
    group: compute
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; grep -q bad /page.conf && { echo 'error: the page says bad'; exit 1; }; while :; do sleep 0.1; done"]
    stop_timeout: 1
    stability: 0.3
    start_timeout: 20
    data_plane: true
    files:
      - {name: page.conf, content: "{{ page_text }}\\n", destination: /page.conf, mode: "0644"}
"""
_ROLL = f"""
import sys
from reconciler.etcd import Client, Store
for name, key in Store(Client(sys.argv[1:]), {SITE!r}).everything().items():
    if name.startswith("proof/") or name == "roll":
        print(name, key.revision, key.value.decode())
"""


@pytest.fixture(scope="module")
def eight(engine_url: str) -> Iterator[Site]:
    def begin(site: Site) -> None:
        site.globals["page_text"] = "first"
        site.files |= {
            "services/page/service.yml": PAGE.encode(),
            "services/page/variables.yml": b"page_text: {description: What it says., type: string, default: fine}\n",
            "reconciler.yml": f"name: {SITE}\nrollout: {{bake: 3, deadline: 300}}\n".encode(),
        }

    with running(engine_url, "enable_memcached", begin=begin, computes=COMPUTES) as site:
        yield site


def kept(site: Site) -> dict[str, tuple[int, str]]:
    """What etcd has of the rollout and its proofs: the revision of each, and what it says."""
    rows = (line.split(" ", 2) for line in site.lan.run([sys.executable, "-c", _ROLL, *ETCD]).splitlines())
    return {name: (int(revision), value) for name, revision, value in rows}


def order(site: Site, commit: str) -> list[str]:
    """The hosts in the order in which they proved a commit."""
    found = {name: revision for name, (revision, _) in kept(site).items() if name.startswith(f"proof/{commit}/")}
    return [name.rpartition("/")[2] for name in sorted(found, key=lambda name: found[name])]


def pages(site: Site) -> dict[str, str]:
    """When each page was started."""
    return {host: site.started(host, "page") for host in COMPUTES}


def test_a_good_commit_goes_from_canaries_to_all(eight: Site) -> None:
    before = pages(eight), {host: eight.started(host, "memcached") for host in HOSTS}
    commit = eight.push("a larger cache and another page", page_text="second", memcached_max_memory=128)
    prove(eight, commit)
    went = order(eight, commit)
    print("eight", went, flush=True)
    assert set(went[:2]) == {"cd1", "cc3"} and went[2:4] == ["cc1", "cc2"]
    assert set(went[4:]) == {"cd2", "cd3", "cd4", "cd5"}
    after = pages(eight), {host: eight.started(host, "memcached") for host in HOSTS}
    assert not set(before[0].items()) & set(after[0].items()) and not set(before[1].items()) & set(after[1].items())


def test_a_bad_commit_halts_at_the_canary_and_its_successor_goes_first_there(eight: Site) -> None:
    before = pages(eight)
    eight.push("a bad page", page_text="bad")
    wait_for("it is halted", lambda: '"halt"' in kept(eight)["roll"][1], PATIENCE, pause=1.0)
    told = eight.program("cc2", "fleet", "status")
    print(told, flush=True)
    assert "HALTED by cd1: page: the page says bad" in told
    after = pages(eight)
    assert {host for host in COMPUTES if after[host] != before[host]} == {"cd1"}
    prove(eight, mended := eight.push("the page that mends it", page_text="third"))
    went = [host for host in order(eight, mended) if host in COMPUTES]
    assert went[0] == "cd1" and len(went) == 5
