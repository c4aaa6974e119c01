"""Actions as a whole: whose they are, what differs, what they risk and what they wait for. A window, a review and a rollback go by these."""

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.model import Action, Difference, State, Validation, Verb
from reconciler.plan import diff, preview
from reconciler.plan.second_look import not_achievable
from reconciler.reasons import Reason
from reconciler.render import tokens
from reconciler.system import files
from tests.plan.test_diff import (
    DB,
    FILES,
    FULL,
    JOB,
    LB,
    SITE,
    THEN,
    WEB,
    basis,
    converged,
    edited,
    lines,
    with_container,
    without,
)

HAPROXY = "haproxy/haproxy.cfg"
WITHOUT_LB = replace(SITE, containers=(DB, WEB), files=FILES[:2], revision="r2")


def test_what_is_removed_with_its_files() -> None:
    plan = diff(WITHOUT_LB, *converged(), basis(WITHOUT_LB))
    gone = (Difference("state", "absent", "running"),)
    assert plan.actions == (
        Action(Verb.REMOVE, "haproxy", "no longer part of the site", (), "haproxy", "loadbalancer", differences=gone, risks=("deletion",)),
        Action(Verb.DELETE, HAPROXY, "of haproxy", ("remove:haproxy",), "haproxy", "loadbalancer"),
    )  # fmt: skip


def test_files_of_what_is_gone_already_go_alone() -> None:
    actual, memory = converged()
    plan = diff(WITHOUT_LB, without(actual, "haproxy"), memory, basis(WITHOUT_LB))
    assert plan.actions == (Action(Verb.DELETE, HAPROXY, "of haproxy", (), "haproxy"),)
    unseen = replace(without(actual, "haproxy"), unknown={"container:haproxy": "no answer"})
    assert diff(WITHOUT_LB, unseen, memory, basis(WITHOUT_LB)).empty, "it may read them still"


ENTRY = {"base": "a" * 12, "hosts": ["ctl1"], "remove": ["haproxy"]}


@pytest.mark.parametrize(
    ("entry", "used", "risks"),
    [
        (ENTRY, (), ("deletion", "prune")),
        (ENTRY, (ENTRY,), None),
        ({**ENTRY, "hosts": ["ctl2"]}, (), None),
        ({**ENTRY, "remove": ["haproxy", "keystone"]}, (), None),
        (ENTRY, ({**ENTRY, "hosts": ["ctl2"]},), ("deletion", "prune")),
    ],
)
def test_more_than_one_change_may_remove_goes_once_when_it_is_acknowledged(
    entry: dict[str, object], used: tuple[dict[str, object], ...], risks: tuple[str, ...] | None
) -> None:
    """By exactly these names, for this host, and not by what another commit was acknowledged with."""
    head = replace(WITHOUT_LB, policy={"prune": {"max": 0}, "acknowledge": [*used, entry]})
    actual, memory = converged()
    memory = replace(memory, last_good=replace(SITE, revision="a" * 40, policy={"acknowledge": [*used]}))
    plan = diff(head, actual, memory, basis(head))
    assert [action.risks for action in plan.actions if action.verb is Verb.REMOVE] == ([risks] if risks else [])
    assert [held.acknowledge for held in plan.held] == ([] if risks else [("haproxy",)])
    if plan.held:
        said = 'add `- {base: "aaaaaaaaaaaa", hosts: ["ctl1"], remove: ["haproxy"]}` to the list'
        assert said in plan.held[0].message


@pytest.mark.parametrize(
    ("policy", "reason", "told"),
    [
        ({"mode": "report"}, Reason.PruneReported, "no longer part of the site, and left alone (prune.mode is report)"),
        ({"max": 0}, Reason.PruneGuard, "1 container would go, more than the 0 that one change may remove; if that is meant, acknowledge exactly these, once: add `"),
    ],
)  # fmt: skip
def test_why_nothing_is_removed(policy: dict[str, object], reason: Reason, told: str) -> None:
    head = replace(WITHOUT_LB, policy={"prune": policy})
    plan = diff(head, *converged(), basis(head))
    assert plan.empty and [(held.target, held.reason) for held in plan.held] == [("haproxy", reason)]
    assert plan.held[0].message.startswith(told)


# --- files -------------------------------------------------------------------------------------------------------------------


def test_a_file_that_changes_and_the_restart_that_proves_it() -> None:
    head = edited(SITE, "keystone/paste.ini", "[other]\n")
    write, restart = diff(head, *converged(), basis(head)).actions
    assert replace(write, diff="") == Action(
        Verb.WRITE, "keystone/paste.ini", "content changed", write.needs, "keystone", "keystone",
        differences=(Difference("content", "as rendered", "different"),),
    )  # fmt: skip
    assert write.diff.splitlines()[-2:] == ["-[composite]", "+[other]"]
    assert restart == Action(
        Verb.RESTART, "keystone", "paste.ini changed", (*restart.needs[:-1], write.id), "keystone", "keystone"
    )


