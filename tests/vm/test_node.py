"""A node as people have one: the wheel, a live systemd, the distribution's engine, the host's own kernel settings, power cuts.

One machine for the whole file, in the order in which an operator would do it. It goes on from one that is kept, where the node was made.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.images.build import BUSYBOX
from tests.packaging.deb import RELEASES
from tests.support import wheel
from tests.vm.kept import kept, loaded
from tests.vm.machine import Machine
from tests.vm.node import HOST, SITE, Node
from tests.vm.program import PROGRAM, install

pytestmark = [pytest.mark.slow, pytest.mark.vm]

_LEGACY = "kolla-legacy-container.service"
_SLEEP = "sh -c \"trap 'exit 0' TERM; while :; do sleep 1; done\""
# With what matters of the units that kolla-ansible writes.
_KOLLA_UNIT = """\
[Unit]
After=docker.service
Wants=docker.service

[Service]
ExecStart=/usr/bin/docker start -a legacy
ExecStop=/usr/bin/docker stop legacy -t 5
Restart=always
RestartSec=11
SuccessExitStatus=143

[Install]
WantedBy=multi-user.target
"""
_LEGACY_SERVICE = f"""\
description: What another tool made
groups: {{}}
containers:
  legacy:
    group: edge
    kolla: false
    image: {BUSYBOX}
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 1; done"]
    stop_timeout: 5
    stability: 1
