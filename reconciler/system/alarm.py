"""Ends work that takes too much processor time, from within: what runs gets a TimeoutError, a regular expression included.

The signal is made ready before a child is sealed (`install`), which takes the means to change that away. Should the error be
caught, or never be raised because something does not return to the interpreter, the child's hard limit ends it. A process that
did not make it ready has no limit here: there the signal would end the process itself.
"""

import signal
import time
from typing import Final

from reconciler import errors
from reconciler.reasons import Reason

# Processor seconds that importing the program takes where its budgets were measured: a slower machine gets more.
_START_SECONDS: Final = 0.25

_installed = False
_active: "Alarm | None" = None
_speed = 1.0


def install() -> None:
    """Make the signal ready, and take the time that this process has taken so far as the measure of the machine."""
    global _speed, _installed
    signal.signal(signal.SIGPROF, _ring)
    _installed = True
    _speed = max(1.0, time.process_time() / _START_SECONDS)


def scaled(seconds: float) -> float:
    """Processor seconds of this machine for so many of the one that budgets were measured on; never fewer."""
    return seconds * _speed


class Alarm:
    """A context that lasts at most `seconds` of processor time (as `scaled`), for `what` in the message.

    Rendering turns the TimeoutError into a problem with template and line; from anywhere else it leaves as errors.Terminal
    (LimitExceeded). `rang` tells which.
    """

    def __init__(self, seconds: float, what: str) -> None:
        self.message = f"this takes more than {seconds:.2g} s of processor time for {what}"
        self.seconds, self.rang = scaled(seconds), False

    def __enter__(self) -> "Alarm":
        global _active
        _active = self
        # Once more every half second: a template may catch the first one's consequences and go on.
        if _installed:
            signal.setitimer(signal.ITIMER_PROF, self.seconds, 0.5)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        global _active
        if _installed:
            signal.setitimer(signal.ITIMER_PROF, 0)
        _active = None
        if isinstance(error, TimeoutError):
            raise errors.Terminal(
                f"{self.message}: the content is too large or made to be slow", reason=Reason.LimitExceeded
            ) from None


def _ring(*_: object) -> None:
    if _active is not None:
        _active.rang = True
        raise TimeoutError(_active.message)
