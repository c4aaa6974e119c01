"""What is known of passwords that only a login can check, so that a pass does not log in again each time.

Logins cost the server a bcrypt, and failed ones may lock an account. So each is tried when the secret changed, and
again only after a while: that is how long a password changed behind our back may go unnoticed.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable

RECHECK = 1800.0  # seconds


class Proofs:
    """Thread-safe memory of which secret worked for whom. Holds digests under a key that never leaves the process."""

    def __init__(self, recheck: float = RECHECK) -> None:
        self._recheck = recheck
        self._key = secrets.token_bytes(32)
        self._known: dict[tuple[str, str], tuple[str, bool, float]] = {}
        self._lock = threading.Lock()

    def works(self, target: str, user: str, password: str, login: Callable[[], bool]) -> bool:
        """Whether `password` is right: as known, else by calling `login`, whose errors pass through."""
        digest = self._digest(password)
        with self._lock:
            known = self._known.get((target, user))
        if known and known[0] == digest and time.monotonic() - known[2] < self._recheck:
            return known[1]
        result = login()
        with self._lock:
            self._known[target, user] = (digest, result, time.monotonic())
        return result

    def forget(self, target: str, user: str) -> None:
        """Try the next one in any case."""
        with self._lock:
            self._known.pop((target, user), None)

    def _digest(self, password: str) -> str:
        return hmac.new(self._key, password.encode(), hashlib.sha256).hexdigest()


# Shared by every registry of this process: what was proved stays true whichever of them asks.
PROOFS = Proofs()
