"""Under which names a host that left is forgotten: its programs took them from the machine, where they may have a domain."""

import contextlib
import functools
import io
import json
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reconciler.render import render
from tests.services import golden

CONF = "[{section}]\nauth_type = none\nendpoint = {url}\n"
# What the site says of it, whom the service knows, and who is left; None: it is refused.
CASES: tuple[tuple[str, tuple[str, ...], tuple[str, ...] | None], ...] = (
    ("", ("old", "new"), ("new",)),
    ("", ("old.example.org", "new.example.org"), ("new.example.org",)),
    ("", ("old", "old.example.org", "older", "older.example.org"), ("older", "older.example.org")),
    ("", ("old.example.org", "old.example.net", "new"), None),
    ("nodename: old.example.net", ("old.example.org", "old.example.net"), ("old.example.org",)),
    ("nodename: hypervisor.example.org", ("old.example.org", "hypervisor.example.org"), ("old.example.org",)),
    ("fqdn: old.example.net", ("old", "old.example.net"), ()),
    ("hostname: other", ("old", "other.example.org"), ("old",)),
    ("", ("new",), ("new",)),
)


@functools.cache
def programs(facts: str) -> dict[str, str]:
    """Those by which a control host of golden sites makes services forget `old`, by job."""
    found: dict[str, str] = {}
    for name, host in (("compute", "ctl"), ("volumes", "aio"), ("ovn", "ctl")):
        folder = golden.HERE / name / "site"
        inventory = (folder / "inventory.yml").read_text().partition("left:\n")[0]
        groups = [group for group in ("control", "compute", "storage") if group in inventory]
        inventory += f"\nleft:\n  old: {{since: '2026-11-27', groups: [{', '.join(groups)}], facts: {{{facts}}}}}\n"
        made = render(golden.load(folder, {"inventory.yml": inventory.encode()}), host, "0" * 40)
        for file in made.files:
            job = file.path.partition("/")[2]
            if job in ("nova-leave", "neutron-leave", "cinder-leave") and "-old/" in file.path:
                found[job] = file.content
        for task in made.jobs:
            if task.name == "ovn_chassis_leave_old":
                found["chassis"] = task.container.command[-1]
    return found


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]} {' '.join(case[1])}", scope="module")
def case(request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, str], tuple[str, ...], tuple[str, ...] | None]]:
    facts, known, left = request.param
    yield programs(facts), known, left


def ran(text: str) -> tuple[object, str]:
    """How a program ended, and what it said."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            exec(compile(text, "leave", "exec"), {"__name__": "__main__"})
        except SystemExit as end:
            return end.code, out.getvalue()
    return 0, out.getvalue()


def held(
    ended: tuple[object, str], is_left: Iterable[str], known: tuple[str, ...], left: tuple[str, ...] | None
) -> None:
    end, said = ended
    if left is None:
        assert str(end).startswith("error: old may be old.example.net or old.example.org: say which"), (end, said)
        assert tuple(is_left) == known, "nobody is forgotten by a guess"
        return
    assert end in (0, None), (end, said)
    assert tuple(is_left) == left
    assert said.splitlines()[-1].endswith(f"It knows {', '.join(sorted(left)) or 'nobody'}.")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Callable[[str, str, str, Callable[..., Any]], tuple[object, str]]]:
    """Runs a program against an API that `answer` (method, path) is."""
    with contextlib.ExitStack() as stack:

        def run(text: str, conf: str, section: str, answer: Callable[..., Any]) -> tuple[object, str]:
            class Handler(BaseHTTPRequestHandler):
                def _answer(self) -> None:
                    self.rfile.read(int(self.headers.get("Content-Length", 0)))
                    data = json.dumps(answer(self.command, self.path.partition("?")[0])).encode()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

                do_GET = do_PUT = do_DELETE = _answer

                def log_message(self, *words: object) -> None:
                    pass

            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            own = tmp_path / "own.conf"
            own.write_text(CONF.format(section=section, url=f"http://127.0.0.1:{server.server_port}"))
            assert conf in text
            return ran(text.replace(conf, str(own)))

        yield run


def test_nova(case: Any, api: Any) -> None:
    made, known, left = case
    services = {
        name: {"id": name, "host": name, "binary": "nova-compute", "status": "disabled", "state": "down"}
        for name in known
    }

    def answer(method: str, path: str) -> Any:
        if method == "DELETE":
            del services[path.rpartition("/")[2]]
        return {"servers": []} if path == "/servers" else {"services": list(services.values())}

    held(api(made["nova-leave"], "/etc/nova/nova.conf", "service_user", answer), services, known, left)


def test_neutron(case: Any, api: Any) -> None:
    made, known, left = case
    agents = {name: {"id": name, "host": name, "binary": "neutron-l3-agent", "alive": False} for name in known}

    def answer(method: str, path: str) -> Any:
        if method == "DELETE":
            del agents[path.rpartition("/")[2]]
        return {"agents": list(agents.values())}

    held(api(made["neutron-leave"], "/etc/neutron/neutron.conf", "keystone_authtoken", answer), agents, known, left)


def test_cinder(case: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made, known, left = case
    services: dict[str, Any] = {}
    for name in known:
        gone = types.SimpleNamespace(host=f"{name}@nfs-1", binary="cinder-volume", is_up=False)
        gone.destroy = lambda name=name: services.pop(name)
        services[name] = gone
    objects: Any = types.ModuleType("cinder.objects")
    objects.register_all = lambda: None
    objects.ServiceList = types.SimpleNamespace(get_all=lambda _: list(services.values()))
    objects.VolumeList = types.SimpleNamespace(get_all_by_host=lambda *_: [])
    context = types.SimpleNamespace(get_admin_context=lambda: None)
    version = types.SimpleNamespace(version_string=lambda: "1")
    top: Any = types.ModuleType("cinder")
    top.objects, top.context, top.version = objects, context, version
    common: Any = types.ModuleType("cinder.common")
    common.config = None
    for name, module in (("cinder", top), ("cinder.common", common)):
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "cinder.conf").touch()
    text = made["cinder-leave"].replace("/etc/cinder/cinder.conf", str(tmp_path / "cinder.conf"))
    held(ran(text), services, known, left)


CHASSIS = """\
#!/bin/bash
# A southbound database in a folder: each chassis is a file, which holds what the host calls itself.
cd "$DATABASE" || exit 1
case "$*" in
    *"list chassis"*) for one in *; do [[ -e $one ]] && echo "$one,$(< "$one")"; done ;;
    *"chassis-del"*) rm -f -- "${!#}" ;;
    *) exit 1 ;;
esac
exit 0
"""


def test_ovn(case: Any, tmp_path: Path) -> None:
    made, known, left = case
    database, programs = tmp_path / "database", tmp_path / "programs"
    for folder in (database, programs):
        folder.mkdir()
    for name, text in (("ovn-sbctl", CHASSIS), ("sleep", "#!/bin/sh\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for number, name in enumerate(known):
        (database / f"chassis-{number}").write_text(name)
    (database / "unnamed").touch()
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "DATABASE": str(database)}
    done = subprocess.run(["bash", "-c", made["chassis"]], env=environment, capture_output=True, text=True, check=False)
    there = tuple(path.read_text() for path in sorted(database.iterdir()) if path.read_text())
    assert (database / "unnamed").exists(), "what says no name is nobody's"
    assert (done.returncode, there) == ((1, known) if left is None else (0, left)), done
    assert left is not None or "say which in left of inventory.yml" in done.stderr
    assert left is None or "OVN does not know a chassis" in done.stdout
