"""What the engine tells while it happens: wakes the daemon, explains drift, keeps the inspect cache true."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests
import urllib3
from docker import errors as docker_errors
from docker.types.daemon import CancellableStream

from reconciler.engine.connection import Connection

_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "container": (
        "create", "start", "die", "kill", "stop", "restart", "pause", "unpause", "rename", "update", "destroy", "oom",
        "health_status",
    ),
    "image": ("tag", "untag", "delete", "pull"),
    "volume": ("destroy",),
}  # fmt: skip
_ATTRIBUTES = ("signal", "exitCode", "image", "oldName")
_RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `kind` is container, image, volume or engine.

    `action` is Docker's word (`health_status: unhealthy` as it stands), for kind engine `connected` or `disconnected`.
    Between the two nothing is known: a `connected` may follow things that were not told.
    """

    time: datetime
    kind: str
    action: str
    name: str = ""
    id: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)  # signal, exitCode, image, oldName


def parse(data: Mapping[str, Any]) -> Event:
    """From one JSON object of the engine's stream."""
    actor = data.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    return Event(
        time=datetime.fromtimestamp(int(data.get("timeNano") or 0) / 1e9, UTC),
        kind=str(data.get("Type") or ""),
        action=str(data.get("Action") or ""),
        name=str(attributes.get("name") or ""),
        id=str(actor.get("ID") or ""),
        attributes={name: str(attributes[name]) for name in _ATTRIBUTES if name in attributes},
    )


class Stream:
    """Reads the engine's events until told to stop; connects again, from where it was, when the engine comes back."""

    def __init__(self, connection: Connection, callback: Callable[[Event], None], stop: threading.Event) -> None:
        self._connection, self._callback, self._stop = connection, callback, stop
        self._since = ""
        self._seen: set[tuple[int, str, str]] = set()  # what happened at the very moment of `_since`
        self._stream: CancellableStream[dict[str, Any]] | None = None

    def run(self) -> None:
        """Blocks until `stop` is set."""
        threading.Thread(target=self._close_when_stopped, name="engine-events-stop", daemon=True).start()
        attempt = 0
        while not self._stop.is_set():
            try:
                for event in self._connected():
                    attempt = 0
                    self._callback(event)
            except (
                docker_errors.DockerException,
                requests.exceptions.RequestException,
                urllib3.exceptions.HTTPError,
                OSError,
                ValueError,
                AttributeError,  # http.client, when the connection is closed under its hands
            ):
                pass
            if not self._stop.is_set():
                self._callback(Event(datetime.now(UTC), "engine", "disconnected"))
                self._stop.wait(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
                attempt += 1

    def _connected(self) -> Iterator[Event]:
        with contextlib.closing(self._connection.new_client(None)) as client:
            names = sorted({action for actions in _ACTIONS.values() for action in actions})
            filters = {"type": sorted(_ACTIONS), "event": names}
            if not self._since:
                self._since = f"{time.time():.9f}"
            ask: Any = client.events  # its annotations know no fractions of a second
            stream = ask(since=self._since, filters=filters, decode=True)
            self._stream = stream
            if self._stop.is_set():
                return
            yield Event(datetime.now(UTC), "engine", "connected")
            for data in stream:
                if self._is_new(data):
                    yield parse(data)

    def _is_new(self, data: Mapping[str, Any]) -> bool:
        """Reading on from a moment tells again what happened at that moment."""
        nanoseconds = int(data.get("timeNano") or 0)
        key = (nanoseconds, str((data.get("Actor") or {}).get("ID")), str(data.get("Action")))
        if key in self._seen:
            return False
        since = f"{nanoseconds // 1_000_000_000}.{nanoseconds % 1_000_000_000:09d}"
        if since != self._since:
            self._seen.clear()
        self._seen.add(key)
        self._since = since
        return True

    def _close_when_stopped(self) -> None:
        self._stop.wait()
        if self._stream is not None:
            with contextlib.suppress(Exception):
                self._stream.close()
