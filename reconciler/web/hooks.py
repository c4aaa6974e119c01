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

from reconciler.system.pacing import Bucket
from reconciler.web.message import Answer, Handler, Request

log = structlog.get_logger()

_POLLS, _POLL_REFILL = 10.0, 5.0  # polls at once; seconds until one more is granted
_GUESSES, _GUESS_REFILL = 10.0, 30.0  # wrong secrets of one address that are answered as such
_WORDS, _WORD_REFILL = 10.0, 30.0  # lines in the log about wrong secrets
_PEERS = 1024
_SHORTEST = 16  # characters of a secret
_MOST = 8 << 10  # bytes of the file

_Proof = Callable[[Mapping[str, str], bytes, bytes], bool]  # headers, body, secret


class Hooks:
    """The handlers of `/hooks/<kind>`, for the kinds that are switched on.

    The secrets are read from `secret_file` for every hook, so that a new one needs no restart: one a line, any of them counts, so
    that they can be exchanged one forge after the other. `poll` is called for each hook that is genuine and not too many; it
    must not block.

    A genuine hook is never turned away for what others sent: behind a proxy all of them have one address. So a guess is always
    looked at, and what keeps guessing hopeless is the length of a secret. Who guesses is told so less and less, and so is the log.
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
        self._words = Bucket(_WORDS, _WORD_REFILL, clock())
        self._unsaid = 0  # wrong hooks that the log does not know of
        self._owed = False  # a poll, for a genuine hook beyond what is granted

    def handlers(self) -> dict[str, Handler]:
        """Path → handler, for `Server`."""
        return {f"/hooks/{kind}": self._handler(_PROOFS[kind]) for kind in self._kinds}

    def _handler(self, genuine: _Proof) -> Handler:
        def handle(request: Request) -> Answer:
            secrets = self._secrets()
            if not secrets:
                return Answer(503, b"the secret of the webhook cannot be used; the log of the daemon says why\n")
            body = request.read()
            right = [genuine(request.headers, body, secret) for secret in secrets]  # all: the time taken tells nothing
            if not any(right):
                return self._refuse(request)
            with self._guard:
                wait = self._granted.wait(self._clock())
                if wait == 0:
                    self._granted.take()
            if wait:
                self._owe(wait)
                return _busy(wait)
            log.info("hook.accepted", path=request.path, peer=request.peer)
            self._poll()
            return Answer(202, b"polling\n")

        return handle

    def _secrets(self) -> tuple[bytes, ...]:
        """The usable secrets; none at all when one line is no secret, for that is a mistake which somebody has to see."""
        try:
            with self._file.open("rb") as file:
                content = file.read(_MOST + 1)
        except OSError as error:
            self._unusable(error.strerror or "it cannot be read")
            return ()
        found = tuple(line.strip() for line in content.splitlines() if line.strip())
        wrong = (
            f"more than {_MOST >> 10} KiB"
            if len(content) > _MOST
            else "empty"
            if not found
            else f"a secret shorter than {_SHORTEST} characters"
            if any(len(secret) < _SHORTEST for secret in found)
            else ""
        )
        if wrong:
            self._unusable(wrong)
        return () if wrong else found

    def _unusable(self, why: str) -> None:
        if self._may_speak():
            log.error("hook.secret", path=str(self._file), message=why)

    def _may_speak(self) -> bool:
        """Whether the log may hear of what strangers bring about: not as often as they like."""
        with self._guard:
            now = self._clock()
            if self._words.wait(now):
                return False
            self._words.take()
            return True

    def _refuse(self, request: Request) -> Answer:
        now = self._clock()
        with self._guard:
            bucket = self._guesses.pop(request.peer, None) or Bucket(_GUESSES, _GUESS_REFILL, now)
            self._guesses[request.peer] = bucket
            while len(self._guesses) > _PEERS:
                self._guesses.popitem(last=False)
            wait = bucket.wait(now)
            if wait == 0:
                bucket.take()
            self._unsaid += 1
        if self._may_speak():
            count, self._unsaid = self._unsaid, 0
            log.warning("hook.refused", path=request.path, peer=request.peer, count=count)
        return _busy(wait) if wait else Answer(401, b"wrong secret or signature\n")

    def _owe(self, wait: float) -> None:
        """Poll when the next one is granted: whoever repeats a genuine hook must not make us miss the next push."""
        with self._guard:
            if self._owed:
                return
            self._owed = True
        timer = threading.Timer(wait, self._pay)
        timer.name, timer.daemon = "hook-owed", True
        timer.start()

    def _pay(self) -> None:
        with self._guard:
            self._owed = False
        self._poll()


def _busy(wait: float) -> Answer:
    return Answer(429, b"too many\n", headers={"Retry-After": str(int(wait) + 1)})


def _gitlab(headers: Mapping[str, str], body: bytes, secret: bytes) -> bool:
    # Digests, because a comparison tells when two texts have not the same length.
    given = hashlib.sha256(_bytes(headers.get("x-gitlab-token", ""))).digest()
    return hmac.compare_digest(given, hashlib.sha256(secret).digest())


def _github(headers: Mapping[str, str], body: bytes, secret: bytes) -> bool:
    return _signed(headers.get("x-hub-signature-256", ""), "sha256=", body, secret)


def _gitea(headers: Mapping[str, str], body: bytes, secret: bytes) -> bool:
    return _signed(headers.get("x-gitea-signature", ""), "", body, secret)


def _signed(given: str, prefix: str, body: bytes, secret: bytes) -> bool:
    wanted = prefix + hmac.new(secret, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(_bytes(given), wanted.encode())


def _bytes(value: str) -> bytes:
    """A header's value as it came."""
    return value.encode("latin-1", errors="replace")


_PROOFS: Final[Mapping[str, _Proof]] = {"gitlab": _gitlab, "github": _github, "gitea": _gitea}
