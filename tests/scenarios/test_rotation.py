"""A password that its server keeps: a node refuses a commit that changes it before anything is touched, unless it fits already."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reconciler.secrets import sops
from reconciler.system import run
from tests.support.lab import HOST, Lab, lines

pytestmark = pytest.mark.engine

SERVICE = """\
description: A broker that keeps its own password
groups: {rot: []}
passwords:
  broker_password: {kind: random, fixed: "tell the broker first"}
  stored_key: {kind: random, fixed: "everything is encrypted with it"}
containers:
  rt-rot-broker:
    group: rot
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    stop_timeout: 1
    stability: 0.1
    files:
      - {name: conf, content: "password = {{ broker_password }}\\nkey = {{ stored_key }}\\n", destination: /etc/conf}
provides:
  rabbitmq: {url: "http://127.0.0.1:@PORT@", username: admin, password: "{{ broker_password }}", needs: []}
"""


APP = """\
description: A client of the broker, on two hosts
groups: {rot: []}
passwords: {app_password: {kind: random}}
containers:
  rt-rot-app:
    group: rot
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    stop_timeout: 1
    stability: 0.1
    files: [{name: conf, content: "password = {{ app_password }}\\n", destination: /etc/conf}]
registrations:
  rabbitmq: {users: [{name: app, password: "{{ app_password }}"}]}
