"""A thousand hosts: what a commit costs the forge, in the hardest case."""

from collections.abc import Callable

from reconciler.fleet.announce import MOST_GROUPS
from tests.fleet.conftest import Fleet
from tests.fleet.hosts import converged, failed
from tests.forge.standin import Fault

SUMMARY = "reconciler/north"


def test_a_commit_costs_less_than_fifty_requests(make_fleet: Callable[..., Fleet]) -> None:
    """A reporter without any memory, deployments, failures in every group that heal one by one, a restart, and a server that
    is busy; afterwards every word that stands is true."""
    fleet = make_fleet(1000, groups=MOST_GROUPS)
    hosts, gitlab = fleet.hosts, fleet.gitlab
    assert gitlab and fleet.project
    fleet.place.write(stale_after=7200)  # here hosts speak only when they have something to say
    head = fleet.place.push(hosts.site("reporting: {deployments: true}\n"))
    found = fleet.look()
    assert found.whole and found.whole.text == "0/1000 converged, 1000 unknown"
    assert hosts.asked == 1000
    assert fleet.rows(SUMMARY, head) == [("pending", "1000 hosts to converge")]
    fleet.restart()
    for number, host in enumerate(hosts.all):
        host.say(head, (failed if number < 100 else converged)(head))
    gitlab.fail("POST", "/statuses/", Fault.answer(429, retry_after="0"), Fault.answer(409))
    fleet.look()
    text = "900/1000 converged, 100 failed (rack0 9, rack1 9, rack2 9, 9 more groups)"
    assert fleet.rows(SUMMARY, head) == [("failed", text)]
    for part in range(4):
        fleet.watch.forward(seconds=70)
        for host in hosts.all[part * 25 : part * 25 + 25]:
            host.say(head, converged(head), at=fleet.watch())
        fleet.look()
    fleet.watch.forward(seconds=250)
    assert fleet.look().converged
    rows = {row.name: row.status for row in fleet.project.rows if row.sha == head}
    assert len(rows) == 1 + MOST_GROUPS and set(rows.values()) == {"success"}  # nobody is left with an old word
    newest = [(d.environment, d.sha, d.status) for d in fleet.project.deployments][-1]
    assert newest == ("north", head, "success")
    assert fleet.requests() < 50
    print(f"\n1,000 hosts: {fleet.requests()} requests, the last round {fleet.look().seconds:.1f} s")
