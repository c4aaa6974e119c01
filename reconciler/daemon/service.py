"""The main loop: waits for a wish, runs one pass, tells everybody how it went.

Passes run here, in the main thread, one at a time, and wait for nothing long: what they begin goes on in flight beside those that
follow. Other threads only put wishes in: the clock (APScheduler), the engine's events, the file watch, a flight that has ended. So
when a pass hangs, so does the sign of life that systemd waits for.
"""

import contextlib
import ctypes
import gc
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from reconciler import errors
from reconciler.daemon import loop, triggers
from reconciler.daemon.backoff import backoff, phase
from reconciler.daemon.events import WAKING, Happenings
from reconciler.daemon.notify import CYCLE_SECONDS, Notifier
from reconciler.daemon.presence import Presence
from reconciler.daemon.rollout_page import RolloutPage
from reconciler.daemon.turns import Turns
from reconciler.daemon.watch import FileWatch
from reconciler.engine import Event
from reconciler.etcd import connect
from reconciler.model import ASIDE
from reconciler.node import cycle
from reconciler.node.flight import Flight
from reconciler.node.node import Node
from reconciler.node.target import Target
from reconciler.reasons import Reason
from reconciler.report import Report, RepositoryStatus, text
from reconciler.report.certificates import certificate_ends
from reconciler.report.metrics import Metrics
from reconciler.report.signed import Signer
from reconciler.settings import Settings
from reconciler.state import STATE_FAULTS
from reconciler.web import Answer, Handler, Hooks, NodePage, Request, Server, handlers, report_handlers

log = structlog.get_logger()

_BUSY_SECONDS = 1.0
_PATIENCE = 2.0  # seconds that a pass waits for what it began; what takes longer goes on in flight
_QUICK = 0.3  # seconds that it waits for it whatever else happens: most of what is healed is done by then
_NOTICE = timedelta(seconds=1)  # in which a change of a file is told
_IDLE_SECONDS = 3600.0  # without a watchdog, and alone, nothing needs the main loop to come round