"""


class Broker:
    """What the program logs in to: lets in whoever has the password that was told to it."""

    def __init__(self) -> None:
        self.password = ""
        self.app = ""
        broker = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                users = {"admin": broker.password, "app": broker.app}
                keys = [base64.b64encode(f"{user}:{word}".encode()).decode() for user, word in users.items()]
                body = json.dumps({"name": "admin"}).encode()
                self.send_response(200 if self.headers["Authorization"].removeprefix("Basic ") in keys else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def lab(tmp_path: Path, engine_url: str, busybox_image: str, broker: Broker) -> Iterator[Lab]:
    with Lab(tmp_path / "lab", engine_url, name="rot", tls=False) as lab:
        public = lab.host_key.with_suffix(".pub").read_text().split()
        address = "127.0.0.78"
        lab.write(
            {
                "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: {address}}}\n    groups: [rot]\n",
                "globals.yml": f"node_config_directory: {lab.config_root}\nkolla_internal_vip_address: {address}\n"
                "enable_openstack_core: false\n",
                "reconciler.yml": "name: rot\n",
                ".sops.yaml": f"creation_rules:\n  - path_regex: passwords.*\n    age: {public[0]} {public[1]}\n",
                "services/rot/service.yml": SERVICE.replace("@PORT@", str(broker.server.server_port)),
                "services/rot/variables.yml": "{}\n",
            }
        )
        lab.run("secrets", "generate", str(lab.site), timeout=120)
        broker.password = password(lab)
        lab.push("the first password")
        report = lab.reconcile()
        assert report.converged, report
        yield lab


def password(lab: Lab, name: str = "broker_password") -> str:
    content = (lab.site / "passwords.yml").read_bytes()
    return sops.decrypt(content, name="passwords.yml", keys=keys(lab))[name].reveal()


def keys(lab: Lab) -> sops.Keys:
    return sops.Keys(None, lab.host_key)


def rotate(lab: Lab) -> str:
    words = ("secrets", "rotate", "--name", "broker_password", str(lab.site), "--ssh-key-file", str(lab.host_key))
    said = lab.run(*words).stdout
    assert "tell the broker first" in said, "whoever rotates it is told"
    return password(lab)


def test_it_is_refused_until_the_server_has_it(lab: Lab, broker: Broker) -> None:
    good, before = lab.head, lab.identities()
    new = rotate(lab)
    lab.push("another password")
    for _ in range(2):
        report = lab.reconcile()
        assert report.refusal and report.refusal.reason == "RotationRefused", report
        assert "tell the broker first" in report.refusal.message and new not in report.refusal.message
        assert report.revision == good and lines(report) == [] and lab.identities() == before
    # What the advice says, followed: no further commit is needed.
    broker.password = new
    report = lab.reconcile()
    assert report.refusal is None and report.revision == lab.head and report.converged, report
    assert new in (lab.config_root / "rt-rot-broker/conf").read_text()


def test_the_same_value_encrypted_anew_is_no_rotation(lab: Lab, broker: Broker) -> None:
    """Though the server could not be asked."""
    before, old = (lab.site / "passwords.yml").read_bytes(), password(lab)
    environment = {"SOPS_AGE_SSH_PRIVATE_KEY_FILE": str(lab.host_key)}
    done = run.program([sops.find_program(None), "rotate", "-i", "passwords.yml"], env=environment, cwd=lab.site)
    assert done.code == 0, done.message
    assert (lab.site / "passwords.yml").read_bytes() != before and password(lab) == old
    broker.password = "something else entirely"
    head = lab.push("encrypted anew")
    report = lab.reconcile()
    assert report.refusal is None and report.revision == head


def test_where_nothing_logs_in_with_it_the_commit_says_that_it_was_changed(lab: Lab) -> None:
    """A key that data are encrypted with: refused, and accepted as the message says."""
    good = lab.head
    done = lab.run("secrets", "rotate", "--name", "stored_key", str(lab.site), "--ssh-key-file", str(lab.host_key))
    assert "everything is encrypted with it" in done.stdout
    lab.push("another key")
    report = lab.reconcile()
    assert report.refusal and report.refusal.reason == "RotationRefused" and report.revision == good
    assert "the new value cannot be tried" in report.refusal.message
    lab.write({"reconciler.yml": "name: rot\nchanged_by_hand: [stored_key]\n"})
    lab.push("changed by hand")
    report = lab.reconcile()
    assert report.refusal is None and report.revision == lab.head and report.converged, report


def test_a_host_waits_to_be_let_in_where_another_one_registers_the_user(lab: Lab, broker: Broker) -> None:
    """The first host of the two is not there. Whatever else of the commit there is waits as well, and drift is healed."""
    inventory = "hosts:\n" + "".join(
        f"  {name}:\n    addresses: {{network: {address}}}\n    groups: [rot]\n"
        for name, address in (("another", "127.0.0.79"), (HOST, "127.0.0.78"))
    )
    lab.write({"inventory.yml": inventory, "services/app/service.yml": APP, "services/app/variables.yml": "{}\n"})
    lab.run("secrets", "generate", str(lab.site), "--ssh-key-file", str(lab.host_key), timeout=120)
    broker.app = password(lab, "app_password")
    lab.push("a client")
    assert lab.reconcile().converged
    conf, good, before = lab.config_root / "rt-rot-app/conf", lab.head, lab.identities()
    lab.run("secrets", "rotate", "--name", "app_password", str(lab.site), "--ssh-key-file", str(lab.host_key))
    new = password(lab, "app_password")
    lab.push("another password of the client")
    conf.write_text("broken\n")
    for _ in range(2):
        report = lab.reconcile(deep=True)
        (held,) = {(one.reason, one.message) for one in report.plan.held} if report.plan else set()
        assert held[0] == "WaitsForOthers" and "rabbitmq login of app" in held[1] and new not in held[1]
        assert broker.app in conf.read_text() and report.kept == good
    assert set(lab.identities()) == set(before)
    broker.app = new
    report = lab.reconcile(deep=True)
    assert report.converged and report.kept == lab.head and new in conf.read_text(), report


def test_the_program_enters_with_either_password_while_its_host_waits(lab: Lab, broker: Broker) -> None:
    """Another host has carried the new one to the server, and this one's turn has not come."""
    service = SERVICE.replace("@PORT@", str(broker.server.server_port)).replace(', fixed: "tell the broker first"', "")
    frozen = "name: rot\nfreezes: [{name: always, from: 2000-01-01, to: 2999-12-31}]\n"
    lab.write({"services/rot/service.yml": service, "reconciler.yml": frozen})
    lab.push("nothing changes")
    assert lab.reconcile(deep=True).converged
    lab.run("secrets", "rotate", "--name", "broker_password", str(lab.site), "--ssh-key-file", str(lab.host_key))
    lab.push("another password")
    for word, is_let_in in ((broker.password, True), (password(lab), True), ("neither", False)):
        broker.password = word
        report = lab.reconcile(deep=True)
        assert report.plan and report.plan.held and not report.plan.actions
        (check,) = (one for one in report.checks if one.name == "rabbitmq login of the administrator")
        assert check.ok is is_let_in, check
