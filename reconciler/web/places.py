"""Who keeps a place when there are more connections than places. Pure: time is an argument.

A flood costs its maker nothing, so room has to be made at the flood's cost, not at that of a client whose line is slow. What tells
them apart is what they have shown: places are taken from addresses that have many, and there from the connections with the
fewest moments in which something arrived, then from those that were silent for longest. A client that has just come is not
asked to leave before it could say anything.
"""

import heapq
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from reconciler.web.message import Handler, Head

MOST_PLACES: Final = 1024  # connections at the same time, where the system allows that many
FEWEST_PLACES: Final = 16
BUFFERED: Final = 8 << 20  # bytes of unfinished requests, all together
_MODEST: Final = 8  # connections of one address that are not many
_MOMENT: Final = 0.1  # seconds; what arrives within one counts as one sign of life
_ENOUGH: Final = 4  # signs of life after which more make no difference
_DOUBT: Final = 0.05  # seconds for which a silent connection has the benefit of it: what it says may be on the way


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
    """All connections of a server: `room` of them at a time, half of that for one address."""

    def __init__(self, room: int) -> None:
        self.room = room
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

    def too_many(self, newest: Connection) -> list[Connection]:
        """Who has to leave because `newest` came; several at once, because it takes a look at all to find out."""
        if self._crowds[newest.crowd] > self.room // 2:
            others = [one for one in self._all.values() if one.crowd == newest.crowd and one is not newest]
        elif len(self) > self.room:
            others = [one for one in self._all.values() if one is not newest]
        else:
            return []
        return self._least(others, max(1, self.room // 32), newest.last) or [newest]

    def too_much(self) -> list[Connection]:
        """Who has to leave because unfinished requests fill the memory: the one that fills most, of the address that does."""
        if self.buffered <= BUFFERED:
            return []
        able = [one for one in self._all.values() if one.received and one.stage is not Stage.WORK]
        filled: Counter[str] = Counter()
        for one in able:
            filled[one.crowd] += len(one.received)
        return heapq.nlargest(1, able, key=lambda one: (filled[one.crowd], len(one.received), -one.last))

    def _least(self, candidates: Iterable[Connection], most: int, now: float) -> list[Connection]:
        """Those that have shown least. Who waits for a handler has shown all that it can."""

        def worth(one: Connection) -> tuple[bool, int, int, float]:
            signs = one.signs or int(now - one.last < _DOUBT)
            return one.stage is not Stage.LINGER, -max(self._crowds[one.crowd], _MODEST), signs, one.last

        able = (one for one in candidates if one.stage is not Stage.WORK)
        return heapq.nsmallest(most, able, key=worth)
