"""How the compute of a host is taken out of use and back: the program that a drain runs, against a stand-in of Nova's API."""

import contextlib
import functools
import io
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from reconciler.render import render
from tests.services import golden

CONF = """\
[DEFAULT]
{host}
[service_user]
auth_type = none
endpoint = {url}
"""


@dataclass
class Nova:
    """Two computes, and what is on the first one, `cmp`, where the program runs. `moves` says of an instance by name what comes of its move: "" for well."""

    servers: dict[str, dict[str, Any]] = field(default_factory=dict)
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    moves: dict[str, Callable[[dict[str, Any]], tuple[int, str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    builds: dict[str, int] = field(default_factory=dict)  # instance → looks until it is built
    machine: str = "cmp"  # what uname -n says there

    def compute(self, host: str, status: str = "enabled", state: str = "up", reason: str | None = None) -> None:
        self.services[f"id-{host}"] = {
            "id": f"id-{host}", "host": host, "binary": "nova-compute", "status": status, "state": state, "disabled_reason": reason,
        }  # fmt: skip

    def server(self, name: str, vm: str = "active", task: str | None = None, power: int = 1, host: str = "cmp") -> None:
        self.servers[f"id-{name}"] = {
            "id": f"id-{name}", "name": name, "OS-EXT-STS:vm_state": vm, "OS-EXT-STS:task_state": task, "OS-EXT-STS:power_state": power,
            "OS-EXT-SRV-ATTR:host": host,
        }  # fmt: skip

    def where(self, name: str) -> str:
        return str(self.servers[f"id-{name}"]["OS-EXT-SRV-ATTR:host"])

    def get(self, path: str, query: str) -> Any:
        if path == "/os-services":
            return {"services": list(self.services.values())}
        if path == "/servers/detail":
            self._go_on()
            [host] = parse_qs(query)["host"]
            return {"servers": [one for one in self.servers.values() if one["OS-EXT-SRV-ATTR:host"] == host]}
        _, _, identity, *rest = path.split("/")
        if rest:
            details = self.failures.get(identity)
            events = (
                []
                if details is None
                else [{"event": "conductor_migrate_server", "result": "Error", "details": details}]
            )
            return {"instanceAction": {"message": None if details is None else "Error", "events": events}}
        return {"server": self.servers[identity]}

    def _go_on(self) -> None:
        """What is on its way arrives, or does not."""
        for one in self.servers.values():
            if one["id"] in self.builds:
                self.builds[one["id"]] -= 1
                if self.builds[one["id"]] == 0:
                    one.update({"OS-EXT-STS:vm_state": "active", "OS-EXT-STS:task_state": None})
            if one["OS-EXT-STS:task_state"] != "migrating":
                continue
            one["OS-EXT-STS:task_state"] = None
            if one["id"] not in self.failures:
                one["OS-EXT-SRV-ATTR:host"] = "other"

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        identity = path.split("/")[2]
        one = self.servers[identity]
        assert body == {"os-migrateLive": {"host": None, "block_migration": "auto"}}
        self.asked.append(one["name"])
        code, why = self.moves.get(one["name"], lambda _: (202, ""))(one)
        if code != 202:
            return code, {"badRequest" if code == 400 else "conflictingRequest": {"code": code, "message": why}}
        if why:
            self.failures[identity] = why
        one["OS-EXT-STS:task_state"] = "migrating"
        return 202, None


@pytest.fixture
def nova() -> Iterator[Nova]:
    found = Nova()
    found.compute("cmp")
    found.compute("other")
    yield found


@functools.cache
def program() -> str:
    """The program, as the compute of a golden site gets it."""
    made = render(golden.load(golden.HERE / "compute" / "site", {}), "cmp", "0" * 40)
    return next(step.script for step in made.maintenance if step.name == "nova_compute")


@pytest.fixture
def drain(nova: Nova, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[object, str]]]:
    """Runs the program of the golden compute with words; returns how it ended and what it said."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, code: int, body: object) -> None:
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("x-compute-request-id", "req-1")
            self.end_headers()
            self.wfile.write(data)

        def _body(self) -> Any:
            return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

        def do_GET(self) -> None:
            assert self.headers["OpenStack-API-Version"] == "compute 2.84"
            path, _, query = self.path.partition("?")
            self._answer(200, nova.get(path, query))

        def do_POST(self) -> None:
            self._answer(*nova.post(self.path, self._body()))

        def do_PUT(self) -> None:
            nova.services[self.path.rpartition("/")[2]].update(self._body())
            self._answer(200, {})

        def log_message(self, *words: object) -> None:
            pass

    text = program()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        conf = tmp_path / "nova.conf"
        conf.write_text(CONF.format(host="", url=f"http://127.0.0.1:{server.server_port}"))
        for old, new in (
            ("/etc/nova/nova.conf", str(conf)),
            ("PAUSE = 3 ", "PAUSE = 0.01 "),
            ("SETTLES = 120 ", "SETTLES = 0.3 "),
        ):
            assert old in text
            text = text.replace(old, new)

        def run(*words: str) -> tuple[object, str]:
            monkeypatch.setattr(sys, "argv", ["nova-drain", *words])
            monkeypatch.setattr(socket, "gethostname", lambda: nova.machine)
            code: object = 0
            with contextlib.redirect_stdout(io.StringIO()) as out:
                try:
                    exec(compile(text, "nova-drain", "exec"), {"__name__": "__main__"})
                except SystemExit as end:
                    code = end.code
            return code, out.getvalue()

        yield run
        server.shutdown()


def test_what_runs_goes_elsewhere_and_the_compute_takes_nothing_until_it_is_back(
    nova: Nova, drain: Callable[..., tuple[object, str]]
) -> None:
    for number in range(6):
        nova.server(f"runs{number}")
    nova.server("waits", vm="paused", power=3)
    nova.server("off", vm="stopped", power=4)
    nova.server("broken", vm="error", power=4)
    nova.server("next", host="other")
    code, said = drain("out", "new memory")
    assert code == 0, said
    assert [nova.where(f"runs{number}") for number in range(6)] == ["other"] * 6 and nova.where("waits") == "other"
    assert nova.where("off") == nova.where("broken") == "cmp" and len(nova.asked) == 7
    own = nova.services["id-cmp"]
    assert (own["status"], own["disabled_reason"]) == ("disabled", "reconciler drain: new memory")
    assert "runs0 (id-runs0) is on other" in said
    assert "2 that do not run stay: broken (id-broken), off (id-off)" in said
    assert said.splitlines()[-1] == "7 virtual machines went; none runs on cmp."
    code, said = drain("out", "new memory")  # once more does nothing
    assert code == 0 and len(nova.asked) == 7 and "disabled already: reconciler drain: new memory" in said
    code, said = drain("back")
    assert code == 0 and own["status"] == "enabled", said
    assert drain("back") == (0, "nova-compute on cmp is not disabled.\n")


def test_what_an_operator_disabled_stays_so(nova: Nova, drain: Callable[..., tuple[object, str]]) -> None:
    nova.compute("cmp", "disabled", reason="broken fan")
    nova.server("one")
    assert drain("out", "a disk")[0] == 0 and nova.where("one") == "other"
    code, said = drain("back")
    assert code == 0 and "stays disabled, by somebody else: broken fan" in said
    assert nova.services["id-cmp"]["status"] == "disabled"


def test_it_is_refused_before_anything_changes(nova: Nova, drain: Callable[..., tuple[object, str]]) -> None:
    nova.compute("other", "disabled")
    nova.server("fine")
    nova.server("half", vm="resized")
    nova.server("ill", vm="error")
    nova.server("busy", task="image_uploading")
    code, said = drain("out", "a disk")
    problems = str(code).splitlines()
    assert (
        problems[0]
        == "error: there is no other compute that is up and enabled, so 4 virtual machines have nowhere to go"
    )
    assert "error: half (id-half) cannot go: its resize is to be confirmed or reverted first" in problems
    assert "error: ill (id-ill) cannot go: it is in error, and runs: mend or delete it" in problems
    assert "error: busy (id-busy) cannot go: it is being changed (image_uploading): wait for the end of it" in problems
    assert len(problems) == 4 and nova.asked == [] and nova.services["id-cmp"]["status"] == "enabled" and said == ""

    nova.compute("other")
    nova.compute("cmp", state="down")
    nova.servers = {key: one for key, one in nova.servers.items() if one["name"] == "fine"}
    code, _ = drain("out", "a disk")
    assert "nova-compute on cmp is not up" in str(code) and nova.asked == []
    nova.servers.clear()
    assert drain("out", "a disk")[0] == 0, "an empty one that is down can go"


def test_what_nova_refuses_or_fails_is_named_with_its_words(
    nova: Nova, drain: Callable[..., tuple[object, str]]
) -> None:
    for name in ("fine", "huge", "pinned", "late"):
        nova.server(name)
    nova.moves = {
        "huge": lambda _: (202, "No valid host was found. "),
        "pinned": lambda _: (409, "live-migration is not supported for instances with vTPM"),
    }
    conflicts = iter([(409, "it is in task_state powering-on"), (202, "")])
    nova.moves["late"] = lambda _: next(conflicts)
    code, said = drain("out", "a disk")
    assert sorted(str(code).splitlines()) == [
        "error: huge (id-huge) could not go: No valid host was found.",
        "error: pinned (id-pinned) cannot go: live-migration is not supported for instances with vTPM",
    ]
    assert nova.where("fine") == nova.where("late") == "other" and nova.where("huge") == "cmp"
    assert "2 virtual machines went, and stay where they are." in said
    assert nova.asked.count("pinned") == 2 and nova.asked.count("huge") == 1


def test_what_moves_already_is_waited_for(nova: Nova, drain: Callable[..., tuple[object, str]]) -> None:
    """A drain that was cut short is said again. What was on its way here when it was said has its time."""
    nova.compute("cmp", "disabled", reason="reconciler drain: a disk")
    nova.server("begun", task="migrating")
    nova.server("new", vm="building", task="spawning")
    nova.builds = {"id-new": 4}
    code, said = drain("out", "a disk")
    assert code == 0 and nova.where("begun") == nova.where("new") == "other" and nova.asked == ["new"], said


def test_a_compute_is_known_by_the_name_of_its_machine(nova: Nova, drain: Callable[..., tuple[object, str]]) -> None:
    nova.machine = "cmp.example.org"
    nova.compute("cmp.example.org")
    nova.server("one", host="cmp.example.org")
    nova.server("two")
    code, said = drain("out", "a disk")
    assert code == 0 and nova.where("one") == "other" and nova.where("two") == "cmp", said
    assert said.splitlines()[-1] == "1 virtual machines went; none runs on cmp.example.org."
    assert (
        nova.services["id-cmp.example.org"]["status"] == "disabled" and nova.services["id-cmp"]["status"] == "enabled"
    )
    assert drain("back")[0] == 0 and nova.services["id-cmp.example.org"]["status"] == "enabled"


def test_a_host_whose_compute_nova_does_not_know_is_not_called_empty(
    nova: Nova, drain: Callable[..., tuple[object, str]]
) -> None:
    nova.compute("cmp.example.org")
    del nova.services["id-cmp"]
    nova.server("one", host="cmp.example.org")
    code, said = drain("out", "a disk")
    assert str(code).splitlines()[0] == (
        "error: Nova knows no compute cmp, which is what nova-compute calls itself here; it knows cmp.example.org, other"
    )
    assert "none runs" not in said and nova.asked == []
    assert {one["status"] for one in nova.services.values()} == {"enabled"}, "nothing was changed"
    # Nothing was done, so nothing is left to undo; what a drain did under another name is.
    assert drain("back") == (0, "Nova knows no compute cmp: there is none to enable.\n")
    nova.compute("cmp.example.org", "disabled", reason="reconciler drain: a disk")
    code, _ = drain("back")
    assert "cmp.example.org is disabled by a drain: is it this host, by another name?" in str(code)
    nova.compute("cmp.example.org", "disabled", reason="broken fan")
    assert drain("back")[0] == 0
