"""Waiting until a container that was just started has proved itself, or has shown why not."""

import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import Any

from reconciler import errors, service_log
from reconciler.engine import logs, parse
from reconciler.engine.connection import Connection
from reconciler.engine.evidence import Evidence
from reconciler.engine.observe import execute
from reconciler.engine.pressure import stalled
from reconciler.foreign import said
from reconciler.model import Container, Image, Running, State
from reconciler.reasons import Reason

_FIRST_LOOK, _SLOWEST_LOOK = 0.05, 0.5
_PROBE_EVERY = 1.0
_FROM_ITS_START = 3.0  # seconds that a wait may begin after the start
_PROBE_PATIENCE = 30.0  # seconds; what takes longer is no answer
_SETTLED = 10.0  # seconds
_TOLERATED_RESTARTS = 2  # a service may stumble once over another that is not quite there
# What of a service's own last words says that the host is at fault.
_OF_THE_HOST = {
    Reason.PortInUse: re.compile(r"address already in use|EADDRINUSE|cannot bind socket", re.IGNORECASE),
    Reason.DiskFull: re.compile(r"no space left on device|ENOSPC|disk quota exceeded", re.IGNORECASE),
}


@dataclass(frozen=True, slots=True)
class Health:
    """`reason` is None when ok, else ExitedEarly, RestartLoop, Unhealthy, StartTimeout, PortInUse, DiskFull, ContainerMissing
    or Interrupted.

    `message` is one line without the container's name; `log` holds what it said, `seconds` how long it took: until it was healthy,
    without the time in which it had to stay so; `took` how long after its start that was (None: not known).
    """

    ok: bool
    reason: Reason | None = None
    message: str = ""
    seconds: float = 0.0
    log: tuple[str, ...] = ()
    took: float | None = None


