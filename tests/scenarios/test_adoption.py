"""Containers that another tool made: taken over where they are as described, and otherwise not touched."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker import errors as docker_errors

from reconciler import errors
from reconciler.apply import units
from reconciler.model import Verb
from reconciler.node import giving_back
from tests.scenarios import small
from tests.support.lab import HOST, Lab, lines

pytestmark = pytest.mark.engine

NAME, ADDRESS = "rt-adopt-api", "127.0.0.73"
IMAGE = "reconciler-test/kolla-like:1"
COMMAND = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
SCRIPT = "mkdir -p /usr/local/bin && printf '#!/bin/sh\\nexit 0\\n' > /usr/local/bin/kolla_set_configs && chmod 755 /usr/local/bin/*"
USUAL = {
    "network_mode": "host", "ipc_mode": None, "cap_add": [], "security_opt": [], "pid_mode": "", "privileged": False,
    "tmpfs": [], "volumes_from": None,
}  # fmt: skip
CHECK = {"test": ["CMD-SHELL", "test -d /var/lib/kolla/config_files"], "interval": 30, "timeout": 30, "retries": 3}
SERVICE = """\
description: An interface, as Kolla would run it
groups: {adopt: []}
containers:
  rt-adopt-api:
    group: adopt
    image: reconciler-test/kolla-like:1
    command: api --serve
    environment: "{{ api_environment }}"
    volumes: ["/etc/localtime:/etc/localtime:ro", "rt-adopt-data:/data"]
    healthcheck: {test: ["CMD-SHELL", "test -d /var/lib/kolla/config_files"], interval: 30, timeout: 30, retries: 3, start_period: 5}
    stability: 0.2
    config_directory: rt-adopt-api
    files:
      - {name: api.conf, content: "a = 1\\n", destination: /etc/api.conf, owner: root, perm: "0600"}
