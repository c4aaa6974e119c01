"""HTTP from both sides: requests that are nearly right for our server, answers that are nearly right for our clients.

Short in the default run. A failure says its seed; `FUZZ_SEED` and `FUZZ_SECONDS` run it anew, or longer.
"""

import contextlib
import json
import os
import secrets
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from reconciler import errors
from reconciler.alerts import deliver
from reconciler.fleet import poll
from reconciler.forge import ForgeSettings, Status, connect
from reconciler.model import Actual, Check, Registrar, Registration
from reconciler.node import probe
from reconciler.reasons import Reason
from reconciler.registrations import http as registrar_http
from reconciler.registrations.proofs import Proofs
from reconciler.registrations.registry import Registry
from tests.git import servers

from . import http_answers, http_requests

SEED = int(os.environ.get("FUZZ_SEED", "20261103"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "7"))
LONG = float(os.environ.get("FUZZ_SECONDS", "240"))
GOOD = b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
CODES = {200, 202, 304, 400, 401, 403, 404, 405, 413, 417, 421, 429, 431, 501, 503, 505}

# The tables of the real daemon, with a report that was never made; what a pass puts in is of no concern here.
SERVE = """
import sys
from pathlib import Path
from reconciler import settings
from reconciler.daemon.service import Daemon
from reconciler.log import configure
made = settings.load(Path(sys.argv[1]))
configure(made.log)
daemon = Daemon(made)
print(daemon._serve(), flush=True)
sys.stdin.read()
"""


class Served:
    """The real routes in a process of their own, whose log is kept."""

    def __init__(self, folder: Path) -> None:
        servers.ssh_key(folder / "key")
        (folder / "hook").write_text(secrets.token_hex(20))
        (folder / "settings.toml").write_text(
            f'host = "n0"\nstate_dir = "{folder}/state"\n[git]\nurl = "file://{folder}/none.git"\n'
            f'[daemon]\nmetrics = "127.0.0.1:0"\nwebhook = {{secret_file = "{folder}/hook", kinds = ["gitlab", "github", "gitea"]}}\n'
            f'[report]\nkey_file = "{folder}/key"\n[log]\nlevel = "info"\nformat = "json"\n'
        )
        self.log = folder / "log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-c", SERVE, str(folder / "settings.toml")]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())

    def size(self) -> tuple[int, int, int]:
        """Descriptors, threads, resident KiB."""
        own = Path(f"/proc/{self._process.pid}")
        resident = next(line for line in (own / "status").read_text().splitlines() if line.startswith("VmRSS"))
        return len(list((own / "fd").iterdir())), len(list((own / "task").iterdir())), int(resident.split()[1])

    def close(self) -> None:
        assert self._process.poll() is None, "the server ended"
        self._process.communicate("", timeout=20)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.close()


def exchange(port: int, parts: list[bytes], random: Random) -> bytes:
    """What comes back; a client may hang up in every way that there is."""
    with socket.create_connection(("127.0.0.1", port), timeout=45) as client:
        how = random.random()
        try:
            for part in parts:
                client.sendall(part)
                if len(parts) > 1 and random.random() < 0.1:
                    time.sleep(0.002)
            if how < 0.1:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
                return b""
            client.shutdown(socket.SHUT_WR)  # so that what is not whole is not waited for
        except OSError:
            pass  # answered and closed before it was all sent
        found = b""
        with contextlib.suppress(ConnectionError):
            while chunk := client.recv(1 << 16):
                found += chunk
        return found


