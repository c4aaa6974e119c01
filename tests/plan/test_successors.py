"""A container under another name: the one that goes lets go of what the one that comes needs alone."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from reconciler.model import Container, Job, Mount, Plan, Validation, Verb
from reconciler.options.normal import normal
from reconciler.plan import diff
from tests.plan.test_diff import DB, SITE, WEB, basis, converged

LOGS = Mount("kolla_logs", "/var/log/kolla")
OLD = Container(
    "app",
    "img/app:1",
    service="app",
    network_mode="bridge",
    mounts=(LOGS, Mount("app_data", "/data")),
    ports=("8080:80/tcp",),
)
PLAIN = replace(OLD, mounts=(LOGS,), ports=())


def plan(old: Iterable[Container], new: Iterable[Container], *, gone: str = "", **more: object) -> Plan:
    """From one site to the other, as the engine tells what runs. `gone`: somebody removed that container."""
    before = replace(SITE, containers=(DB, WEB, *old), files=())
    after = replace(before, containers=(DB, WEB, *new), revision="r2", **more)  # type: ignore[arg-type]
    actual, memory = converged(before)
    there = {name: replace(one, spec=normal(one.spec)) for name, one in actual.containers.items() if name != gone}
    return diff(after, replace(actual, containers=there), memory, basis(after))


def needs(made: Plan, name: str) -> set[str]:
    return {need for action in made.actions if action.id == name for need in action.needs}


def test_who_takes_a_volume_and_a_port_over_comes_after() -> None:
    made = plan([OLD], [replace(OLD, name="app2")])
    assert "remove:app" in needs(made, "create:app2")
    assert [action.id for action in made.actions] == ["remove:app", "create:app2"]


@pytest.mark.parametrize(
    ("old", "new", "waits"),
    [
        ({"mounts": (Mount("app_data", "/data"),)}, {"mounts": (Mount("app_data", "/var/lib/app"),)}, True),
        ({"mounts": (Mount("/srv/app", "/data"),)}, {"mounts": (Mount("/srv/app", "/data"),)}, True),
        ({"mounts": (Mount("/srv/app/", "/data"),)}, {"mounts": (Mount("/srv/app/", "/data"),)}, True),
        ({"mounts": (Mount("/srv/app/db", "/data"),)}, {"mounts": (Mount("/srv/app", "/data"),)}, True),
        ({"mounts": (Mount("/srv/app2", "/data"),)}, {"mounts": (Mount("/srv/app", "/data"),)}, False),
        ({"mounts": (Mount("app_data", "/data", "ro"),)}, {"mounts": (Mount("app_data", "/data"),)}, False),
        ({"mounts": (LOGS,)}, {"mounts": (LOGS,)}, False),  # everybody's
        ({"ports": ("8080:80/tcp",)}, {"ports": ("8080:8000/tcp",)}, True),
        ({"ports": ("127.0.0.1:8080:80/tcp",)}, {"ports": ("8080:80/tcp",)}, True),
        ({"ports": ("127.0.0.1:8080:80/tcp",)}, {"ports": ("127.0.0.2:8080:80/tcp",)}, False),
        ({"ports": ("8080:80/tcp",)}, {"ports": ("8080:80/udp",)}, False),
        ({"ports": ("8080:80/tcp",)}, {"ports": ("8081:80/tcp",)}, False),
        ({"ports": ("80/tcp",)}, {"ports": ("80/tcp",)}, False),  # the engine chooses
        ({"network_mode": "host"}, {"network_mode": "host"}, True),
        ({"network_mode": "host"}, {"network_mode": "host", "service": "other"}, False),
        ({"ports": ("8080:80/tcp",)}, {"ports": ("8080:80/tcp",), "service": "other"}, True),
        ({}, {}, False),
    ],
)
def test_only_what_both_cannot_have_is_waited_for(old: dict[str, object], new: dict[str, object], waits: bool) -> None:
    made = plan([replace(PLAIN, **old)], [replace(PLAIN, name="app2", **new)])  # type: ignore[arg-type]
    assert ("remove:app" in needs(made, "create:app2")) is waits


def test_what_is_changed_takes_over_a_port_and_runs_beside_others_of_its_network() -> None:
    stays = replace(PLAIN, name="stays", network_mode="host")
    made = plan([replace(PLAIN, network_mode="host"), stays], [replace(stays, image="img/app:2")])
    assert "remove:app" not in needs(made, "replace:stays")

    stays = replace(PLAIN, name="stays")
    made = plan([replace(PLAIN, ports=("8080:80/tcp",)), stays], [replace(stays, ports=("8080:80/tcp",))])
    assert "remove:app" in needs(made, "replace:stays")


def test_nothing_goes_for_what_is_refused_or_has_no_image() -> None:
    checked = replace(OLD, name="app2", image="img/app:2", service="another", validation=Validation(("app", "-t")))
    made = plan([OLD], [checked])
    assert {"validate:app2", "pull:img/app:2"} <= needs(made, "remove:app")
    verbs = [action.verb for action in made.actions]
    assert verbs.index(Verb.VALIDATE) < verbs.index(Verb.REMOVE) < verbs.index(Verb.CREATE)


def test_what_is_gone_comes_back_whatever_a_commit_waits_for() -> None:
    """It ran beside the one that goes; an image that cannot be pulled is no reason to leave it down."""
    stays = replace(PLAIN, name="stays", network_mode="host")
    goes, other = replace(stays, name="goes"), replace(PLAIN, name="other", service="other")
    made = plan([stays, goes, other], [stays, replace(other, image="img/none:1")], gone="stays")
    assert {action.id for action in made.actions} >= {"create:stays", "remove:goes", "pull:img/none:1"}
    assert not needs(made, "create:stays") & {"remove:goes", "pull:img/none:1"}


def test_a_job_that_fills_the_data_comes_after_who_had_them() -> None:
    fill = Job("fill", replace(OLD, name="fill", ports=()), "i", before=("app2",), service="app", owner="ctl1")
    made = plan([OLD], [replace(OLD, name="app2")], jobs=(fill,))
    assert [action.id for action in made.actions] == ["remove:app", "run:fill", "create:app2"]


@pytest.mark.parametrize("prune", [{"mode": "report"}, {"max": 0}])
def test_nothing_is_begun_beside_who_stays_on_the_same_data(prune: dict[str, object]) -> None:
    fill = Job("fill", replace(OLD, name="fill", ports=()), "i", before=("app2",), service="app", owner="ctl1")
    made = plan([OLD], [replace(OLD, name="app2")], policy={"prune": prune}, jobs=(fill,))
    assert made.actions == ()
    held = {one.target: one for one in made.held}
    assert held["app2"].reason is held["app"].reason and "app has app_data as well, and stays: " in held["app2"].message
    assert "app_data" in held["fill"].message


def test_what_more_than_one_has_by_design_is_had_by_one_more() -> None:
    beside = replace(OLD, name="beside", ports=())
    made = plan(
        [replace(OLD, ports=()), beside], [beside, replace(beside, name="new")], policy={"prune": {"mode": "report"}}
    )
    assert [action.id for action in made.actions] == ["create:new"]
