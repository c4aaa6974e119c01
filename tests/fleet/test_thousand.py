"""A thousand hosts: what a commit costs the forge, and what a round costs here."""

import resource
from collections.abc import Callable

from tests.fleet.conftest import Fleet
from tests.fleet.hosts import converged, failed
from tests.forge.standin import Fault

SUMMARY = "reconciler/north"


def test_a_commit_costs_less_than_fifty_requests(make_fleet: Callable[..., Fleet]) -> None:
    """With deployments, failures in every group that heal, a reporter that restarts, and a server that is busy."""
    fleet = make_fleet(1000, groups=16)
    hosts, gitlab = fleet.hosts, fleet.gitlab
    assert gitlab and fleet.project
    fleet.place.write(stale_after=7200)  # here hosts speak only when they have something to say
    first = fleet.place.push(hosts.site("reporting: {deployments: true}\n"))
    hosts.say(first)
    found = fleet.look()  # the very first commit, without any memory
    assert found.converged and hosts.asked == 1000
    assert fleet.requests() < 50
    assert fleet.rows(SUMMARY, first) == [("success", "1000/1000 converged")]
    assert len(fleet.contexts()) == 17
    print(f"\n1,000 hosts: first commit {fleet.requests()} requests, a round {found.seconds:.1f} s")

    second, before = fleet.place.push(), fleet.requests()
    found = fleet.look()
    assert found.verdict and found.verdict.text == "0/1000 converged, 1000 waiting"
    for number, host in enumerate(hosts.all):
        host.say(second, (failed if number < 100 else converged)(second))
    gitlab.fail("POST", "/statuses/", Fault.answer(429, retry_after="0"), Fault.answer(409))
    fleet.look()
    assert ("failed", "900/1000 converged, 100 failed (rack0 7, rack1 7, rack2 7, 13 more groups)") in fleet.rows(
        SUMMARY, second
    )
    for part in range(4):
        fleet.watch.forward(seconds=70)
        for host in hosts.all[part * 25 : part * 25 + 25]:
            host.say(second, converged(second), at=fleet.watch())
        if part == 1:
            fleet.restart()
        found = fleet.look()
    fleet.watch.forward(seconds=250)
    found = fleet.look()
    assert found.converged
    rows = {row.name: row.status for row in fleet.project.rows if row.sha == second}
    assert len(rows) == 17 and set(rows.values()) == {"success"}  # nobody is left with an old word
    assert [(d.environment, d.sha, d.status) for d in fleet.project.deployments][-1] == ("north", second, "success")
    cost = fleet.requests() - before
    assert cost < 50
    asked = fleet.look()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"1,000 hosts: second commit {cost} requests; unchanged round {asked.seconds:.1f} s; {memory} MiB with the tests"
    )
