"""What people are told of why something is done, or is not."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.model import Actual, Applied, Difference, Failure, Memory, State, Verb, aside
from reconciler.plan import diff
from reconciler.reasons import Blame, Reason
from tests.plan.test_diff import (
    DB,
    FILES,
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
    assert [line.split()[:2] for line in lines(gone, actual, memory)] == [
        ["delete", "haproxy/haproxy.cfg"], ["restart", "haproxy"]
    ]  # fmt: skip