def test_a_mode_that_drifted() -> None:
    actual, memory = converged()
    state = replace(actual.files[HAPROXY], mode=0o666, owner=5, group=6)
    (action,) = diff(SITE, replace(actual, files={**actual.files, HAPROXY: state}), memory, basis(SITE)).actions
    differs = Difference("mode", "0600 0:0", "0666 5:6")
    assert action == Action(
        Verb.CHMOD, HAPROXY, "0666 5:6, should be 0600 0:0", action.needs, "haproxy", "loadbalancer", True, (differs,)
    )


@pytest.mark.parametrize(
    ("touched", "cause", "drift"),
    [
        (frozenset[str](), "drift: it is back", True),
        (frozenset({HAPROXY}), "no longer part of the configuration", False),
    ],
)
def test_a_file_of_ours_that_is_there_again(touched: frozenset[str], cause: str, drift: bool) -> None:
    """Restored from a backup, say; unless this program wrote it in an apply that did not end."""
    head = replace(SITE, files=FILES[:2])
    actual, memory = converged()
    known = replace(memory, last_good=replace(head, revision="r1"))
    plan = diff(head, actual, known, basis(head, touched=touched))
    assert plan.actions[0] == Action(
        Verb.DELETE, HAPROXY, cause, plan.actions[0].needs, "haproxy", "loadbalancer", drift
    )


@pytest.mark.parametrize(("seconds", "expected"), [(-5, []), (5, ["reload     haproxy  (its configuration changed since it started)"])])  # fmt: skip
def test_what_reads_its_files_again_when_told_is_told(seconds: int, expected: list[str]) -> None:
    """Started by somebody else before the file was written."""
    actual, memory = converged()
    times = {path: replace(state, modified=THEN - timedelta(days=1)) for path, state in actual.files.items()}
    times[HAPROXY] = replace(times[HAPROXY], modified=THEN + timedelta(seconds=seconds))
    actual = replace(actual, files=times)
    assert lines(SITE, actual, memory, files_digest={"haproxy": "x.y"}) == expected


# --- options -----------------------------------------------------------------------------------------------------------------


def test_a_variable_that_nobody_asks_for_is_one_that_should_not_be_set() -> None:
    actual, memory = converged()
    more = replace(WEB, environment={**WEB.environment, "DEBUG": "1"})
    actual = with_container(actual, "keystone", spec=more, explicit=frozenset({*WEB.environment, "DEBUG"}))
    (action,) = diff(SITE, actual, memory, basis(SITE)).actions
    assert action.differences == (Difference("environment.DEBUG", "(not set)", "1"),)
    assert (action.verb, action.container, action.service, action.drift) == ("replace", "keystone", "keystone", True)


# --- registrations -----------------------------------------------------------------------------------------------------------


def test_what_is_registered_is_its_service_s_affair() -> None:
    actual, memory = converged(FULL)
    gone = replace(actual, registrations=dict.fromkeys(actual.registrations))
    made = [action for action in diff(FULL, gone, memory, basis(FULL)).actions if action.verb is Verb.REGISTER]
    services = {registration.id: registration.service for registration in FULL.registrations}
    assert made and {action.target: action.service for action in made} == services
    unknown = replace(actual, registrations={})
    held = diff(FULL, unknown, memory, basis(FULL)).held
    assert {one.target for one in held if one.reason is Reason.Unknown} >= set(services)


# --- what is waited for ------------------------------------------------------------------------------------------------------


def test_what_is_made_of_an_image_waits_for_it_and_what_stays_does_not() -> None:
    actual, memory = converged(FULL, jobs={})
    actual = replace(actual, images={})
    web = replace(WEB, image="img/keystone:2", validation=Validation(("check",)))
    head = replace(FULL, containers=(replace(DB, restart_policy="no"), web), revision="r2")
    needs = {action.id: action.needs for action in diff(head, actual, memory, basis(head)).actions}
    of_image = {one: {need for need in those if need.startswith("pull:img/")} for one, those in needs.items()}
    assert of_image["run:keystone_db_sync"] >= {"pull:img/keystone:1"}
    assert of_image["validate:keystone"] >= {"pull:img/keystone:2"}
    assert of_image["replace:keystone"] >= {"pull:img/keystone:2"}
    drifted = with_container(actual, "mariadb", spec=replace(DB, restart_policy="no"))
    (update,) = (one for one in diff(FULL, drifted, memory, basis(FULL)).actions if one.target == "mariadb")
    assert update.verb is Verb.UPDATE and "pull:img/mariadb:1" not in update.needs
    actual, memory = converged()
    actual = replace(without(actual, "haproxy"), images={})
    pull, made = diff(SITE, actual, memory, basis(SITE)).actions
    assert (pull.id, made.verb) == ("pull:img/haproxy:1", Verb.CREATE) and pull.id in made.needs


