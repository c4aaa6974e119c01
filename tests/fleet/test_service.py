"""The real programs: a node's daemon that signs with its key, and a reporter that reads it over HTTP."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.daemon.conftest import node as node_fixture
from tests.daemon.node import HOST, PROGRAM, Running, TestNode, notify_socket, wait_for
from tests.fleet.conftest import Fleet
from tests.git import servers

node = node_fixture


@contextlib.contextmanager
def reporter(settings: Path, folder: Path, **env: str) -> Iterator[Running]:
    """`reconciler reporter` as a process; ended with SIGTERM."""
    log = folder / "reporter.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [str(PROGRAM), "reporter", "--config", str(settings)],
            stdout=stream,
            stderr=stream,
            env={**os.environ, **env},
        )
    running = Running(process, log)
    try:
        yield running
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    except BaseException:
        print(log.read_text())
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def once(settings: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAM), "reporter", "--config", str(settings), "--once", *words],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.engine
def test_a_real_node_and_a_real_reporter(node: TestNode, tmp_path: Path) -> None:
    name, port = node.name("fleet"), servers.free_port()
    key = tmp_path / "ssh_host_ed25519_key"
    servers.ssh_key(key)
    node.write_settings(more=f'[report]\nlisten = "127.0.0.1:{port}"\nkey_file = "{key}"\n')
    node.push_site(name)
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    inventory = f'hosts:\n  {HOST}: {{addresses: {{network: 127.0.0.1}}, groups: [web], report_key: "{public}"}}\n'
    head = node.push({"inventory.yml": inventory + "groups:\n  web: {}\n"}, "whose key it is")
    settings = tmp_path / "reporter.toml"
    settings.write_text(
        f'[git]\nurl = "{node.repository.as_uri()}"\n[reporter]\nstate_dir = "{tmp_path}/reporter"\nport = {port}\n'
        'timeout = 30\n[log]\nformat = "json"\n'
    )
    down = once(settings, "--json")
    assert down.returncode == 1, down.stderr
    assert json.loads(down.stdout)["hosts"][0] | {"message": ""} == {
        "host": HOST, "group": "web", "state": "unknown", "stale": False, "commit": "", "reason": "ReportUnreachable",
        "message": "", "at": "", "program": "",
    }  # fmt: skip
    with node.daemon() as daemon:
        daemon.settled()
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: requests.get(f"{address}/report", timeout=10).status_code == 200, "the report")
        # Nothing else is given away there, and beside the metrics it is as well.
        assert requests.get(f"{address}/metrics", timeout=10).status_code == 404
        metrics = f"http://127.0.0.1:{daemon.events('daemon.started')[0]['metrics']}"
        assert requests.get(f"{metrics}/report", timeout=10).status_code == 200
        up = once(settings)
        assert up.returncode == 0, up.stdout + up.stderr
        assert "1/1 converged" in up.stdout and f"{HOST}" in up.stdout and head[:12] in up.stdout
        # OpenSSH says the same, with the file that the reporter made of the inventory.
        line, _, armor = requests.get(f"{address}/report", timeout=10).content.partition(b"\n")
        (tmp_path / "signature").write_bytes(armor)
        words = ["ssh-keygen", "-Y", "verify", "-n", "reconciler-report", "-I", HOST, "-s", str(tmp_path / "signature")]
        allowed = ["-f", str(tmp_path / "reporter" / "allowed_signers")]
        assert subprocess.run([*words, *allowed], input=line + b"\n", capture_output=True, check=False).returncode == 0
        assert subprocess.run([*words, *allowed], input=line + b" \n", capture_output=True, check=False).returncode
        assert json.loads(line)["statuses"][0]["description"].startswith("1 containers")
    assert once(settings).returncode == 1  # its daemon is gone: unknown, though it was converged a moment ago


def test_the_daemon(make_fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    fleet = make_fleet(3)
    head = fleet.place.push(fleet.hosts.site())
    fleet.hosts.say(head)
    fleet.place.write(listen="127.0.0.1:0", interval=3600, url="https://fleet.example.org/")
    with (
        notify_socket(tmp_path) as said,
        reporter(fleet.place.settings, tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify")) as running,
    ):
        page = f"http://127.0.0.1:{running.wait('reporter.started')[0]['page']}"
        running.wait("round.finished")
        wait_for(
            lambda: requests.get(f"{page}/status.json", timeout=10).json()["summary"] == "3/3 converged", "the page"
        )
        document = requests.get(f"{page}/status.json", timeout=10).json()
        assert (document["kind"], document["state"], document["revision"]["commit"]) == ("fleet", "converged", head)
        assert requests.get(page, timeout=10).headers["Content-Security-Policy"].startswith("default-src 'none'")
        for host, code in (("fleet.example.org", 200), ("evil.example.org", 421)):
            assert requests.get(page, headers={"Host": host}, timeout=10).status_code == code
        wait_for(lambda: len(fleet.contexts()) == 4, "the statuses")
        assert fleet.project and fleet.project.rows[0].target_url == "https://fleet.example.org/"
        assert requests.get(f"{page}/interruptions.json", timeout=10).json() == {}
        metrics = requests.get(f"{page}/metrics", timeout=10).text
        assert 'reconciler_fleet_hosts{state="converged"} 3.0' in metrics
        # SIGHUP asks now, and what cannot be read is said.
        fleet.hosts[1].answer = None
        running.hangup()
        running.wait("round.finished", 2)
        wait_for(
            lambda: requests.get(f"{page}/status.json", timeout=10).json()["counts"]["unknown"] == 1, "the next round"
        )
        assert (
            'reconciler_fleet_unknown_hosts{reason="ReportUnavailable"} 1.0'
            in requests.get(f"{page}/metrics", timeout=10).text
        )
        # A second one on the same state is refused.
        second = once(fleet.place.settings)
        assert second.returncode == 1 and "AlreadyRunning" in second.stderr
        wait_for(lambda: any("2/3 converged, 1 unknown" in line for line in said()), "the word to systemd")
    assert fleet.rows("reconciler/north", head) == [("success", "3/3 converged")]


def test_a_dry_run_posts_nothing(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(1)
    fleet.hosts.say(fleet.place.push(fleet.hosts.site()))
    done = once(fleet.place.settings, "--dry-run")
    assert done.returncode == 0 and "1/1 converged" in done.stdout, done.stderr
    assert fleet.requests() == 0
    assert once(fleet.place.settings).returncode == 0
    assert fleet.contexts() == {"reconciler/north", "reconciler/north/n0"}
    wrong = subprocess.run(
        [sys.executable, "-m", "reconciler", "reporter", "--json"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1 and "--once" in wrong.stderr


def test_it_ends_in_the_middle_of_a_round(make_fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    """Hosts that do not answer would hold it for minutes."""
    fleet = make_fleet(40, forge=False)
    fleet.place.push(fleet.hosts.site())
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.create_server((fleet.hosts[0].address, 0)))
        port = silent.getsockname()[1]
        for host in fleet.hosts.all[1:]:
            stack.enter_context(socket.create_server((host.address, port)))
        fleet.place.write(timeout=5, parallel=1, port=port)
        with reporter(fleet.place.settings, tmp_path) as running:
            running.wait("reporter.started")
            running.wait("revision.accepted")
            silent.accept()[0].close()  # it asks the first one; each of the others takes its five seconds
    assert not running.events("round.finished")
