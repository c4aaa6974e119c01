"""What a host says counts, whatever a commit asks: on a real engine, with a disk on which somebody else has files and links."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker
import pytest

from reconciler import errors
from reconciler.apply import Actions
from reconciler.model import Container, Job
from reconciler.report import Report
from tests.support.lab import HOST, Lab, lines, results

pytestmark = pytest.mark.engine

SERVICE = """\
description: Whatever a test asks for
groups: {word: []}
containers:
"""
CONTAINER = """\
  NAME:
    group: word
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    stop_timeout: 1
    stability: 0.1
"""


class Place(Lab):
    """A lab with one service, written anew by each test."""

    def ask(
        self,
        *containers: str,
        root: str = "",
        site: str = "",
        message: str = "as asked",
        more: str = "",
        adoption: str = "equal",
    ) -> Report:
        """Push a site of these containers (name, then further lines of YAML) and let the node take it."""
        parts = [text.partition("\n") for text in containers]
        service = SERVICE + "".join(
            CONTAINER.replace("NAME", name) + "".join(f"    {line}\n" for line in rest.splitlines())
            for name, _, rest in parts
        )
        self.write(
            {
                "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: 127.0.0.76}}\n    groups: [word]\n",
                "globals.yml": f"node_config_directory: {root or self.config_root}\nkolla_internal_vip_address: 127.0.0.76\n",
                "reconciler.yml": f"name: {site or self.name}\nadoption: {adoption}\n",
                "services/word/service.yml": service + more,
            }
        )
        self.push(message)
        return self.reconcile()

    def tighten(self, text: str) -> None:
        """More lines of the settings' [policy]."""
        root = f'[policy]\nconfig_roots = ["{self.config_root}"]\n'
        content = self.config.read_text()
        assert root in content
        self.config.write_text(content.replace(root, root + text))
        self.close_node()


@pytest.fixture
def lab(tmp_path: Path, engine_url: str, busybox_image: str) -> Iterator[Place]:
    with Place(tmp_path / "lab", engine_url, name="word", tls=False) as lab:
        yield lab


@pytest.fixture
def client(engine_url: str) -> Iterator[docker.DockerClient]:
    with contextlib.closing(docker.DockerClient(base_url=engine_url)) as client:
        yield client


def held(report: Report) -> dict[str, tuple[str, str]]:
    assert report.plan is not None, report.failure
    return {item.target: (item.reason, item.message) for item in report.plan.held}


def outside(lab: Lab) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in lab.root.rglob("*")
        if path.is_file() and path.is_relative_to(lab.root / "outside")
    }


FILE = "files: [{name: a.conf, content: 'x', destination: /a.conf, mode: '0644'}]"


def test_no_commit_leads_out_of_the_roots_and_nothing_there_is_touched(lab: Place) -> None:
    """By dots, by a link that somebody put below the root, by the state, or by a name that only looks like the root's."""
    other = lab.root / "outside/rt-word-a"
    other.mkdir(parents=True)
    (other / "precious").write_text("theirs")
    (other / "a.conf").write_text("theirs too")
    before = outside(lab)
    (lab.config_root / "linked").symlink_to(lab.root / "outside")
    root = str(lab.config_root)
    for asked, word in (
        (f"{root}/../outside", "SiteInvalid"), (f"{root}/sub/../../outside", "SiteInvalid"), (f"{root}/linked", "link"),
        (f"{root}-other", "config_roots"), ("/", "SiteInvalid"), (str(lab.root / "outside"), "config_roots"),
        (str(lab.state), "config_roots"),
    ):  # fmt: skip
        report = lab.ask(f"rt-word-a\n{FILE}", root=asked)
        said = [
            report.failure and ": ".join(report.failure),
            report.refusal and f"{report.refusal.reason} {report.refusal.message}",
        ]
        assert not report.converged and any(word in text for text in said if text), (asked, said)
        assert outside(lab) == before and not lab.identities()
    assert lab.ask(f"rt-word-a\n{FILE}", root=f"{root}//./").converged, "the same folder in another spelling"
    assert (lab.config_root / "rt-word-a/a.conf").read_text() == "x"
    shutil.move(lab.config_root, lab.root / "moved")
    lab.config_root.symlink_to(lab.root / "moved")
    assert lab.reconcile().converged, "what the settings name may be a link of the host's owner"


