"""Webhooks: a forge says that something was pushed. All that it can ever mean is "poll now"; nothing of the body is used."""

import hashlib
import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import structlog

from reconciler.web.server import Answer, Handler, Request

log = structlog.get_logger()

_POLLS, _POLL_REFILL = 10.0, 5.0  # polls at once; seconds until one more is granted
_GUESSES, _GUESS_REFILL = 10.0, 30.0  # wrong secrets per address
_PEERS = 1024
_SHORTEST = 16  # characters of a secret


class Bucket:
    """Grants `size` at once, and one more every `refill` seconds."""

    def __init__(self, size: float, refill: float, now: float) -> None:
        self._size, self._refill, self._left, self._since = size, refill, size, now

    def wait(self, now: float) -> float:
        """Seconds until the next is granted; 0 when it is now."""
        self._left = min(self._left + (now - self._since) / self._refill, self._size)
        self._since = now
        return max(0.0, (1.0 - self._left) * self._refill)

    def take(self) -> None:
        self._left -= 1.0


class Hooks:
    """The handlers of `/hooks/<kind>`, for the kinds that are switched on.

    The secret is read from `secret_file` for every hook, so that a new one needs no restart. `poll` is called for each that
    is genuine and not too many; it must not block.
    """

    def __init__(
        self,
        secret_file: Path,
        kinds: Iterable[str],
        poll: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file, self._kinds, self._poll, self._clock = secret_file, tuple(kinds), poll, clock
        self._guard = threading.Lock()
        self._granted = Bucket(_POLLS, _POLL_REFILL, clock())
        self._guesses: OrderedDict[str, Bucket] = OrderedDict()

    def handlers(self) -> dict[str, Handler]:
        """Path → handler, for `Server`."""
        return {f"/hooks/{kind}": self._handler(_PROOFS[kind]) for kind in self._kinds}

    def _handler(self, genuine: Callable[[Mapping[str, str], bytes, bytes], bool]) -> Handler:
        def handle(request: Request) -> Answer:
            body = request.read()  # first of all: who is answered before he has sent everything may not hear it
            if wait := self._guessing(request.peer):
                return _busy(wait)
            secret = self._secret()
            if not secret:
                return Answer(503, b"the secret of the webhook cannot be used; the log of the daemon says why\n")
            if not genuine(request.headers, body, secret):
                self._guessed(request.peer)
                log.warning("hook.refused", path=request.path, peer=request.peer)
                return Answer(401, b"wrong secret or signature\n")
            with self._guard:
                wait = self._granted.wait(self._clock())
                if wait == 0:
                    self._granted.take()
            if wait:
                return _busy(wait)
            log.info("hook.accepted", path=request.path, peer=request.peer)
            self._poll()
            return Answer(202, b"polling\n")

        return handle

    def _secret(self) -> bytes:
        try:
            secret = self._file.read_bytes().strip()
        except OSError as error:
            log.error("hook.secret", path=str(self._file), message=error.strerror)
            return b""
        if len(secret) < _SHORTEST:
            log.error("hook.secret", path=str(self._file), message=f"shorter than {_SHORTEST} characters")
            return b""
        return secret

    def _guessing(self, peer: str) -> float:
        with self._guard:
            bucket = self._guesses.get(peer)
            return bucket.wait(self._clock()) if bucket else 0.0

    def _guessed(self, peer: str) -> None:
        with self._guard:
            bucket = self._guesses.pop(peer, None) or Bucket(_GUESSES, _GUESS_REFILL, self._clock())
            bucket.take()
            self._guesses[peer] = bucket
            while len(self._guesses) > _PEERS:
                self._guesses.popitem(last=False)


def _busy(wait: float) -> Answer:
    return Answer(429, b"too many\n", headers={"Retry-After": str(int(wait) + 1)})


def _gitlab(headers: Mapping[str, str], body: bytes, secret: bytes) -> bool:
    return hmac.compare_digest(headers.get("x-gitlab-token", "").encode(), secret)


def _github(headers: Mapping[str, str], body: bytes, secret: bytes) -> bool:
    return _signed(headers.get("x-hub-signature-256", ""), "sha256=", body, secret)


def _gitea(headers: Mapping[str, str], body: bytes, secret: bytes) -> bool:
    return _signed(headers.get("x-gitea-signature", ""), "", body, secret)


def _signed(given: str, prefix: str, body: bytes, secret: bytes) -> bool:
    wanted = prefix + hmac.new(secret, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(given.encode(), wanted.encode())


_PROOFS: Final = {"gitlab": _gitlab, "github": _github, "gitea": _gitea}
