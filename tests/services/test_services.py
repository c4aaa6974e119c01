"""The catalogue: golden renders, and what must hold of every service whatever it is."""

import difflib
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from reconciler import catalogue, errors
from reconciler.catalogue import Catalogue
from reconciler.model import Container, Desired
from reconciler.render import releases, render, tokens
from reconciler.render.faults import Refused
from tests.services import golden

ALL = [(case, host) for case, hosts in golden.CASES.items() for host in hosts]
SERVICES = sorted(path.parent.name for path in golden.SHIPPED.glob("*/variables.yml"))


@cache
def desired(case: str, host: str) -> Desired:
    return golden.desired(case, host)


@cache
def shipped() -> Catalogue:
    return catalogue.load(golden.read(golden.SHIPPED), "catalogue")


@pytest.mark.parametrize(("case", "host"), ALL)
def test_golden(case: str, host: str) -> None:
    found = dict(golden.outcome(desired(case, host), golden.CASES[case][host]))
    expected = {path: content.decode() for path, content in golden.read(golden.HERE / case / "expected" / host).items()}
    differences = []
    for path in sorted({*found, *expected}):
        old, new = expected.get(path, ""), found.get(path, "")
        lines = difflib.unified_diff(old.splitlines(), new.splitlines(), f"expected {path}", "found", lineterm="", n=1)
        differences += [*lines] or ([f"{path}: in one of both only"] if (path in expected) != (path in found) else [])
    assert not differences, "\n".join([*differences, "python -m tests.services.golden writes them anew"])


@pytest.mark.parametrize("release", golden.RELEASES)
def test_golden_of_a_release(release: str) -> None:
    found, expected = golden.between(golden.RELEASES[release], release), golden.released(release).read_text()
    lines = difflib.unified_diff(expected.splitlines(), found.splitlines(), "expected", "found", lineterm="", n=1)
    assert found == expected, "\n".join([*lines, "python -m tests.services.golden writes them anew"])


def test_every_release_that_a_site_may_name_has_a_golden_and_every_one_that_is_compared_with_is_known() -> None:
    known = shipped().variables["openstack_release"].schema["enum"]
    assert known == sorted({shipped().variables["openstack_release"].default, *golden.RELEASES})
    texts = [content.decode() for content in golden.read(golden.SHIPPED).values()]
    named = {release for text in texts for release in re.findall(r"is release\('[<>=]+([0-9.]+)'\)", text)}
    assert named and named <= set(known), "a release that no site can have never comes true"
    assert sum(text.count("is release(") for text in texts) == sum(
        len(re.findall(r"is release\('[<>=]+[0-9.]+'\)", text)) for text in texts
    )


def test_an_unknown_release_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(errors.SiteInvalid) as caught:
        golden.desired("one_node", "aio", "2024.2")
    assert [p.file for p in caught.value.problems] == ["globals.yml"]
    assert "2025.1" in caught.value.problems[0].text and "2026.1" in caught.value.problems[0].text


@pytest.mark.parametrize(
    ("release", "specifier", "expected"),
    [
        ("2025.1", ">=2026.1", False),
        ("2026.1", ">=2026.1", True),
        ("2025.2", ">2025.1,<2026.1", True),
        ("2026.1", "==2026.1", True),
        ("2030.1", "<2026.1", False),
        ("2026.1", "<=2025.2", False),
    ],
)
def test_releases_have_their_order(release: str, specifier: str, expected: bool) -> None:
    assert releases.is_within(release, specifier) is expected


@pytest.mark.parametrize(
    ("release", "specifier"),
    [("master", ">=2026.1"), ("2026.1", "2026.1"), ("2026.1", "~=2026.1"), ("2026.1", ""), ("2026.10", ">2026.1")],
)
def test_what_is_no_release_or_no_comparison_is_refused(release: str, specifier: str) -> None:
    with pytest.raises(Refused):
        releases.is_within(release, specifier)


@pytest.mark.parametrize("host", ["ctl-a", "ctl-b", "ctl-c", "lb-1", "lb-2", "cmp-1"])
def test_every_host_renders(host: str) -> None:
    assert desired("three_nodes", host).containers


@pytest.mark.parametrize("case", golden.CASES)
def test_no_example_is_warned_of(case: str) -> None:
    assert golden.load(golden.HERE / case / "site", {}).warnings == ()