def test_a_root_that_others_can_exchange_gets_no_file(lab: Place) -> None:
    for owner, mode, word in ((1000, 0o755, "belongs to user 1000"), (0, 0o777, "can be written to by others")):
        os.chown(lab.config_root, owner, 0)
        lab.config_root.chmod(mode)
        report = lab.ask(f"rt-word-a\n{FILE}", message=word)
        assert report.failure is not None and report.failure[0] == "FileUnsafe" and word in report.failure[1]
        assert not list(lab.config_root.iterdir())
    os.chown(lab.config_root, 0, 0)
    lab.config_root.chmod(0o755)
    assert lab.reconcile().converged


def test_only_what_was_written_is_deleted(lab: Place) -> None:
    """Files of another tool, of an operator, and of our own that were edited since: all stay, and are named."""
    folder = lab.config_root / "rt-word-a"
    folder.mkdir()
    (folder / "old.conf").write_text("of another tool")
    two = FILE.replace("]", ", {name: b.conf, content: 'y'}, {name: c/d.conf, content: 'z'}]")
    report = lab.ask(f"rt-word-a\n{two}")
    assert report.converged and held(report)["rt-word-a/old.conf"][0] == "Foreign"
    assert not [condition for condition in report.conditions if condition.type == "Drifted" and condition.status]
    (folder / "new.conf").write_text("of an operator")
    (folder / "link").symlink_to("/etc/hostname")
    (folder / "b.conf").write_text("edited")
    lab.write({"reconciler.yml": "name: word\ndrift: {mode: report}\n"})
    report = lab.ask(f"rt-word-a\n{FILE}", message="b and d go")
    assert lines(report)[:1] == ["delete     rt-word-a/c/d.conf  (no longer part of the configuration)"]
    assert {target for target, (reason, _) in held(report).items() if reason == "Foreign"} == {
        f"rt-word-a/{name}" for name in ("old.conf", "new.conf", "link", "b.conf")
    }
    assert report.converged
    report = lab.ask("rt-word-b", message="all of a goes")
    assert report.converged and not (folder / "a.conf").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["b.conf", "c", "link", "new.conf", "old.conf"]


def test_what_an_earlier_version_wrote_is_still_known(lab: Place) -> None:
    """A memory without the list of what was written, and with the names as keys: nothing is made anew, files go as before."""
    assert lab.ask(f"rt-word-a\n{FILE}", "rt-word-b").converged
    (lab.state / "written.json").unlink()
    (lab.state / "owner.json").unlink()
    lab.close_node()
    for witness in lab.config_root.glob(".reconciler-*"):
        witness.unlink()
    before = lab.identities()
    report = lab.reconcile(deep=True)
    assert report.converged and report.plan is not None and report.plan.empty and lab.identities() == before
    (lab.state / "written.json").unlink()
    report = lab.ask("rt-word-a", "rt-word-b", message="the file goes")
    assert "delete:rt-word-a/a.conf" in results(report)
    report = lab.ask("rt-word-b", message="and a")
    assert report.converged and lab.identities().keys() == {"rt-word-b"}
    assert lab.identities()["rt-word-b"] == before["rt-word-b"]


def test_a_site_that_takes_anothers_name_gets_nothing_of_it(lab: Place, tmp_path: Path) -> None:
    """Two nodes on one engine. Whose a container is follows from a key that no commit knows."""
    assert lab.ask("rt-word-a\nvolumes: ['rt-word-data:/data']").converged
    with Place(tmp_path / "other", lab.engine_url, name="word-other", tls=False) as other:
        assert other.ask("rt-word-b").converged
        mine = lab.identities()
        report = other.ask("rt-word-b", site="word", message="the other's name")
        assert report.converged and lines(report) == [] and mine.items() <= lab.identities().items()
        report = other.ask("rt-word-a", site="word", message="and its container's")
        assert held(report)["rt-word-a"][0] == "NotOwned" and "another installation" in held(report)["rt-word-a"][1]
        assert lab.identities()["rt-word-a"] == mine["rt-word-a"]
        other.write({"reconciler.yml": "name: word\nadoption: replace\n"})
        report = other.ask("rt-word-c\nvolumes: ['rt-word-data:/data']", site="word", message="and its data")
        assert held(report)["rt-word-c"][0] == "NotOwned" and "volume rt-word-data" in held(report)["rt-word-c"][1]
        assert lab.reconcile(deep=True).plan.empty  # type: ignore[union-attr]
        assert lab.identities()["rt-word-a"] == mine["rt-word-a"]


