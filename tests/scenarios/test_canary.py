"""Services, jobs, checks and a registrar say a secret in every way they can think of; it is looked for wherever words get to."""

import base64
import html
import io
import json
import logging
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from reconciler.codec import to_json
from reconciler.log import configure
from reconciler.report import Report
from reconciler.report.signed import encode, statement
from reconciler.report.text import plan_text, plans_markdown
from reconciler.secrets import sops
from reconciler.settings import Log
from reconciler.web.document import node_document
from tests.support.lab import ADDRESS, HOST, SITE, VIP, Lab

pytestmark = pytest.mark.engine

# How each of them says it: the files hold it plain; the shell makes the rest of it.
SAY = (
    "p=$(cat /pw); echo plain $p; echo base64 $(printf %s \"u:$p\" | base64); echo hex $(printf %s $p | od -An -tx1 | tr -d ' \\n');"
    " echo cut $(printf %s $p | cut -c1-20)"
)
SERVICE = """\
description: Everything that can fail with a secret in its mouth
groups: {web: []}
passwords: {canary_password: {kind: random}, other_password: {kind: random}}
containers:
  rt-web:
    group: web
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "@WEB@"]
    files: [{name: pw, content: "{{ canary_password }}", destination: /pw}]
    stop_timeout: 1
    stability: 0.3
    start_timeout: 4
    healthcheck: "{{ web_healthcheck }}"
jobs:
  rt-job:
    container: rt-web
    enabled: "{{ with_job != '' }}"
    command: [sh, -c, "@SAY@; {{ with_job }}"]
    timeout: 2
    before: []
registrations:
  rabbitmq:
    enabled: "{{ with_registrar }}"
    vhosts: [{name: /canary}]
    users: [{name: canary, password: "{{ canary_password }}"}]
provides:
  rabbitmq: {url: "http://@ADDRESS@:@PORT@", username: admin, password: "{{ other_password }}"}
checks:
  said: {enabled: "{{ with_check }}", command: {container: rt-web, command: [sh, -c, "@SAY@; exit 3"]}, group: web}
"""
VARIABLES = """\
web_healthcheck: {description: Health., type: object, default: {}}
with_job: {description: How the job ends., type: string, default: ""}
with_registrar: {description: Whether there are registrations., type: boolean, default: false}
with_check: {description: Whether there is a check., type: boolean, default: false}
"""


class Broker:
    """A management API that repeats everything it is told, in one error after another."""

    def __init__(self) -> None:
        self.secrets: list[str] = []
        self.lets_in = True  # whoever asks who it is
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                said = f"{self.headers.get('Authorization')} {self.rfile.read(length).decode()} " + outer.words()
                body = json.dumps({"error": "bad_request", "reason": said}).encode()
                self.send_response(200 if self.path == "/api/whoami" and outer.lets_in else 400)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((ADDRESS, 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def words(self) -> str:
        return " ".join(spelling for secret in self.secrets for spelling in spellings(secret))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def spellings(secret: str) -> list[str]:
    data = secret.encode()
    return [
        secret,
        quote(secret, safe=""),
        base64.b64encode(data).decode(),
        base64.b64encode(b"admin:" + data).decode(),
        data.hex(),
        json.dumps(secret),
        html.escape(secret),
        f"near '{secret[:24]}'",
    ]


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    yield made
    made.close()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure(Log(level="debug", format="json"), stream)
    yield stream
    configure(Log())
    logging.basicConfig(force=True)


def sinks(lab: Lab, report: Report, log: io.StringIO) -> Iterator[tuple[str, str]]:
    """Everything that leaves the node or stays on its disk, but for the files that services read."""
    yield "log", log.getvalue()
    yield "report", json.dumps(to_json(report), ensure_ascii=False) + repr(report)
    yield "signed", encode(statement(report)).decode()
    yield "page", json.dumps(node_document(report, lab.node.state.history.newest(), {}), default=str)
    if report.plan:
        yield "plan", plan_text(report.plan) + plans_markdown([report.plan])
    lab.node.reporter.statuses.flush(10)
    yield "statuses", json.dumps(lab.statuses())
    for path in sorted(lab.state.rglob("*")):
        if path.is_file() and "repository.git" not in path.parts and "rollback" not in path.parts:
            yield str(path), path.read_bytes().decode(errors="replace")


def test_nobody_repeats_what_services_say(
    tmp_path: Path, engine_url: str, busybox_image: str, broker: Broker, log: io.StringIO
) -> None:
    values = {"canary_password": "cA$'1/" + secrets.token_urlsafe(24), "other_password": secrets.token_urlsafe(30)}
    broker.secrets = list(values.values())
    with Lab(tmp_path / "lab", engine_url) as lab:
        content = sops.encrypt(values, [Path(f"{lab.host_key}.pub").read_text().strip()])
        lab.write(
            {
                "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: {ADDRESS}}}\n    groups: [web]\n",
                "globals.yml": f"node_config_directory: {lab.config_root}\nkolla_internal_vip_address: {VIP}\n",
                "reconciler.yml": f"name: {SITE}\n",
                "services/web/service.yml": _service(broker, good=True),
                "services/web/variables.yml": VARIABLES,
                "passwords.yml": content.decode(),
            }
        )
        for said, ready, changes in (
            ("converges", True, {}),
            ("rt-job ended with exit code 4", False, {"with_job": "exit 4"}),
            ("rt-job did not end within 2 s", False, {"with_job": "sleep 60"}),
            ("HTTP 400", False, {"with_registrar": "true"}),
            ("ended with 3", False, {"with_check": "true"}),
            ("exited", False, {"web": "bad"}),
            ("health", False, {"web_healthcheck": _unhealthy()}),
        ):
            text = f"node_config_directory: {lab.config_root}\nkolla_internal_vip_address: {VIP}\n"
            text += "".join(f"{name}: {value}\n" for name, value in changes.items() if name != "web")
            lab.write({"globals.yml": text, "services/web/service.yml": _service(broker, good="web" not in changes)})
            broker.lets_in = "with_registrar" not in changes
            lab.push(said)
            report = lab.reconcile(deep=True)
            assert (report.converged and all(check.ok for check in report.checks)) == ready, (said, report)
            found = dict(sinks(lab, report, log))
            assert ready or said in found["report"] + found["log"], (said, found["report"])
            for secret in values.values():
                for name, words in found.items():
                    for spelling in {
                        *spellings(secret)[:-1],
                        secret[:20],
                        base64.b64encode(f"u:{secret}".encode()).decode(),
                    }:
                        assert spelling not in words, (said, name, words[max(words.index(spelling) - 200, 0) :][:400])
        assert "***" in log.getvalue()


def _service(broker: Broker, *, good: bool) -> str:
    web = "trap 'exit 0' TERM; while :; do sleep 0.1; done" if good else f"{SAY}; sleep 0.2; exit 7"
    filled = SERVICE.replace("@WEB@", web.replace("\\", "\\\\").replace('"', '\\"'))
    filled = filled.replace("@SAY@", SAY.replace("\\", "\\\\").replace('"', '\\"'))
    return filled.replace("@ADDRESS@", ADDRESS).replace("@PORT@", str(broker.port))


def _unhealthy() -> str:
    test = json.dumps(["CMD-SHELL", f"{SAY}; exit 1"])
    return f"{{test: {test}, interval: 1, timeout: 2, retries: 2, start_period: 1}}"
