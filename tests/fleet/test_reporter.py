"""Rounds of a real reporter: a real repository, hosts that really sign, GitLab's rules."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from reconciler import errors, settings
from reconciler.fleet.reporter import Reporter
from reconciler.model import Interruption
from reconciler.reasons import Reason
from reconciler.report import StatusText
from reconciler.report.signed import encode
from tests.fleet.conftest import Fleet
from tests.fleet.hosts import converged, failed
from tests.forge.standin import Fault
from tests.git import servers

Make = Callable[..., Fleet]
SUMMARY = "reconciler/north"


def test_a_rollout(make_fleet: Make) -> None:
    fleet = make_fleet(4)
    hosts, place = fleet.hosts, fleet.place
    first = place.push(hosts.site())
    assert hosts.asked == 0
    hosts.say("")  # nobody has accepted a commit yet
    for host in hosts.all:
        host.say("", reason=Reason.NoRevision)
    found = fleet.look()
    assert (found.head, found.whole.text) == (first, "0/4 converged, 4 waiting")  # type: ignore[union-attr]
    assert fleet.rows(SUMMARY, first) == [("pending", "4 hosts to converge")]
    for host in hosts.all[:2]:
        host.say(first, converged(first))
    hosts[2].say(first, failed(first), reason=Reason.Unhealthy)
    found = fleet.look()
    assert list(fleet.states(found).values()) == ["converged", "converged", "failed", "waiting"]
    assert fleet.rows(SUMMARY, first) == [("failed", "2/4 converged, 1 waiting, 1 failed")]
    assert fleet.rows(f"{SUMMARY}/n0", first) == [("success", "3 containers, 1 changed in 2.0 s")]
    assert fleet.rows(f"{SUMMARY}/n2", first) == [("failed", "web: not healthy within 120 s (rolled back)")]
    assert fleet.rows(f"{SUMMARY}/n3", first) == []
    # What is only faster or slower than before is no news, and neither is the same again.
    requests = fleet.requests()
    hosts[0].say(first, converged(first, "3 containers, 0 changed in 0.1 s"))
    fleet.look()
    assert fleet.requests() == requests
    hosts.say(first)
    fleet.look()
    fleet.watch.forward(seconds=61)  # a second result about a commit has to wait a minute
    found = fleet.look()
    assert found.converged
    assert fleet.rows(SUMMARY, first)[-1] == ("success", "4/4 converged")
    # The next commit: everybody is behind, and says so.
    second = place.push()
    found = fleet.look()
    assert found.head == second and set(fleet.states(found).values()) == {"waiting"}
    assert fleet.rows(SUMMARY, second) == [("pending", "4 hosts to converge")]


def test_nobody_speaks_for_another(make_fleet: Make) -> None:
    """Every report here is refused, whatever it says, and the host counts as unknown."""
    fleet = make_fleet(9, forge=False)
    hosts = fleet.hosts
    head = fleet.place.push(hosts.site())
    hosts.say(head)
    good = hosts[0].answer
    stolen = hosts[1].statement(head, converged(head))
    hosts[1].answer = hosts[2].key.sign(encode(stolen))  # another host's key
    hosts[2].answer = hosts[0].answer  # another host's report, whole
    hosts[3].answer = (hosts[3].answer or b"").replace(b"1 changed", b"9 changed")  # an altered body
    hosts[4].answer = hosts[4].key.sign(encode(stolen))  # its own key, another host's name
    hosts[5].answer = hosts[5].key.sign(encode(replace(hosts[5].statement(head, converged(head)), site="south")))
    hosts[6].answer = hosts[6].key.sign(encode(hosts[6].statement(head, converged(head))), namespace="git")
    line, _, armor = (hosts[7].answer or b"").partition(b"\n")
    hosts[7].answer = line + b"\n" + line + b"\n" + armor
    hosts[8].answer = line + b"\n"
    found = fleet.look()
    assert list(fleet.reasons(found).values()) == [
        "Converged", "ReportForged", "ReportForged", "ReportForged", "ReportMismatch", "ReportMismatch", "ReportForged",
        "ReportMalformed", "ReportMalformed",
    ]  # fmt: skip
    assert list(fleet.states(found).values()) == ["converged"] + ["unknown"] * 8
    assert found.whole and found.whole.text == "1/9 converged, 8 unknown" and not found.converged
    assert hosts[0].answer == good


def test_a_host_may_not_have_known_its_site_yet(make_fleet: Make) -> None:
    fleet = make_fleet(2, forge=False)
    head = fleet.place.push(fleet.hosts.site())
    lost = StatusText(head, "failed", "refused: no key decrypts passwords.yml", "refused SopsNoKey")
    fleet.hosts[0].say("", lost, site="", reason=Reason.SopsNoKey)
    fleet.hosts[1].say(head, converged(head), site="")  # but it cannot have converged
    found = fleet.look()
    assert fleet.states(found) == {"n0": "failed", "n1": "unknown"}
    assert fleet.reasons(found) == {"n0": "SopsNoKey", "n1": "ReportMismatch"}


def test_an_old_report_played_back(make_fleet: Make) -> None:
    fleet = make_fleet(2, forge=False)
    hosts = fleet.hosts
    head = fleet.place.push(hosts.site())
    hosts.say(head)
    old = hosts[0].answer
    assert fleet.look().converged
    hosts[0].say(head, failed(head), at=datetime.now(UTC) + timedelta(seconds=1))
    assert fleet.states(fleet.look())["n0"] == "failed"
    hosts[0].answer = old
    found = fleet.look()
    assert (found.views[0].state, found.views[0].reason, found.views[0].stale) == ("unknown", "ReportReplayed", True)
    # Not even over a restart is the older one believed.
    fleet.restart()
    assert fleet.reasons(fleet.look())["n0"] == "ReportReplayed"


def test_old_reports_and_wrong_clocks(make_fleet: Make) -> None:
    fleet = make_fleet(3, forge=False)
    hosts = fleet.hosts
    head = fleet.place.push(hosts.site())
    now = datetime.now(UTC)
    hosts[0].say(head, converged(head), at=now - timedelta(seconds=400))
    hosts[1].say(head, converged(head), at=now + timedelta(hours=1))
    hosts[2].say(head, converged(head), at=now - timedelta(seconds=200))
    found = fleet.look()
    assert fleet.reasons(found) == {"n0": "ReportStale", "n1": "ReportAhead", "n2": "Converged"}
    # A report from the future must not silence the host when its clock is right again.
    hosts[1].say(head, converged(head))
    assert fleet.states(fleet.look())["n1"] == "converged"


def test_who_does_not_answer_is_unknown(make_fleet: Make) -> None:
    fleet = make_fleet(6)
    hosts, place = fleet.hosts, fleet.place
    head = place.push(hosts.site())
    hosts.say(head)
    assert fleet.look().converged
    hosts[1].answer = None  # hangs up
    hosts[2].code = 503
    hosts[3].answer = b"x" * 200_000
    site = hosts.site()
    inventory = site["inventory.yml"] or ""
    # A key taken out of the inventory, and an address where nobody is.
    inventory = inventory.replace(f", report_key: {hosts[4].key.public}", "").replace(hosts[5].address, "127.8.0.1")
    head = place.push({"inventory.yml": inventory})
    hosts[0].say(head, converged(head))
    found = fleet.look()
    assert set(list(fleet.states(found).values())[1:]) == {"unknown"}
    unavailable = ["ReportUnavailable"] * 3
    assert list(fleet.reasons(found).values()) == ["Converged", *unavailable, "ReportKeyMissing", "ReportUnavailable"]
    # For a while nobody is told: they may be back in a moment. Then it is a failure.
    assert fleet.rows(SUMMARY, head) == [("pending", "6 hosts to converge")]
    fleet.watch.forward(seconds=200)
    hosts[0].say(head, converged(head), at=fleet.watch())
    fleet.look()
    assert fleet.rows(SUMMARY, head) == [("pending", "6 hosts to converge")]
    fleet.watch.forward(seconds=800)
    hosts[0].say(head, converged(head), at=fleet.watch())
    fleet.look()
    assert fleet.rows(SUMMARY, head) == [("failed", "1/6 converged, 5 unknown")]
    assert fleet.rows(f"{SUMMARY}/n4", head)[0][1].startswith("unknown: inventory.yml declares no report_key")


def test_what_hosts_wait_for(make_fleet: Make) -> None:
    fleet = make_fleet(4)
    hosts = fleet.hosts
    head = fleet.place.push(hosts.site())
    hosts[0].say(head, StatusText(head, "pending", "suspended: disk swap", "suspended"), reason=Reason.Suspended)
    tried = StatusText("c" * 40, "success", "testing branch testing/n1: 3 containers", "converged", "testing/n1")
    hosts[1].say("c" * 40, tried, reason=Reason.Converged)
    hosts[2].say(head, converged(head), busy=True)
    hosts[3].say("b" * 40, converged("b" * 40))
    found = fleet.look()
    assert [(v.state, v.reason, v.message) for v in found.views] == [
        ("waiting", "Suspended", "suspended: disk swap"),
        ("waiting", "TestingBranch", "tries testing/n1, at cccccccccccc"),
        ("waiting", "Progressing", "a pass is under way"),
        ("waiting", "Progressing", "at bbbbbbbbbbbb"),
    ]
    assert fleet.rows(f"{SUMMARY}/n0", head) == [("pending", "suspended: disk swap")]


def test_a_commit_that_is_refused(make_fleet: Make) -> None:
    """The reporter keeps the inventory it has, and hosts are measured by the commit that they refuse as well."""
    fleet = make_fleet(2)
    hosts = fleet.hosts
    good = fleet.place.push(hosts.site())
    hosts.say(good)
    assert fleet.look().converged
    bad = fleet.place.push({"globals.yml": "no_such_variable: 1\n"})
    refused = StatusText(bad, "failed", "refused: globals.yml:1:1: unknown variable", "refused SiteInvalid")
    for host in hosts.all:
        host.say(good, refused, converged(good))
    found = fleet.look()
    assert found.refusal and found.refusal.reason == "SiteInvalid" and found.head == bad
    assert fleet.rows(SUMMARY, bad) == [("failed", "0/2 converged, 2 failed")]
    assert fleet.rows(f"{SUMMARY}/n1", bad)[0][1].startswith("refused: globals.yml")
    assert fleet.rows(SUMMARY, good) == [("success", "2/2 converged")]


def test_a_server_that_is_busy_and_a_reporter_that_restarts(make_fleet: Make) -> None:
    fleet = make_fleet(3)
    hosts, gitlab = fleet.hosts, fleet.gitlab
    assert gitlab
    head = fleet.place.push(hosts.site())
    hosts.say(head)
    gitlab.fail(
        "POST", "/statuses/", Fault.answer(409), Fault.answer(429, retry_after="0"), Fault.answer(502, done=True)
    )
    fleet.look()
    assert fleet.rows(SUMMARY, head) == [("success", "3/3 converged")]
    assert fleet.rows(f"{SUMMARY}/n2", head) == [("success", "3 containers, 1 changed in 2.0 s")]
    before = fleet.requests()
    for _ in range(2):
        fleet.restart()
        assert fleet.look().converged
    assert fleet.requests() == before
    # Without its memory it asks what is shown, once for all names, and posts nothing again.
    fleet.restart()
    for name in ("posted.json", "fleet.json"):
        (fleet.place.state / name).unlink()
    posted = gitlab.count("POST")
    fleet.look()
    assert gitlab.count("POST") == posted
    assert fleet.requests() - before == 2  # who am I, what is shown


def test_what_was_not_posted_in_time_is_posted_by_the_next(make_fleet: Make) -> None:
    fleet = make_fleet(2)
    gitlab = fleet.gitlab
    assert gitlab
    head = fleet.place.push(fleet.hosts.site())
    fleet.hosts.say(head)
    gitlab.fail("POST", "/statuses/", *[Fault.answer(403) for _ in range(3)])
    found = fleet.reporter.look()
    assert found.converged and fleet.reporter.statuses
    assert not fleet.reporter.statuses.flush(1.0)
    fleet.restart()
    gitlab._faults.clear()
    fleet.look()
    assert fleet.rows(SUMMARY, head) == [("success", "2/2 converged")]


def test_deployments(make_fleet: Make) -> None:
    fleet = make_fleet(2)
    hosts = fleet.hosts
    head = fleet.place.push(hosts.site("reporting: {deployments: true}\n"))
    hosts[0].say(head, converged(head))
    hosts[1].say(head, failed(head))

    def shown() -> list[tuple[str, str, str]]:
        assert fleet.project
        return sorted((d.environment, d.sha, d.status) for d in fleet.project.deployments)

    fleet.look()
    assert shown() == [("north/n0", head, "success"), ("north/n1", head, "failed")]
    hosts[1].say(head, converged(head))
    fleet.look()
    assert shown() == [("north/n0", head, "success"), ("north/n1", head, "failed"), ("north/n1", head, "success")]
    # Drift after it is no deployment, and a restart is none either, not even without memory.
    hosts[0].say(head, failed(head, "drift: web: image"))
    fleet.look()
    for names in ((), ("posted.json", "fleet.json", "deployed.json")):
        fleet.restart()
        for name in names:
            (fleet.place.state / name).unlink()
        hosts[0].say(head, converged(head))
        fleet.look()
    assert len(shown()) == 3
    other = fleet.place.push()
    for host in hosts.all:
        host.say(other, converged(other))
    before = fleet.requests()
    fleet.look()
    assert shown()[1] == ("north/n0", other, "success") or ("north/n0", other, "success") in shown()
    assert len(shown()) == 5
    assert fleet.requests() - before == 5  # a summary, two hosts, two deployments


def test_it_never_shares_a_nodes_state(make_fleet: Make) -> None:
    fleet = make_fleet(1, forge=False)
    loaded = settings.load(fleet.place.settings)
    with pytest.raises(errors.Terminal, match="must not move a node's anchor"):
        Reporter(replace(loaded, state_dir=loaded.reporter.state_dir))


def test_a_memory_that_cannot_be_read_is_no_empty_one(make_fleet: Make) -> None:
    fleet = make_fleet(1, forge=False)
    fleet.place.state.mkdir()
    (fleet.place.state / "fleet.json").write_text('{"seen": {"n0": 5}}')
    with pytest.raises(errors.Terminal, match="played back"):
        _ = fleet.reporter


def test_two_hosts_cannot_have_one_key(make_fleet: Make) -> None:
    fleet = make_fleet(2, forge=False)
    fleet.hosts[1].key = fleet.hosts[0].key
    fleet.place.push(fleet.hosts.site())
    found = fleet.look()
    assert found.fleet is None and found.refusal
    assert any("'n0' has the same report_key" in problem for problem in found.refusal.problems)


def test_who_was_not_heard_for_a_round_does_not_speak_the_sooner(make_fleet: Make) -> None:
    """What a host says before a merge is as far apart as what it says of any commit."""
    fleet = make_fleet(1)
    (host,), place = fleet.hosts.all, fleet.place
    place.settings.write_text(place.settings.read_text().replace("[git]\n", '[git]\nprechecks = "upgrade"\n'))
    main = place.push(fleet.hosts.site())
    branch = servers.commit(place.repository, {"globals.yml": "one: 1\n"}, "2026.1", branch="upgrade", parents=[main])
    for number in range(6):
        host.say(main, converged(main), ahead=StatusText(branch, "failed", f"{number}", f"{number}", "upgrade"))
        fleet.look()
        host.answer = None
        fleet.look()
    assert fleet.rows(f"{SUMMARY}/n0", branch) == [("failed", "0")]


def test_how_long_restarts_were_felt_is_kept(make_fleet: Make) -> None:
    """For the review: what a host said last stays known while it is silent, and goes with it."""
    fleet = make_fleet(2)
    hosts, place = fleet.hosts, fleet.place
    first = place.push(hosts.site())
    for host, seconds in zip(hosts.all, (9.0, 11.0), strict=True):
        host.say(first, converged(first), interruptions={"web": Interruption(seconds, 2)})
    fleet.look()
    known = {"n0": {"web": Interruption(9.0, 2)}, "n1": {"web": Interruption(11.0, 2)}}
    assert fleet.reporter.interruptions() == known
    hosts[1].answer = None
    fleet.restart()
    fleet.look()
    assert fleet.reporter.interruptions() == known
    hosts.all.pop()
    place.push(hosts.site())
    fleet.look()
    assert fleet.reporter.interruptions() == {"n0": known["n0"]}


def test_what_hosts_said_before_a_merge_is_posted_for_them(make_fleet: Make) -> None:
    """Of the branch's head as the reporter saw it itself, until it is merged; and of the head of the followed branch as ever."""
    fleet = make_fleet(3)
    hosts, place = fleet.hosts, fleet.place
    place.settings.write_text(place.settings.read_text().replace("[git]\n", '[git]\nprechecks = "upgrade"\n'))
    main = place.push(hosts.site())

    def said(commit: str, state: Literal["success", "failed"], words: str) -> StatusText:
        text = f"before it is merged: {words}"
        return StatusText(commit, state, text, text, "upgrade")

    hosts.say(main)
    fleet.look()
    branch = servers.commit(place.repository, {"globals.yml": "one: 1\n"}, "2026.1", branch="upgrade", parents=[main])
    passed = said(branch, "success", "2025.1 → 2026.1: 4 checks passed")
    other = said("b" * 40, "success", "of a commit that nobody pushed")
    for host, ahead in zip(hosts.all, (passed, other, None), strict=True):
        host.say(main, converged(main), ahead=ahead)
    fleet.look()
    assert fleet.rows(f"{SUMMARY}/n0", branch) == [("success", passed.description)]
    assert fleet.rows(SUMMARY, branch) == [], "not everybody was heard"
    assert fleet.rows(f"{SUMMARY}/n1", "b" * 40) == fleet.rows(f"{SUMMARY}/n1", branch) == []
    hosts[1].say(main, converged(main), ahead=said(branch, "failed", "2025.1 → 2026.1: held by ready (3 passed)"))
    fleet.look()
    held = "before it is merged: held on 1 of 3 hosts, 2 were heard: n1: 2025.1 → 2026.1: held by ready (3 passed)"
    assert fleet.rows(SUMMARY, branch) == [("failed", held)]
    # The same again is no news, after a restart neither, and what is said of the followed branch stays as it was.
    requests, rows = fleet.requests(), fleet.rows(SUMMARY, main)
    fleet.look()
    assert fleet.requests() == requests
    fleet.restart()
    fleet.look()
    assert fleet.rows(SUMMARY, branch) == [("failed", held)] and fleet.rows(SUMMARY, main) == rows
    for host in hosts.all:
        host.say(main, converged(main), ahead=passed)
    fleet.watch.forward(seconds=61)
    fleet.look()
    assert fleet.rows(SUMMARY, branch)[-1] == ("success", "before it is merged: nothing holds it on 3 hosts")
    # Merged as it is, it is a commit as any other.
    servers.git(place.repository, "update-ref", "refs/heads/main", branch)
    for host in hosts.all:
        host.say(branch, converged(branch), ahead=passed)
    assert fleet.look().converged
    assert fleet.rows(SUMMARY, branch)[-1] == ("success", "3/3 converged")
