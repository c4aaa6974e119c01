"""How long to leave alone what fails, and when a host's turn is."""

import hashlib
from random import Random

_LONGEST = 10  # intervals


class Backoff:
    """Doubles the pause with each failure in a row, from one interval up to ten, less up to a fifth at random."""

    def __init__(self, interval: float, random: Random | None = None) -> None:
        self._interval = interval
        self._random = random or Random()  # noqa: S311 - spreads requests, hides nothing
        self._until = float("-inf")
        self.failures = 0

    def failed(self, now: float, retry_after: float | None = None) -> float:
        """Note a failure; returns the pause in seconds, at least what the server asked for in `retry_after`."""
        self.failures += 1
        pause = self._interval * min(2.0 ** min(self.failures - 1, 10), _LONGEST) * self._random.uniform(0.8, 1.0)
        pause = max(pause, retry_after or 0.0)
        self._until = now + pause
        return pause

    def succeeded(self) -> None:
        """Note a success: no pause any more."""
        self.failures = 0
        self._until = float("-inf")

    def is_due(self, now: float) -> bool:
        """Whether it may be tried again."""
        return now >= self._until


def phase(host: str, interval: float, splay: float) -> float:
    """Seconds into each interval at which a host has its turn: the same always, spread over hosts within the splay."""
    share = int.from_bytes(hashlib.sha256(host.encode()).digest()[:8], "big") / 2**64
    return share * splay * interval
