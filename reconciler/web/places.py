"""Who keeps a place when there are more connections than places. Pure: time is an argument.

A flood costs its maker nothing, so room has to be made at the flood's cost, not at that of a client whose line is slow. What tells
them apart is what they have shown: places are taken from whoever has most of them, and among his from the connection with
the fewest moments in which something arrived, then from the one that was silent for longest. A client that has just come is
not asked to leave before it could say anything.
"""

import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from reconciler.web.message import Handler, Head

PLACES: Final = 128  # connections at the same time
PER_PEER: Final = 64  # of one address
BUFFERED: Final = 8 << 20  # bytes of unfinished requests, all together
_MOMENT: Final = 0.25  # seconds; what arrives within one counts as one sign of life
_ENOUGH: Final = 4  # signs of life after which more make no difference


class Stage(Enum):
    """What a connection waits for."""

    HEAD = "head"
    BODY = "body"
    WORK = "work"  # a handler
    ANSWER = "answer"  # that the client reads
    LINGER = "linger"  # that the client has heard the answer and hangs up


@dataclass(slots=True, eq=False)
class Connection:
    """One client. `peer` is its address, `crowd` whom it counts as; `deadline` is for the stage, whatever arrives meanwhile."""

    socket: socket.socket
    peer: str
    crowd: str
    deadline: float
    last: float  # when something arrived or was taken last
    stage: Stage = Stage.HEAD
    signs: int = 0  # of life
    received: bytearray = field(default_factory=bytearray)
    looked: int = 0  # bytes in which the end of the head is not
    drained: int = 0  # bytes after the answer
    head: Head | None = None
    handler: Handler | None = None
    to_send: memoryview = field(default_factory=lambda: memoryview(b""))

    def moved(self, now: float) -> None:
        """Something arrived, or was taken by the client."""
        if self.signs == 0 or (now // _MOMENT != self.last // _MOMENT and self.signs < _ENOUGH):
            self.signs += 1
        self.last = now


class Places:
    """All connections of a server."""

    def __init__(self) -> None:
        self._all: dict[int, Connection] = {}
        self._crowds: Counter[str] = Counter()
        self.buffered = 0  # bytes

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._all.values()))

    def take(self, one: Connection) -> None:
        self._all[id(one)] = one
        self._crowds[one.crowd] += 1

    def leave(self, one: Connection) -> bool:
        """False when it had left before."""
        if self._all.pop(id(one), None) is None:
            return False
        self._crowds[one.crowd] -= 1
        if not self._crowds[one.crowd]:
            del self._crowds[one.crowd]
        self.buffered -= len(one.received)
        one.received = bytearray()
        return True

    def too_many(self, newest: Connection) -> Connection | None:
        """Who has to leave because `newest` came; None: nobody."""
        if self._crowds[newest.crowd] > PER_PEER:
            others = [one for one in self._all.values() if one.crowd == newest.crowd and one is not newest]
        elif len(self) > PLACES:
            others = [one for one in self._all.values() if one is not newest]
        else:
            return None
        return self._least(others) or newest

    def too_much(self) -> Connection | None:
        """Who has to leave because unfinished requests fill the memory; None: nobody."""
        if self.buffered <= BUFFERED:
            return None
        return self._least(one for one in self._all.values() if one.stage is Stage.BODY)

    def _least(self, candidates: Iterable[Connection]) -> Connection | None:
        """The one that has shown least. Who waits for a handler has shown all that it can."""
        able = (one for one in candidates if one.stage is not Stage.WORK)
        return min(able, key=self._worth, default=None)

    def _worth(self, one: Connection) -> tuple[bool, int, int, float]:
        return one.stage is not Stage.LINGER, -self._crowds[one.crowd], one.signs, one.last
