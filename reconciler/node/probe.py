"""A host's checks: whether what has converged also answers. Reads, and changes nothing."""

import json
import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import Protocol

import requests
from requests.auth import HTTPBasicAuth

from reconciler import errors, text
from reconciler.engine import Engine
from reconciler.model import Check, CheckResult
from reconciler.system.answers import Bounded
from reconciler.system.sessions import Session

_AT_ONCE = 8
_PAUSE = 1.0  # seconds between two tries
_WHOLE = 300.0  # seconds that a pass waits for one, and until the last is begun
_MOST = 1 << 20  # bytes of an answer in which a text is looked for
_TOLD = 4096  # bytes of one that may say what is wrong


class Doors(Protocol):
    """How to be let in."""

    @property
    def authorities(self) -> str:
        """Certificates (PEM) that are believed beside the usual ones."""

    def log_in(self, check: Check) -> None:
        """Make a check's login. Raises errors of the hierarchy."""

    def credentials(self, check: Check) -> tuple[str, str]:
        """Name and password in a check's connection."""


def make(
    checks: Iterable[Check], engine: Engine, doors: Doors, *, patience: float, stop: Event
) -> tuple[CheckResult, ...]:
    """The result of each check, in their order. What fails is tried again for `patience` seconds, until `stop` is set. How long a check has
    is for a commit to say, and how long all of them may take is not.

    Never raises for what a check meets.
    """
    wanted = list(checks)
    if not wanted:
        return ()
    deadline = time.monotonic() + patience
    latest = time.monotonic() + patience + _WHOLE

    def attempt(check: Check) -> CheckResult:
        if time.monotonic() > latest:
            return CheckResult(check.name, check.service, False, "not made: those before it took too long")
        check = replace(check, timeout=min(check.timeout, _WHOLE))
        while True:
            message = _try(check, engine, doors)
            message += f"; {check.advice}" if message and check.advice else ""
            if not message or time.monotonic() >= deadline or stop.wait(_PAUSE):
                return CheckResult(check.name, check.service, not message, message)

    with ThreadPoolExecutor(min(_AT_ONCE, len(wanted)), thread_name_prefix="check") as pool:
        return tuple(pool.map(attempt, wanted))


def _try(check: Check, engine: Engine, doors: Doors) -> str:
    """What is wrong; "" when nothing is."""
    try:
        if check.login:
            doors.log_in(check)
            return ""
        if check.http:
            return _http(check, doors.authorities, doors.credentials(check) if check.credentials else None)
        if check.tcp:
            return _tcp(check)
        command = ("bash", "-c", check.script) if check.script else check.command
        code, output = engine.execute(check.container, command, check.timeout)
    except errors.ReconcilerError as error:
        return str(error)
    if check.script:
        return f"{check.container}: {text.last_line(output)}" if code else ""
    if code:
        return f"`{' '.join(check.command)}` in {check.container} ended with {code}: {text.last_line(output)}"
    if check.contains not in output:
        return f"`{' '.join(check.command)}` in {check.container} did not say {check.contains!r}"
    return ""


def _http(check: Check, authorities: str, credentials: tuple[str, str] | None) -> str:
    try:
        with (
            _session(check, authorities) as session,
            session.get(check.http, allow_redirects=False, auth=_basic(credentials)) as answer,
        ):
            body = answer.content
    except requests.Timeout:
        return f"{check.http} does not answer within {check.timeout:g} s"
    except requests.exceptions.SSLError as error:
        return f"{check.http}: the certificate is not accepted: {errors.root_cause(error)}"
    except (requests.RequestException, ValueError) as error:
        return f"{check.http} does not answer: {errors.root_cause(error)}"
    if answer.status_code not in check.expect if check.expect else answer.status_code >= 400:
        wanted = f", not {' or '.join(map(str, check.expect))}" if check.expect else ""
        return f"{check.http} answers {answer.status_code}{wanted}{_stated(body)}"
    if check.contains.encode() not in body:
        return f"{check.http} answers without {check.contains!r}"
    return ""


def _basic(credentials: tuple[str, str] | None) -> HTTPBasicAuth | None:
    """As bytes, because requests would encode texts as latin-1."""
    return HTTPBasicAuth(credentials[0].encode(), credentials[1].encode()) if credentials else None


def _stated(body: bytes) -> str:
    """What an answer in JSON says of itself: its reason, and the plain values of the lists beside it."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    reason = answer.get("reason") if isinstance(answer, dict) else None
    if not isinstance(reason, str):
        return ""
    rows = [row for value in answer.values() if isinstance(value, list) for row in value]
    named = [" ".join(map(str, row.values())) if isinstance(row, dict) else str(row) for row in rows]
    return text.printable(f": {reason}" + (f" ({', '.join(named)})" if named else ""), limit=300)


def _session(check: Check, authorities: str) -> Session:
    session, most = Session(check.verify), _MOST if check.contains else _TOLD
    adapter = Bounded(check.timeout, most=most, cut=True, authorities=authorities if check.verify else "")
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


def _tcp(check: Check) -> str:
    host, _, port = check.tcp.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=check.timeout) as connection:
            return _exchange(check, connection) if check.send else ""
    except TimeoutError:
        return f"{check.tcp} does not answer within {check.timeout:g} s"
    except (OSError, OverflowError) as error:
        return f"{check.tcp} does not answer: {errors.root_cause(error)}"


def _exchange(check: Check, connection: socket.socket) -> str:
    """Send what the check begins with, and read until its text is there."""
    deadline, answer = time.monotonic() + check.timeout, b""
    connection.sendall(check.send.encode())
    while check.contains.encode() not in answer:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        received = connection.recv(4096)
        if not received or len(answer) > _MOST:
            return f"{check.tcp} answers without {check.contains!r}"
        answer += received
    return ""
