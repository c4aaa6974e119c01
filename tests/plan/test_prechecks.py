"""While the checks before an upgrade are made, nothing of the upgrade is done, and what drifted is put right."""

from dataclasses import replace

import pytest

from reconciler.model import Desired, Precheck
from reconciler.plan import diff
from reconciler.reasons import Reason
from tests.plan.test_diff import SITE, basis, converged, edited, without

CHECK = Precheck("ready", "mariadb", ("true",), "whether it is ready", inside=True, service="mariadb")
OLD = replace(SITE, release="2025.1")


def upgraded() -> Desired:
    """All but haproxy are others."""
    containers = tuple(one if one.name == "haproxy" else replace(one, image=f"{one.image}.1") for one in OLD.containers)
    changed = edited(OLD, "keystone/paste.ini", "[new]\n")
    return replace(changed, release="2026.1", containers=containers, prechecks=(CHECK,))


@pytest.mark.parametrize(
    ("gone", "more"),
    [
        ("", []),
        ("keystone", []),  # as the upgrade has it, with files of before: it comes back when it may
        ("mariadb", []),
        ("haproxy", ["pull       img/haproxy:1  (for haproxy)", "create     haproxy  (the container is gone)"]),
    ],
)
def test_what_is_done_while_a_check_is_to_be_made(gone: str, more: list[str]) -> None:
    actual, memory = converged(OLD)
    desired = upgraded()
    plan = diff(desired, without(replace(actual, images={}), gone), memory, basis(desired, prechecked=frozenset[str]()))
    assert [action.line for action in plan.actions] == [
        "pull       img/mariadb:1.1  (for mariadb)",
        "pull       img/keystone:1.1  (for keystone)",
        *more,
        "precheck   ready  (before 2025.1 → 2026.1: whether it is ready)",
    ]
    assert [(held.target, held.reason) for held in plan.held] == [
        (target, Reason.PrecheckPending) for target in ("mariadb", "keystone/paste.ini", "keystone")
    ]


def test_the_host_is_asked_before_anything_is_pulled_that_it_may_have_no_room_for() -> None:
    actual, memory = converged(OLD)
    room = Precheck("room", "", (), "whether there is room", room=True, service="common")
    desired = replace(upgraded(), prechecks=(CHECK, room))
    gone = without(replace(actual, images={}), "haproxy")
    plan = diff(desired, gone, memory, basis(desired, prechecked=frozenset[str]()))
    needs = {action.id: action.needs for action in plan.actions}
    assert needs["precheck:room"] == ()
    assert needs["pull:img/mariadb:1.1"] == needs["pull:img/keystone:1.1"] == ("precheck:room",)
    # What works and is gone comes back, whatever the host lacks for another release.
    assert needs["pull:img/haproxy:1"] == ()
    later = diff(desired, gone, memory, basis(desired, prechecked=frozenset({"room", "ready"})))
    assert all(action.needs == () for action in later.actions if action.verb == "pull")
