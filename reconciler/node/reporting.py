"""How a pass ends: the report gets its conditions and goes to the state, the history, the forge, the alerts and the log."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from reconciler import alerts, errors, report
from reconciler.codec import Lost, from_json
from reconciler.forge import ForgeSettings, Status, StatusReporter, connect
from reconciler.model import Condition
from reconciler.reasons import Reason
from reconciler.report import Report, RepositoryStatus
from reconciler.settings import Settings
from reconciler.state import STATE_FAULTS, Hold, StateDirectory

log = structlog.get_logger()

_PASSING = frozenset({"started_at", "seconds", "trigger", "deep", "happened"})


class Reporter:
    """Hands reports to everything that wants to know. `site` gives the site's name when a report has none, `now` the time of day."""

    def __init__(
        self,
        settings: Settings,
        state: StateDirectory,
        hold: Hold,
        site: Callable[[], str],
        now: Callable[[], datetime],
        *,
        forge: bool,
    ) -> None:
        self._settings, self._state, self._hold, self._site, self._now = settings, state, hold, site, now
        self.statuses = self._to_forge() if forge and settings.forge else None
        self.alerts = self._notifier() if forge and settings.alerts.targets else None
        self.ahead: report.StatusText | None = None  # what this process said last of a commit that is not merged
        self._last: Report | None = None  # kept for when the state has it no more

    def conclude(self, finished: Report) -> Report:
        """Give the report its conditions, and hand it to everything that wants to know."""
        previous = self._previous(finished)
        before = [from_json(Condition, c, Lost()) for c in previous.get("conditions", ())]
        # A pass that failed before it knew its site is of the same one as the pass before.
        site = finished.site or self._site() or str(previous.get("site") or "")
        finished = replace(finished, wrong=tuple(previous.get("wrong", ())), site=site)
        finished = replace(finished, conditions=report.conditions(finished, before, self._now()))
        told = report.as_json(finished)
        news = _news(told) != _news(previous)
        if self._keeps(finished):
            if news:
                self._state.save_report(told)
            made = (previous.get("revision"), previous.get("program", finished.program))
            new = finished.failure is None and (finished.revision, finished.program) != made
            if entry := report.history_entry(finished, new=new):
                self._state.history.record(entry, report.is_repetition)
            self._note_witness()
        self._last = finished
        for text in report.status_text(finished):
            self.say(text, site=finished.site)
        if self.alerts:
            self.alerts.take(finished)
        _log_report(finished, news=news)
        return finished

    def without_state(self, error: errors.ReconcilerError, trigger: str) -> Report:
        """The report of a pass that could do nothing because the state cannot be relied upon: about what was in force before."""
        now, last = self._now(), self._last
        source = last.source if last else RepositoryStatus(True)
        bare = Report("", self._settings.host, "", now, 0.0, trigger, False, source)
        if last:
            bare = replace(
                bare, site=last.site, revision=last.revision, subject=last.subject, containers=last.containers
            )
        elif kept := self._readable(error.reason):
            told = {name: kept[name] for name in ("site", "revision", "subject", "containers") if name in kept}
            bare = replace(bare, **told)
        return replace(bare, failure=(error.reason, str(error)))

    def say(self, text: report.StatusText, site: str = "") -> None:
        """Post a status of a commit. Before this node has ever known what its site is called nothing is said: a later status would have another
        context, and this one would stay for ever."""
        site = site or self._site()
        if self.statuses is None or not site:
            return
        context = f"reconciler/{site}/{self._settings.host}"
        ref = text.branch or self._settings.git.branch
        self.statuses.submit(Status(text.commit, context, text.state, text.description), ref=ref, key=text.key)

    def say_ahead(self, text: report.StatusText, site: str) -> None:
        """Post a status of a commit that is not merged, and keep it for who asks for this host's report."""
        self.ahead = text
        self.say(text, site)

    def close(self) -> None:
        """Wait a moment for statuses and alerts that are still to be sent."""
        if self.statuses:
            self.statuses.close(5.0)
        if self.alerts:
            self.alerts.close(5.0)

    def _keeps(self, finished: Report) -> bool:
        """Whether the state is this node's to write to."""
        return not finished.failure or finished.failure[0] not in STATE_FAULTS

    def _previous(self, finished: Report) -> Mapping[str, Any]:
        """The report before, as JSON."""
        if self._keeps(finished):
            return self._state.report or (report.as_json(self._last) if self._last else {})
        return report.as_json(self._last) if self._last else self._readable(finished.failure and finished.failure[0])

    def _readable(self, fault: Reason | None) -> Mapping[str, Any]:
        """The report of a process before, where the state is this node's and only takes nothing any more."""
        if fault is Reason.StateReadOnly:
            with suppress(errors.ReconcilerError):
                return self._state.report or {}
        return {}

    def _note_witness(self) -> None:
        if self._settings.mode == "report":
            return
        try:
            self._hold.note()
        except errors.ReconcilerError as error:
            log.warning("witness.failed", reason=error.reason, message=str(error))

    def _notifier(self) -> alerts.Notifier:
        own = self._settings
        identity = f"{own.git.url}#{own.git.path}@{own.host}"
        return alerts.Notifier(own.alerts, self._state.path / "alerts.json", identity, clock=self._now)

    def _to_forge(self) -> StatusReporter:
        forge = self._settings.forge
        assert forge is not None
        return StatusReporter(connect(ForgeSettings.of(forge)), self._state.posted)


def _news(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of a report is worth a write: a pass that found what the one before it found leaves the disk alone."""
    news = {name: value for name, value in told.items() if name not in _PASSING}
    return {**news, "checks": [check for check in told.get("checks", ()) if not check["ok"]]}


def _log_report(finished: Report, *, news: bool) -> None:
    """One that did nothing and found nothing new is for whoever looks closely."""
    ready = next((c for c in finished.conditions if c.type == "Ready"), None)
    tell = log.info if news or finished.outcomes else log.debug
    tell(
        "cycle.finished",
        revision=finished.revision[:12],
        trigger=finished.trigger,
        seconds=round(finished.seconds, 3),
        done=len(finished.changed),
        failed=len(finished.failed),
        held=len(finished.plan.held) if finished.plan else 0,
        ready=ready.status if ready else None,
        reason=ready.reason if ready else "",
    )
