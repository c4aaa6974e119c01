"""A program that is killed at a chosen moment, and a site whose one change asks for every verb.

The interpreter tells an audit hook what it is about to do: rename or remove a file, send a request. A `sitecustomize` of
ours, which only the process under test finds, notes what changes the disk or the engine, and sends SIGKILL to its own
process right before the one that was asked for, or a moment after it was sent.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

from reconciler.model import LEFTOVER_SUFFIX
from tests.support.lab import CHECKOUT, HOST, Lab

ADDRESS = "127.0.0.72"

HOOK = """\
import os, re, signal, sys, threading

def _arm():
    path, wanted, late = os.environ.pop("RT_EVENTS"), os.environ.pop("RT_KILL"), float(os.environ.pop("RT_LATE"))
    log, guard, seen = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), threading.Lock(), {}

    def label(event, arguments):
        if event in ("os.rename", "os.remove"):
            return f"{event[3:]} {os.path.basename(str(arguments[1] if event == 'os.rename' else arguments[0]))}"
        if event != "http.client.send" or not type(arguments[0]).__module__.startswith("docker"):
            return None
        line = bytes(arguments[1]).split(b"\\r\\n", 1)[0].decode(errors="replace")
        found = re.match(r"(POST|DELETE) /v[0-9.]+/(\\S+) HTTP", line)
        if not found or "exec" in line:
            return None
        where, _, query = found[2].partition("?")
        name = re.search(r"(?:^|&)name=([^&]*)", query)
        where = re.sub("[0-9a-f]{64}", "ID", where)
        return f"{found[1]} {where}" + (f" {name[1]}" if name else "")

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def hook(event, arguments):
        if event not in ("os.rename", "os.remove", "http.client.send"):
            return
        text = label(event, arguments)
        if text is None or not re.search(r"^(POST|DELETE) |[.](json|jsonl|conf)$| [0-9]+$", text):
            return
        with guard:
            seen[text] = seen.get(text, 0) + 1
            text = f"{text}#{seen[text]}"
            os.write(log, (text + "\\n").encode())
            if text == wanted and not late:
                die()
        if text == wanted:
            threading.Timer(late, die).start()

    sys.addaudithook(hook)

if "RT_KILL" in os.environ:
    _arm()
"""

_SERVICE = """\
description: One change of it asks for every verb
groups: {kill: []}
containers:
  rt-kill-still: {@, stability: 0.1}
  rt-kill-web:
    @
    stability: 0.1
    start_timeout: 3
    log_files: []
    healthcheck: {test: ["CMD-SHELL", "! grep -q broken /etc/web.conf"], interval: 1, timeout: 2, retries: 1, start_period: 0}
    files:
      - {name: web.conf, content: "colour = {{ colour }}\\n", destination: /etc/web.conf, mode: "0644"}
      - {name: more.conf, content: "colour = {{ colour }}\\n", destination: /etc/more.conf, mode: "0644"}
  rt-kill-side: {@, stability: 0.1, environment: {COLOUR: "{{ colour }}"}}
  rt-kill-lb:
    @
    stability: 0.1
    restart_policy: "{{ 'always' if colour == 'blue' else 'unless-stopped' }}"
    reload: {signal: HUP}
    files:
      - {name: lb.conf, content: "colour = {{ colour }}\\n", mode: "0644", on_change: reload}
    volumes: ["{{ node_config_directory }}/rt-kill-lb:/config:ro"]
  rt-kill-old: {@, stability: 0.1, enabled: "{{ colour == 'blue' }}"}
  rt-kill-new: {@, stability: 0.1, enabled: "{{ colour != 'blue' }}"}
jobs:
  rt-kill-job: {container: rt-kill-still, command: ["true"], inputs: ["{{ colour }}"], once: host, before: [rt-kill-new]}
"""
_PLAIN = """\
group: kill
    kolla: false
    image: reconciler-test/busybox:1
    stop_timeout: 1
    command: [sh, -c, "cp /etc/*.conf /config/*.conf /tmp; trap 'exit 0' TERM; trap 'cp /config/*.conf /tmp' HUP; while :; do sleep 0.1; done"]\
"""


@dataclass(frozen=True, slots=True)
class Dead:
    """How a run ended: `events` it caused, `done` the ids of the actions it had finished."""

    killed: bool
    events: tuple[str, ...]
    done: frozenset[str]
    output: str


def first(lab: Lab) -> None:
    """Write the whole site into the lab's work tree, in blue."""
    inline = ", ".join(line.strip() for line in _PLAIN.splitlines())
    text = _SERVICE.replace("{@", "{" + inline).replace("@", _PLAIN)
    with lab.config.open("a") as config:
        config.write('[log]\nformat = "json"\n')
    lab.write(
        {
            "inventory.yml": f"hosts:\n  {HOST}:\n    addresses: {{network: {ADDRESS}}}\n    groups: [kill]\n",
            "globals.yml": f"node_config_directory: {lab.config_root}\nkolla_internal_vip_address: {ADDRESS}\n",
            "hosts/ctl1.yml": "colour: blue\n",
            "reconciler.yml": f"name: {lab.name}\n",
            "services/kill/service.yml": text,
            "services/kill/variables.yml": "colour: {description: What differs., type: string, default: blue}\n",
        }
    )


def paint(lab: Lab, colour: str) -> str:
    """Push the change: one word, and nearly everything of it is another."""
    lab.write({"hosts/ctl1.yml": f"colour: {colour}\n"})
    return lab.push(f"all in {colour}")


def run(lab: Lab, kill: str = "", late: float = 0.0) -> Dead:
    """`reconciler reconcile` in a process of its own. `kill` is what it dies before (`POST containers/rt-x/start#1`: the
    first such request), `late` how many seconds after."""
    folder = lab.root / "hook"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(HOOK)
    events = lab.root / "events"
    events.unlink(missing_ok=True)
    extra = {"PYTHONPATH": f"{folder}:{CHECKOUT}", "RT_EVENTS": str(events), "RT_KILL": kill, "RT_LATE": str(late)}
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", "reconcile"],
        env={**lab.environment(), **extra},
        cwd=lab.site,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    caused = tuple(events.read_text().splitlines()) if events.exists() else ()
    return Dead(done.returncode == -signal.SIGKILL, caused, _finished(done.stderr), done.stdout + done.stderr)


def _finished(log: str) -> frozenset[str]:
    found = set()
    for line in log.splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            if entry.get("event") == "action.done":
                found.add(entry["action"])
    return frozenset(found)


def leftovers(lab: Lab) -> list[str]:
    """Files that nobody needs: half-written ones below the config root, previous ones of what has proved itself."""
    half = [path for root in (lab.config_root, lab.state) for path in root.rglob(f"*{LEFTOVER_SUFFIX}")]
    return sorted(str(path.relative_to(lab.root)) for path in [*half, *(lab.state / "rollback").glob("*")])


def age(lab: Lab) -> None:
    """As if what a killed process left had been there for an hour: else it might be another's that still writes."""
    for path in lab.state.glob(f"*{LEFTOVER_SUFFIX}"):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 3600))