class Waiter:
    """One wait for one container.

    Healthy is: running, with the health check passed if it has one, and both still so `stability` seconds later, without
    a restart in between. The engine makes its first check only after a whole interval (30 s by default), so the same
    command is also run from here, every second, until it succeeds once. Up to two restarts by the engine are forgiven.
    That the engine calls it unhealthy counts at once, unless it is `patient` and its service allows a start more than the usual time,
    for a member that first copies a database or waits for another: then it has that time.
    When `stop` is set the wait ends, and everything stays as it is.
    """

    def __init__(
        self,
        connection: Connection,
        container: Container,
        name: str,
        stop: Event | None = None,
        usual: float | None = None,
        *,
        patient: bool = False,
    ) -> None:
        self._connection, self._container, self._name = connection, container, name
        self._stop = stop or Event()
        self._patient = patient and container.may_start_slowly
        self._began = time.monotonic()
        self._evidence = Evidence(usual, self._began)
        self._next_probe = self._began
        self._passed = False
        self._next_look = 0.0  # at its log
        self._restarts: int | None = None  # what the engine had counted before this wait
        self._started_at: datetime | None = None
        self._first_start: datetime | None = None  # since this wait began
        self._up_since: tuple[datetime | None, float] = (None, self._began)  # which start that was, and when

    def wait(self, timeout: float, stability: float) -> Health:
        """Both in seconds; `stability` counts from the moment it became healthy. Raises errors of the engine itself."""
        pause = _FIRST_LOOK
        good_since: float | None = None
        while True:
            data = self._connection.inspect(self._name)
            if data is None:
                return self._end(Reason.ContainerMissing, "was removed while it started")
            found = parse.running(data, Image(id=""), owner="", engine=parse.Facts())
            self._first_start = self._first_start or found.started_at
            failure = self._failure(found, timeout)
            if failure is not None:
                return failure
            if found.started_at != self._started_at:
                self._started_at, self._passed, good_since = found.started_at, False, None
                self._evidence.begin(time.monotonic(), stalled())
            now = time.monotonic()
            if self._is_healthy(found, data):
                good_since = good_since or now
                if now - good_since >= stability:
                    return Health(True, seconds=good_since - self._began, took=self._took(now - good_since))
            elif self._failed_for_good():
                return self._end(Reason.Unhealthy, self._verdict(now))
            else:
                good_since = None
            if now - self._began > timeout + stability:
                return self._end(Reason.StartTimeout, f"did not become healthy within {timeout:g} s ({_state(data)})")
            if self._stop.wait(min(pause, max(good_since + stability - now, 0.01)) if good_since else pause):
                return Health(False, Reason.Interrupted, "was not waited for to the end", now - self._began)
            pause = min(pause * 1.5, _SLOWEST_LOOK)

    def _failure(self, found: Running, timeout: float) -> Health | None:
        up = self._up(found)
        if self._restarts is None:
            # A start by hand counts from 0; a container that has been up for a while may bring a count along.
            settled = found.state is State.RUNNING and up > _SETTLED
            self._restarts = found.restart_count if settled else 0
        restarts = found.restart_count - self._restarts
        if restarts > _TOLERATED_RESTARTS:
            code = f" with exit {found.ended}" if found.state is not State.RUNNING else ""
            return self._end(Reason.RestartLoop, f"ended{code} and was started again {restarts} times")
        if found.state in (State.EXITED, State.DEAD):
            why = f": {said(found.error)}" if found.error else ""
            return self._end(Reason.ExitedEarly, f"exited with {found.ended}{why}")
        if found.health == "unhealthy" and not (self._patient and up < timeout):
            return self._end(Reason.Unhealthy, "its health check fails")
        return None

    def _up(self, found: Running) -> float:
        """Seconds since it was started. The time of day is asked once a start: it may be set while a slow one is waited for."""
        if found.started_at is None:
            return 0.0
        if found.started_at != self._up_since[0]:
            up = (datetime.now(UTC) - found.started_at).total_seconds()
            self._up_since = found.started_at, time.monotonic() - up
        return time.monotonic() - self._up_since[1]

    def _is_healthy(self, found: Running, data: Mapping[str, Any]) -> bool:
        if found.state is not State.RUNNING:
            return False
        if found.health in ("none", "healthy") or self._passed:
            return True
        now = time.monotonic()
        if now >= self._next_probe:
            self._passed = self._probe(data)
            self._next_probe = time.monotonic() + _PROBE_EVERY
        return self._passed

    def _probe(self, data: Mapping[str, Any]) -> bool:
        """Run the health check's own command once."""
        kind, *words = (data["Config"].get("Healthcheck") or {}).get("Test") or ["NONE"]
        if kind not in ("CMD", "CMD-SHELL") or not words:
            return False
        command = words if kind == "CMD" else [*(data["Config"].get("Shell") or ("/bin/sh", "-c")), *words]
        code: int | None = None
        with contextlib.suppress(errors.ReconcilerError):
            code, _ = execute(self._connection, self._name, command, seconds=_PROBE_PATIENCE, stop=self._stop)
        if code != 0:
            self._evidence.failed(code, time.monotonic(), stalled())
        return code == 0

    def _failed_for_good(self) -> bool:
        """Whether the failures of its check, with what it took before, are evidence enough."""
        if not self._evidence.asks_the_log or time.monotonic() < self._next_look:
            return False
        self._next_look = time.monotonic() + _PROBE_EVERY
        text = logs.last_words(self._connection, self._container, self._name, since=self._first_start)
        lines = text.splitlines()
        self._evidence.read({service_log.essence(line) for line in lines})
        return self._evidence.decides(named=bool(service_log.headline(lines)))

    def _verdict(self, now: float) -> str:
        usual = self._evidence.usual or 0.0
        return f"its health check has failed for {now - self._began:.0f} s, and before it was healthy after {max(usual, 1):.0f} s"

    def _took(self, stable: float) -> float | None:
        """Seconds from its start until it became healthy; None when it had been up before this wait."""
        up = time.monotonic() - self._up_since[1]
        waited = time.monotonic() - self._began
        return max(up - stable, 0.0) if self._started_at and up < waited + _FROM_ITS_START else None

    def _end(self, reason: Reason, message: str) -> Health:
        text = logs.last_words(self._connection, self._container, self._name, since=self._first_start)
        if reason in (Reason.ExitedEarly, Reason.RestartLoop, Reason.Unhealthy, Reason.StartTimeout):
            said = (
                (word, line) for word, words in _OF_THE_HOST.items() for line in text.splitlines() if words.search(line)
            )
            if found := next(said, None):
                reason, message = found[0], f"{message}: {found[1].strip()[:300]}"
        return Health(False, reason, message, time.monotonic() - self._began, tuple(text.splitlines()))


def _state(data: Mapping[str, Any]) -> str:
    health = data["State"].get("Health") or {}
    last = said((health.get("Log") or [{}])[-1].get("Output", "")).strip().splitlines()
    status = f"{data['State']['Status']}, {health.get('Status')}" if health.get("Status") else data["State"]["Status"]
    return f"{status}: {last[-1][:200]}" if last else str(status)
