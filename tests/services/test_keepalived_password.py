"""Another password of keepalived, one load balancer after the other: what the review says of it (`meanwhile` of keepalived_password), on two genuine
ones with a network of their own."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from tests.support.lab import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.images, pytest.mark.slow]

VIRTUAL = "198.51.100.250"
SETTINGS = """\
vrrp_instance one {{
    state BACKUP
    nopreempt
    interface d0
    virtual_router_id 51
    priority {priority}
    advert_int 1
    virtual_ipaddress {{
        {virtual} dev d0
    }}
    authentication {{
        auth_type PASS
        auth_pass {password}
    }}
}}
"""
START = """\
until ip link show d0 > /dev/null 2>&1; do sleep 0.1; done
rm -f /run/keepalived*
exec keepalived -nl -p /run/keepalived.pid -f /conf/{name}.conf
"""
CLIENT = """
import http.client, json, sys, time
keeps, one = sys.argv[2] == "kept", None
while True:
    began = time.time()
    try:
        one = one if keeps and one else http.client.HTTPConnection(sys.argv[1], 8080, timeout=10)
        one.request("GET", "/")
        said = one.getresponse().read().decode()
    except Exception as error:
        one, said = None, "failed: " + repr(error)
    print(json.dumps([began, time.time(), said]), flush=True)
    time.sleep(0.05)
"""
SERVER = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(sys.argv[1])))
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Answer).serve_forever()
"""


class Balancers:
    """Two in one network, `a` and `b`, and a client's place at the switch between them."""

    def __init__(self, docker_client: docker.DockerClient, image: str, folder: Path) -> None:
        self.folder = folder
        self._client, self._image = docker_client, image
        self._stack = contextlib.ExitStack()
        self.containers: dict[str, Container] = {}

    def __enter__(self) -> "Balancers":
        with contextlib.ExitStack() as undo:
            self.switch = self._process(undo, ["unshare", "--net", "sleep", "infinity"])
            time.sleep(0.5)  # until it has its namespace, which `ip` below would miss
            self._at(
                self.switch,
                "ip link add lan0 type bridge && ip address add 198.51.100.1/24 dev lan0 && ip link set lan0 up && ip link set lo up",
            )
            for number, name in enumerate("ab"):
                self.write(name, "former")
                self.containers[name] = one = self._client.containers.run(
                    self._image, ["-c", START.format(name=name)], entrypoint="bash", name=f"rt-keepalived-{name}-{os.getpid()}", user="root",
                    network_mode="none", cap_add=["NET_ADMIN", "NET_RAW", "NET_BROADCAST"],
                    volumes={str(self.folder): {"bind": "/conf", "mode": "ro"}}, detach=True,
                )  # fmt: skip
                undo.callback(one.remove, force=True, v=True)
                one.reload()
                pid = one.attrs["State"]["Pid"]
                self._at(
                    self.switch,
                    f"ip link add to-{name} type veth peer name d0 netns {pid} && ip link set to-{name} master lan0 up",
                )
                self._at(
                    pid, f"ip address add 198.51.100.{11 + number}/24 dev d0 && ip link set lo up && ip link set d0 up"
                )
                self._process(undo, ["nsenter", f"--target={pid}", "--net", sys.executable, "-c", SERVER, name])
            self._stack = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _process(self, undo: contextlib.ExitStack, argv: list[str], **more: object) -> int:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, **more)  # type: ignore[call-overload]
        undo.callback(process.wait)
        undo.callback(process.kill)
        return int(process.pid)

    @staticmethod
    def _at(pid: int, script: str) -> None:
        done = subprocess.run(
            ["nsenter", f"--target={pid}", "--net", "sh", "-ec", script], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def write(self, name: str, password: str) -> None:
        """Its settings, with a password."""
        text = SETTINGS.format(priority=1 + "ab".index(name), virtual=VIRTUAL, password=password)
        (self.folder / f"{name}.conf").write_text(text)

    def reload(self, name: str) -> None:
        """As the service's `reload` does."""
        code, output = self.containers[name].exec_run(
            ["bash", "-c", 'kill -HUP "$(< /run/keepalived.pid)"'], user="root"
        )
        assert code == 0, output

    def holders(self) -> str:
        """Who has the virtual address."""
        told = {
            name: one.exec_run(["ip", "address"], user="root").output.decode() for name, one in self.containers.items()
        }
        return "".join(name for name, text in told.items() if f"{VIRTUAL}/" in text)

    @contextlib.contextmanager
    def client(self, kind: str) -> Iterator[Path]:
        """Requests to the virtual address one after the other, over a connection each (`new`) or over one (`kept`); gives the file with the answers."""
        path = self.folder / kind
        with path.open("wb") as log, contextlib.ExitStack() as undo:
            argv = ["nsenter", f"--target={self.switch}", "--net", sys.executable, "-c", CLIENT, VIRTUAL, kind]
            self._process(undo, argv, stdout=log)
            yield path


def answers(path: Path) -> list[tuple[float, float, str]]:
    """When each request began and ended, and who answered."""
    return [tuple(json.loads(row)) for row in path.read_text().splitlines() if row.endswith("]")]


@pytest.fixture
def balancers(docker_client: docker.DockerClient, kolla_images: dict[str, str], tmp_path: Path) -> Iterator[Balancers]:
    if "keepalived" not in kolla_images:
        pytest.skip("needs the image keepalived (`make images` with --extra)")
    tmp_path.chmod(0o755)
    with Balancers(docker_client, kolla_images["keepalived"], tmp_path) as found:
        yield found


def test_two_hold_the_address_until_the_last_one_has_the_password(balancers: Balancers) -> None:
    wait_for("one holds the address", lambda: len(balancers.holders()) == 1, 60, 0.5)
    time.sleep(5)  # `nopreempt`: whoever came first keeps it
    holder = balancers.holders()
    other = "ab".replace(holder, "")
    password = secrets.token_hex(4)
    with balancers.client("new") as new, balancers.client("kept") as kept:
        wait_for("clients are answered", lambda: min(len(answers(path)) for path in (new, kept)) > 20, 60)
        balancers.write(other, password)  # whoever has the address goes last
        first = time.time()
        balancers.reload(other)
        wait_for("both hold it", lambda: balancers.holders() == "ab", 60, 0.2)
        both = time.time()
        time.sleep(5)
        assert balancers.holders() == "ab", "as long as they do not hear each other"
        balancers.write(holder, password)
        last = time.time()
        balancers.reload(holder)
        wait_for("one of them gives it up", lambda: len(balancers.holders()) == 1, 60, 0.2)
        one = time.time()
        time.sleep(3)
    broken = {path.name: [row for row in answers(path) if row[2].startswith("failed")] for path in (new, kept)}
    found = {
        "both after": round(both - first, 1),
        "one after": round(one - last, 1),
        "requests": len(answers(new)),
        "failed": broken,
        "slowest": round(max(row[1] - row[0] for row in answers(new)), 2),
        "answered by": {name: sum(row[2] == name for row in answers(new)) for name in "ab"},
    }
    print("keepalived", json.dumps(found), flush=True)
    assert broken["new"] == [], "both answer"
    assert 1 <= len(broken["kept"]) <= 2, "and a connection is to one of them"
    assert answers(kept)[-1][2] in "ab"