def test_options_that_the_engine_changes_in_place_are_named() -> None:
    head = replace(SITE, containers=(DB, replace(WEB, mem_limit=2**30, restart_policy="no"), LB), revision="r2")
    (action,) = diff(head, *converged(), basis(head)).actions
    assert (action.verb, action.cause) == (Verb.UPDATE, "restart_policy, mem_limit")
    assert [difference.field for difference in action.differences] == ["restart_policy", "mem_limit"]


def test_what_is_in_flight_is_left_to_it_and_said_once() -> None:
    head = edited(SITE, "keystone/paste.ini", "[other]\n")
    actual, memory = converged()
    down = with_container(actual, "haproxy", state=State.EXITED)
    flying = {"keystone": "waiting for keystone to become healthy"}
    plan = diff(head, down, memory, basis(head, in_flight=flying))
    assert [action.id for action in plan.actions] == ["start:haproxy"]
    assert [(held.target, held.reason, held.message) for held in plan.held] == [
        (target, Reason.InFlight, flying["keystone"]) for target in ("keystone/paste.ini", "keystone")
    ]
    denied = diff(head, down, memory, basis(head, in_flight=flying, denied={"keystone": "no", "haproxy": "no"}))
    assert [(held.target, held.reason) for held in denied.held] == [("haproxy", Reason.PolicyDenied)]


def test_a_file_of_a_commit_that_was_never_carried_out_whole_goes_after_what_reads_it() -> None:
    actual, memory = converged()
    path = "old/x.conf"
    old = replace(actual.containers["haproxy"], id="old", spec=replace(LB, name="old", config_directory="old"))
    lost = replace(
        actual,
        containers={**actual.containers, "old": old},
        files={**actual.files, path: replace(actual.files[HAPROXY], content=b"x")},
    )
    written = {path: (files.digest(b"x"),)}
    remove, delete = diff(SITE, lost, memory, basis(SITE, written=written)).actions
    assert remove.id == "remove:old"
    assert delete == Action(Verb.DELETE, path, "no longer part of the site", (remove.id,))
    theirs = replace(lost, containers={**actual.containers, "old": replace(old, owned=False)})
    assert diff(SITE, theirs, memory, basis(SITE, written=written)).empty, "somebody reads it still"


def test_a_variable_that_a_commit_takes_away_is_seen_before_it_is_merged() -> None:
    base = replace(SITE, containers=(DB, replace(WEB, environment={**WEB.environment, "DEBUG": "1"}), LB))
    (action,) = preview(base, replace(SITE, revision="r2"), bind=tokens.bind).actions
    assert (action.verb, action.cause) == (Verb.REPLACE, "environment.DEBUG differs")


def test_a_job_waits_for_what_it_comes_after() -> None:
    """Whatever the container of its image waits for."""
    job = replace(JOB, container=replace(JOB.container, depends_on=()))
    actual, memory = converged(FULL, jobs={})
    head = replace(FULL, containers=(replace(DB, environment={"A": "b"}), WEB), jobs=(job,), revision="r2")
    (run,) = (action for action in diff(head, actual, memory, basis(head)).actions if action.verb is Verb.RUN)
    assert "replace:mariadb" in run.needs and "replace:keystone" not in run.needs


def test_a_limit_that_somebody_changed_by_hand_is_drift() -> None:
    actual, memory = converged()
    (action,) = diff(
        SITE, with_container(actual, "mariadb", spec=replace(DB, mem_limit=5)), memory, basis(SITE)
    ).actions
    assert (action.verb, action.cause, action.drift) == (Verb.UPDATE, "mem_limit", True)


@pytest.mark.parametrize(("count", "goes"), [(5, True), (6, False)])
def test_a_site_that_says_nothing_lets_five_containers_go_at_once(count: int, goes: bool) -> None:
    more = tuple(replace(LB, name=f"lb{number}", config_directory="") for number in range(count))
    before = replace(SITE, containers=(*SITE.containers, *more))
    actual, memory = converged(before)
    plan = diff(replace(SITE, revision="r2"), actual, memory, basis(SITE))
    assert len(plan.actions) == (5 if goes else 0) and len(plan.held) == (0 if goes else 6)


def test_what_the_engine_made_otherwise_is_told_field_by_field() -> None:
    differs = [Difference(f"f{number}", f"{number}", "0") for number in range(1, 5)]
    assert not_achievable("web", tuple(differs[:2])).message == (
        "f1: asked for 1, it became 0; f2: asked for 2, it became 0; it is not tried again for this"
    )
    assert not_achievable("web", tuple(differs)).message.endswith(
        "f3: asked for 3, it became 0 (and 1 more); it is not tried again for this"
    )
