"""Members of etcd that have no data: the first of a cluster, one that is installed anew, one whose others say nothing.

Genuine etcd, with the addresses of three hosts on the loopback interface of one network namespace.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from docker.models.containers import Container

from reconciler.model import Desired
from reconciler.render import render
from tests.images import build, kolla
from tests.services import containers, golden
from tests.support.lab import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.images]

HOSTS = {"ctl-a": "198.51.100.11", "ctl-b": "198.51.100.12", "ctl-c": "198.51.100.13"}


def desired(host: str, **more: str) -> Desired:
    """What a host of the golden site is to be."""
    files = {"globals.yml": (golden.HERE / "three_nodes/site/globals.yml").read_bytes()}
    files["globals.yml"] += "".join(f"{key}: {value}\n" for key, value in more.items()).encode()
    return render(golden.load(golden.HERE / "three_nodes" / "site", files), host, "0" * 40)


class Members:
    """Members of one namespace; each has its data in its container, and loses them with it."""

    def __init__(self, client: docker.DockerClient, image: str, folder: Path, stack: ExitStack) -> None:
        self._client, self._image, self._folder, self._stack = client, image, folder, stack
        self.running: dict[str, Container] = {}
        self._place = stack.enter_context(containers.namespace(client, HOSTS.values()))

    def _run(self, image: str, words: list[str], **options: Any) -> Container:
        found = self._client.containers.run(image, words, detach=True, labels={"reconciler-test": "1"}, **options)  # type: ignore[call-overload]
        self._stack.callback(found.remove, force=True, v=True)
        assert isinstance(found, Container)
        return found

    def start(self, host: str, before: str = "", **more: str) -> Container:
        """Start a member without data."""
        target = desired(host, **more)
        script = self._folder / host
        script.write_text(next(file.content for file in target.files if file.path.endswith("/etcd-start")))
        container = next(one for one in target.containers if one.name == "etcd")
        self.running[host] = self._run(
            self._image,
            ["-c", f"mkdir -p /var/log/kolla/etcd; {before} exec python3 /run/script"],
            entrypoint="bash", user="root", network_mode=f"container:{self._place.id}",
            environment=dict(container.environment), volumes={str(script): {"bind": "/run/script", "mode": "ro"}},
        )  # fmt: skip
        return self.running[host]

    def lose(self, host: str) -> None:
        """A member ends, and its data are not used any more."""
        self.running.pop(host).kill()

    def said(self, host: str) -> str:
        return str(self.running[host].logs().decode())

    def control(self, host: str, *words: str) -> str:
        """What etcdctl prints, JSON; empty where it fails."""
        code, output = self.running[host].exec_run(["etcdctl", "--command-timeout=5s", *words])
        return str(output.decode()) if code == 0 else ""

    def members(self, host: str) -> dict[str, int]:
        """Host → identity, as a member knows them."""
        told = self.control(host, "member", "list")
        found = json.loads(told)["members"] if told else ()
        return {one["name"].replace("controller", "ctl"): one["ID"] for one in found if "name" in one}


@pytest.fixture
def members(docker_client: docker.DockerClient, tmp_path: Path) -> Iterator[Members]:
    image = kolla.default_target().name("etcd")
    if not build.present(docker_client, image):
        pytest.skip("the image is missing: run `python -m tests.images.build etcd`")
    with ExitStack() as stack:
        yield Members(docker_client, image, tmp_path, stack)


def begin(members: Members) -> None:
    """Start all three, and wait until they are a cluster."""
    for host in HOSTS.keys() - members.running.keys():
        members.start(host)
    for host in HOSTS:
        wait_for(f"{host} is a member", lambda host=host: set(members.members(host)) == set(HOSTS), 90, 0.2)


def test_a_member_that_lost_its_data_joins_anew_and_leaves_the_others_alone(members: Members) -> None:
    members.start("ctl-b")
    members.start("ctl-c")
    wait_for("they wait for the third", lambda: "waiting for ctl-a" in members.said("ctl-b"), 60, 0.2)
    assert not members.members("ctl-b") and not members.members("ctl-c"), "two of three began without the third"
    begin(members)
    before = members.members("ctl-a")
    assert members.control("ctl-a", "put", "key", "value")
    members.lose("ctl-b")
    members.start("ctl-b")
    wait_for("it is back", lambda: set(members.members("ctl-b")) == set(HOSTS), 90, 0.5)
    after = members.members("ctl-b")
    assert after["ctl-b"] != before["ctl-b"], "a member that forgot what it agreed to came back as the same"
    assert {host: after[host] for host in ("ctl-a", "ctl-c")} == {host: before[host] for host in ("ctl-a", "ctl-c")}
    assert len(json.loads(members.control("ctl-a", "member", "list"))["members"]) == 3
    assert base64.b64encode(b"value").decode() in members.control("ctl-b", "get", "key")
    assert "it leaves the cluster as" in members.said("ctl-b")


@pytest.mark.slow
def test_who_is_silent_may_have_data(members: Members) -> None:
    begin(members)
    members.lose("ctl-c")
    for host in ("ctl-a", "ctl-b"):
        members.running[host].stop(timeout=5)
    members.start("ctl-c")
    wait_for("it waits", lambda: "waiting for ctl-b" in members.said("ctl-c"), 60, 0.2)
    assert ", ctl-a" in members.said("ctl-c") and not members.members("ctl-c")
    for host in ("ctl-a", "ctl-b"):
        members.running[host].start()
    wait_for("it is back as well", lambda: set(members.members("ctl-c")) == set(HOSTS), 90, 0.5)


@pytest.mark.slow
def test_what_is_left_of_data_is_kept_and_no_cluster_begins_over_it(members: Members) -> None:
    members.start("ctl-b", before="mkdir -p /var/lib/etcd/member/snap; touch /var/lib/etcd/member/snap/db;")
    members.start("ctl-a")
    members.start("ctl-c")
    wait_for("they wait", lambda: "waiting for ctl-b" in members.said("ctl-a"), 60, 0.2)
    wait_for("it waits as well", lambda: "waiting for" in members.said("ctl-b"), 60, 0.2)
    assert not members.members("ctl-a")


@pytest.mark.slow
def test_as_it_advises_for_hosts_that_are_not_there_yet(members: Members) -> None:
    for host in ("ctl-a", "ctl-b"):
        members.start(host, etcd_members_are_new="true")
    wait_for("two of three are enough", lambda: {"ctl-a", "ctl-b"} <= set(members.members("ctl-a")), 90, 0.5)
    members.start("ctl-c")
    wait_for("the third comes later", lambda: set(members.members("ctl-c")) == set(HOSTS), 90, 0.5)


def leave(host: str, gone: str) -> str:
    """What makes the others forget a host, as another one renders it: the program."""
    text = (golden.HERE / "three_nodes/site/inventory.yml").read_text()
    found = yaml.safe_load(text)
    entry = found["hosts"].pop(gone)
    groups = [name for name, group in found.get("groups", {}).items() if gone in (group or {}).get("hosts", ())]
    for name in groups:
        found["groups"][name]["hosts"].remove(gone)
    found["left"] = {
        gone: {"since": "2026-11-27", "groups": [*entry.get("groups", []), *groups], "addresses": entry["addresses"]}
    }
    if facts := entry.get("facts"):
        found["left"][gone]["facts"] = facts
    files = {"inventory.yml": yaml.safe_dump(found, sort_keys=False).encode()}
    made = render(golden.load(golden.HERE / "three_nodes" / "site", files), host, "0" * 40)
    return next(file.content for file in made.files if file.path == f"etcd-leave-{gone}/etcd-leave")


@pytest.mark.slow
def test_a_member_that_is_gone_for_good_is_forgotten(members: Members) -> None:
    begin(members)
    program = leave("ctl-b", "ctl-c")
    members.lose("ctl-c")

    def carried_out() -> tuple[int | None, str]:
        code, output = members.running["ctl-a"].exec_run(["python3", "-c", program])
        return code, output.decode()

    code, said = carried_out()
    assert code == 0 and "leaves the cluster" in said, said
    assert set(members.members("ctl-b")) == {"ctl-a", "ctl-b"}
    code, said = carried_out()
    assert code == 0 and "leaves the cluster" not in said and "do not know" in said, said
    # Of two members one alone can change nothing, and it says so.
    program = leave("ctl-a", "ctl-b")
    members.lose("ctl-b")
    code, said = carried_out()
    assert code == 1 and "member list" in said, said
