"""What the main loops of the node's daemon and of the reporter share: signals, what is survived, how a git server is spared, a port."""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import FrameType

import structlog

from reconciler import errors
from reconciler.daemon.backoff import backoff
from reconciler.daemon.notify import Notifier
from reconciler.daemon.triggers import Triggers
from reconciler.log import frames
from reconciler.reasons import Reason
from reconciler.report import RepositoryStatus
from reconciler.web import Handler, Server

log = structlog.get_logger()


def on_signals(triggers: Triggers, stop: threading.Event) -> None:
    """SIGTERM and SIGINT end the loop, SIGHUP is a wish for a pass."""

    def end(number: int, _: FrameType | None) -> None:
        stop.set()
        triggers.put("stop")

    def hangup(number: int, _: FrameType | None) -> None:
        triggers.put("hangup")

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, hangup)


def survive(name: str, work: Callable[[], None], *, failed: Callable[[Reason], None], notify: Notifier) -> None:
    """Do the work of one turn. Whatever it meets is logged as `name`.failed or `name`.crashed and told `failed`, and the daemon lives to
    take the next turn."""
    try:
        work()
    except errors.ReconcilerError as error:
        failed(error.reason)
        notify.status(str(error))
        log.error(f"{name}.failed", reason=error.reason, message=str(error))
    except Exception as error:
        failed(Reason.InternalError)
        log.error(f"{name}.crashed", error=type(error).__name__, frames=frames(error))


class SourcePauses:
    """When the git server is asked again: the more often it failed the later, and never before it wants to be."""

    def __init__(self, interval: float) -> None:
        self._backoff = backoff(interval)

    def is_due(self) -> bool:
        return self._backoff.is_due(time.monotonic())

    def take(self, found: RepositoryStatus) -> None:
        """Count how asking it went."""
        if found.ok:
            self._backoff.succeeded()
            return
        pause = self._backoff.failed(time.monotonic(), found.retry_after)
        log.info("source.backoff", reason=found.reason, failures=self._backoff.failures, seconds=round(pause, 1))


def listen(
    address: str, get: Mapping[str, Handler], post: Mapping[str, Handler] | None = None, names: Iterable[str] = ()
) -> Server | None:
    """What serves at an address; None without one, and where it cannot be had: a taken port is no reason to leave the work alone."""
    if not address:
        return None
    try:
        return Server(address, get, post or {}, set(names))
    except errors.Terminal as error:
        log.error("metrics.failed", reason=error.reason, message=str(error))
        return None
