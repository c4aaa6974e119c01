"""One node's status page: keeps the newest report, and makes what is shown of it when somebody asks."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import structlog

from reconciler import errors
from reconciler.codec import UNREADABLE, Lost, from_json
from reconciler.report import Report
from reconciler.settings import Settings
from reconciler.state import StateDirectory
from reconciler.web.document import node_document

log = structlog.get_logger()

_HISTORY = 30  # entries
_LONG = 10.0  # seconds after which a pass under way is worth a word


def _busy_at(began: datetime | None, now: datetime) -> datetime | None:
    """The time now, to ten seconds so that not every question costs a signature, when a pass is under way for long."""
    if began is None or (now - began).total_seconds() < _LONG + 10:
        return None
    return now.replace(second=now.second // 10 * 10, microsecond=0)


class NodePage:
    """Thread-safe. Until the daemon's first pass it shows the report that the state directory has."""

    def __init__(self, settings: Settings, state: StateDirectory) -> None:
        self._state = state
        self._about = {
            "host": settings.host,
            "branch": settings.git.branch,
            "mode": settings.mode,
            "interval": settings.daemon.interval,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._guard = threading.Lock()
        self._report = self._remembered()
        self._made: Mapping[str, Any] | None = None
        self._fresh = False  # whether the report is of this process
        self._working_since: datetime | None = None

    @property
    def report(self) -> Report | None:
        return self._report

    def spoken(self) -> tuple[Report | None, datetime | None]:
        """For the signed report: the newest one of this process, and the time now while a pass takes long."""
        with self._guard:
            return (self._report if self._fresh else None), _busy_at(self._working_since, datetime.now(UTC))

    def take(self, report: Report) -> None:
        """Show this report from now on."""
        with self._guard:
            self._report, self._made, self._fresh = report, None, True

    @contextmanager
    def working(self) -> Iterator[None]:
        """While a pass is under way, the page says so."""
        self._working_since = datetime.now(UTC)
        try:
            yield
        finally:
            self._working_since = None

    def document(self) -> dict[str, Any]:
        """What status.json says."""
        with self._guard:
            if self._made is None:
                self._made = node_document(self._report, self._state.history.newest(_HISTORY), self._about)
            since = self._working_since
            return {
                **self._made,
                "working": since is not None,
                "working_since": since.isoformat(timespec="seconds") if since else None,
            }

    def _remembered(self) -> Report | None:
        try:
            data = self._state.report
            return from_json(Report, data, Lost()) if data else None
        except (errors.ReconcilerError, *UNREADABLE) as error:
            # The next pass makes a new one, or says what is wrong with the state.
            log.warning("report.unreadable", message=str(error))
            return None