def test_the_example_site_is_valid_and_uses_all_that_it_has() -> None:
    example = golden.load(golden.EXAMPLE)
    assert not example.warnings
    found = {host: render(example, host, "0" * 40) for host in example.hosts}
    names = {container.name for item in found.values() for container in item.containers}
    assert {"keystone", "haproxy", "mariadb", "status_page"} <= names
    sources = {source for item in found.values() for file in item.files for source in file.sources}
    assert {f"config/{path}" for path in example.overrides} <= sources


# --- secrets ---------------------------------------------------------------------------------------------------


def specs(found: Desired) -> Iterator[Container]:
    yield from found.containers
    yield from (job.container for job in found.jobs)


@pytest.mark.parametrize(("case", "host"), ALL)
def test_no_secret_is_in_what_the_engine_shows(case: str, host: str) -> None:
    for spec in specs(desired(case, host)):
        shown = [*spec.environment.values(), *spec.labels.values(), *(spec.command or ()), *(spec.entrypoint or ())]
        shown += spec.healthcheck.test if spec.healthcheck else ()
        shown += spec.reload.command or () if spec.reload else ()
        assert not [text for text in shown if tokens.names(text)], spec.name


@pytest.mark.parametrize(("case", "host"), ALL)
def test_no_secret_is_on_a_command_line_that_a_file_starts(case: str, host: str) -> None:
    for file in desired(case, host).files:
        if file.path.endswith("config.json") or file.content.startswith("#!"):
            assert not file.secrets, file.path


def test_every_password_is_used() -> None:
    used = {name.split(".")[0] for case, host in ALL for name in used_secrets(desired(case, host))}
    assert used == set(shipped().passwords())


def used_secrets(found: Desired) -> Iterator[str]:
    for file in found.files:
        yield from file.secrets


# --- variables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_every_variable_has_an_effect(service: str) -> None:
    """Its name is in a definition, a template or the default of another variable, or the program itself asks for it."""
    program = "".join(path.read_text() for path in golden.SHIPPED.parent.glob("reconciler/render/*.py"))
    texts = {
        path: content.decode()
        for path, content in golden.read(golden.SHIPPED).items()
        if not path.endswith("README.md")
    }
    words = {path: set(re.findall(r"[a-z][a-z0-9_]*", strip_keys(path, text))) for path, text in texts.items()}
    program_words = set(re.findall(r"[a-z][a-z0-9_]*", program))
    # What containers read by themselves is not written anywhere.
    whole = [
        service.document.data["containers"] for service in shipped().services.values() if service.section("containers")
    ]
    derived = json.dumps([whole, [one.default for one in shipped().variables.values()]])
    used: set[str] = set.union(program_words, set(re.findall(r"[a-z][a-z0-9_]*", derived)), *words.values())
    # <network>_interface is the host's own interface on that network.
    unused = [name for name in shipped().services[service].variables if name not in used]
    assert not unused


def strip_keys(path: str, text: str) -> str:
    """A text without the names that it defines: a variable is not used by being declared."""
    return re.sub(r"(?m)^[a-z][a-z0-9_]*:", "", text) if path.endswith("variables.yml") else text


def test_health_checks_of_all_containers_but_those_that_kolla_leaves_without() -> None:
    without = {item.name for item in desired("one_node", "aio").containers if item.healthcheck is None}
    assert without == {"cron", "mariadb_clustercheck"}


