"""The fleet's page in a real browser: what it shows, its filters, that it follows, and that no text becomes more than text."""

from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.fleet.document import fleet_document
from reconciler.fleet.inventory import Fleet, Member
from reconciler.fleet.judge import State, View, aggregate
from reconciler.fleet.metrics import Metrics
from reconciler.fleet.reporter import Round
from reconciler.fleet.reviews.document import reviews_document
from reconciler.fleet.reviews.queue import Reviewed
from reconciler.fleet.reviews.queue import State as ReviewState
from reconciler.fleet.reviews.reviewer import Entry, Overview
from reconciler.forge import OpenRequest
from reconciler.reasons import Reason
from reconciler.report import Refusal, RepositoryStatus
from tests.review.browser import Browser
from tests.support.lab import wait_for

from . import test_page
from .sample import COMMIT, HOSTILE
from .test_page import TEXT, Shown, serving

VISIBLE = "return [...document.querySelectorAll('.host')].filter((r) => !r.hidden).map((r) => r.firstChild.textContent)"


def sample(hosts: int = 42) -> Round:
    """A rollout that is nearly done: one host fails, one waits, one is gone, the others have it."""
    now = datetime.now(UTC)
    members = tuple(
        Member(name, group, f"10.0.0.{number}", "")
        for number, (name, group) in enumerate(
            [(f"ctl{n}", "control") for n in (1, 2, 3)]
            + [(f"net{n}", "network") for n in (1, 2)]
            + [(f"cmp{n}", "compute") for n in range(1, hosts - 4)]
        )
    )

    def view(member: Member) -> View:
        seconds = 4 + sum(member.host.encode()) % 55
        found = View(
            member,
            "converged",
            Reason.Converged,
            "38 containers, 2 changed in 6.2 s",
            COMMIT,
            now - timedelta(seconds=seconds),
        )
        other: dict[str, View] = {
            "ctl2": replace(found, state="failed", reason=Reason.Unhealthy,
                            message="nova-api: not healthy within 120 s | DBConnectionError: lost connection to ctl3 (rolled back)"),
            "cmp7": replace(found, state="waiting", reason=Reason.OutsideWindow, commit="b" * 40,
                            message="waiting until Tue 22:00 (window nights)"),
            "cmp12": replace(found, state="unknown", reason=Reason.ReportStale, stale=True, at=now - timedelta(minutes=19),
                             message="its newest report is 19 min old: does a pass hang there?"),
        }  # fmt: skip
        return other.get(member.host, found)

    views = tuple(view(member) for member in members)
    fleet = Fleet("cloud-north", COMMIT, members, threshold=100)
    return Round(
        now,
        0.4,
        RepositoryStatus(True, COMMIT),
        None,
        fleet,
        COMMIT,
        "nova: more API workers",
        views,
        aggregate(views, now, 900.0),
    )