def attack(port: int, seconds: float, seed: int) -> tuple[int, list[str]]:
    """How many requests were made, and what was wrong with answers."""
    until, wrong, count = time.monotonic() + seconds, list[str](), [0]

    def run(number: int) -> None:
        random = Random(f"{seed} {number}")
        while time.monotonic() < until and len(wrong) < 5:
            data = http_requests.request(random)
            found = exchange(port, list(http_requests.pieces(random, data)), random)
            count[0] += 1
            found = found.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
            if found and not (found.startswith(b"HTTP/1.1 ") and int(found[9:12]) in CODES):
                wrong.append(f"{found[:60]!r} to {data[:300]!r}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return count[0], wrong


def fuzz_the_server(served: Served, seconds: float) -> None:
    attack(served.port, min(seconds / 4, 20.0), SEED - 1)  # what it needs for itself it has from here on
    time.sleep(0.5)
    before = served.size()
    count, wrong = attack(served.port, seconds, SEED)
    assert wrong == []
    assert count > 20 * seconds
    until = time.monotonic() + 30
    while served.size()[:2] > before[:2] and time.monotonic() < until:
        time.sleep(0.1)
    after = served.size()
    assert after[:2] <= before[:2] and after[2] < before[2] + 8192, (before, after)
    answer = exchange(served.port, [GOOD], Random(1.0))
    assert answer.startswith(b"HTTP/1.1 200 ") and b'"kind"' in answer
    log = served.log.read_text()
    assert "Traceback" not in log and "http.failed" not in log
    assert len(log.splitlines()) < 100 + seconds  # strangers do not fill the log


def test_our_server(served: Served) -> None:
    fuzz_the_server(served, SECONDS)


@pytest.mark.slow
def test_our_server_for_long(served: Served) -> None:
    fuzz_the_server(served, LONG)


# --- clients ------------------------------------------------------------------------------------------------------------

COMMIT = "a" * 40
TOKEN = "glpat-" + secrets.token_hex(16)


def calls(folder: Path, port: int) -> list[Callable[[], Any]]:
    """Everything that asks a server which is not this program's; each raises nothing but the program's own errors."""
    url = f"http://127.0.0.1:{port}"
    (folder / "token").write_text(TOKEN)
    found: list[Callable[[], Any]] = []
    for kind in ("gitlab", "github", "gitea"):
        settings = ForgeSettings(kind, url, "cloud/site", folder / "token", timeout=1.0, retry_for=0.0)  # type: ignore[arg-type]
        forge = connect(settings)
        status = Status(COMMIT, "reconciler/north", "success", "3 containers")
        found += [
            lambda f=forge, s=status: f.post_status(s, "main"),
            lambda f=forge: f.find_status(COMMIT, "reconciler/north", "main"),
            lambda f=forge: f.statuses(COMMIT),
            lambda f=forge: f.upsert_note(4, "<!-- reconciler -->", "a note"),
            lambda f=forge: f.merge_request_of(COMMIT),
            lambda f=forge: f.deployment("north/n0", COMMIT, "main", "success"),
            lambda f=forge: f.deployments(),
        ]
    found.append(lambda: poll.fetch("127.0.0.1", port, 1.0))
    (folder / "key").write_text(TOKEN)
    for target in ("gitlab", "webhook"):
        argument = {"kind": target, "url": url, "key_file": str(folder / "key"), "messages": [{"a": 1}] * 2}
        found.append(lambda a=argument: deliver.run(a))
    check = Check("c", http=url, contains="x", timeout=1.0)
    found.append(lambda: probe._http(check, "", None))
    connection = {"url": url, "username": "admin", "password": "<<secret:admin>>"}
    registry = Registry(
        [Registrar(kind, {**connection, "auth_url": url}) for kind in ("rabbitmq", "keystone", "nova", "neutron")],
        lambda text: text.replace("<<secret:admin>>", TOKEN),
        patience=0.0,
        proofs=Proofs(),
    )
    password = {"password": "<<secret:admin>>"}
    wanted = [
        Registration("rabbitmq", "vhost", "nova"),
        Registration("rabbitmq", "user", "nova", {**password, "tags": ["a"]}),
        Registration("rabbitmq", "permission", "nova@/", {"configure": ".*", "write": ".*", "read": ".*"}),
        Registration("keystone", "service", "nova", {"type": "compute", "description": "x"}),
        Registration("keystone", "endpoint", "nova/internal/RegionOne", {"url": "http://10.0.0.1"}),
        Registration("keystone", "project", "service", {}),
        Registration("keystone", "role", "service", {}),
        Registration("keystone", "user", "nova", password),
        Registration("keystone", "role_assignment", "nova/service/admin", {}),
        Registration("nova", "flavor", "a", {"name": "a", "vcpus": 1, "ram": 1, "disk": 0, "public": True}),
        Registration("neutron", "network", "a", {"name": "a", "shared": False, "external": False}),
        Registration(
            "neutron", "subnet", "a/a", {"name": "a", "network": "a", "cidr": "10.0.0.0/8", "dhcp": True, "gateway": ""}
        ),
        Registration("neutron", "security_group", "a", {"name": "a", "description": "", "rules": ["tcp 22"]}),
    ]
    found += [lambda: looked(registry, wanted)] * 6
    for one in wanted:
        found += [lambda r=one: registry.converge(r), lambda r=one: registry.withdraw(r)]
    return found


def looked(registry: Registry, wanted: list[Registration]) -> None:
    observed, unknown = registry.observe(wanted, Actual({}, {}, {}))
    for why in unknown.values():
        raise errors.Transient(why, reason=Reason.RegistrarUnreachable)
    assert TOKEN not in str(observed)
    json.dumps(observed)


def fuzz_the_clients(folder: Path, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrar_http, "READ_SECONDS", 1.0)
    monkeypatch.setattr(registrar_http, "CONNECT_SECONDS", 1.0)
    monkeypatch.setattr(deliver, "_SECONDS", 1.0)
    hostile = http_answers.Hostile(SEED)
    random, until, count = Random(SEED), time.monotonic() + seconds, 0
    known = calls(folder, hostile.port)
    try:
        while time.monotonic() < until:
            call = random.choice(known)
            began = time.monotonic()
            try:
                call()
            except errors.ReconcilerError as error:
                said = str(error)
                assert TOKEN not in said and said.isprintable() and len(said) < 1500, (count, said)
            count += 1
            # The requests of one call, each with its second; what is slow beside them is this machine.
            assert time.monotonic() - began < 60
        assert count > seconds
    finally:
        hostile.close()


@pytest.mark.parametrize(
    "body", [b"[" * 4000, b'{"reason": ' * 300, b'{"reason": "x", "n": [' + b"9" * 5000 + b"]}", b"\xff"]
)
def test_a_check_says_nothing_of_an_answer_that_cannot_be_read(body: bytes) -> None:
    assert probe._stated(body) == ""


def test_our_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz_the_clients(tmp_path, SECONDS, monkeypatch)


@pytest.mark.slow
def test_our_clients_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz_the_clients(tmp_path, LONG, monkeypatch)