"""


def _install(wheels: Path, machine: Machine, share: Path) -> None:
    """The program from the wheel, the way the operations page says, and the node made of it."""
    shutil.copytree(wheels, share / "wheels")
    install(machine)
    node = Node(machine, PROGRAM)
    node.prepare()
    first = node.commit(SITE, "The site")
    words = f"{PROGRAM} node install --url file:///srv/site.git --host {HOST} --mode apply"
    done = node.run(words, seconds=1800, check=False)
    assert done.code == 0, done.stdout + done.stderr
    assert "the service runs" in done.stdout
    machine.wait("the first commit is in force", lambda: node.converged(first))


@pytest.fixture(scope="module", params=RELEASES)
def installed(request: pytest.FixtureRequest, engine_url: str, busybox_image: str) -> Iterator[Node]:
    # A short path: the names of sockets are.
    with TemporaryDirectory(prefix="vm-") as name:
        folder = Path(name)
        (folder / "wheels").mkdir()
        program = wheel.build(folder / "wheels")
        (folder / "share").mkdir()
        base = loaded(request.param, engine_url, "plain", [busybox_image])
        parts = (hashlib.sha256(program.read_bytes()).hexdigest(), sorted(SITE.items()))
        made = kept(base, "installed", parts, partial(_install, folder / "wheels"))
        machine = Machine(folder / HOST, made, name=HOST, share=folder / "share")
        try:
            machine.start()
            yield Node(machine, PROGRAM)
        finally:
            machine.stop()


def test_the_first_commit_is_in_force_with_all_that_needs_a_real_host(installed: Node) -> None:
    node = installed
    shown = node.status()
    assert str(shown["daemon"]) == node.pid() and shown["state"] == "ok" and shown["report"]["revision"] == node.head()
    assert json.loads(node.run("docker inspect edge").stdout)[0]["HostConfig"]["Privileged"] is True
    assert node.run("cat /proc/sys/net/ipv4/ip_nonlocal_bind").stdout.strip() == "1"
    assert "ip_vs " in node.run("lsmod").stdout
    # Through the shipped unit: what it may not do itself, the service manager does: /etc/hosts, udev, the module.
    assert node.run("getent hosts peer").stdout.split()[0] == "192.0.2.9"
    assert node.run("stat -c %a /dev/full").stdout.strip() == "640"
    assert node.run("systemctl show -p Type,NotifyAccess,WatchdogUSec,ActiveState reconciler").stdout.count("=") == 4
    assert node.run("stat -c %a /etc/reconciler/reconciler.toml").stdout.strip() == "600"
    # What systemd thinks of the unit: 0 is nothing exposed, 10 everything.
    exposure = node.run("systemd-analyze security --no-pager reconciler.service | tail -1", check=False).stdout
    assert float(exposure.split(":")[1].split()[0]) <= 3.2, exposure


def test_a_unit_of_kolla_ansible_is_let_go_of_without_stopping_its_container(installed: Node) -> None:
    """The daemon in its sandbox, a real systemd, and a unit that would stop the container when it is stopped."""
    node = installed
    node.run(f"docker create --name legacy --network host {BUSYBOX} {_SLEEP}")
    node.machine.put(f"/etc/systemd/system/{_LEGACY}", _KOLLA_UNIT)
    node.run(f"systemctl daemon-reload && systemctl enable --now {_LEGACY}")
    node.machine.wait("the unit runs it", lambda: node.container("legacy")[2])
    before = node.container("legacy")
    files = {
        "reconciler.yml": "name: real\nadoption: as-made\n",
        "services/legacy/variables.yml": "{}\n",
        "services/legacy/service.yml": _LEGACY_SERVICE,
    }
    commit = node.commit(files, "What kolla-ansible made")
    node.run("systemctl reload reconciler")
    node.machine.wait("it is taken over", lambda: node.converged(commit))

    def is_free() -> bool:
        shown = node.run(f"systemctl show -p ActiveState,SubState,Result,UnitFileState {_LEGACY}").stdout.split()
        return set(shown) == {"ActiveState=inactive", "SubState=dead", "Result=success", "UnitFileState=disabled"}

    assert is_free() and node.container("legacy") == before
    assert "unless-stopped" in node.run("docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' legacy").stdout
    assert node.run(f"systemctl cat {_LEGACY}").stdout.strip().endswith("WantedBy=multi-user.target"), (
        "nothing is left on top"
    )

    # As after a run of kolla-ansible, or with `node remove`: the unit waits for the container that runs.
    node.run(f"systemctl enable --now {_LEGACY}")
    assert node.container("legacy") == before
    node.run("systemctl reload reconciler")
    node.machine.wait("it is seen and taken over again", is_free)
    assert node.container("legacy") == before
    assert "kolla-ansible was at work" in node.run(f"{PROGRAM} history").stdout


def test_a_hung_daemon_is_ended_and_started_again_without_a_restart_of_containers(installed: Node) -> None:
    node = installed
    before, pid = node.container(), node.pid()
    node.run(f"kill -STOP {pid}")
    node.machine.wait("the watchdog has it started again", lambda: node.pid() not in ("0", pid))
    assert "watchdog" in node.run("journalctl -u reconciler --no-pager").stdout.lower()
    second = node.commit({"globals.yml": SITE["globals.yml"] + "# a word\n"}, "A word")
    node.machine.wait("it goes on", lambda: node.converged(second))
    assert node.container() == before


def test_reload_looks_at_once_and_stop_ends_in_order(installed: Node) -> None:
    node = installed
    before, pid = node.container(), node.pid()
    third = node.commit({"globals.yml": SITE["globals.yml"] + "# another word\n"}, "Another word")
    node.run("systemctl reload reconciler")
    node.machine.wait("reload is heard", lambda: node.converged(third))
    assert node.pid() == pid
    node.run("systemctl stop reconciler", seconds=300)
    assert node.run("systemctl show -p Result,ExecMainStatus reconciler").stdout.split() == [
        "Result=success",
        "ExecMainStatus=0",
    ]
    lines = node.run("journalctl -u reconciler _COMM=reconciler -o cat --no-pager").stdout.splitlines()
    assert {"daemon.started", "cycle.finished", "daemon.stopped"} <= {json.loads(line)["event"] for line in lines}
    assert node.container() == before
    node.run("systemctl start reconciler", seconds=300)


def test_boot_with_the_repository_away_keeps_what_was_in_force(installed: Node) -> None:
    node = installed
    node.run("mv /srv/site.git /srv/away.git")
    node.machine.reboot()
    node.machine.wait(
        "the container runs again", lambda: node.run("docker ps -q -f name=edge", check=False).stdout.strip()
    )
    node.machine.wait("the node looks", lambda: "Git" in json.dumps(node.report().get("source", {})))
    assert node.run("cat /proc/sys/net/ipv4/ip_nonlocal_bind").stdout.strip() == "1"
    assert "ip_vs " in node.run("lsmod").stdout
    assert node.run("getent hosts peer.example.org").stdout.split()[0] == "192.0.2.9"
    assert node.run("stat -c %a /dev/full").stdout.strip() == "640"
    node.run("mv /srv/away.git /srv/site.git")
    last = node.commit({"globals.yml": SITE["globals.yml"].replace("blue", "green")}, "Green")
    node.machine.wait("the repository is back", lambda: node.converged(last))


@pytest.mark.parametrize(("colour", "way"), [("red", "power_cut"), ("yellow", "reboot")])
def test_down_in_the_middle_of_a_change(installed: Node, colour: str, way: str) -> None:
    node = installed
    globals_ = re.sub("edge_colour: .*", f"edge_colour: {colour}", node.run("cat /srv/work/globals.yml").stdout)
    wanted = node.commit({"globals.yml": globals_}, colour.title())
    node.run("systemctl reload reconciler")
    written = "cat /etc/kolla/edge/edge.conf"
    node.machine.wait("the change has begun", lambda: colour in node.run(written, check=False).stdout)
    getattr(node.machine, way)()
    node.machine.wait("it converges", lambda: node.converged(wanted))
    assert colour in node.run(written).stdout and node.container()[2]
    assert node.has_nothing_to_do()


def test_what_nobody_asks_for_any_more_is_as_it_was(installed: Node) -> None:
    """And what somebody changes meanwhile is put right: with everything as the distribution has it."""
    node = installed
    node.run(
        "sysctl -q -w net.ipv4.ip_nonlocal_bind=0 && sed -i /peer/d /etc/hosts && chmod 600 /etc/udev/rules.d/99-edge.rules"
    )
    node.run("systemctl reload reconciler")
    node.machine.wait(
        "drift is put right",
        lambda: (
            node.run("cat /proc/sys/net/ipv4/ip_nonlocal_bind").stdout.strip() == "1"
            and node.run("getent hosts peer", check=False).stdout
            and node.run("stat -c %a /etc/udev/rules.d/99-edge.rules").stdout.strip() == "644"
        ),
    )
    service = SITE["services/edge/service.yml"]
    before, rest = service.partition("host:\n")[0], "containers:\n" + service.partition("containers:\n")[2]
    last = node.commit({"services/edge/service.yml": before + rest}, "Nothing of the host any more")
    node.run("systemctl reload reconciler")
    node.machine.wait("nothing is asked for", lambda: node.converged(last))
    assert node.run("cat /proc/sys/net/ipv4/ip_nonlocal_bind").stdout.strip() == "0"
    assert node.run("cat /etc/hosts").stdout == "127.0.0.1 localhost\n127.0.1.1 node\n"
    gone = "/etc/udev/rules.d/99-edge.rules /etc/sysctl.d/zz-reconciler.conf /etc/modules-load.d/reconciler.conf"
    assert node.run(f"ls {gone}", check=False).stdout == ""
    assert "ip_vs " in node.run("lsmod").stdout, "until the next boot: nobody can tell who counts on it"


def test_a_node_that_is_removed_leaves_everything_running(installed: Node) -> None:
    node = installed
    made, taken = node.container(), node.container("legacy")
    done = node.run(f"{PROGRAM} node remove --yes", seconds=1800, check=False)
    assert done.code == 0, done.stdout + done.stderr
    assert node.pid() == "0" and not node.run("ls /etc/systemd/system/reconciler.service", check=False).stdout
    assert (node.container(), node.container("legacy")) == (made, taken)
    shown = node.run(f"systemctl show -p ActiveState,UnitFileState {_LEGACY}").stdout.split()
    assert set(shown) == {"ActiveState=active", "UnitFileState=enabled"}, "its own unit has it again"
