"""What people are told of why something is done, or is not."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.model import (
    Actual,
    Applied,
    Container,
    Difference,
    Failure,
    FileState,
    Memory,
    Running,
    State,
    Verb,
    aside,
)
from reconciler.plan import diff
from reconciler.reasons import Blame, Reason
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
from tests.plan.test_prechecks import OLD, upgraded

AGAIN = datetime(2026, 3, 1, 14, 5, tzinfo=UTC)
HEAD = edited(SITE, "keystone/paste.ini", "[broken]\n")
SPARE = aside("keystone")


def given_up(failure: Failure | None, **more: Any) -> tuple[Actual, Memory]:
    """A node that took HEAD back."""
    failures = {"keystone": failure} if failure else {}
    return converged(quarantine={"keystone": basis(HEAD).part_digest["keystone"]}, failures=failures, **more)


@pytest.mark.parametrize(
    ("failure", "reason", "told"),
    [
        (None, Reason.Quarantined, "this configuration did not become healthy here; it was rolled back, and waits for a commit that changes it (or `reconciler retry keystone` on the host)"),
        (Failure(Reason.ExitedEarly, "no such table", Blame.CONFIGURATION, AGAIN), Reason.Quarantined, "no such table (ExitedEarly); it was rolled back, and waits for a commit that changes it (or `reconciler retry keystone` on the host)"),
        (Failure(Reason.PortInUse, "port 80 is taken", Blame.HOST, AGAIN), Reason.PortInUse, "port 80 is taken; the configuration before it is back. This one is not at fault (the host is), and is tried again when that is mended, or at 14:05 UTC (or `reconciler retry keystone` on the host)"),
    ],
)  # fmt: skip
def test_why_a_commit_was_given_up_and_when_it_is_tried_again(
    failure: Failure | None, reason: Reason, told: str
) -> None:
    plan = diff(HEAD, *given_up(failure), basis(HEAD))
    assert plan.empty and [(held.target, held.reason, held.message) for held in plan.held] == [
        ("keystone", reason, told)
    ]


def test_a_rollback_that_was_interrupted_is_finished_and_said_to_be_one() -> None:
    actual, memory = given_up(None)
    assert lines(HEAD, actual, memory, kept=frozenset({"keystone"})) == [
        "restart    keystone  (finish an interrupted rollback)"
    ]
    moved = without(actual, "keystone")
    old = replace(actual.containers["keystone"], spec=replace(WEB, name=SPARE))
    moved = replace(moved, containers={**moved.containers, SPARE: old})
    assert lines(HEAD, moved, memory) == [
        "rename     keystone  (finish an interrupted rollback: it had been moved aside)"
    ]
    theirs = with_container(actual, "keystone", owned=False, state=State.EXITED)
    assert lines(HEAD, theirs, memory, kept=frozenset({"keystone"})) == []


@pytest.mark.parametrize(
    ("policy", "changes", "cause"),
    [
        ("equal", {}, "made by another tool, and just as it should be"),
        ("equal", {"mem_limit": 2**30}, "made by another tool, and it need not be made anew"),
        ("replace", {"privileged": True}, "made by another tool, to be replaced as reconciler.yml says"),
        ("as-made", {"privileged": True}, "made by another tool, and taken over as it is"),
    ],
)
@pytest.mark.parametrize("unit", [False, True])
def test_how_what_another_tool_made_is_taken_over(policy: str, changes: dict[str, Any], cause: str, unit: bool) -> None:
    desired = replace(SITE, policy={"adoption": policy})
    actual, memory = converged(applied={})
    actual = with_container(actual, "keystone", owned=False, spec=replace(WEB, **changes))
    if unit:
        actual = replace(actual, units=frozenset({"keystone"}))
    action = diff(desired, actual, memory, basis(desired)).actions[0]
    assert (action.verb, action.target) == (Verb.ADOPT, "keystone")
    name = "kolla-keystone-container.service"
    assert action.cause == (f"{cause}; takes {name} over" if unit else cause)
    assert action.differences == ((Difference("unit", "inactive and disabled", name),) if unit else ())
    assert action.disables == (name if unit else "")


def test_what_is_not_taken_over_says_how_it_could_be() -> None:
    actual, memory = converged()
    differs = with_container(actual, "keystone", owned=False, spec=replace(WEB, privileged=True))
    (held,) = diff(SITE, differs, memory, basis(SITE)).held
    assert (held.target, held.reason) == ("keystone", Reason.NotOwned)
    assert held.message.startswith("a container of this name was made by another tool and differs in ")
    assert held.message.endswith(
        ": give these the values that it has, remove it, or set `adoption: replace` in reconciler.yml (it is made anew), or "
        "`adoption: as-made` (it is taken over as it is)"
    )
    unseen = replace(with_container(actual, "keystone", owned=False), unknown={"units": "systemd does not answer"})
    plan = diff(SITE, unseen, memory, basis(SITE))
    assert plan.empty and ("keystone", Reason.Unknown, "cannot tell whether another tool's unit starts it: systemd does not answer") in [
        (held.target, held.reason, held.message) for held in plan.held
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "more", "verb", "cause"),
    [
        (State.EXITED, {"exit_code": 3}, "start", "it stopped with exit code 3"),
        (State.CREATED, {}, "start", "it is created"),
        (State.PAUSED, {}, "restart", "it is paused"),
    ],
)
def test_why_what_is_down_is_brought_up(state: State, more: dict[str, Any], verb: str, cause: str) -> None:
    actual, memory = converged()
    down = with_container(actual, "keystone", state=state, **more)
    (action,) = diff(SITE, down, memory, basis(SITE)).actions
    assert (action.verb, action.cause, action.drift) == (verb, cause, True)
    assert action.differences == (Difference("state", "running", state.value),)
    (changed,) = diff(HEAD, down, memory, basis(HEAD)).actions[1:]
    assert (changed.verb, changed.drift) == ("restart", False), "what the commit brings may be what brings it back"


@pytest.mark.parametrize(("strategy", "verb"), [("COPY_ALWAYS", "restart"), ("COPY_ONCE", "replace")])
def test_one_that_copies_its_files_once_is_made_anew_for_others(strategy: str, verb: str) -> None:
    web = replace(WEB, environment={"KOLLA_CONFIG_STRATEGY": strategy})
    base = replace(SITE, containers=(DB, web, LB))
    head = edited(base, "keystone/paste.ini", "[new]\n")
    assert [action.verb for action in diff(head, *converged(base), basis(head)).actions] == ["write", verb]


def test_what_an_interrupted_replace_left_is_put_right_while_checks_are_made() -> None:
    """Before an upgrade: nothing of that is begun, and what stands aside is neither here nor there."""
    actual, memory = converged(OLD)
    desired = upgraded()
    old = replace(actual.containers["haproxy"], spec=replace(LB, name=aside("haproxy")))
    moved = without(actual, "haproxy")
    moved = replace(moved, containers={**moved.containers, aside("haproxy"): old})
    asked = {"prechecked": frozenset[str]()}
    assert "rename     haproxy  (an interrupted replace had moved it aside)" in lines(desired, moved, memory, **asked)
    both = replace(actual, containers={**actual.containers, aside("haproxy"): old})
    assert f"remove     {aside('haproxy')}  (left over from an interrupted replace)" in lines(
        desired, both, memory, **asked
    )


def test_files_of_a_container_that_has_none_any_more_go_from_the_folder_that_it_had() -> None:
    """One without files names no folder."""
    gone = replace(SITE, containers=(DB, WEB, replace(LB, config_directory="")), files=FILES[:2], revision="r2")
    actual, memory = converged()
    memory = replace(memory, applied={**memory.applied, "haproxy": Applied("haproxy", THEN, "x.y")})
    assert [line.split()[:2] for line in lines(gone, actual, memory)] == [["delete", "haproxy/haproxy.cfg"]]


@pytest.mark.parametrize(
    ("fields", "held"),
    [
        ({"environment": "ignore"}, []),
        ({"environment.A": "ignore"}, []),
        ({"environment.B": "ignore"}, ["DriftReported"]),
        ({"environment": "ignore", "environment.A": "report"}, ["DriftReported"]),
        ({"privileged": "ignore"}, ["DriftReported"]),
    ],
)
def test_a_field_of_the_drift_policy_covers_what_is_in_it(fields: dict[str, str], held: list[str]) -> None:
    web = replace(WEB, environment={"A": "a"})
    site = replace(SITE, containers=(DB, web, LB), policy={"drift": {"mode": "report", "fields": fields}})
    actual, memory = converged(site)
    changed = replace(web, environment={"A": "by hand"})
    plan = diff(site, with_container(actual, "keystone", spec=changed), memory, basis(site))
    assert plan.empty and [one.reason for one in plan.held] == held


def test_several_fields_are_left_alone_only_when_each_of_them_is() -> None:
    changed = replace(WEB, environment={"KOLLA_CONFIG_STRATEGY": "by hand"}, privileged=True)
    for fields, count in (({"environment": "ignore"}, 1), ({"environment": "ignore", "privileged": "ignore"}, 0)):
        site = replace(SITE, policy={"drift": {"fields": fields}})
        actual, memory = converged(site)
        plan = diff(site, with_container(actual, "keystone", spec=changed), memory, basis(site))
        assert len(plan.actions) == count and not plan.held


def test_what_somebody_put_beside_the_files_is_named_with_what_it_is() -> None:
    """Also in the folder of a container that goes."""
    actual, memory = converged()
    theirs = FileState(b"x", 0o644, 0, 0, THEN)
    actual = replace(actual, files={**actual.files, "haproxy/theirs.cfg": theirs})
    (held,) = diff(SITE, actual, memory, basis(SITE)).held
    foreign = Difference("foreign", "absent", "file")
    assert (held.target, held.reason, held.differences, held.drift) == (
        "haproxy/theirs.cfg", Reason.Foreign, (foreign,), False
    )  # fmt: skip
    assert held.message == "this program did not write it, so it stays: remove it if nobody needs it"
    without_lb = replace(SITE, containers=(DB, WEB), files=FILES[:2], revision="r2")
    plan = diff(without_lb, actual, memory, basis(without_lb))
    assert [action.target for action in plan.actions] == ["haproxy", "haproxy/haproxy.cfg"]
    assert [(one.target, one.reason, one.differences, one.message) for one in plan.held] == [
        (
            "haproxy/theirs.cfg", Reason.Foreign, (foreign,),
            "this program did not write it, so it stays, though haproxy is no longer part of the site",
        )
    ]  # fmt: skip


def test_a_job_whose_name_another_tool_s_container_has_waits_for_people() -> None:
    actual, memory = converged(FULL, jobs={})
    theirs = Running(Container(JOB.name, "x"), "t", "x", State.EXITED, THEN)
    plan = diff(FULL, replace(actual, containers={**actual.containers, JOB.name: theirs}), memory, basis(FULL))
    assert [(one.target, one.reason, one.message) for one in plan.held if one.target == JOB.name] == [
        (JOB.name, Reason.NotOwned, "a container of this name was made by another tool: remove or rename it")
    ]
    assert not [action for action in plan.actions if action.target == JOB.name]
