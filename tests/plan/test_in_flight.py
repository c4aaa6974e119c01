"""What is in flight is left to whoever is at it; drift elsewhere is not kept waiting."""

from reconciler.model import Action, Plan, Verb
from reconciler.plan.in_flight import grounded, superseded, without


def action(verb: Verb, target: str, *needs: str, container: str = "", drift: bool = False) -> Action:
    return Action(verb, target, "", tuple(needs), container or target, drift=drift)


def split(*actions: Action, flying: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    kept, held = grounded(actions, flying)
    assert {h.reason for h in held} <= {"InFlight"} and not any(h.drift for h in held)
    return [a.id for a in kept], {h.target: h.message for h in held}


FLYING = {"keystone": "waiting for keystone to become healthy"}


def test_what_is_in_flight_is_not_touched_nor_its_files_nor_its_spare() -> None:
    kept, held = split(
        action(Verb.WRITE, "keystone/keystone.conf", container="keystone"),
        action(Verb.RESTART, "keystone", drift=True),
        action(Verb.REMOVE, "reconciler-aside-keystone", container="keystone"),
        action(Verb.RESTART, "memcached", drift=True),
        flying=FLYING,
    )
    assert kept == ["restart:memcached"]
    assert set(held) == {"keystone/keystone.conf", "keystone", "reconciler-aside-keystone"}
    assert set(held.values()) == {"waiting for keystone to become healthy"}


def test_a_change_waits_for_what_it_needs_and_what_needs_that_waits_too() -> None:
    kept, held = split(
        action(Verb.RESTART, "horizon", "restart:glance"),
        action(Verb.RESTART, "glance", "create:keystone", "restart:keystone"),
        action(Verb.RESTART, "cron"),
        flying=FLYING,
    )
    assert kept == ["restart:cron"]
    assert held["glance"] == "needs keystone, which is in flight: waiting for keystone to become healthy"
    assert held["horizon"] == "needs glance, which waits for what is in flight"


def test_drift_waits_only_where_it_would_be_of_no_use() -> None:
    kept, held = split(
        action(Verb.START, "glance", "restart:keystone", drift=True),
        action(Verb.REGISTER, "keystone:user:glance", "restart:keystone", container="", drift=True),
        action(Verb.RUN, "keystone_job", "restart:keystone", drift=True),
        flying=FLYING,
    )
    assert kept == ["start:glance"] and set(held) == {"keystone:user:glance", "keystone_job"}


def test_an_image_that_is_being_pulled_is_not_pulled_twice() -> None:
    kept, held = split(
        action(Verb.PULL, "glance:2"),
        action(Verb.REPLACE, "glance", "pull:glance:2"),
        flying={"glance:2": "pulling glance:2"},
    )
    assert kept == [] and held["glance"] == "needs glance:2, which is in flight: pulling glance:2"


def test_a_newer_revision_takes_over_what_it_changes_and_no_more() -> None:
    before = {"a": "1", "b": "1", "c": "1"}
    assert superseded(["a", "b", "c"], before, {"a": "1", "b": "2"}) == {"b", "c"}
    assert superseded(["b/b.conf", "image:1"], before, {}) == frozenset(), "only containers are judged by their digest"


def test_a_configuration_is_not_checked_in_every_pass_while_nothing_of_it_can_be_put_to_use() -> None:
    waiting = (
        action(Verb.VALIDATE, "glance"),
        action(Verb.WRITE, "glance/glance.conf", "validate:glance", "restart:keystone", container="glance"),
        action(Verb.RESTART, "glance", "validate:glance", "restart:keystone"),
    )
    kept, held = split(*waiting, flying=FLYING)
    assert kept == [] and held["glance"] == "needs keystone, which is in flight: waiting for keystone to become healthy"
    free = action(Verb.WRITE, "glance/other.conf", "validate:glance", container="glance")
    assert split(*waiting, free, flying=FLYING)[0] == ["validate:glance", "write:glance/other.conf"]


def test_a_plan_without_what_just_failed_has_nothing_that_needs_it() -> None:
    given = (
        action(Verb.PULL, "glance:2"),
        action(Verb.VALIDATE, "glance", "pull:glance:2"),
        action(Verb.VALIDATE, "cron"),
        action(Verb.REPLACE, "glance", "pull:glance:2", "validate:cron"),
        action(Verb.RESTART, "horizon", "replace:glance", drift=True),
        action(Verb.RESTART, "cron"),
    )
    plan = Plan("ctl1", "abc", given)
    assert without(plan, ()) == plan and without(plan, ["pull:gone"]) == plan
    # A check of which nothing can be put to use is not made either.
    assert [one.id for one in without(plan, ["pull:glance:2"]).actions] == ["restart:cron"]
    assert [one.id for one in without(plan, ["restart:cron"]).actions] == [one.id for one in given[:5]]
