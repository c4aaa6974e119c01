"""What a node says when something is wrong helps when it is followed."""

import os
import re
import shlex
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import docker
import pytest
import requests

from reconciler import errors, settings
from reconciler.cli.plan import _when
from reconciler.engine import Engine
from reconciler.model import RUNNING_CONFIGURATION, Action, Difference, Verb
from reconciler.node import doctor, facts, listeners
from reconciler.reasons import Reason
from tests.daemon.node import TestNode
from tests.git import servers


def test_a_branch_that_was_deleted_is_pushed_again(node: TestNode) -> None:
    """Though it was the only one, so that the repository looks as if it had never had a commit."""
    good = node.push_site(node.name("web"))
    node.run("reconcile")
    servers.git(node.repository, "update-ref", "-d", "refs/heads/main")
    said = node.run("reconcile").stdout
    assert "GitBranchMissing" in said and f"which was at {good[:12]}" in said and "first commit" not in said
    advice = f"git push origin {good[:12]}:refs/heads/main"
    assert advice in said
    found = node.run("doctor", "--only", "git", check=False).stdout
    assert "[GitBranchMissing]" in found and advice in found.replace("\n", " "), "both say the same"
    servers.git(node.repository, "push", str(node.repository), f"{good}:refs/heads/main")
    assert "GitBranchMissing" not in node.run("reconcile").stdout


def test_a_rewritten_branch_is_accepted_as_it_says(node: TestNode) -> None:
    name = node.name("web")
    node.push_site(name)
    node.run("reconcile")
    tree = servers.git(node.repository, "rev-parse", "main^{tree}").strip()
    other = servers.commit_tree(node.repository, tree, "another history")
    said = node.run("reconcile", check=False).stdout
    assert "HistoryRewritten" in said
    advice = re.search(r"reconciler (anchor accept \w+ --reason '…')", said)
    assert advice, said
    node.run(*shlex.split(advice[1]))
    assert "HistoryRewritten" not in node.run("reconcile").stdout and node.anchor() == other


@pytest.mark.parametrize("way", ["removed", "replaced"])
def test_a_container_of_another_tool_makes_room_as_it_says(
    node: TestNode, docker_client: docker.DockerClient, way: str
) -> None:
    name = node.name("web")
    labels = {"reconciler-test": "1"}
    there = docker_client.containers.create(node.image, ["true"], name=name, labels=labels)
    node.push_site(name)
    said = node.run("reconcile", check=False).stdout
    assert "NotOwned" in said and "remove it, or set `adoption: replace` in reconciler.yml" in said, said
    if way == "removed":
        there.remove()
    else:
        before = servers.git(node.repository, "show", "main:reconciler.yml")
        node.push({"reconciler.yml": f"{before}\nadoption: replace\n"})
    said = node.run("reconcile").stdout
    assert "NotOwned" not in said and docker_client.containers.get(name).id != there.id, said


