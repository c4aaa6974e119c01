"""OVN's databases: what was added is there on every member after each was changed."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clusters.running import gap, notes, prove, running
from tests.clusters.site import HOSTS, Site
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]


SWITCHES = """\
trap 'ended=yes' TERM
for ((number = 0; ; number++)); do
    [[ -z ${ended:-} ]] || exit 0
    tries=0
    until ((tries == 20)) || ovn-nbctl --no-leader-only --timeout=5 --db="$1" --may-exist ls-add "switch$number" 2>/dev/null; do tries=$((tries + 1)); done
    echo "{\\"number\\": $number, \\"tries\\": $((tries + 1)), \\"ended\\": $(date +%s.%N)}"
done
"""


@pytest.fixture(scope="module")
def ovn(engine_url: str) -> Iterator[Site]:
    with running(engine_url, "enable_ovn") as site:
        yield site


def switches(site: Site, host: str) -> set[int]:
    """The numbers of the switches that the member on a host has."""
    found = site.execute(
        host, "ovn_nb_db", "ovn-nbctl", "--no-leader-only", "--db=unix:/run/ovn/ovnnb_db.sock", "ls-list"
    )
    return {int(row.split("(switch")[1].rstrip(")")) for row in found.splitlines()}


def test_a_changed_ovn_database_loses_no_switch(ovn: Site) -> None:
    before = {host: ovn.started(host, "ovn_nb_db") for host in HOSTS}
    remotes = ",".join(f"tcp:{address}:6641" for address in HOSTS.values())
    with ovn.container("cc1", "switches", "ovn-nb-db-server", "bash", "-c", SWITCHES, "switches", remotes) as log:
        wait_for("switches are added", lambda: len(notes(log)) > 20, 60)
        prove(
            ovn, ovn.push("more open files", ovn_nb_db_dimensions={"ulimits": {"nofile": {"soft": 2048, "hard": 2048}}})
        )
        time.sleep(5)
    rows = notes(log)
    added = {row["number"] for row in rows if row["tries"] < 21}
    found: dict[str, Any] = {
        "added": len(added),
        "lost": [sorted(added - switches(ovn, host)) for host in HOSTS],
        "retried": sum(row["tries"] == 2 for row in rows),
        "most_tries": max(row["tries"] for row in rows),
        "longest_gap": round(gap(rows), 2),
    }
    print("ovn", json.dumps(found), flush=True)
    assert all(ovn.started(host, "ovn_nb_db") != before[host] for host in HOSTS)
    assert not any(found["lost"])