def test_a_lost_state_is_noticed_and_one_word_gives_everything_back(lab: Place) -> None:
    """The branch may hold anything by then: nothing of it is accepted, nothing is made and no job runs once more."""
    assert lab.ask("rt-word-a").converged
    good, key, before = lab.head, lab.run("owner", "show").stdout.strip(), lab.identities()
    lab.close_node()
    shutil.rmtree(lab.state)
    for _ in range(2):
        report = lab.ask("rt-word-a", "rt-word-new", message="a stranger's, perhaps")
        assert report.failure and report.failure[0] == "StateLost" and not report.outcomes
        assert f"anchor accept {good[:12]}" in report.failure[1] and lab.identities() == before
    assert "StateLost" in lab.run("status").stdout and lab.run("plan", check=False).returncode == 1
    lab.run("anchor", "accept", lab.head, "--reason", "the disk was exchanged")
    assert lab.reconcile().converged and lab.identities()["rt-word-a"] == before["rt-word-a"]
    assert lab.run("owner", "show").stdout.split() == [key], "its containers are known as its own, with no claim"


def test_a_state_lost_with_the_files_is_known_by_the_containers(lab: Place) -> None:
    assert lab.ask("rt-word-a").converged
    key, before = lab.run("owner", "show").stdout.strip(), lab.identities()
    lab.close_node()
    shutil.rmtree(lab.state)
    shutil.rmtree(lab.config_root)
    lab.config_root.mkdir(mode=0o755)
    report = lab.reconcile()
    assert report.refusal and report.refusal.reason == "StateLost" and report.plan is None
    assert f"owner claim {key}" in report.refusal.message and lab.identities() == before
    lab.run("owner", "claim", key)
    assert not lab.reconcile().converged, "whose they are is said, and not yet what may come"
    lab.run("anchor", "accept", lab.head, "--reason", "restored")
    assert lab.reconcile().converged and lab.identities() == before
    assert lab.run("owner", "show").stdout.split()[1:] == ["also", key]


def test_a_tightened_host_gives_nothing_that_it_does_not_name(lab: Place) -> None:
    """One thing taken away is enough: whatever is as good as it is gone as well."""
    (lab.root / "data").mkdir(mode=0o755)
    lab.tighten(f'privileged = false\nbinds = ["{lab.root}/data"]\n')
    asked = {
        "cap": "cap_add: [SYS_ADMIN]", "seccomp": "security_opt: ['seccomp=unconfined']", "ipc": "ipc_mode: host",
        "pid": "pid_mode: host", "cgroup": "cgroupns_mode: host", "device": "devices: [/dev/kmsg]",
        "run": "volumes: ['/run:/x']", "sysctl": "sysctls: {kernel.shm_rmid_forced: 1}", "priv": "privileged: true",
        "profile": "security_opt: ['seccomp={\"defaultAction\": \"SCMP_ACT_ALLOW\"}']",
        "log": "log_driver: syslog\nlog_opts: {syslog-address: 'unix:///run/x'}",
    }  # fmt: skip
    good = f"rt-word-good\nvolumes: ['{lab.root}/data:/x', 'rt-word-data:/data']"
    report = lab.ask(good, *(f"rt-word-{name}\n{text}" for name, text in asked.items()))
    assert {target: reason for target, (reason, _) in held(report).items()} == {
        f"rt-word-{name}": "PolicyDenied" for name in asked
    }
    assert lab.identities().keys() == {"rt-word-good"}


