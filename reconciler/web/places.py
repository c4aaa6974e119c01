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
    """All connections of a server: `room` of them at a time, three quarters of that for one address."""

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

    def too_many(self) -> list[Connection]:
        """Who has to leave because there are too many; some more than that, because it takes a look at all to find out."""
        leaving: list[Connection] = []
        spare = max(1, self.room // 32)
        # What those who came last want to say may be on the way.
        settled = list(self._all.values())[: -max(1, self.room // 4)]
        share = self.room * 3 // 4
        for crowd, count in self._crowds.items():
            if count > share:
                leaving += self._least((one for one in settled if one.crowd == crowd), count - share + spare)
        if (count := len(self) - len(leaving)) > self.room:
            chosen = {id(one) for one in leaving}
            others = [one for one in settled if id(one) not in chosen]
            leaving += self._least(others, count - self.room + spare)
        if not leaving and len(self) > self.room:  # all others have shown all that they can
            leaving = list(self._all.values())[self.room - len(self) :]
        return leaving

    def too_much(self) -> list[Connection]:
        """Who has to leave because unfinished requests fill the memory: the one that fills most, of the address that does."""
        if self.buffered <= BUFFERED:
            return []
        able = [one for one in self._all.values() if one.received and one.stage is not Stage.WORK]
        filled: Counter[str] = Counter()
        for one in able:
            filled[one.crowd] += len(one.received)
        return heapq.nlargest(1, able, key=lambda one: (filled[one.crowd], len(one.received), -one.last))

    def _least(self, candidates: Iterable[Connection], most: int) -> list[Connection]:
        """Those that have shown least. Who waits for a handler has shown all that it can."""
        able = (one for one in candidates if one.stage is not Stage.WORK)
        return heapq.nsmallest(most, able, key=self._worth)

    def _worth(self, one: Connection) -> tuple[bool, int, int, float]:
        return one.stage is not Stage.LINGER, -max(self._crowds[one.crowd], _MODEST), one.signs, one.last
