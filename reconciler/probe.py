"""A host's checks: whether what has converged also answers. Reads, and changes nothing."""

import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import requests

from reconciler import errors
from reconciler.engine import Engine
from reconciler.model import Check, CheckResult
from reconciler.sessions import Session

_AT_ONCE = 8
_PAUSE = 1.0  # seconds between two tries
_MOST = 1 << 20  # bytes of an answer


def make(checks: Iterable[Check], engine: Engine, *, patience: float, stop: Event) -> tuple[CheckResult, ...]:
    """The result of each check, in their order. What fails is tried again for `patience` seconds, until `stop` is set.

    Never raises for what a check meets.
    """
    wanted = list(checks)
    if not wanted:
        return ()
    deadline = time.monotonic() + patience

    def attempt(check: Check) -> CheckResult:
        while True:
            message = _try(check, engine)
            if not message or time.monotonic() >= deadline or stop.wait(_PAUSE):
                return CheckResult(check.name, check.service, not message, message)

    with ThreadPoolExecutor(min(_AT_ONCE, len(wanted)), thread_name_prefix="check") as pool:
        return tuple(pool.map(attempt, wanted))


def _try(check: Check, engine: Engine) -> str:
    """What is wrong; "" when nothing is."""
    try:
        if check.http:
            return _http(check)
        if check.tcp:
            return _tcp(check)
        code, output = engine.execute(check.container, check.command, check.timeout)
    except errors.ReconcilerError as error:
        return str(error)
    if code:
        return f"`{' '.join(check.command)}` in {check.container} ended with {code}: {_last_line(output)}"
    if check.contains not in output:
        return f"`{' '.join(check.command)}` in {check.container} did not say {check.contains!r}"
    return ""


def _http(check: Check) -> str:
    try:
        with (
            Session(check.verify) as session,
            session.get(check.http, timeout=check.timeout, allow_redirects=False, stream=True) as answer,
        ):
            body = next(answer.iter_content(_MOST), b"") if check.contains else b""
    except requests.Timeout:
        return f"{check.http} does not answer within {check.timeout:g} s"
    except requests.exceptions.SSLError as error:
        return f"{check.http}: the certificate is not accepted: {errors.root_cause(error)}"
    except requests.RequestException as error:
        return f"{check.http} does not answer: {errors.root_cause(error)}"
    if answer.status_code not in check.expect if check.expect else answer.status_code >= 400:
        wanted = f", not {' or '.join(map(str, check.expect))}" if check.expect else ""
        return f"{check.http} answers {answer.status_code}{wanted}"
    if check.contains.encode() not in body:
        return f"{check.http} answers without {check.contains!r}"
    return ""


def _tcp(check: Check) -> str:
    host, _, port = check.tcp.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=check.timeout):
            return ""
    except TimeoutError:
        return f"{check.tcp} does not answer within {check.timeout:g} s"
    except (OSError, OverflowError) as error:
        return f"{check.tcp} does not answer: {errors.root_cause(error)}"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["(no output)"])[-1][:200]
