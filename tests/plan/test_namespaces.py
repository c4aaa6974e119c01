"""Containers in another one's namespace: they follow it, and are told from those that sit in a dead one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.model import Actual, Container, Desired, Image, Memory, Running, State
from reconciler.plan import Basis, diff

THEN = datetime(2000, 1, 1, tzinfo=UTC)
VPN = Container("vpn", "img:1", service="app")
APP = Container("app", "img:1", network_mode="container:vpn", service="app")
SIDE = Container("side", "img:1", pid_mode="container:app", service="app")
SITE = Desired("example", "ctl1", "r1", "/etc/kolla", containers=(SIDE, APP, VPN))


def running(container: Container, seconds: int, **fields: Any) -> Running:
    at = THEN + timedelta(seconds=seconds)
    return replace(Running(container, container.name, "img", State.RUNNING, at, owned=True), **fields)  # type: ignore[arg-type]


def planned(revision: str = "r1", mode: str = "heal", site: Desired = SITE, **containers: Running | None) -> list[str]:
    actual = {"vpn": running(VPN, 0), "app": running(APP, 1), "side": running(SIDE, 2), **containers}
    policy = {"drift": {"mode": mode}}
    plan = diff(
        replace(site, policy=policy),
        Actual({name: found for name, found in actual.items() if found}, {"img:1": Image("img")}, {}, deep=True),
        Memory(last_good=SITE, revision=revision),
        Basis(contents={}),
    )
    return [action.line for action in plan.actions] + [f"held: {held.target} {held.reason}" for held in plan.held]


def test_in_step_nothing_is_done() -> None:
    assert planned() == []


def test_a_host_that_was_started_anew_takes_its_guests_along() -> None:
    """By the engine, or by hand: the guests run, and run in a namespace that is gone."""
    assert planned(vpn=running(VPN, 5)) == [
        "restart    app  (shares a namespace of vpn, which was started after it: it is in a dead one)",
        "restart    side  (shares a namespace of app, which is started anew)",
    ]


def test_reported_where_drift_is_reported() -> None:
    assert planned(mode="report", vpn=running(VPN, 5)) == ["held: app DriftReported"]


def test_a_host_that_is_down_is_started_before_its_guests() -> None:
    assert planned(vpn=running(VPN, 5, state=State.EXITED, exit_code=1)) == [
        "start      vpn  (it stopped with exit code 1)",
        "restart    app  (shares a namespace of vpn, which is started anew)",
        "restart    side  (shares a namespace of app, which is started anew)",
    ]


@pytest.mark.parametrize("gone", [False, True])
def test_a_host_that_is_made_anew_has_its_guests_made_anew(gone: bool) -> None:
    """The engine knows it by its id."""
    old = running(replace(VPN, image="img:0"), 0, image_id="old")
    found = planned("r0" if not gone else "r1", vpn=None if gone else old)
    assert [line.partition("  (")[0] for line in found] == [
        "create     vpn" if gone else "replace    vpn",
        "replace    app",
        "replace    side",
    ]
    assert found[1].endswith("(shares a namespace of vpn, which is made anew)")


def test_a_guest_that_is_changed_itself_is_changed_once() -> None:
    changed = running(replace(APP, command=("x",)), 1)
    assert planned("r0", vpn=running(VPN, 5), app=changed) == [
        "replace    app  (drift: command differs)",
        "replace    side  (shares a namespace of app, which is made anew)",
    ]


def test_what_is_somebody_else_s_is_left_alone() -> None:
    strange = running(APP, 1, owned=False)
    found = planned(vpn=running(VPN, 5), app=replace(strange, spec=replace(APP, command=("x",))))
    assert [line for line in found if " app" in line] == ["held: app NotOwned"]


def test_a_guest_that_is_down_is_only_started() -> None:
    assert planned(app=running(APP, 1, state=State.EXITED, exit_code=0), side=None) == [
        "start      app  (it stopped with exit code 0)",
        "create     side  (the container is gone)",
    ]
