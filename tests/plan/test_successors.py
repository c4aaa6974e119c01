"""A container under another name: the one that goes lets go of what the one that comes needs alone."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from reconciler.model import Container, Mount, Plan, Validation, Verb
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


def plan(old: Iterable[Container], new: Iterable[Container]) -> Plan:
    before = replace(SITE, containers=(DB, WEB, *old), files=())
    after = replace(before, containers=(DB, WEB, *new), revision="r2")
    actual, memory = converged(before)
    return diff(after, actual, memory, basis(after))


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
