"""When merge requests are reviewed: in a thread of their own, so that no review keeps a host's status waiting."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import structlog

from reconciler import errors
from reconciler.daemon.backoff import backoff
from reconciler.fleet.reviews.document import reviews_document
from reconciler.fleet.reviews.metrics import Metrics
from reconciler.fleet.reviews.reviewer import Interruptions, Reviewer
from reconciler.forge import ForgeSettings, connect
from reconciler.forge.changes import project_of
from reconciler.log import frames
from reconciler.reasons import Reason
from reconciler.settings import Settings

log = structlog.get_logger()

_SPLAY = 0.1  # share of the interval


def reviewer_of(settings: Settings, interruptions: Interruptions = dict) -> Reviewer | None:
    """The reviewer that the settings ask for; `interruptions` is what hosts reported of how long restarts were
    felt. Raises errors.Terminal (SettingsInvalid) when it has nowhere to tell anything."""
    if not settings.review.enabled:
        return None
    if settings.forge is None:
        raise errors.Terminal(
            "review.enabled without [forge]: there is nowhere to list merge requests and to write notes (add [forge], or set "
            "review.enabled to false)",
            reason=Reason.SettingsInvalid,
        )
    return Reviewer(settings, connect(ForgeSettings.of(settings.forge)), interruptions=interruptions)


def link_of(settings: Settings) -> Callable[[int], str]:
    """Number of a merge request → its page, as the settings say where that is."""
    project = project_of(settings.forge, settings.git.url)
    return project.merge_request_url if project else lambda _: ""


class Loop:
    """Rounds of a reviewer, one after the other, until `close`. `count` is called with the reason of each that failed."""

    def __init__(self, reviewer: Reviewer, metrics: Metrics, count: Callable[[Reason], None]) -> None:
        self.reviewer, self.metrics, self._count = reviewer, metrics, count
        self.problem = ("", "")  # reason and message of the last round, as long as it failed
        self._backoff = backoff(reviewer.own.interval)
        self._random = Random()  # noqa: S311 - spreads requests, hides nothing
        self._wake = threading.Event()
        # A daemon thread: a review under way ends with the process, and its children with it.
        self._thread = threading.Thread(target=self._run, name="reviews", daemon=True)
        reviewer.done = metrics.reviewed
        self._link = link_of(reviewer.settings)

    def start(self) -> None:
        self._thread.start()

    def hurry(self) -> None:
        """Begin the next round now."""
        self._wake.set()

    def close(self, timeout: float) -> None:
        """Begin nothing more, and wait a moment for what is under way."""
        self.reviewer.stop.set()
        self._wake.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            with suppress(errors.ReconcilerError):  # then it counts as a failure
                self.reviewer.abandon()

    def document(self) -> dict[str, Any]:
        return reviews_document(self.reviewer.overview, self.problem, self._link)

    def _run(self) -> None:
        while not self.reviewer.stop.is_set():
            pause = self._round()
            self._wake.wait(pause)
            self._wake.clear()
        self.reviewer.close()

    def _round(self) -> float:
        """One round; returns how many seconds to wait for the next."""
        began = time.monotonic()
        try:
            found = self.reviewer.round()
        except errors.ReconcilerError as error:
            return self._failed(error.reason, str(error), getattr(error, "retry_after", None))
        except Exception as error:  # whatever a round meets, the next one is tried
            log.error("reviews.crashed", error=type(error).__name__, frames=frames(error))
            return self._failed(Reason.InternalError, type(error).__name__, None)
        self.problem = ("", "")
        self._backoff.succeeded()
        self.metrics.take(found)
        log.debug("reviews.finished", seconds=round(time.monotonic() - began, 3), merge_requests=len(found.entries))
        return self.reviewer.own.interval * self._random.uniform(1 - _SPLAY, 1 + _SPLAY)

    def _failed(self, reason: Reason, message: str, retry_after: float | None) -> float:
        self.problem = (reason, message)
        self._count(reason)
        pause = self._backoff.failed(time.monotonic(), retry_after)
        log.warning("reviews.failed", reason=reason, message=message, seconds=round(pause, 1))
        return pause
