"""Moments that are remembered by the time of day: the clock may have been set back since, and nobody waits until it has caught up."""

from datetime import datetime, timedelta


def lately(at: datetime, now: datetime, within: timedelta) -> bool:
    """Whether something was less than `within` ago. What is still to come was noted before the clock was set back, and counts no more."""
    return timedelta(0) <= now - at < within


def waits(until: datetime, now: datetime, length: timedelta) -> bool:
    """Whether a pause of that length is not over. One that has longer to go than it had when it began is."""
    return timedelta(0) < until - now <= length
