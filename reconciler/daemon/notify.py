"""What systemd is told: ready, status, stopping, and that the main loop is alive."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

from reconciler.text import one_line

CYCLE_SECONDS = 3600.0  # pulling a control plane's images over a slow line takes long; a cycle longer than this hangs
_SEND_SECONDS = 5.0  # a busy systemd lets a message wait


class Notifier:
    """Speaks on NOTIFY_SOCKET; silent where there is none.

    `period` is the time between two signs of life in seconds, a third of what systemd allows; None when it asks for none.
    """

    def __init__(self, cycle_seconds: float = CYCLE_SECONDS) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # @: in the abstract name space
        self._cycle_seconds = cycle_seconds
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        # systemd says whose sign of life it wants: not that of a child which inherited the variable.
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.period = int(microseconds) / 3e6 if ours and microseconds.isdigit() and int(microseconds) else None

    def ready(self, status: str) -> None:
        self._say(f"READY=1\nSTATUS={one_line(status, limit=200)}")

    def status(self, text: str) -> None:
        self._say(f"STATUS={one_line(text, limit=200)}")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def alive(self) -> None:
        """Called by the main loop itself, each time it comes round."""
        if self.period is not None:
            self._say("WATCHDOG=1")

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """While the main loop is busy with a cycle a helper signs for it, up to the longest time a cycle may take."""
        if self.period is None:
            yield
            return
        done = threading.Event()
        helper = threading.Thread(target=self._sign, args=(done, self.period), name="watchdog", daemon=True)
        helper.start()
        try:
            yield
        finally:
            done.set()
            helper.join()

    def _sign(self, done: threading.Event, period: float) -> None:
        deadline = time.monotonic() + self._cycle_seconds
        while not done.wait(period) and time.monotonic() < deadline:
            self._say("WATCHDOG=1")

    def _say(self, text: str) -> None:
        if self._address:
            # Whether systemd listens must not matter to the work.
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.settimeout(_SEND_SECONDS)
                out.sendto(text.encode(errors="replace"), self._address)
