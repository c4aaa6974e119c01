"""What stays different right after it was acted upon: said once, not acted upon again, and never a reason to forget drift."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.model import (
    RUNNING_CONFIGURATION,
    Action,
    Actual,
    Container,
    Desired,
    Difference,
    File,
    FileState,
    Image,
    Memory,
    Outcome,
    Plan,
    Registration,
    Running,
    State,
    Verb,
)
from reconciler.plan import Basis, diff, second_look

THEN = datetime(2000, 1, 1, tzinfo=UTC)
WEB = Container("web", "img:1", hostname="a", cpu_shares=512, service="web", config_directory="web", kolla=True)
CONF = File("web/web.conf", "x", container="web", service="web", owner=7)
USER = Registration("mariadb", "user", "u", {"host": "%"}, owner="ctl1")
SITE = Desired("example", "ctl1", "r1", "/etc/kolla", (WEB,), (CONF,), registrations=(USER,))


def look(
    memory: Memory, *, host: str = "a", shares: int = 512, owner: int = 7, stale: str = "", user: str = "%"
) -> Plan:
    spec = replace(WEB, hostname=host, cpu_shares=shares)
    actual = Actual(
        {"web": Running(spec, "id", "img", State.RUNNING, THEN, owned=True)},
        {"img:1": Image("img")},
        {CONF.path: FileState(b"x", 0o600, owner, 0, THEN)},
        stale={"web": stale} if stale else {},
        registrations={USER.id: {"host": user}},
        deep=True,
    )
    return diff(SITE, actual, memory, Basis(contents={CONF.path: b"x"}))


def done(*actions: Action) -> list[Outcome]:
    return [Outcome(action, "done") for action in actions]


MEMORY = Memory(last_good=SITE, revision="r1", registered=(USER,))


@pytest.mark.parametrize(
    ("verb", "key", "found"),
    [
        (Verb.REPLACE, "container:web", {"host": "b"}),
        (Verb.UPDATE, "container:web", {"shares": 2}),
        (Verb.CHMOD, "file:web/web.conf", {"owner": 0}),
        (Verb.RESTART, "container:web", {"stale": "web.conf is not what it should be"}),
        (Verb.REGISTER, "registration:mariadb:user:u", {"user": "localhost"}),
    ],
)
def test_the_same_difference_twice_is_said_once(verb: Verb, key: str, found: dict[str, object]) -> None:
    first = look(MEMORY, **found)  # type: ignore[arg-type]
    assert [action.verb for action in first.actions] == [verb]
    again = look(MEMORY, **found)  # type: ignore[arg-type]
    left = second_look.stayed(done(*first.actions), again)
    assert list(left) == [key]
    memory = replace(MEMORY, unachieved=left)
    after = look(memory, **found)  # type: ignore[arg-type]
    assert after.empty
    (held,) = after.held
    assert held.reason == "NotAchievable" and not held.drift
    assert f"asked for {left[key][0].desired}, it became {left[key][0].actual}" in held.message
    assert second_look.held(again, left) == (held,)
    # Something else there, or in the commit, is acted upon as ever; and what is as it should be is forgotten.
    assert look(memory, host="c").actions
    clean = look(memory)
    assert clean.empty and not clean.held
    seen = Actual({"web": Running(WEB, "id", "img", State.RUNNING, THEN)}, {}, {CONF.path: FileState(b"", 0, 0, 0, THEN)},
                  registrations={USER.id: {}}, deep=True)  # fmt: skip
    assert second_look.overcome(memory, seen, clean) == (key,)
    assert second_look.overcome(memory, seen, after) == ()


def test_a_container_that_was_just_made_is_what_the_engine_makes_of_it() -> None:
    made = Action(Verb.CREATE, "web", "new container", differences=(Difference("state", "running", "absent"),))
    again = look(MEMORY, host="b")
    assert [d.field for d in second_look.stayed(done(made), again)["container:web"]] == ["hostname"]


def test_what_was_not_acted_upon_is_drift() -> None:
    """Between an action and the look after it somebody may change something else."""
    started = Action(Verb.UPDATE, "web", "", differences=(Difference("cpu_shares", "512", "2"),))
    assert second_look.stayed(done(started), look(MEMORY, shares=3)) == {}
    restarted = Action(Verb.RESTART, "web", "web.conf changed")
    assert second_look.stayed(done(restarted), look(MEMORY, stale="differs")) == {}
    failed = [Outcome(look(MEMORY, host="b").actions[0], "failed")]
    assert second_look.stayed(failed, look(MEMORY, host="b")) == {}


def test_what_others_change_at_any_moment_proves_nothing() -> None:
    made = Action(Verb.CREATE, "web", "")
    again = Plan("ctl1", "r1", (Action(Verb.REPLACE, "web", "", differences=(Difference("image", "img:1", "img:0"),)),))
    assert second_look.stayed(done(made), again) == {}


def test_looking_deep_only_where_only_that_can_tell() -> None:
    assert not second_look.looks_again(done(Action(Verb.START, "web", "")))
    assert not second_look.looks_deep(done(Action(Verb.CREATE, "web", "")))
    assert second_look.looks_deep(done(Action(Verb.REGISTER, USER.id, "new")))
    assert second_look.looks_deep(
        done(Action(Verb.RESTART, "web", "", differences=(Difference(RUNNING_CONFIGURATION, "", ""),)))
    )