def test_an_engine_that_hangs_is_not_to_be_started(node: TestNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(engine: Engine) -> None:
        raise errors.Transient("the engine did not answer in time", reason=Reason.EngineTimeout)

    loaded = settings.load(node.settings_file)
    monkeypatch.setattr(Engine, "info", hangs)
    (check,) = doctor.examine(loaded, only=frozenset({"engine"}))
    assert check.verdict == "fail" and "hangs" in check.advice and "systemctl start" not in check.advice


def test_doctor_waits_for_the_git_server_as_long_as_the_daemon_does(node: TestNode) -> None:
    """Otherwise what its advice says about the settings would not help."""
    node.push_site(node.name("web"))
    text = node.settings_file.read_text()
    node.settings_file.write_text(re.sub(r"(?m)^deadline = .*$", "deadline = 0.01", text))
    (check,) = doctor.examine(settings.load(node.settings_file), only=frozenset({"git"}))
    assert check.verdict == "fail" and "within 0.01 s" in check.message and "GitTimeout" in check.advice


@pytest.mark.parametrize("days", [0, 1, -1, 400])
def test_a_wrong_clock_is_told_by_a_server_whose_certificate_it_makes_invalid(
    node: TestNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + days * 86_400)
    with servers.http_server(tmp_path) as server:  # whose certificate nobody believes
        text = node.settings_file.read_text()
        node.settings_file.write_text(re.sub(r'(?m)^url = "file:.*$', f'url = "{server.url("site.git")}"', text))
        (check,) = doctor.examine(settings.load(node.settings_file), only=frozenset({"clock"}))
    assert check.verdict == ("fail" if days else "ok") and "from the git server's" in check.message, check


def test_whoever_is_asked_for_the_time_gets_no_password(node: TestNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in the address is refused where commits are asked for, and sent to nobody on the way."""
    seen: list[requests.PreparedRequest] = []

    def send(_: requests.Session, request: requests.PreparedRequest, **more: object) -> requests.Response:
        seen.append(request)
        raise requests.ConnectionError

    monkeypatch.setattr(requests.Session, "send", send)
    text = node.settings_file.read_text()
    node.settings_file.write_text(re.sub(r'(?m)^url = "file:.*$', 'url = "https://u:word@git.example/x.git"', text))
    (check,) = doctor.examine(settings.load(node.settings_file), only=frozenset({"clock"}))
    assert check.verdict == "warn" and [one.url for one in seen] == ["https://git.example/x.git"] * 2
    assert not any("Authorization" in one.headers for one in seen)


@pytest.mark.parametrize(
    ("action", "deep"),
    [
        (Action(Verb.START, "web", "it stopped"), False),
        (Action(Verb.REGISTER, "mariadb:user:a", "drift"), True),
        (
            Action(
                Verb.RESTART,
                "web",
                "drift",
                differences=(Difference(RUNNING_CONFIGURATION, "as in its files", "other"),),
            ),
            True,
        ),
    ],
)
def test_when_something_is_put_right(node: TestNode, action: Action, deep: bool) -> None:
    said = _when(action, settings.load(node.settings_file))
    assert ("deep pass" in said and "reconcile --deep" in said) is deep


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, [("ok", "none are known yet")]),
        ({"hostname": "cmp1", "nodename": "cmp1.example.org"}, [("ok", "it is called as the site has it (cmp1, cmp1.example.org)")]),
        ({"hostname": "cmp1", "nodename": "cmp1"}, [("warn", "the nodename of this machine is cmp1.example.org, and cmp1 for the site")]),
        ({"hostname": "cmp2", "fqdn": "cmp1.example.org"}, [("warn", "the hostname of this machine is cmp1, and cmp2 for the site")]),
    ],
)  # fmt: skip
def test_what_a_machine_is_called(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], found: list[tuple[str, str]]
) -> None:
    full = {"hostname": "cmp1", "nodename": "cmp1.example.org", "fqdn": "cmp1.example.org"}
    monkeypatch.setattr(facts, "names", lambda: full)
    monkeypatch.setattr(doctor, "_last_good", lambda _: SimpleNamespace(names=said))
    checks = list(doctor._names(cast(settings.Settings, None)))
    assert [(check.verdict, check.message) for check in checks] == found
    assert all("under the host in inventory.yml" in check.advice for check in checks if check.verdict == "warn")


def test_who_has_a_port(docker_client: docker.DockerClient, busybox_image: str, engine_url: str) -> None:
    with socket.socket() as mine:
        mine.bind(("127.0.0.1", 0))
        port = mine.getsockname()[1]
        assert listeners.holder(port) == "", "it does not listen yet"
        mine.listen()
        comm = Path("/proc/self/comm").read_text().strip()
        assert listeners.holder(port) == f"{comm} (process {os.getpid()})"
    assert listeners.holder(port) == ""
    name = f"rt-holder-{os.getpid()}"
    command = ["httpd", "-f", "-p", f"127.0.0.1:{port}"]
    thief = docker_client.containers.run(busybox_image, command, name=name, network_mode="host", detach=True)
    engine = Engine(engine_url, owner="")
    try:
        for _ in range(100):
            if said := listeners.holder(port, engine.name_of):
                break
            time.sleep(0.1)
        assert said.startswith("httpd (process ") and said.endswith(f", container {name})")
    finally:
        engine.close()
        thief.remove(force=True)
