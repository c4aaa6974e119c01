"""kill -9 of the real daemon on the real engine, again and again while commits come: nothing that no commit changes may notice.

A daemon lives for a moment that nobody chose, at most a little longer than it takes to carry a commit out, and the next one starts where
that one was. Pieces of a large number add up: each begins on a node of its own.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import docker

from reconciler.model import ASIDE, LEFTOVER_SUFFIX
from tests.daemon.node import HOST, PROGRAM, TestNode

STILL = 8  # containers that no commit changes
_EVERY = 3  # kills for each commit

_SERVICE = """\
description: Ten containers, two of which every commit changes
groups: {{web: []}}
containers:
{containers}\
  {web}:
    {{{plain}, files: [{{name: web.conf, content: "number {number}\\n", destination: /etc/web.conf, mode: "0644"}}]}}
  {side}: {{{plain}, environment: {{NUMBER: "{number}"}}}}
"""
_PLAIN = (
    "group: web, image: {image}, kolla: false, stop_timeout: 1, stop_signal: SIGKILL, stability: 0.1, "
    'labels: {{reconciler-test: "1"}}, command: [sh, -c, "exec sleep 1000000"]'
)

Seen = Mapping[str, tuple[str, int, str, int]]


@dataclass
class Storm:
    """What became of it. `moments`: what the daemon had logged last when it was killed, and how often."""

    kills: int = 0
    commits: int = 0
    seconds: float = 0.0
    moments: Counter[str] = field(default_factory=Counter)


class Node:
    """A node with ten containers."""

    def __init__(self, node: TestNode) -> None:
        self.node = node
        node.write_settings(interval=1)
        self.still = [node.name(f"still{number}") for number in range(STILL)]
        self.web, self.side = node.name("web"), node.name("side")
        self.number = 0
        self.client = docker.DockerClient(base_url=node.engine_url)

    def push(self) -> str:
        """A commit: another file for one container, which restarts it, and another option of a second, which is replaced."""
        self.number += 1
        plain = _PLAIN.format(image=self.node.image)
        containers = "".join(f"  {name}: {{{plain}}}\n" for name in self.still)
        text = _SERVICE.format(containers=containers, plain=plain, web=self.web, side=self.side, number=self.number)
        files: dict[str, str | None] = {
            "inventory.yml": f"hosts:\n  {HOST}: {{addresses: {{network: 127.0.0.1}}, groups: [web]}}\ngroups:\n  web: {{}}\n",
            "globals.yml": f"node_config_directory: {self.node.config_root}\n",
            "reconciler.yml": f"name: kills-{os.getpid()}\n",
            "services/ten/service.yml": text,
            "services/ten/variables.yml": "{}\n",
        }
        return self.node.push(files, f"number {self.number}")

    def live(self, seconds: float) -> str:
        """The daemon runs for so long and is killed; what it had logged last."""
        log = self.node.folder / "daemon.log"
        with log.open("wb") as stream:
            environment = {**os.environ, "RECONCILER_CONFIG": str(self.node.settings_file)}
            process = subprocess.Popen([str(PROGRAM), "run"], stdout=stream, stderr=stream, env=environment)
        try:
            time.sleep(seconds)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        said = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("{")]
        return str(json.loads(said[-1]).get("event", "")) if said else "nothing yet"

    def seen(self) -> Seen:
        """Of what is to stay as it is: id, process, when it started, how often the engine started it again."""
        found: dict[str, Any] = {name: self.client.api.inspect_container(name) for name in self.still}
        return {
            name: (one["Id"], one["State"]["Pid"], one["State"]["StartedAt"], one["RestartCount"])
            for name, one in found.items()
        }

    def left(self) -> list[str]:
        """What nobody needs once all is carried out."""
        found = [c.name for c in self.client.containers.list(all=True) if (c.name or "").startswith(ASIDE) and (c.name or "")[len(ASIDE):] in self.node.containers]  # fmt: skip
        roots = (self.node.config_root, self.node.state_dir)
        old = time.time() - 60
        half = [path for root in roots for path in root.rglob(f"*{LEFTOVER_SUFFIX}") if path.stat().st_mtime < old]
        return [str(one) for one in (*found, *half, *(self.node.state_dir / "rollback").glob("*"))]

    def number_of(self) -> tuple[str, str]:
        """The commit's number as the two containers have it: in a file, in an option."""
        file = (self.node.config_root / self.web / "web.conf").read_text().split()[-1]
        options: list[str] = self.client.api.inspect_container(self.side)["Config"]["Env"]
        return file, next(one for one in options if one.startswith("NUMBER=")).removeprefix("NUMBER=")


def storm(node: TestNode, kills: int, seed: int, longest: float = 900.0) -> Storm:
    """Kill the daemon so often, or for so many seconds. Raises AssertionError."""
    chosen, about, told = random.Random(seed), Node(node), Storm()
    about.push()
    settle(about)
    before = about.seen()
    began = time.monotonic()
    about.push()
    settle(about)
    usual = time.monotonic() - began  # from a start to the end of a change, on this machine as it is now
    began = time.monotonic()
    while told.kills < kills and time.monotonic() - began < longest:
        if told.kills % _EVERY == 0:
            about.push()
            told.commits += 1
        told.moments[about.live(chosen.uniform(0.0, 1.1 * usual))] += 1
        told.kills += 1
        now = about.seen()
        assert now == before, f"after {told.kills} kills: {sorted(set(now.items()) - set(before.items()))}"
    told.seconds = time.monotonic() - began
    settle(about)
    assert about.seen() == before
    assert about.number_of() == (str(about.number),) * 2
    assert not about.left(), about.left()
    about.client.close()
    return told


def settle(about: Node) -> None:
    """The head is carried out, by a process that nobody kills, and nothing is left to do."""
    for _ in range(5):
        about.node.run("retry", check=False)  # a gate that was cut in two may have blamed what it proved
        done = about.node.run("reconcile", "--json", check=False)
        assert done.stdout, done.stderr
        report = json.loads(done.stdout)
        plan = report.get("plan") or {}
        if not report.get("failure") and not plan.get("actions") and not plan.get("held"):
            return
    raise AssertionError(f"it never ends: {report}")