class Daemon:
    """One node's daemon. `run` returns when it was asked to end."""

    def __init__(self, settings: Settings, *, cycle_seconds: float = CYCLE_SECONDS) -> None:
        self.settings = settings
        self.node = Node(settings)
        self.metrics = Metrics()
        self.page = NodePage(settings, self.node.state)
        self.rollout = RolloutPage(partial(connect, settings.fleet)) if settings.fleet.etcd else None
        self.happenings = Happenings()
        self.node.flights.landed = lambda: self._triggers.put("landed")
        self.node.explain, self.node.happened = self.happenings.explain, self.happenings.happened
        self._triggers = triggers.Triggers()
        turn = phase(settings.host, settings.daemon.interval, settings.daemon.splay)
        self._turns = Turns(self._triggers.put, settings.daemon.interval, turn)
        self._watch = FileWatch(self._file_changed)
        self._notify, self._cycle_seconds = Notifier(cycle_seconds), cycle_seconds
        self._git = loop.SourcePauses(settings.daemon.interval)
        self._applying = backoff(settings.daemon.interval)
        self._ours: frozenset[str] = frozenset()
        self._services: dict[str, str] = {}
        self._read: Target | None = None  # whose certificates were looked at
        self._events_stop = threading.Event()
        self._servers: list[Server] = []
        self._presence: Presence | None = None
        self._awaited = False  # whether the first revision waits for the engine

    def run(self) -> int:
        """Run until SIGTERM or SIGINT. Raises errors.Terminal when it cannot begin (AlreadyRunning)."""
        with contextlib.suppress(errors.ReconcilerError):  # each pass says so
            self.node.state.create()  # also in the place of one that was lost: it has the lock
        presence = self._presence = Presence(self.node.state.path, self.settings.digest)
        try:
            loop.on_signals(self._triggers, self.node.stop)
            port = self._serve()
            self._turns.start()
            threading.Thread(target=self._listen, name="engine-events", daemon=True).start()
            self._notify.ready(f"following {self.settings.git.branch}")
            log.info("daemon.started", host=self.settings.host, interval=self.settings.daemon.interval, metrics=port)
            self._triggers.put("start")
            try:
                self._loop()
            finally:
                self._notify.stopping()
                self._turns.shutdown(wait=False)
                self._close()
        finally:
            presence.close()
        log.info("daemon.stopped")
        return 0

    def _loop(self) -> None:
        while not self.node.stop.is_set():
            if not self.node.flights.overdue(self._cycle_seconds):
                self._notify.alive()
            self.metrics.queued.labels("trigger").set(self._triggers.waiting)
            trigger = self._triggers.next(min(self._notify.period or _IDLE_SECONDS, self.node.permits.stay_present()))
            if trigger is None or trigger.kind == "stop":
                continue
            loop.survive("cycle", partial(self._pass, trigger), failed=self._no_report, notify=self._notify)

    def _no_report(self, reason: Reason) -> None:
        """Count a pass of which not even a report could be made."""
        self.metrics.error(reason)
        self._applying.failed(time.monotonic())

    # --- one pass ----------------------------------------------------------------------------------------------------

    def _pass(self, trigger: triggers.Trigger) -> None:
        if trigger.kind == "landed" and not self.node.flights.any_ended:
            return  # the pass that began it has told of it
        now = time.monotonic()
        patient = trigger.kind in ("interval", "retry", "webhook")
        poll = trigger.polls and (self._git.is_due() or not patient)
        if patient and not self._applying.is_due(now) and not (poll and self._has_news()):
            return
        name = {"file": "event", "landed": "event"}.get(trigger.kind, trigger.kind)
        try:
            with self._notify.working(), self.page.working(), self.metrics.working(), self._working():
                report = cycle.reconcile(self.node, trigger=name, poll=poll, attend=self._attend)
        except errors.Transient as error:
            if error.reason != Reason.Busy:
                raise
            log.info("cycle.busy", message=str(error))
            self._turns.later(_BUSY_SECONDS)
            return
        if self._presence and not (report.failure and report.failure[0] in STATE_FAULTS):
            self._presence.renew()
        self._after(report, poll=poll)

    def _attend(self, flight: Flight) -> None:
        if not flight.ended.wait(_QUICK):
            self._triggers.wait(flight.ended, _PATIENCE)

    def _working(self) -> contextlib.AbstractContextManager[None]:
        return self._presence.working() if self._presence else contextlib.nullcontext()

    def _has_news(self) -> bool:
        """Whether the branch moved since what failed: a commit that mends it does not have to wait for the pause's end."""
        try:
            return self.node.follower.moved()
        except errors.ReconcilerError as error:
            retry_after = getattr(error, "retry_after", None)
            self._git.take(RepositoryStatus(False, "", error.reason, str(error), retry_after))
            return False

    def _after(self, report: Report, *, poll: bool) -> None:
        ended = time.monotonic()
        self._awaited = (
            not report.revision and report.source.reason is not None and report.source.reason.api == "engine"
        )
        if poll:
            self._git.take(report.source)
        if report.failed or report.failure:
            pause = self._applying.failed(ended)
            log.info("cycle.backoff", failures=self._applying.failures, seconds=round(pause, 1))
        elif not report.under_way:  # what is in flight may fail yet
            self._applying.succeeded()
        if report.outcomes:
            touched = {o.action.target for o in report.outcomes} | {o.action.container for o in report.outcomes}
            self.happenings.forget(touched - {""}, report.started_at, datetime.now(UTC))
            if not any(outcome.result == "failed" for outcome in report.outcomes):
                # Of what we did ourselves the engine's events wake nobody: look at it closely. What failed waits for its turn.
                self._triggers.put("event")
        wait = self.node.permits.settles_in
        if wait is not None:  # others wait for what this host holds, or it can claim at once
            self._turns.later(wait + 0.1)
        self.node.permits.listen(lambda: self._triggers.put("event"))
        self._follow()
        self._tell(report)

    def _follow(self) -> None:
        """Listen and look at what the accepted revision has now."""
        try:
            aim = self.node.aim()
        except errors.ReconcilerError:
            return
        if aim is None:
            return
        target, desired = aim.target, aim.target.desired
        if target is not self._read:
            self._read = target
            self._certificates(target)
        names = {container.name for container in desired.containers}
        self._ours = frozenset(names | {ASIDE + name for name in names})
        self._services = {container.name: container.service for container in desired.containers}
        self._watch.follow(Path(desired.config_root), (file.path for file in desired.files))

    def _certificates(self, target: Target) -> None:
        try:
            self.metrics.certificate_ends(certificate_ends(target.desired.files, target.contents))
        except errors.ReconcilerError as error:
            log.warning("certificates.failed", reason=error.reason, message=str(error))

    def _tell(self, report: Report) -> None:
        if report.deep or report.outcomes:
            _give_back()
        self.page.take(report)
        if self.rollout:
            self.rollout.take(self.node.permits.basis)
        self.metrics.report(report, self._services)
        if self.node.reporter.statuses is not None:
            counts = self.node.reporter.statuses.statistics
            self.metrics.statuses(counts.queued, counts.failed, counts.last_reason)
        if self.node.reporter.alerts is not None:
            told = self.node.reporter.alerts.statistics
            self.metrics.alerts(told.waiting, told.failed, told.last_reason)
        if self.settings.daemon.textfile:
            try:
                self.metrics.write(self.settings.daemon.textfile)
            except errors.ReconcilerError as error:
                log.warning("metrics.failed", path=str(self.settings.daemon.textfile), message=str(error))
        ready = next((c for c in report.conditions if c.type == "Ready"), None)
        verdict = (ready.message or ready.reason) if ready else ""
        doing = text.summary(report.plan) if report.plan and not report.plan.empty else ""
        self._notify.status(": ".join(filter(None, (report.revision[:12], verdict, doing))))

    # --- wishes ------------------------------------------------------------------------------------------------------

    def _serve(self) -> int | None:
        """The port of the metrics, None when there is none."""
        own = self.settings.daemon
        hooks = own.webhook and Hooks(own.webhook.secret_file, own.webhook.kinds, lambda: self._triggers.put("webhook"))
        node, key_file = self.node, self.settings.report.key_file
        signer = Signer(key_file, self.page.spoken, node.state.interruptions, lambda: node.reporter.ahead)
        report = report_handlers(signer)
        get = {"/metrics": self._metrics, **handlers(self.page.document), **report}
        if self.rollout:
            get |= handlers(self.rollout.document, "/fleet", "fleet.json")
        port = self._listen_on(own.metrics, get, hooks.handlers() if hooks else {})
        # What a reporter reaches from elsewhere is the signed report, and nothing else.
        self._listen_on(self.settings.report.listen, report, {})
        return port

    def _listen_on(self, address: str, get: Mapping[str, Handler], post: Mapping[str, Handler]) -> int | None:
        """The port, None when there is none."""
        server = loop.listen(address, get, post, (self.settings.host, *self.settings.daemon.names))
        if server is None:
            return None
        self._servers.append(server)
        return server.port

    def _metrics(self, request: Request) -> Answer:
        text, content_type = self.metrics.text(request.headers.get("accept", ""))
        return Answer(200, text, content_type)

    def _listen(self) -> None:
        self.node.engine.watch(self._heard, stop=self._events_stop)

    def _heard(self, event: Event) -> None:
        """Called in the events' thread."""
        if event.kind == "engine":
            self.metrics.connected.set(event.action == "connected")
            log.info(f"engine.{event.action}")
            if event.action == "connected":
                self._triggers.put("start" if self._awaited else "event")
            return
        if event.kind != "container" or not (
            {event.name, event.attributes.get("oldName", "").lstrip("/")} & self._ours
        ):
            return
        if self.node.flights.did(event.name.removeprefix(ASIDE), event.time):
            return
        if not self.node.flights.may_have(event.name.removeprefix(ASIDE), event.time):
            self.happenings.heard(event)
        if event.action in WAKING or event.action == "health_status: unhealthy":
            log.debug("engine.event", container=event.name, action=event.action)
            self._triggers.put("event")

    def _file_changed(self, path: str) -> None:
        if self.node.flights.did(path, datetime.now(UTC) - _NOTICE):
            return
        self.happenings.touched(path)
        log.debug("file.changed", path=path)
        self._triggers.put("file")

    def _close(self) -> None:
        self._events_stop.set()
        self._watch.close()
        for server in self._servers:
            server.close()
        if self.rollout:
            self.rollout.close()
        self.node.close()


def _give_back() -> None:
    """Return to the system what a pass that looked closely, or did something, needed: the allocator would keep it."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)
