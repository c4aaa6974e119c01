"""A newer program that means something else by the same commit is a change with its own cause, never drift."""

from dataclasses import replace

from reconciler.gates import Hold
from reconciler.model import Desired
from reconciler.plan import diff, preview
from reconciler.reasons import Reason
from reconciler.render import tokens
from tests.plan.test_diff import SITE, basis, converged, edited, lines

BEFORE = replace(SITE, program="0.3.1", catalogue="a" * 64)
NEWER = "reconciler 0.3.1 → 0.3.2"


def newer(desired: Desired = BEFORE, revision: str = "r1") -> Desired:
    """The same commit as a newer program makes it: another template, another image."""
    found = edited(desired, "keystone/keystone.conf", "debug = False\nworkers = 5\npassword = <<secret:db_password>>\n")
    containers = tuple(replace(c, image="img/mariadb:2") if c.name == "mariadb" else c for c in found.containers)
    return replace(found, containers=containers, revision=revision, program="0.3.2", catalogue="b" * 64)


def test_the_cause_names_both_programs_and_nothing_counts_as_drift() -> None:
    plan = diff(newer(), *converged(BEFORE), basis(newer()))
    assert [action.line for action in plan.actions] == [
        f"pull       img/mariadb:2  ({NEWER}: for mariadb)",
        f"replace    mariadb  ({NEWER}: image differs)",
        f"write      keystone/keystone.conf  ({NEWER}: content changed)",
        f"restart    keystone  ({NEWER}: keystone.conf changed)",
    ]
    assert not any(action.drift for action in plan.actions) and plan.program == NEWER


def test_the_same_version_with_another_catalogue_is_named_by_its_digest() -> None:
    head = replace(newer(), program="0.3.1")
    plan = diff(head, *converged(BEFORE), basis(head))
    assert {action.origin for action in plan.actions} == {"catalogue aaaaaaaaaaaa → bbbbbbbbbbbb"}


def test_a_state_that_does_not_know_its_program_says_so() -> None:
    plan = diff(newer(), *converged(SITE), basis(newer()))
    assert plan.program == "reconciler before 0.1.0 → 0.3.2"


def test_a_newer_program_that_changes_nothing_leaves_drift_drift() -> None:
    same = replace(BEFORE, program="0.3.2", catalogue="b" * 64)
    actual, memory = converged(BEFORE)
    assert lines(same, actual, memory) == []
    broken = replace(actual, files={})
    plan = diff(same, broken, memory, basis(same))
    assert plan.actions and all(action.drift for action in plan.actions if action.verb == "write")
    assert not any(action.origin for action in plan.actions)


def test_drift_beside_a_newer_program_is_told_apart() -> None:
    actual, memory = converged(BEFORE)
    files = {**actual.files, "keystone/paste.ini": replace(actual.files["keystone/paste.ini"], content=b"mine")}
    plan = diff(newer(), replace(actual, files=files), memory, basis(newer()))
    by_target = {action.id: action for action in plan.actions}
    assert by_target["write:keystone/paste.ini"].drift and not by_target["write:keystone/paste.ini"].origin
    assert by_target["write:keystone/keystone.conf"].origin == NEWER


def test_a_commit_and_a_newer_program_at_once_are_each_named() -> None:
    """`between` is the commit of before as the newer program makes it."""
    between, head = newer(), edited(newer(), "haproxy/haproxy.cfg", "frontend b\n")
    head = edited(head, "keystone/keystone.conf", "debug = True\nworkers = 5\npassword = <<secret:db_password>>\n")
    found = {a.target: a.origin for a in diff(head, *converged(BEFORE), basis(head, between=between)).actions}
    assert found["haproxy/haproxy.cfg"] == "" and found["haproxy"] == "", "the commit alone"
    assert found["mariadb"] == NEWER, "the program alone"
    assert found["keystone/keystone.conf"] == f"{NEWER}, and the commit"
    unknown = {a.target: a.origin for a in diff(head, *converged(BEFORE), basis(head)).actions}
    assert set(unknown.values()) == {f"{NEWER}, or the commit"}


def test_what_waits_says_which_program_it_is_of() -> None:
    hold = Hold(Reason.OutsideWindow, "waits until Monday", drift=False)
    plan = diff(newer(), *converged(BEFORE), basis(newer(), holds=(hold,)))
    assert [action.verb for action in plan.actions] == ["pull"], "disturbs nothing"
    assert {held.message for held in plan.held} == {f"{NEWER}: waits until Monday"}


def test_a_review_shows_what_another_program_changes() -> None:
    plan = preview(BEFORE, newer(), bind=tokens.bind)
    assert {action.origin for action in plan.actions} == {NEWER}
    assert not preview(BEFORE, BEFORE, bind=tokens.bind).program