def test_a_bind_is_what_it_really_is(lab: Place, client: docker.DockerClient) -> None:
    """A container puts a link where it may write; a later commit binds the link."""
    for name in ("data", "secret"):
        (lab.root / name).mkdir(mode=0o755)
    (lab.root / "secret/file").write_text("the host's")
    lab.tighten(f'base = "kolla"\nbinds = ["{lab.root}/data"]\n')
    writer = f"rt-word-writer\nvolumes: ['{lab.root}/data:/x']"
    assert lab.ask(writer).converged
    container = client.containers.get("rt-word-writer")
    for target, name in (
        (lab.root / "secret", "a"),
        (lab.root / "secret/file", "b"),
        (Path("/"), "c"),
        ("../secret", "d"),
    ):
        assert container.exec_run(["ln", "-s", str(target), f"/x/{name}"]).exit_code == 0
    assert container.exec_run(["mkdir", "/x/real"]).exit_code == 0
    binds = {"a": "a", "b": "b", "c": "c/etc", "d": "d/file", "e": "../secret", "real": "real"}
    report = lab.ask(
        writer, *(f"rt-word-{n}\nvolumes: ['{lab.root}/data/{path}:/y']" for n, path in binds.items() if n != "e")
    )
    assert {target for target, (reason, _) in held(report).items() if reason == "PolicyDenied"} == {
        f"rt-word-{name}" for name in "abcd"
    }
    assert f"leads to {lab.root}/secret" in held(report)["rt-word-a"][1]
    assert "rt-word-real" in lab.identities() and not {f"rt-word-{n}" for n in "abcd"} & lab.identities().keys()
    # Exchanged after it was made: it is not started again.
    client.containers.get("rt-word-real").stop(timeout=1)
    assert container.exec_run(["sh", "-c", f"mv /x/real /x/was && ln -s {lab.root}/secret /x/real"]).exit_code == 0
    report = lab.reconcile()
    assert held(report)["rt-word-real"][0] == "PolicyDenied" and not lab.identities()["rt-word-real"][1]


def test_a_strict_host_binds_nothing_that_a_container_can_exchange(lab: Place) -> None:
    for name in ("data/sub", "open", "theirs/sub"):
        (lab.root / name).mkdir(parents=True)
    os.chown(lab.root / "theirs", 1000, 1000)
    binds = ", ".join(f'"{lab.root}/{name}"' for name in ("data", "theirs"))
    lab.tighten(f'base = "strict"\nbinds = [{binds}]\n')
    report = lab.ask(
        f"rt-word-writer\nnetwork_mode: none\nvolumes: ['{lab.root}/data:/x']",
        f"rt-word-below\nnetwork_mode: none\nvolumes: ['{lab.root}/data/sub:/x']",
        f"rt-word-users\nnetwork_mode: none\nvolumes: ['{lab.root}/theirs/sub:/x']",
        "rt-word-net",
        "rt-word-clock\nnetwork_mode: none\nvolumes: ['/etc/localtime:/etc/localtime:ro']",  # given binds are all there are
    )
    found = {target.removeprefix("rt-word-"): message for target, (_, message) in held(report).items()}
    assert found.keys() == {"below", "users", "net", "clock"}, found
    assert "rt-word-writer can write to" in found["below"] and "belongs to user 1000" in found["users"]


def test_a_volume_that_is_a_bind_in_disguise(lab: Place, client: docker.DockerClient) -> None:
    (lab.root / "secret").mkdir()
    options = {"type": "none", "o": "bind", "device": str(lab.root / "secret")}
    volume = client.volumes.create("rt-word-disguised", driver="local", driver_opts=options)
    try:
        report = lab.ask("rt-word-a\nvolumes: ['rt-word-disguised:/x']")
        assert (
            held(report)["rt-word-a"][0] == "PolicyDenied" and str(lab.root / "secret") in held(report)["rt-word-a"][1]
        )
        lab.tighten('volumes = ["rt-word-disguised"]\n')
        assert lab.reconcile().converged, "the host's owner names it"
    finally:
        lab.ask("rt-word-b", message="nobody uses it")
        volume.remove()


def test_the_last_words_of_a_container_are_read_through_no_link(lab: Place, client: docker.DockerClient) -> None:
    """What it binds became a link to the host's files while it ran; its log is quoted in reports."""
    for name in ("logs", "secret"):
        (lab.root / name).mkdir()
    lab.tighten(f'base = "kolla"\nbinds = ["{lab.root}/logs"]\n')
    (lab.root / "logs/real").mkdir()
    assert lab.ask(f"rt-word-a\nvolumes: ['{lab.root}/logs/real:/log']\nlog_files: [/log/*.log]").converged
    # Only what was written since it was started counts.
    (lab.root / "logs/real/a.log").write_text("fine")
    (lab.root / "secret/a.log").write_text("the host's own")
    target = lab.target()
    container = target.desired.containers[0]
    assert "fine" in lab.node.engine.last_words(container)
    (lab.root / "logs/real").rename(lab.root / "logs/was")
    (lab.root / "logs/real").symlink_to(lab.root / "secret")
    assert "the host's own" not in lab.node.engine.last_words(container)


