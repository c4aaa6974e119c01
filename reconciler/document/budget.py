"""What reading one site may cost: the work of checking it against schemas, and of looking for what somebody meant. Pure.

A branch may hold anything, also what is small and slow to check. Work is counted, not timed, so that the same site has the same
answer on every machine. Whoever reads a whole site opens one budget for all of it; a check outside of one has its own.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

# Of one site, in about a microsecond each. The checks of a site of 500 hosts take 80,000.
CHECKS: Final = 1_000_000
# Pairs of characters that are compared when a known word is looked for that somebody may have meant: at worst half a second.
COMPARED: Final = 10_000_000


class ExhaustedError(Exception):
    """A budget is used up."""


@dataclass(slots=True)
class Budget:
    """What is left."""

    checks: int = CHECKS
    compared: int = COMPARED

    def check(self, count: int) -> None:
        """Count work of a check. Raises ExhaustedError."""
        self.checks -= count
        if self.checks < 0:
            raise ExhaustedError

    def compare(self, count: int) -> bool:
        """Count a comparison, unless there is too little left for it."""
        if count > self.compared:
            return False
        self.compared -= count
        return True


_current: Final[ContextVar[Budget | None]] = ContextVar("budget", default=None)


def current() -> Budget:
    """The budget that is open, else a new one."""
    return _current.get() or Budget()


@contextlib.contextmanager
def opened(budget: Budget | None = None) -> Iterator[Budget]:
    """A budget for all that is done within; the one that is open already, if there is one."""
    found = _current.get() or budget or Budget()
    token = _current.set(found)
    try:
        yield found
    finally:
        _current.reset(token)
