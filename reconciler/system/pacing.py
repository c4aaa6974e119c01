"""How long to leave alone what fails, and how often something may happen. Pure, but for chance."""

from random import Random


def doubled(first: float, failures: int, longest: float) -> float:
    """The pause after a number of failures in a row: `first` after one, twice as long after each further one, `longest` at most."""
    return min(first * 2.0 ** min(max(failures, 1) - 1, 40), longest)


def after_failure(first: float, failures: int, longest: float, retry_after: float | None, random: Random) -> float:
    """The pause that `doubled` says, less up to a half at random, on top of what the other side asked for."""
    full = doubled(first, failures, longest)
    return (retry_after or 0.0) + random.uniform(full / 2, full)


class Backoff:
    """Doubles the pause with each failure in a row, from `first` seconds up to `longest`, less up to the share `spread` at random.

    What a server asked for is respected: the pause is never shorter.
    """

    def __init__(self, first: float, longest: float, *, spread: float = 0.2, random: Random | None = None) -> None:
        self._first, self._longest, self._spread = first, longest, spread
        self._random = random or Random()  # noqa: S311 - spreads requests, hides nothing
        self._until = float("-inf")
        self.failures = 0

    def failed(self, now: float, retry_after: float | None = None) -> float:
        """Note a failure; returns the pause in seconds."""
        self.failures += 1
        share = self._random.uniform(1.0 - self._spread, 1.0)
        pause = doubled(self._first, self.failures, self._longest) * share
        return self.leave(now, max(pause, retry_after or 0.0))

    def leave(self, now: float, pause: float) -> float:
        """Leave it alone for `pause` seconds whatever happened before; returns them."""
        self._until = now + pause
        return pause

    def succeeded(self) -> None:
        """Note a success: no pause any more."""
        self.failures = 0
        self._until = float("-inf")

    def is_due(self, now: float) -> bool:
        """Whether it may be tried again."""
        return now >= self._until

    @property
    def until(self) -> float:
        """When it may be tried again, on the clock of `now`; minus infinity: at any time."""
        return self._until


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
        """Use one that was granted."""
        self._left -= 1.0
