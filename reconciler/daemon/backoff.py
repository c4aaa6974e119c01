"""When a host's turn is, and how passes that fail are spaced out."""

import hashlib

from reconciler.system.pacing import Backoff

_LONGEST = 10  # intervals


def backoff(interval: float) -> Backoff:
    """What spaces out a thing that is tried in every pass: from one interval up to ten."""
    return Backoff(interval, _LONGEST * interval)


def phase(host: str, interval: float, splay: float) -> float:
    """Seconds into each interval at which a host has its turn: the same always, spread over hosts within the splay."""
    share = int.from_bytes(hashlib.sha256(host.encode()).digest()[:8], "big") / 2**64
    return share * splay * interval