def test_health_checks_can_be_switched_off(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(golden.HERE / "one_node" / "site", folder)
    with (folder / "globals.yml").open("a") as file:
        file.write("enable_container_healthchecks: no\n")
    found = render(golden.load(folder), "aio", "0" * 40)
    assert not [item.name for item in found.containers if item.healthcheck and item.healthcheck.test != ("NONE",)]


# --- single services -------------------------------------------------------------------------------------------


def test_fernet_keys_are_rotated_once_per_interval_by_the_hosts_in_turn() -> None:
    days: list[str] = []
    for host in ("ctl-a", "ctl-b", "ctl-c"):
        crontab = next(file for file in desired("three_nodes", host).files if file.path == "keystone-fernet/crontab")
        days += re.findall(r"(?m)^0 0 \* \* (\d) ", crontab.content)
    assert sorted(days) == ["0", "1", "2", "3", "4", "5", "6"]  # the interval is a day


def test_one_host_starts_the_database_cluster() -> None:
    starts = {}
    for host in ("ctl-a", "ctl-b", "ctl-c"):
        job = next(job for job in desired("three_nodes", host).jobs if job.name == "mariadb_bootstrap")
        starts[host] = job.owner
    assert set(starts.values()) == {"ctl-b"}  # the first of the group, not of the alphabet


@pytest.mark.parametrize(
    "switch", ["enable_glance", "enable_memcached", "enable_rabbitmq", "enable_cron", "enable_haproxy"]
)
def test_a_service_can_be_switched_off(switch: str, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(golden.HERE / "one_node" / "site", folder)
    said = [line for line in (folder / "globals.yml").read_text().splitlines() if not line.startswith(switch)]
    (folder / "globals.yml").write_text("\n".join([*said, f"{switch}: no\n"]))
    found = render(golden.load(folder), "aio", "0" * 40)
    gone = {"glance": "glance_api", "haproxy": "haproxy"}.get(
        switch.removeprefix("enable_"), switch.removeprefix("enable_")
    )
    assert gone not in {item.name for item in found.containers}
    assert not [item.id for item in found.registrations if item.service == switch.removeprefix("enable_")]


def test_registrations_go_to_a_database_outside_when_there_is_none_inside(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(golden.HERE / "one_node" / "site", folder)
    with (folder / "globals.yml").open("a") as file:
        file.write("enable_mariadb: no\ndatabase_address: db.example\n")
    found = render(golden.load(folder), "aio", "0" * 40)
    registrar = next(item for item in found.registrars if item.kind == "mariadb")
    assert (registrar.connection["host"], registrar.connection["port"]) == ("db.example", 3306)
    assert not [item.name for item in (*found.containers, *found.jobs) if item.service == "mariadb"]  # type: ignore[attr-defined]
    assert not [file.path for file in found.files if "mariadb" in file.path]


@pytest.mark.parametrize(("case", "host"), ALL)
def test_scripts_are_valid_shell(case: str, host: str) -> None:
    scripts = [file for file in desired(case, host).files if file.content.startswith("#!/bin/bash")]
    for script in scripts:
        done = subprocess.run(["bash", "-n"], input=script.content, text=True, capture_output=True, check=False)
        assert not done.returncode, f"{script.path}: {done.stderr}"
    assert scripts or host in ("cmp-1", "mon-1", "vol")


# --- documentation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
def test_the_readme_names_every_override(service: str) -> None:
    """Those of files that all services share are in the page of `common`."""
    text = (golden.SHIPPED / service / "README.md").read_text()
    content: Any = shipped().services[service].section("containers")
    common = [file.get("overrides", []) for file in shipped().services["common"].shared.values()]
    files = [file.get("overrides", []) for container in content.values() for file in container.get("files", [])]
    for patterns in common if service == "common" else [patterns for patterns in files if patterns not in common]:
        for pattern in patterns:
            assert f"`{pattern}`" in text, pattern


@pytest.mark.parametrize(
    ("release", "option"), [("2025.1", "--db-sb-relay-remote="), ("2026.1", "--db-sb-relay-config-file=")]
)
def test_relays_in_images_of_debian_read_their_file_since_2026_1(release: str, option: str) -> None:
    site = golden.HERE / "ovn" / "site"
    text = (site / "globals.yml").read_text().replace("kolla_base_distro: rocky", "kolla_base_distro: debian")
    loaded = golden.load(site, {"globals.yml": f'{text}openstack_release: "{release}"\n'.encode()})
    host = next(host for host in loaded.hosts if host in loaded.groups["ovn-sb-db-relay"])
    files = {file.path: str(file.content) for file in render(loaded, host, "0" * 40).files}
    assert option in json.loads(files["ovn-sb-db-relay-1/config.json"])["command"]


@pytest.mark.parametrize(("case", "host"), ALL)
def test_no_command_is_left_to_a_shell(case: str, host: str) -> None:
    """Kolla's start splits a command at spaces: a quote would be a part of what the program is given."""
    for file in desired(case, host).files:
        if file.path.endswith("/config.json"):
            command = json.loads(file.content)["command"]
            assert shlex.split(command) == command.split(), f"{file.path}: {command}"


def test_a_port_is_one_that_a_program_can_listen_on() -> None:
    numbers = {name: one.schema for name, one in shipped().variables.items() if one.schema.get("type") == "integer"}
    ports = {name: schema for name, schema in numbers.items() if "port" in name.split("_")}
    assert len(ports) > 100
    assert [n for n, schema in ports.items() if (schema.get("minimum"), schema.get("maximum")) != (1, 65535)] == []