"""


@pytest.fixture(scope="module")
def image(engine_url: str, busybox_image: str) -> Iterator[str]:
    with small.kolla_like(engine_url, busybox_image, IMAGE, SCRIPT, COMMAND) as made:
        yield made


@pytest.fixture
def lab(tmp_path: Path, engine_url: str, image: str) -> Iterator[Lab]:
    """A site that is accepted, and nothing of it made yet."""
    with Lab(tmp_path / "lab", engine_url, name="adopt", tls=False) as lab:
        write(lab)
        lab.push("an interface")
        assert lab.node.look_for_revision().ok
        yield lab
        lab.close_node()
        client = docker.APIClient(base_url=engine_url)
        with client:
            for remove, name in ((client.remove_container, NAME), (client.remove_volume, "rt-adopt-data")):
                with contextlib.suppress(docker_errors.NotFound):
                    remove(name, force=True)


def write(lab: Lab, policy: str = "equal", environment: str = "{}") -> None:
    lab.write(
        {
            "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: {ADDRESS}}}\n    groups: [adopt]\n",
            "globals.yml": f"node_config_directory: {lab.config_root}\nkolla_internal_vip_address: {ADDRESS}\n",
            "reconciler.yml": f"name: adopt\nadoption: {policy}\n",
            "services/adopt/service.yml": SERVICE,
            "services/adopt/variables.yml": "api_environment: {description: More of it., type: object, "
            f"default: {environment}}}\n",
        }
    )


def by_kolla_ansible(lab: Lab, client: docker.APIClient, **host: Any) -> str:
    """The same as kolla-ansible would make it: its files, its volume, its container, without a label. Returns the id."""
    target = lab.target()
    for file in target.desired.files:
        path = lab.config_root / file.path
        path.parent.mkdir(mode=0o770, exist_ok=True)
        path.write_bytes(target.contents[file.path])
        path.chmod(file.mode)
    client.create_volume("rt-adopt-data")
    binds = [
        f"{lab.config_root}/{NAME}/:/var/lib/kolla/config_files/:ro",
        "/etc/localtime:/etc/localtime:ro",
        "rt-adopt-data:/data",
    ]
    config = client.create_host_config(
        **{**USUAL, "binds": binds, **host},
    )
    config["CgroupnsMode"] = "host"
    check = {name: value * 10**9 if name in ("interval", "timeout") else value for name, value in CHECK.items()}
    made = client.create_container(
        IMAGE,
        None,
        detach=True,
        environment=["KOLLA_CONFIG_STRATEGY=COPY_ALWAYS", f"KOLLA_SERVICE_NAME={NAME}"],
        host_config=config,
        labels=None,
        name=NAME,
        volumes=["/var/lib/kolla/config_files/", "/etc/localtime", "/data"],
        tty=False,
        healthcheck={**check, "start_period": 5 * 10**9},
    )
    client.start(made["Id"])
    return str(made["Id"])


def state(client: docker.APIClient) -> tuple[str, int, str]:
    found = client.inspect_container(NAME)
    return found["Id"], found["State"]["Pid"], found["State"]["StartedAt"]


def test_what_kolla_ansible_made_is_taken_over_as_it_runs(lab: Lab, docker_client: docker.DockerClient) -> None:
    by_kolla_ansible(lab, docker_client.api)
    before = state(docker_client.api)
    report = lab.reconcile()
    assert lines(report) == [
        f"adopt      {NAME}  (made by another tool, and it need not be made anew)",
        f"update     {NAME}  (restart_policy)",
    ], report.plan
    assert report.converged and state(docker_client.api) == before
    policy = docker_client.api.inspect_container(NAME)["HostConfig"]["RestartPolicy"]["Name"]
    assert policy == "unless-stopped", "kolla-ansible's units started it; now the engine does"
    lab.close_node()  # it carries no label: only what the node remembers says that it is ours
    again = lab.reconcile(deep=True)
    assert again.plan is not None and again.plan.empty and not again.plan.held, again.plan
    assert state(docker_client.api) == before

    # From here on it is a container like any other: killed it is started, changed it is replaced, unwanted it goes.
    docker_client.api.kill(NAME)
    assert lines(lab.reconcile()) == [f"start      {NAME}  (it stopped with exit code 137)"]
    assert state(docker_client.api)[0] == before[0]
    write(lab, environment="{A: '1'}")
    lab.push("another environment")
    assert lines(lab.reconcile()) == [f"replace    {NAME}  (environment.A differs)"]
    assert [name for name in lab.identities() if name.startswith("reconciler-aside")] == []
    assert lab.identities()[NAME][0] != before[0]


def test_what_was_taken_over_goes_back(
    lab: Lab, docker_client: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its unit runs it again, the engine starts it no more, and what this node kept to know its state by is gone."""
    by_kolla_ansible(lab, docker_client.api)
    before = state(docker_client.api)
    assert lab.reconcile().converged
    unit = f"kolla-{NAME}-container.service"
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / unit).touch()
    given: list[str] = []
    monkeypatch.setattr(units.Systemd, "give_back", lambda self, unit: given.append(unit))
    found = giving_back.look(lab.node.state, lab.node.engine, tmp_path / "units")
    assert [(c.name, u) for c, u in found.adopted] == [(NAME, unit)] and not found.made
    assert list(lab.config_root.glob(".reconciler-*"))
    giving_back.give_back(found, lab.node.state, lab.node.engine, [str(lab.config_root)])
    assert given == [unit] and state(docker_client.api) == before
    assert docker_client.api.inspect_container(NAME)["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert not list(lab.config_root.glob(".reconciler-*"))

    # What was made anew since has this program's label, and is kolla-ansible's to make again.
    write(lab, environment="{A: '1'}")
    lab.push("another environment")
    assert lab.reconcile().converged
    found = giving_back.look(lab.node.state, lab.node.engine, tmp_path / "units")
    assert found.made == (NAME,) and not found.adopted
    giving_back.give_back(found, lab.node.state, lab.node.engine, [str(lab.config_root)])
    assert given == [unit] and list(lab.config_root.glob(".reconciler-*")), "it still says whose the container is"


def test_one_that_differs_stays_as_it_was_made_until_the_site_asks_something_else(
    lab: Lab, docker_client: docker.DockerClient
) -> None:
    write(lab, "as-made")
    lab.push("a policy")
    lab.node.look_for_revision()
    by_kolla_ansible(lab, docker_client.api, cap_add=["NET_RAW"])
    conf = lab.config_root / NAME / "api.conf"
    conf.write_text("a = 2\n")
    before, when = state(docker_client.api), conf.stat().st_mtime_ns
    report = lab.reconcile()
    assert lines(report) == [
        f"adopt      {NAME}  (made by another tool, and taken over as it is)",
        f"update     {NAME}  (restart_policy)",
    ], report.plan
    assert report.converged and state(docker_client.api) == before and conf.stat().st_mtime_ns == when
    assert report.plan is not None
    assert [(h.reason, [d.field for d in h.differences]) for h in report.plan.held] == [
        ("AsMade", ["cap_add", f"{NAME}/api.conf"])
    ]
    lab.close_node()
    again = lab.reconcile(deep=True)
    assert again.converged and again.plan is not None and again.plan.empty and state(docker_client.api) == before
    write(lab, "as-made", environment="{A: '1'}")
    lab.push("another environment")
    assert lines(lab.reconcile()) == [
        f"write      {NAME}/api.conf  (content changed)",
        f"replace    {NAME}  (environment.A, cap_add differ)",
    ]
    assert conf.read_text() == "a = 1\n"


def test_what_is_adopted_goes_with_its_service(lab: Lab, docker_client: docker.DockerClient) -> None:
    beside = "  rt-adopt-side: {group: adopt, kolla: false, image: reconciler-test/kolla-like:1, stability: 0.2}\n"
    lab.write({"services/adopt/service.yml": SERVICE + beside})
    lab.push("and one beside it")
    lab.node.look_for_revision()
    by_kolla_ansible(lab, docker_client.api)
    assert lab.reconcile().converged
    off = SERVICE.replace("    group: adopt\n", "    group: adopt\n    enabled: false\n")
    lab.write({"services/adopt/service.yml": off + beside})
    lab.push("switched off")
    report = lab.reconcile()
    assert report.converged and f"remove:{NAME}" in {outcome.action.id for outcome in report.changed}, report.outcomes
    with pytest.raises(docker_errors.NotFound):
        docker_client.api.inspect_container(NAME)
    assert not (lab.config_root / NAME).exists()


@pytest.mark.parametrize("policy", ["equal", "never"])
def test_what_is_not_to_be_adopted_is_left_alone(lab: Lab, docker_client: docker.DockerClient, policy: str) -> None:
    """Different under `equal`, whatever it is under `never`: neither it nor its files are touched."""
    write(lab, policy)
    lab.push("a policy")
    lab.node.look_for_revision()
    by_kolla_ansible(lab, docker_client.api, **({"cap_add": ["NET_RAW"]} if policy == "equal" else {}))
    (lab.config_root / NAME / "api.conf").write_text("a = 2\n")
    before = state(docker_client.api)
    report = lab.reconcile()
    assert report.plan is not None and report.plan.empty and not report.converged
    assert [(held.target, held.reason) for held in report.plan.held] == [(NAME, "NotOwned")]
    differing = {difference.field for difference in report.plan.held[0].differences}
    assert differing == ({"cap_add", "restart_policy"} if policy == "equal" else {"restart_policy"})
    assert state(docker_client.api) == before
    assert (lab.config_root / NAME / "api.conf").read_text() == "a = 2\n"
    with pytest.raises(errors.Terminal) as refused:  # whatever a plan may say
        lab.node.engine.remove(NAME)
    assert refused.value.reason == "NotOwned" and state(docker_client.api) == before


def test_what_differs_is_replaced_where_the_site_says_so(lab: Lab, docker_client: docker.DockerClient) -> None:
    write(lab, "replace")
    lab.push("a policy")
    lab.node.look_for_revision()
    old = by_kolla_ansible(lab, docker_client.api, cap_add=["NET_RAW"])
    report = lab.reconcile()
    assert [outcome.action.verb for outcome in report.changed] == [Verb.ADOPT, Verb.REPLACE], lines(report)
    assert report.converged and lab.identities().keys() == {NAME} and lab.identities()[NAME][0] != old
