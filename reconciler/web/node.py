"""One node's status page: keeps the newest report, and makes what is shown of it when somebody asks."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import structlog

from reconciler import errors
from reconciler.model import from_json
from reconciler.report import Report
from reconciler.settings import Settings
from reconciler.state import StateDirectory
from reconciler.web.document import node_document

log = structlog.get_logger()

_HISTORY = 30  # entries


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
        self._working = False

    @property
    def report(self) -> Report | None:
        return self._report

    def take(self, report: Report) -> None:
        """Show this report from now on."""
        with self._guard:
            self._report, self._made = report, None

    @contextmanager
    def working(self) -> Iterator[None]:
        """While a pass is under way, the page says so."""
        self._working = True
        try:
            yield
        finally:
            self._working = False

    def document(self) -> dict[str, Any]:
        """What status.json says."""
        with self._guard:
            if self._made is None:
                self._made = node_document(self._report, self._state.history(_HISTORY), self._about)
            return {**self._made, "working": self._working}

    def _remembered(self) -> Report | None:
        try:
            data = self._state.report
            return from_json(Report, data) if data else None
        except (errors.ReconcilerError, KeyError, TypeError, ValueError, AttributeError) as error:
            # The next pass makes a new one, or says what is wrong with the state.
            log.warning("report.unreadable", message=str(error))
            return None
