"""Jobs and what they rest on: one that filled a database runs again with it, one inside a container comes after that is made."""

from dataclasses import replace
from typing import Any

from reconciler.model import Actual, Container, Desired, Job, Registrar, Registration, Verb
from reconciler.plan import diff, preview
from reconciler.render import tokens
from tests.plan.test_diff import DB, SITE, WEB, basis, converged, without

TABLES = Registration("mariadb", "database", "keystone", service="keystone", owner="ctl1", before=("keystone", "sync"))
USER = Registration("mariadb", "user", "keystone", service="keystone", owner="ctl1", before=("keystone", "sync"))
SYNC = Job("sync", replace(WEB, name="sync"), "i1", before=("keystone",), service="keystone", owner="ctl1")
CLOUD = replace(
    SITE,
    containers=(DB, WEB),
    files=(),
    registrars=(Registrar("mariadb", {}, needs=("mariadb",)),),
    registrations=(TABLES, USER),
    jobs=(SYNC,),
)


def gone(actual: Actual, *registrations: Registration) -> Actual:
    return replace(actual, registrations={**actual.registrations, **{one.id: None for one in registrations}})


def lines(desired: Desired, actual: Actual, memory: Any, **more: Any) -> list[str]:
    return [action.line for action in diff(desired, actual, memory, basis(desired, **more)).actions]


def test_a_database_that_is_made_anew_is_filled_anew() -> None:
    actual, memory = converged(CLOUD)
    made = diff(CLOUD, gone(actual, TABLES), memory, basis(CLOUD))
    assert [action.line for action in made.actions] == [
        "register   mariadb:database:keystone  (drift: it is gone)",
        "run        sync  (the database keystone is made anew)",
    ]
    assert made.actions[0].unmakes == ("sync",) and TABLES.id in made.actions[1].needs[0]


def test_a_user_that_is_made_anew_fills_nothing() -> None:
    actual, memory = converged(CLOUD)
    made = diff(CLOUD, gone(actual, USER), memory, basis(CLOUD))
    assert [(action.verb, action.unmakes) for action in made.actions] == [(Verb.REGISTER, ())]


def test_where_the_site_wants_no_healing_nothing_is_filled() -> None:
    actual, memory = converged(CLOUD)
    reported = replace(CLOUD, policy={"drift": {"mode": "report"}})
    assert lines(reported, gone(actual, TABLES), replace(memory, last_good=reported)) == []


def test_what_a_job_made_in_a_volume_is_there_still() -> None:
    keys = replace(SYNC, name="keys", creates="keys:0")
    cloud = replace(CLOUD, jobs=(keys,), registrations=(replace(TABLES, before=("keystone", "keys")),))
    actual, memory = converged(cloud)
    assert lines(cloud, gone(actual, TABLES), memory) == ["register   mariadb:database:keystone  (drift: it is gone)"]


def test_a_registrar_that_is_about_to_start_is_asked_then() -> None:
    actual, memory = converged(CLOUD)
    asked = replace(without(actual, "mariadb"), registrations={})
    made = {action.id: action for action in diff(CLOUD, asked, memory, basis(CLOUD)).actions}
    assert made["register:mariadb:database:keystone"].unmakes == ("sync",)
    assert not made["register:mariadb:database:keystone"].is_absent and "run:sync" not in made


def test_the_first_time_there_is_nothing_to_lose() -> None:
    made = preview(None, CLOUD, bind=tokens.bind)
    assert {action.unmakes for action in made.actions} == {()}


RAFT = Container("raft", "img/raft:1", service="raft")
LEAVE = Job(
    "leave_c", replace(RAFT, name="leave_c"), "c", before=("raft",), owner="ctl1", left="c", leaves="no member",
    inside="raft",
)  # fmt: skip


def test_a_member_is_forgotten_before_its_container_changes_and_after_it_is_made() -> None:
    site = replace(SITE, containers=(RAFT,), files=(), jobs=())
    left = replace(site, jobs=(LEAVE,), containers=(replace(RAFT, image="img/raft:2"),), revision="r2")
    actual, memory = converged(site)
    made = diff(left, actual, memory, basis(left))
    assert [action.verb for action in made.actions] == [Verb.PULL, Verb.RUN, Verb.REPLACE]

    made = diff(left, without(actual, "raft"), memory, basis(left))
    assert [action.verb for action in made.actions] == [Verb.PULL, Verb.CREATE, Verb.RUN]
    assert "create:raft" in made.actions[-1].needs

    first = preview(None, left, bind=tokens.bind)
    assert [action.verb for action in first.actions] == [Verb.PULL, Verb.CREATE, Verb.RUN]
