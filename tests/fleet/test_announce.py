"""What is worth a request: whatever a thousand hosts do, a commit costs less than fifty of them in its first hour."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from reconciler.fleet.announce import MOST_GROUPS, Announcer, announcements, announcements_ahead
from reconciler.fleet.inventory import Fleet, Member
from reconciler.fleet.judge import State, View, aggregate, text
from reconciler.reasons import Reason
from reconciler.report import StatusText

HEAD = "a" * 40
NOW = datetime(2026, 11, 3, 3, 0, tzinfo=UTC)
PATIENCE = 900.0


def member(number: int, groups: int = 1) -> Member:
    return Member(f"n{number}", f"rack{number % groups}", f"10.0.0.{number}", "ssh-ed25519 A")


def fleet(count: int, groups: int = 1, *, threshold: int = 100) -> Fleet:
    return Fleet("north", HEAD, tuple(member(n, groups) for n in range(count)), threshold=threshold)


def view(one: Member, state: State, *, since: datetime | None = None) -> View:
    words = {"converged": "success", "failed": "failed"}
    status = StatusText(HEAD, words[state], state, state) if state in words else None  # type: ignore[arg-type]
    return View(one, state, Reason.Unhealthy, f"is {state}", since=since, status=status)


def test_the_words() -> None:
    assert text({"converged": 40, "waiting": 1, "failed": 1, "unknown": 0}) == "40/42 converged, 1 waiting, 1 failed"
    assert text({"converged": 0, "waiting": 0, "failed": 0, "unknown": 3}) == "0/3 converged, 3 unknown"


@pytest.mark.parametrize(
    ("states", "late", "expected"),
    [
        (["converged", "converged"], False, "success"),
        (["converged", "waiting"], False, "pending"),
        (["converged", "unknown"], False, "pending"),
        (["converged", "unknown"], True, "failed"),
        (["converged", "failed", "waiting"], False, "failed"),
        ([], False, "pending"),  # no host at all is not "all hosts have converged"
    ],
)
def test_what_hosts_are_together(states: list[State], late: bool, expected: str) -> None:
    since = NOW - timedelta(seconds=PATIENCE if late else PATIENCE - 1)
    views = [view(member(n), state, since=since) for n, state in enumerate(states)]
    assert aggregate(views, NOW, PATIENCE).state == expected


def test_hosts_up_to_the_threshold_groups_from_it_on() -> None:
    def names(whole: Fleet) -> list[str]:
        views = [view(one, "converged") for one in whole.members]
        return [
            said.context.removeprefix("reconciler/north") for said in announcements(whole, HEAD, views, NOW, PATIENCE)
        ]

    assert names(fleet(3, 2, threshold=4)) == ["", "/n0", "/n1", "/n2"]
    assert names(fleet(3, 2, threshold=0)) == ["", "/n0", "/n1", "/n2"]
    assert names(fleet(4, 2, threshold=4)) == ["", "/group/rack0", "/group/rack1"]
    many = MOST_GROUPS + 1
    assert names(fleet(many, many, threshold=4)) == [""]


def test_a_summary_names_where_it_fails() -> None:
    whole = fleet(6, 3, threshold=2)
    states: list[State] = ["failed", "failed", "converged", "failed", "converged", "converged"]
    views = [view(one, state) for one, state in zip(whole.members, states, strict=True)]
    said = announcements(whole, HEAD, views, NOW, PATIENCE)
    assert said[0].text.description == "3/6 converged, 3 failed (rack0 2, rack1 1)"
    assert [one.text.description for one in said[1:]] == [
        "0/2 converged, 2 failed",
        "1/2 converged, 1 failed",
        "2/2 converged",
    ]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_they_do_it_is_bounded_and_right_in_the_end(seed: int) -> None:
    """Hosts fail, heal and vanish at random for an hour, seen every 30 s; the last word about every group is true."""
    random, whole = Random(seed), fleet(400, MOST_GROUPS)
    states: dict[str, State] = {one.host: "waiting" for one in whole.members}
    announcer, posts = Announcer({}), 0
    for step in range(120):
        now = NOW + timedelta(seconds=30 * step)
        for one in random.sample(whole.members, 60):
            states[one.host] = random.choice(("converged", "converged", "converged", "failed", "waiting", "unknown"))
        views = [view(one, states[one.host], since=now) for one in whole.members]
        posts += len(announcer.due(announcements(whole, HEAD, views, now, PATIENCE), now.timestamp()))
        if step % 40 == 20:
            announcer = Announcer(announcer.said)
    assert posts < 44  # and four questions, and two deployments
    views = [view(one, "converged") for one in whole.members]
    now += timedelta(hours=6)
    announcer.due(announcements(whole, HEAD, views, now, PATIENCE), now.timestamp())
    assert {said.state for said in announcer.said.values()} == {"success"}


def test_everything_heals_after_everything_failed() -> None:
    whole, announcer = fleet(160, MOST_GROUPS), Announcer({})

    def say(state: State, minutes: float) -> int:
        now = NOW + timedelta(minutes=minutes)
        views = [view(one, state) for one in whole.members]
        return len(announcer.due(announcements(whole, HEAD, views, now, PATIENCE), now.timestamp()))

    assert say("waiting", 0) == 1
    assert say("failed", 1) == 1 + MOST_GROUPS
    assert say("converged", 1.5) == 0  # in the same minute
    assert say("converged", 3) == 1 + MOST_GROUPS
    assert say("converged", 4) == 0
    # Said again when somebody asks for it, without counting.
    now = (NOW + timedelta(minutes=5)).timestamp()
    views = [view(one, "converged") for one in whole.members]
    again = announcer.due(announcements(whole, HEAD, views, now=NOW, patience=PATIENCE), now, again=True)
    assert len(again) == 1 + MOST_GROUPS


def test_of_a_commit_that_is_not_merged_a_large_fleet_has_one_status() -> None:
    ahead = {
        "success": StatusText("b" * 40, "success", "before it is merged: passed", "passed", "upgrade"),
        "failed": StatusText("b" * 40, "failed", "before it is merged: held by ready", "held", "upgrade"),
    }

    def views(*states: str) -> list[View]:
        texts = [ahead.get(state) for state in states]
        return [replace(view(member(n), "converged"), ahead=text) for n, text in enumerate(texts)]

    whole = fleet(3, threshold=2)
    assert announcements_ahead(whole, "b" * 40, "upgrade", views("success", "success", "")) == []
    (one,) = announcements_ahead(whole, "b" * 40, "upgrade", views("success", "failed", ""))
    assert (one.context, one.branch, one.text.state) == ("reconciler/north", "upgrade", "failed")
    assert one.text.description == "before it is merged: held on 1 of 3 hosts, 2 were heard: n1: held by ready"
    (one,) = announcements_ahead(whole, "b" * 40, "upgrade", views("success", "success", "success"))
    assert one.text.description == "before it is merged: nothing holds it on 3 hosts"
    assert announcements_ahead(whole, "c" * 40, "upgrade", views("success", "success", "success")) == []
    assert announcements_ahead(fleet(0), "b" * 40, "upgrade", []) == []