def reviews(*more: OpenRequest, text: str = "", problem: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """What the page shows of merge requests: one of each state, and `more` that are valid and say `text`."""
    now = datetime.now(UTC).timestamp()

    def entry(iid: int, title: str, author: str, state: ReviewState, text: str, ago: float, **other: Any) -> Entry:
        request = OpenRequest(iid, title, author, COMMIT, "", **{"branch": "b", **other})
        return Entry(request, Reviewed(COMMIT, state=state, text=text, at=now - ago))

    entries = (
        entry(212, "nova: more API workers on the new controllers", "op", "valid",
              "3 of 42 hosts change · 6 containers restarted · nothing deleted", 340),
        entry(211, "neutron: jumbo frames", "net-team", "invalid", "not valid: 2 problems · nothing was planned", 1900),
        entry(214, "Try a loop", "guest", "failed", "could not be planned", 700, branch=""),
        entry(215, "glance: 2025.2", "op", "waiting", "", 0, draft=True),
        *(Entry(one, Reviewed(COMMIT, state="valid", text=text, reason=Reason.LimitExceeded, at=now)) for one in more),
    )  # fmt: skip
    link = "https://git.example.org/cloud/site/-/merge_requests/{}".format
    return reviews_document(Overview(entries, forks=2, at=now), problem, link)


def served(found: Round | None, requests: dict[str, Any] | None = None) -> AbstractContextManager[Shown]:
    return serving({**fleet_document(found), **({"reviews": requests} if requests else {})})


def choose(window: Browser, **values: str) -> list[str]:
    """Set the filters; the hosts that are then shown."""
    return test_page.choose(window, VISIBLE, values)


def test_what_a_fleet_says_and_its_filters(window: Browser) -> None:
    window.screen(1120, 1180)
    with served(sample()) as shown:
        shown.open(window)
        text = window.run(TEXT)
        for expected in (
            "cloud-north", "39/42 converged, 1 waiting, 1 failed, 1 unknown", "3f9c1b7e5d2a", "nova: more API workers",
            "39 converged", "1 stale report", "one status per host", "42 in the inventory", "not healthy within 120 s",
        ):  # fmt: skip
            assert expected in text, expected
        assert text.count("nova: more API workers") == 1
        assert window.run(VISIBLE)[:4] == ["ctl2", "cmp12", "cmp7", "ctl1"] and len(window.run(VISIBLE)) == 42
        assert choose(window, state="failed") == ["ctl2"]
        assert choose(window, state="unknown") == ["cmp12"]
        assert choose(window, group="network") == ["net1", "net2"]
        assert sorted(choose(window, search="CMP1")) == ["cmp1", *(f"cmp{n}" for n in range(10, 20))]
        assert choose(window, search="dbconnection", group="control") == ["ctl2"]
        assert choose(window, search="dbconnection", group="compute") == []
        # The page draws itself anew, and what the reader asked for stays.
        choose(window, search="cmp7", state="waiting")
        shown.document = {**shown.document, "headline": "", "summary": "40/42 converged, 1 waiting, 1 failed"}
        wait_for("the new summary", lambda: "40/42 converged" in window.run(TEXT), 20)
        assert window.run(VISIBLE) == ["cmp7"]
        assert window.log() == []


def test_fleet_texts_stay_texts_on_a_phone_too(window: Browser) -> None:
    found = sample()
    assert found.fleet
    states: list[State] = ["converged", "waiting", "failed", "unknown"]
    views = tuple(
        View(Member(HOSTILE, HOSTILE, "", ""), state, Reason.Unknown, HOSTILE * 5, HOSTILE, found.at)
        for state in states
    )
    hostile = replace(
        found,
        fleet=replace(found.fleet, site=HOSTILE),
        subject=HOSTILE,
        views=views,
        source=RepositoryStatus(False, "", Reason.GitTimeout, HOSTILE),
    )
    window.screen(390, 844, phone=True)
    with served(hostile) as shown:
        shown.open(window)
        assert window.run("return document.querySelectorAll('#owned, img').length") == 0
        assert window.run("return document.documentElement.scrollWidth") <= 390
        assert window.log() == []
    with served(sample()) as shown:
        shown.open(window)
        assert window.run("return document.documentElement.scrollWidth") <= 390
    window.screen(1120, 1180)


def test_the_rollout_above_the_hosts_of_a_reporters_page(window: Browser) -> None:
    from .test_rollout_page import hostile
    from .test_rollout_page import sample as rollout

    with served(sample()) as shown:
        whole = {name: value for name, value in rollout(halt="the network is being moved").items() if name != "hosts"}
        shown.document = {**shown.document, "rollout": whole}
        shown.open(window)
        text = window.run(TEXT)
        for expected in (
            "Halted by op",
            "0 of 38 proved",
            "Places that are held",
            "42 in the inventory",
            "who waits for whom",
        ):
            assert expected in text, expected
        assert choose(window, state="failed") == ["ctl2"]
        shown.document = {**shown.document, "rollout": {**hostile(), "kind": ""}}
        wait_for("the hostile one", lambda: "etcd does not answer" in window.run(TEXT), 20)
        assert window.run("return document.querySelectorAll('#owned, img').length") == 0
        assert window.log() == []


def test_merge_requests_and_what_strangers_call_them(window: Browser) -> None:
    stranger = OpenRequest(99, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    rows = "return [...document.querySelectorAll('.review')].map((r) => r.innerText)"
    links = "return [...document.querySelectorAll('.review a')].map((a) => a.href)"
    for width in (1120, 390):
        window.screen(width, 900, phone=width < 500)
        with served(sample(19), reviews(stranger, text=HOSTILE, problem=("ForgeBusy", HOSTILE))) as shown:
            shown.open(window)
            text = window.run(TEXT)
            assert "5 open ones, 2 of forks are left alone" in text and "ForgeBusy" in text
            shown_rows = window.run(rows)
            assert [row.split()[0] for row in shown_rows] == ["!214", "!211", "!215", "!212", "!99"]
            assert "fork" in shown_rows[0] and "draft" in shown_rows[2] and "3 of 42 hosts change" in shown_rows[3]
            assert set(window.run(links)) == {
                f"https://git.example.org/cloud/site/-/merge_requests/{n}" for n in (99, 211, 212, 214, 215)
            }
            assert window.run("return document.querySelectorAll('#owned, img').length") == 0
            assert window.run("return document.documentElement.scrollWidth") <= width
            assert window.log() == []
    window.screen(1120, 1180)
    with served(sample(19), reviews_document(Overview(at=1.0), ("", ""), lambda _: "javascript:alert(1)")) as shown:
        shown.open(window)
        assert "nothing is open" in window.run(TEXT)


def test_a_reporter_that_knows_nothing_yet(window: Browser) -> None:
    for found in (
        None,
        Round(datetime.now(UTC), 0.1, RepositoryStatus(False, "", Reason.GitTimeout, "the server hangs")),
    ):
        with served(found) as shown:
            window._post("url", url=shown.url)
            wait_for("the page", lambda: "no commit yet" in window.run(TEXT))
            assert ("GitTimeout" in window.run(TEXT)) is (found is not None)
            assert window.log() == []


def test_hosts_with_another_program_than_most_are_marked() -> None:
    found, odd = sample(), {"ctl1": ("0.3.1", "a" * 64), "net1": ("0.3.2", "c" * 64)}
    made = {view.member.host: odd.get(view.member.host, ("0.3.2", "b" * 64)) for view in found.views}
    made["cmp12"] = ("", "")  # unknown is no difference
    views = tuple(replace(v, program=made[v.member.host][0], catalogue=made[v.member.host][1]) for v in found.views)
    hosts = {h["host"]: h["program"] for h in fleet_document(replace(found, views=views))["hosts"]}
    assert {name: text for name, text in hosts.items() if text} == {
        "ctl1": "reconciler 0.3.1 (aaaaaaaaaaaa)",
        "net1": "reconciler 0.3.2 (cccccccccccc)",
    }
    metrics = Metrics()
    metrics.take(replace(found, views=views))
    assert metrics.registry.get_sample_value("reconciler_fleet_differing_hosts") == 2


@pytest.mark.parametrize("state", ["converged", "failed"])
def test_the_document(state: str) -> None:
    found = sample()
    if state == "converged":
        views = tuple(replace(view, state="converged", stale=False) for view in found.views)
        found = replace(found, views=views, whole=aggregate(views, found.at, 900.0))
    document = fleet_document(replace(found, refusal=Refusal("b" * 40, Reason.SiteInvalid, "globals.yml:1:1: no")))
    assert (document["state"], document["problem"]["reason"]) == (
        state,
        "Commit bbbbbbbbbbbb is refused here: SiteInvalid",
    )
    assert sum(document["counts"].values()) == len(document["hosts"]) == 42
    assert document["stale"] == (state == "failed")
