"""What was done to our containers and files while nobody of ours was at it: says why something drifted.

The engine does not tell who asked it for something, so "by hand" means: through the engine, and not by this program.
"""

import threading
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from reconciler.engine import Event
from reconciler.model import ASIDE, Plan

_KEPT = 200
_SAME = timedelta(seconds=15)  # a kill and the death it caused
# Actions of the engine after which a container is not as it was. `kill` and `stop` come with a `die`, or leave it running.
WAKING = frozenset(
    {"die", "stop", "destroy", "pause", "unpause", "rename", "update", "oom", "create", "start", "restart"}
)
_BY_HAND: Mapping[str, str] = {
    "pause": "paused by hand",
    "unpause": "unpaused by hand",
    "update": "its limits were changed by hand",
    "create": "made by hand",
    "restart": "restarted by hand",
    "stop": "stopped by hand",
    "destroy": "removed by hand",
}
# `docker stop` and `docker rm -f` tell of a kill and a death first: what they were part of says more.
_WHOLE = ("stop", "restart", "destroy")


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened to a container or a file, in words, and how it came about."""

    time: datetime
    target: str
    text: str
    how: Literal["by hand", "out of memory", "otherwise"] = "otherwise"

    def __str__(self) -> str:
        return f"{self.text} at {self.time.astimezone():%H:%M:%S}"


class Happenings:
    """The last few. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Happening] = deque(maxlen=_KEPT)
        self._killed: dict[str, tuple[datetime, str]] = {}
        self._asked = datetime.min.replace(tzinfo=UTC)
        self._last: tuple[frozenset[str], datetime, datetime] | None = None  # what our last cycle touched, from, until

    def heard(self, event: Event) -> None:
        """Take note of an event of the engine."""
        if event.kind != "container":
            return
        name = event.attributes.get("oldName", event.name).lstrip("/") if event.action == "rename" else event.name
        with self._lock:
            if self._last and name in self._last[0] and self._last[1] <= event.time <= self._last[2]:
                return  # the engine said it late
            if event.action == "kill":
                self._killed[name] = (event.time, event.attributes.get("signal", "?"))
            elif happening := self._happening(name, event):
                self._kept.append(happening)

    def touched(self, path: str) -> None:
        """Take note of a change of a file of ours."""
        with self._lock:
            now = datetime.now(UTC)
            if self._kept and self._kept[-1].target == path and now - self._kept[-1].time < _SAME:
                self._kept.pop()  # an editor writes in several steps
            self._kept.append(Happening(now, path, "changed on the disk"))

    def forget(self, targets: Collection[str], since: datetime, until: datetime) -> None:
        """Drop what we did ourselves: what happened to `targets` in our cycle, and what led to it and is now put right."""
        names = frozenset(targets) | {ASIDE + target for target in targets}
        with self._lock:
            self._last = (names, since, until)
            kept = [h for h in self._kept if h.target not in names or h.time > until]
            self._kept.clear()
            self._kept.extend(kept)
            self._killed = {n: k for n, k in self._killed.items() if n not in names or k[0] > until}

    def happened(self, plan: Plan) -> tuple[dict[str, str], ...]:
        """What others did since the last time that this was asked and that left nothing to put right: `at`, `target`, `text`.

        What explains drift is said with it; what a service did by itself shows in its health.
        """
        drifted = self.explain(plan)
        with self._lock:
            new = [h for h in self._kept if h.time > self._asked and h.how == "by hand" and h.target not in drifted]
            self._asked = max([self._asked, *(h.time for h in self._kept)])
        return tuple({"at": h.time.isoformat(timespec="seconds"), "target": h.target, "text": str(h)} for h in new)

    def explain(self, plan: Plan) -> dict[str, str]:
        """Target → what happened to it, for the drift in a plan."""
        drifted = {action.target for action in plan.actions if action.drift}
        drifted |= {held.target for held in plan.held if held.drift}
        with self._lock:
            latest = {h.target: h for h in self._kept}
        return {target: str(latest[target]) for target in sorted(drifted) if target in latest}

    @property
    def recent(self) -> tuple[Happening, ...]:
        with self._lock:
            return tuple(self._kept)

    def _happening(self, name: str, event: Event) -> Happening | None:
        if event.action in _WHOLE:
            # Its parts came before it.
            kept = [h for h in self._kept if h.target != name or event.time - h.time > _SAME]
            self._kept.clear()
            self._kept.extend(kept)
        if event.action == "rename":
            return Happening(event.time, name, f"renamed by hand to {event.name}", "by hand")
        if text := _BY_HAND.get(event.action):
            return Happening(event.time, name, text, "by hand")
        if event.action == "oom":
            return Happening(event.time, name, "ran out of memory", "out of memory")
        if event.action == "health_status: unhealthy":
            return Happening(event.time, name, "became unhealthy")
        return self._death(name, event) if event.action == "die" else None

    def _death(self, name: str, event: Event) -> Happening:
        when, signal = self._killed.pop(name, (None, ""))
        if when is not None and event.time - when < _SAME:
            return Happening(event.time, name, f"killed by hand (signal {signal})", "by hand")
        if any(h.target == name and h.how == "out of memory" and event.time - h.time < _SAME for h in self._kept):
            return Happening(event.time, name, "the kernel killed it, because it had used up its memory")
        code = event.attributes.get("exitCode", "?")
        if code == "137":
            return Happening(event.time, name, "its process was killed (signal 9), not through the engine")
        return Happening(event.time, name, f"ended by itself (exit code {code})")
