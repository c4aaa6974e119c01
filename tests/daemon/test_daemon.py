"""The daemon as a process, with a real engine, a real repository and real signals."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import docker
import pytest
import requests

from tests.daemon.node import PROGRAM, TestNode, notify_socket, service, wait_for

pytestmark = pytest.mark.engine


def _running(client: docker.DockerClient, name: str) -> bool:
    found = client.containers.list(filters={"name": f"^{name}$"})
    return bool(found)


def test_a_push_is_converged_and_what_is_broken_by_hand_is_healed(
    node: TestNode, docker_client: docker.DockerClient
) -> None:
    name = node.name("web")
    node.push_site(name)
    with node.daemon() as daemon:
        daemon.settled()
        container = docker_client.containers.get(name)
        assert container.status == "running"
        assert node.report()["conditions"][0]["reason"] == "Converged"
        time.sleep(
            1.0
        )  # one told that it is in flight, one how it ended, and one looked closely: our own events lead to no more
        assert len(daemon.events("cycle.finished")) <= 4
        first = container.id

        # killed by hand: the interval is an hour, so it was the engine's event; `make bench` measures how quick
        for _ in range(3):
            container.kill()
            wait_for(lambda: _running(docker_client, name), "the container runs again", 30)
            time.sleep(1.0)
        container.reload()
        assert container.id == first
        daemon.wait("cycle.finished", 2)
        assert f"{name} was killed by hand (signal " in node.run("history").stdout
        assert f"{name}  killed by hand (signal " in node.run("events").stdout

        # a configuration file changed by hand
        greeting = next(node.config_root.rglob("greeting"))
        greeting.write_text("hacked\n")
        wait_for(lambda: greeting.read_text() == "hello\n", "the file is as it was", 30)

        # removed by hand
        wait_for(lambda: any(e["action"] == f"restart:{name}" for e in daemon.events("action.done")), "the restart")
        container.remove(force=True)
        wait_for(lambda: _running(docker_client, name), "the container is back")

        # a new commit, and SIGHUP
        node.push(service(name, node.image, text="goodbye"))
        daemon.hangup()
        wait_for(
            lambda: greeting.read_text() == "goodbye\n",
            "the new file",
        )
        time.sleep(1.5)
        count = len(daemon.events("cycle.finished"))
        time.sleep(1.0)
        # One may have had to wait for its turn, after so much that happened.
        assert len(daemon.events("cycle.finished")) <= count + 1, "passes go on though nothing happens"
        maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
        assert "libgit2" not in maps, "two commits were read, and neither by this process"


def test_an_invalid_push_is_refused_and_mended(node: TestNode, docker_client: docker.DockerClient) -> None:
    name = node.name("web")
    good = node.push_site(name)
    with node.daemon() as daemon:
        daemon.settled()
        started = docker_client.containers.get(name).attrs["State"]["StartedAt"]
        bad = node.push({"globals.yml": f"node_config_directory: {node.config_root}\nno_such_variable: 1\n"})
        daemon.hangup()
        refused = daemon.wait("revision.refused")[0]
        assert refused["revision"] == bad
        assert "no_such_variable" in refused["problems"][0]
        assert node.anchor() == good
        assert docker_client.containers.get(name).attrs["State"]["StartedAt"] == started
        wait_for(lambda: node.report().get("refusal"), "the report")
        status = node.run("status").stdout
        assert "SourceReady  no" in status
        assert "no_such_variable" in status
        mended = node.push({"globals.yml": f"node_config_directory: {node.config_root}\n"})
        daemon.hangup()
        wait_for(
            lambda: node.anchor() == mended,
            "the mended commit",
        )


def test_git_down_keeps_enforcing(node: TestNode, docker_client: docker.DockerClient) -> None:
    name = node.name("web")
    node.push_site(name)
    node.write_settings(interval=1)
    with node.daemon() as daemon:
        daemon.settled()
        node.repository.rename(node.folder / "gone.git")
        daemon.wait("source.backoff", 2)
        pauses = [row["seconds"] for row in daemon.events("source.backoff")]
        assert pauses[1] > pauses[0]
        docker_client.containers.get(name).kill()
        wait_for(lambda: _running(docker_client, name), "healed without git")
        conditions = {c["type"]: c for c in node.report()["conditions"]}
        assert not conditions["SourceReady"]["status"]
        assert conditions["SourceReady"]["reason"] == "GitNotFound"
        (node.folder / "gone.git").rename(node.repository)
        daemon.hangup()
        wait_for(
            lambda: {c["type"]: c for c in node.report()["conditions"]}["SourceReady"]["status"],
            "git again",
        )


def test_sigterm_in_the_middle_ends_at_a_safe_point(node: TestNode, docker_client: docker.DockerClient) -> None:
    names = [node.name(f"web{number}") for number in range(4)]
    node.push_site(*names)
    node.write_settings(daemon="")
    with node.daemon() as daemon:
        wait_for(lambda: _running(docker_client, names[0]), "the first container", 20)
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(15) == 0
        assert daemon.events("daemon.stopped")
    before = {c.name: (c.id, c.attrs["State"]["StartedAt"]) for c in docker_client.containers.list() if c.name in names}
    with node.daemon() as daemon:
        daemon.wait("daemon.started", 2)
        wait_for(lambda: all(_running(docker_client, name) for name in names), "all containers", 20)
        wait_for(lambda: node.report()["conditions"][0]["status"], "ready", 20)
    for name, (identity, started) in before.items():
        container = docker_client.containers.get(name)
        assert (container.id, container.attrs["State"]["StartedAt"]) == (identity, started)


def test_systemd_is_told(node: TestNode, tmp_path: Path, docker_client: docker.DockerClient) -> None:
    name = node.name("web")
    node.push_site(name)
    with notify_socket(tmp_path) as messages:
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        with node.daemon(env) as daemon:
            wait_for(
                lambda: any(m.startswith("READY=1") for m in messages()),
                "READY",
            )
            daemon.settled()
            wait_for(
                lambda: any("containers as wanted" in m for m in messages()),
                "STATUS",
            )
            count = messages().count("WATCHDOG=1")
            wait_for(lambda: messages().count("WATCHDOG=1") >= count + 3, "signs of life")
            # A main loop that hangs gives no sign of life: here it is stopped as a whole.
            daemon.process.send_signal(signal.SIGSTOP)
            time.sleep(0.3)
            count = messages().count("WATCHDOG=1")
            time.sleep(0.8)
            assert messages().count("WATCHDOG=1") == count
            daemon.process.send_signal(signal.SIGCONT)
            daemon.process.terminate()
            daemon.process.wait(15)
            assert "STOPPING=1" in messages()


def test_suspended_it_looks_and_does_nothing(node: TestNode, docker_client: docker.DockerClient) -> None:
    name = node.name("web")
    node.push_site(name)
    with node.daemon() as daemon:
        daemon.settled()
        assert "the daemon was told" in node.run("suspend", "--reason", "replacing a disk").stdout
        wait_for(
            lambda: node.report().get("suspended") == "replacing a disk",
            "suspended",
        )
        docker_client.containers.get(name).kill()
        wait_for(
            lambda: node.report().get("plan", {}).get("held"),
            "seen",
        )
        assert not _running(docker_client, name)
        assert "Suspended" in node.run("plan").stdout
        assert "replacing a disk" in node.run("status").stdout
        node.run("resume")
        wait_for(
            lambda: _running(docker_client, name),
            "healed after resume",
        )


def test_an_engine_that_comes_later_is_used_at_once(node: TestNode) -> None:
    link = node.folder / "engine.sock"
    name = node.name("web")
    node.push_site(name)
    node.settings_file.write_text(node.settings_file.read_text().replace(node.engine_url, f"unix://{link}"))
    with node.daemon() as daemon:
        failed = daemon.settled()[0]
        assert failed["reason"] == "EngineUnreachable"
        link.symlink_to(node.engine_url.removeprefix("unix://"))
        wait_for(lambda: node.report()["conditions"][0]["reason"] == "Converged", "converged")
        assert daemon.events("engine.connected")


def test_a_failed_cycle_does_not_end_it(node: TestNode) -> None:
    node.push_site(node.name("web"))
    with node.daemon() as daemon:
        daemon.settled()
        anchor = node.state_dir / "anchor.json"
        content = anchor.read_bytes()
        anchor.write_bytes(b"{")
        daemon.hangup()
        wait_for(lambda: daemon.events("cycle.finished")[-1]["reason"] == "StateCorrupt", "it is said")
        assert f"{anchor} is not readable as JSON" in node.run("status").stdout
        anchor.write_bytes(content)
        count = len(daemon.events("cycle.finished"))
        daemon.hangup()
        daemon.wait("cycle.finished", count + 1)


@pytest.mark.parametrize("seconds", [0.0, 2.5], ids=["while the pass waits", "in flight"])
def test_what_failed_waits_for_its_turn(node: TestNode, seconds: float) -> None:
    """The end of an apply leads to a pass, and that begins nothing of it anew: the pauses between two tries would count for nothing."""
    name = node.name("web")
    node.push_site(name)
    over = Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as registry, node.daemon() as daemon:
        hanging_up = Thread(target=_hang_up, args=(registry, seconds, over))
        hanging_up.start()
        try:
            daemon.settled()
            time.sleep(1.0)  # what the start led to is over
            node.push(service(name, f"127.0.0.1:{registry.getsockname()[1]}/nosuch:1"))
            daemon.hangup()
            daemon.wait("cycle.backoff")
            time.sleep(2 * seconds + 2.0)
            count = len(daemon.events("action.failed"))
            assert count == 1, f"{count} tries, though the next one is due in an hour"
            assert node.report()["conditions"][0]["reason"] == "RegistryUnreachable"
            daemon.hangup()  # the operator's word is a turn
            daemon.wait("action.failed", 2)
        finally:
            over.set()
            hanging_up.join()


def _hang_up(registry: socket.socket, seconds: float, over: Event) -> None:
    """A registry that ends each connection after some seconds."""
    registry.settimeout(0.2)
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            connection, _ = registry.accept()
            over.wait(seconds)
            connection.close()


def test_one_daemon_per_node(node: TestNode) -> None:
    node.push_site(node.name("web"))
    with node.daemon() as daemon:
        daemon.wait("daemon.started")
        second = subprocess.run(
            [PROGRAM, "run", "--config", node.settings_file], capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert f"process {daemon.process.pid}" in second.stderr
        assert "[AlreadyRunning]" in second.stderr
        assert f"process {daemon.process.pid}" in node.run("status").stdout


def test_metrics_and_textfile(node: TestNode) -> None:
    name = node.name("web")
    node.push_site(name)
    textfile = node.folder / "reconciler.prom"
    node.write_settings(daemon=f'textfile = "{textfile}"')
    with node.daemon() as daemon:
        port = daemon.wait("daemon.started")[0]["metrics"]
        daemon.settled()
        wait_for(textfile.exists, "the textfile", 5)

        def told() -> str:
            return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text

        wait_for(lambda: 'reconciler_condition{type="Ready"} 1.0' in told(), "ready")
        text = told()
        assert 'reconciler_actions_total{result="done",verb="create"} 1.0' in text
        assert "reconciler_managed_containers 1.0" in text
        assert "reconciler_engine_connected 1.0" in text
        assert "reconciler_reconcile_duration_seconds_bucket" in textfile.read_text()


def test_idle_it_is_small(node: TestNode) -> None:
    node.push_site(node.name("web"))
    with node.daemon() as daemon:
        daemon.settled()
        time.sleep(2.0)
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
        resident = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
        # Others may use this engine, too, and its events are heard: the quietest of some moments counts.
        shares = []
        for _ in range(5):
            before = _nanoseconds(daemon.process.pid)
            time.sleep(1.5)
            shares.append((_nanoseconds(daemon.process.pid) - before) / 1.5e9)
        assert min(shares) <= 0.002, f"it uses {min(shares):.2%} of a core though nothing happens"
        assert resident <= 60, f"{resident:.0f} MiB"


def _nanoseconds(pid: int) -> int:
    """Processor time of all threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def test_a_state_that_vanishes_under_the_daemon(node: TestNode, docker_client: docker.DockerClient) -> None:
    """It changes nothing, says so, keeps others out, and goes on when the state is back or an operator has decided."""
    name = node.name("web")
    good = node.push_site(name)

    def is_lost() -> bool:
        return "StateLost" in node.run("status").stdout

    with node.daemon() as daemon:
        daemon.settled()
        time.sleep(1.0)  # what it does after its pass is done as well
        shutil.move(node.state_dir, node.folder / "away")
        daemon.hangup()
        wait_for(lambda: any(row["reason"] == "StateLost" for row in daemon.events("cycle.finished")), "it notices")
        shown = node.run("status", "--detailed-exitcode", check=False)
        assert shown.returncode == 2 and f"runs, process {daemon.process.pid}" in shown.stdout and is_lost()
        assert not node.state_dir.exists(), "nothing of it is made anew by looking"
        # Another directory in its place, a stranger's commit and a killed container: nothing is done about any of them.
        shutil.copytree(node.folder / "away", node.state_dir)
        docker_client.containers.get(name).kill()
        stranger = node.push(service(name, node.image, text="stranger"))
        passes = len(daemon.events("cycle.finished"))
        daemon.hangup()
        daemon.wait("cycle.finished", passes + 1)
        assert not _running(docker_client, name) and node.anchor() == good and is_lost()
        second = subprocess.run(
            [str(PROGRAM), "run"],
            env={**os.environ, "RECONCILER_CONFIG": str(node.settings_file)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert second.returncode == 1 and "AlreadyRunning" in second.stderr
        # The very directory comes back: nothing was lost.
        node.state_dir.rename(node.folder / "a stranger's")  # at once: the daemon may be writing into it
        (node.folder / "away").rename(node.state_dir)
        daemon.hangup()
        wait_for(lambda: node.anchor() == stranger and _running(docker_client, name), "it goes on", 40)
        wait_for(lambda: not is_lost(), "the pass has ended, and says so", 40)

        identity = docker_client.containers.get(name).id
        node.state_dir.rename(node.folder / "gone")  # at once: the daemon may be writing into it
        wanted = node.push(service(name, node.image, text="wanted"))
        daemon.hangup()
        wait_for(lambda: daemon.events("cycle.finished")[-1]["reason"] == "StateLost", "it notices again")
        assert not node.state_dir.exists()
        node.run("anchor", "accept", wanted, "--reason", "the disk was exchanged")
        greeting = next(node.config_root.rglob("greeting"))
        wait_for(lambda: greeting.read_text() == "wanted\n", "the operator's word counts", 40)
        wait_for(lambda: daemon.events("cycle.finished")[-1]["reason"] == "Converged", "well again", 40)
        wait_for(lambda: not is_lost(), "and status says so", 40)
        assert docker_client.containers.get(name).id == identity


def test_an_older_copy_of_the_state_is_not_taken_for_the_state(node: TestNode) -> None:
    name = node.name("web")
    node.push_site(name)
    node.run("reconcile")
    shutil.copytree(node.state_dir, node.folder / "backup")
    newer = node.push(service(name, node.image, text="newer"))
    node.run("reconcile")
    shutil.rmtree(node.state_dir)
    shutil.move(node.folder / "backup", node.state_dir)
    found = node.run("reconcile", check=False)
    assert found.returncode == 1 and "older copy" in found.stdout and newer[:12] in found.stdout
    assert "[StateLost]" in node.run("drift", check=False).stderr
    node.run("anchor", "accept", newer, "--reason", "restored from the backup")
    node.run("reconcile")