@pytest.mark.parametrize("mode", ["4755", "2755", "1777", "0666", "06755"])
def test_no_file_gets_a_mode_that_hands_it_over(lab: Place, mode: str) -> None:
    report = lab.ask(f"rt-word-a\nfiles: [{{name: a.conf, content: x, mode: \"{{{{ '{mode}' }}}}\"}}]")
    assert report.refusal is not None and "not a mode for a file" in "".join(report.refusal.problems)
    report = lab.ask(f"rt-word-a\nfiles: [{{name: a.conf, content: x, mode: '{mode}'}}]")
    assert report.refusal is not None and report.refusal.reason == "SiteInvalid" and not lab.identities()


CHECK = """\
checks:
  peek: {command: {container: rt-word-x, command: [touch, /seen]}, group: word}
"""


@pytest.mark.parametrize("adoption", ["equal", "never"])
def test_no_command_is_run_in_a_container_of_somebody_else(
    lab: Place, client: docker.DockerClient, adoption: str
) -> None:
    """Its name is all that a commit has to know, and it may do what this host grants to nobody else."""
    lab.tighten('base = "strict"\n')
    theirs = client.containers.run(
        "reconciler-test/busybox:1", ["sleep", "3600"], name="rt-word-x", detach=True, network_mode="none"
    )
    try:
        report = lab.ask("rt-word-x\nnetwork_mode: bridge", more=CHECK, adoption=adoption)
        assert held(report)["rt-word-x"][0] == "NotOwned"
        (check,) = report.checks
        assert check.message == "no command is run in rt-word-x: it was made by somebody else"
        assert theirs.exec_run(["test", "-e", "/seen"]).exit_code == 1
        job = Job("kick", Container("kick", "x", command=("touch", "/seen")), "", inside="rt-word-x")
        with pytest.raises(errors.Terminal, match="made by somebody else"):
            Actions._inside(cast(Any, SimpleNamespace(_engine=lab.node.engine)), job)
        assert theirs.exec_run(["test", "-e", "/seen"]).exit_code == 1
    finally:
        theirs.remove(force=True)


def test_nor_in_one_of_another_installation(lab: Place, tmp_path: Path, client: docker.DockerClient) -> None:
    asked = "rt-word-x\nnetwork_mode: none"
    assert lab.ask(asked, more=CHECK).converged
    mine = client.containers.get("rt-word-x")
    assert mine.exec_run(["rm", "/seen"]).exit_code == 0, "in one's own it is"
    with Place(tmp_path / "other", lab.engine_url, name="word-other", tls=False) as other:
        report = other.ask(asked, more=CHECK)
        assert [check.ok for check in report.checks] == [False]
        assert mine.exec_run(["test", "-e", "/seen"]).exit_code == 1


def test_nor_is_its_network_or_its_processes_shared(lab: Place, client: docker.DockerClient) -> None:
    """Whoever shares them has what this host denies: its network, say."""
    lab.tighten('base = "strict"\nnetworks = ["none"]\n')
    theirs = client.containers.run(
        "reconciler-test/busybox:1", ["sleep", "3600"], name="rt-word-x", detach=True, network_mode="host"
    )
    try:
        with_theirs = "rt-word-y\nnetwork_mode: container:rt-word-x\npid_mode: container:rt-word-x"
        report = lab.ask("rt-word-x\nnetwork_mode: none", with_theirs)
        assert held(report)["rt-word-x"][0] == "NotOwned" and not lab.identities()
        reason, message = held(report)["rt-word-y"]
        assert reason == "PolicyDenied" and "network_mode container:rt-word-x" in message and "pid_mode" in message
    finally:
        theirs.remove(force=True)
    # Once the name is free it is the site's own.
    assert lab.reconcile().converged and lab.identities().keys() == {"rt-word-x", "rt-word-y"}
