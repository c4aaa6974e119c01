"""Two trials on a control plane of genuine containers: a wrong commit with mishaps while it is proved, and a wrong commit alone.

The scenario test judges what happened, the bench how long it took. The mistake is one that the image's own checker cannot see.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import docker

from tests.scenarios import cloud
from tests.support.lab import Lab, wait_for

WRONG = "[token]\nprovider = nosuch\n"
_KILL_AFTER, _MEND_AFTER = 12.0, 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Mishaps:
    """Seconds: memcached down; from pushing the mending commit until it was accepted, and until the node was as it says. And the last
    status of the wrong commit, of the mending one, and what happened to keystone for the wrong one."""

    down: float
    accepted: float
    mended: float
    wrong: tuple[str, str]
    mending: tuple[str, str]
    keystone: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Alone:
    """Seconds from keystone's restart until the old configuration was proved again; what was said of it, status and history."""

    rolled_back: float
    status: tuple[str, str]
    outcome: dict[str, Any]


@contextlib.contextmanager
def following(lab: Lab) -> Iterator[None]:
    """The control plane with a daemon that has converged."""
    cloud.first(lab)
    with lab.config.open("a") as config:
        config.write('[log]\nformat = "json"\nlevel = "debug"\n')
    commit = lab.push("a control plane")
    with lab.daemon():
        wait_for("the control plane", lambda: _converged(lab, commit), 600, 0.5)
        yield


def mishaps(lab: Lab) -> Mishaps:
    """A wrong commit; twelve seconds later memcached is killed; five seconds later the commit that mends it."""
    with contextlib.closing(docker.DockerClient(base_url=lab.engine_url, timeout=120)) as client:
        wrong = _push(lab, WRONG, "a provider that nobody has")
        _moment(lab, "action.done", action="write:keystone/keystone.conf", wait=60)
        time.sleep(_KILL_AFTER)
        memcached = client.containers.get("memcached")
        memcached.kill()
        killed = time.time()

        def started() -> float:
            memcached.reload()
            return datetime.fromisoformat(memcached.attrs["State"]["StartedAt"][:26].rstrip("Z") + "+00:00").timestamp()

        wait_for("memcached runs again", lambda: started() > killed - 0.5 and memcached.status == "running", 180, 0.02)
        down = max(started() - killed, 0.0)
        time.sleep(max(_MEND_AFTER - down, 0))
        pushed = time.time()
        mending = _push(lab, None, "as it was")
        accepted = _moment(lab, "revision.accepted", revision=mending, wait=240) - pushed
        wait_for("the mended control plane", lambda: _converged(lab, mending), 300, 0.1)
        mended = time.time() - pushed
    entries = [a for e in _history(lab) if e["revision"] == wrong for a in e["actions"]]
    keystone = next(a for a in entries if a["line"].split()[:2] == ["restart", "keystone"])
    wait_for("the statuses", lambda: _last(lab, mending)[0] == "success", 60)
    return Mishaps(down, accepted, mended, _last(lab, wrong), _last(lab, mending), keystone)


def alone(lab: Lab) -> Alone:
    """A wrong commit, and nothing else: until it is taken back."""
    wrong = _push(lab, WRONG, "a provider that nobody has, again")
    began = _moment(lab, "action.done", action="write:keystone/keystone.conf", wait=60)
    ended = _moment(lab, "action.rolled-back", action="restart:keystone", wait=300)
    wait_for("the status", lambda: _last(lab, wrong)[0] == "failed", 60)
    outcome = next(
        a for e in _history(lab) if e["revision"] == wrong for a in e["actions"] if a["result"] == "rolled-back"
    )
    return Alone(ended - began, _last(lab, wrong), outcome)


def _push(lab: Lab, text: str | None, message: str) -> str:
    lab.write({"config/keystone.conf": text})
    return lab.push(message)


def _converged(lab: Lab, commit: str) -> bool:
    path = lab.state / "report.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    return report.get("revision") == commit and any(
        c["type"] == "Ready" and c["status"] for c in report.get("conditions", ())
    )


def _moment(lab: Lab, event: str, *, wait: float, **fields: str) -> float:
    """When the daemon logged something, the newest time, in seconds since the epoch; waits for one that is yet to come."""
    asked = time.time()

    def found() -> float:
        rows = [json.loads(line) for line in lab.log().splitlines() if line.startswith("{")]
        times = [
            datetime.fromisoformat(row["at"].replace("Z", "+00:00")).timestamp()
            for row in rows
            if row["event"] == event and all(row.get(name) == value for name, value in fields.items())
        ]
        return next((moment for moment in reversed(times) if moment > asked - 5), 0.0)

    wait_for(f"{event} {fields}", found, wait, 0.1)
    return found()


def _history(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (lab.state / "history.jsonl").read_text().splitlines()]


def _last(lab: Lab, commit: str) -> tuple[str, str]:
    return (lab.statuses(commit) or [("", "")])[-1]
