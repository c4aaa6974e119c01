"""Hearing at once that a key changed: a stream of etcd's gateway, in a thread of its own.

What is heard is only that something happened: whoever acts reads first. A member that lost the others ends the stream by itself
(`hasleader`); one that hangs is noticed after `_LONGEST` seconds. So nothing may rest on it for longer than that.
"""

import base64
import random
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import requests
import structlog
import urllib3
from urllib3.connection import HTTPConnection

from reconciler import errors
from reconciler.etcd.client import CONNECT, session
from reconciler.settings import Fleet
from reconciler.system.sessions import Adapter

log = structlog.get_logger()

_LONGEST: Final = 900.0  # seconds of silence after which the stream is made anew
_PAUSES: Final = (1.0, 60.0)  # seconds before the next try: the first, the longest
_MOST: Final = 1 << 16  # bytes of one message
# Seconds after a change before the next is heard: one that talks without end is not followed without end.
_BREATH: Final = 0.1
_jitter = random.random


class _Lasting(Adapter):
    """Connections whose other end is asked now and then whether it is there."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        kept = [
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
        ]
        super().init_poolmanager(*args, **kwargs, socket_options=[*HTTPConnection.default_socket_options, *kept])


class Watch:
    """Calls `told` from its thread whenever `key` changed, or may have while nobody listened."""

    def __init__(
        self,
        endpoints: Sequence[str],
        key: str,
        told: Callable[[], None],
        *,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
    ) -> None:
        self._endpoints = random.sample(list(endpoints), len(endpoints))  # not all nodes listen to the same member
        self._key, self._told = key, told
        self._session = session(_Lasting(), ca_file, cert_file, key_file)
        self._stop, self._guard = threading.Event(), threading.Lock()
        self._stream: requests.Response | None = None
        self._heard, self._stands = 0, False
        self.received = 0  # bytes of messages
        self._thread = threading.Thread(target=self._listen, name="etcd-watch", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> int | None:
        """Another number after each change; None while nobody would hear of one. What is read after this was asked is as it is until
        the number changes."""
        return self._heard if self._stands else None

    def close(self) -> None:
        self._stop.set()
        with self._guard:
            if self._stream is not None:
                _end(self._stream)
        self._thread.join(5.0)
        self._session.close()

    def _listen(self) -> None:
        pause = _PAUSES[0]
        while not self._stop.is_set():
            url = self._endpoints[0]
            try:
                if self._follow(url):
                    pause = _PAUSES[0]
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                log.debug("etcd.watch", url=url, message=errors.root_cause(error))
            finally:
                self._stands = False
            self._endpoints.append(self._endpoints.pop(0))
            self._stop.wait(pause * (0.5 + _jitter()))
            pause = min(2 * pause, _PAUSES[1])

    def _follow(self, url: str) -> bool:
        """Listen to one member until it ends; returns whether it ever listened. Raises requests.RequestException, urllib3's HTTPError."""
        asked = {"create_request": {"key": base64.b64encode(self._key.encode()).decode()}}
        stream = self._session.post(
            url.rstrip("/") + "/v3/watch",
            json=asked,
            headers={"Grpc-Metadata-hasleader": "true", "Accept-Encoding": "identity"},
            stream=True,
            timeout=(CONNECT, _LONGEST),
        )
        with self._guard:
            self._stream = stream
        try:
            if self._stop.is_set() or stream.status_code != 200:
                return False
            rest, stood = b"", False
            # At most so much at once: how large a piece is, or that it has an end, is what the other side says.
            while chunk := stream.raw.read1(_MOST, decode_content=False):
                self.received += len(chunk)
                *messages, rest = (rest + chunk).split(b"\n")
                if len(rest) > _MOST or any(b'"error"' in one or b'"canceled":true' in one for one in messages):
                    break
                if messages:
                    stood = True
                    self._heard += 1
                    self._stands = True
                    self._told()
                    self._stop.wait(_BREATH)
            return stood
        finally:
            with self._guard:
                self._stream = None
            stream.close()


def listen(fleet: Fleet, key: str, told: Callable[[], None]) -> Watch:
    """A watch as the settings say."""
    return Watch(fleet.etcd, key, told, ca_file=fleet.ca_file, cert_file=fleet.cert_file, key_file=fleet.key_file)


def _end(stream: requests.Response) -> None:
    """End what another thread reads. A stream that has ended by itself cannot be ended again."""
    try:
        stream.raw.shutdown()
    except (RuntimeError, OSError, ValueError):
        stream.close()
