"""The reporter as a daemon: a round every interval, a page and metrics on loopback, signals, signs of life for systemd."""

import time
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import structlog

from reconciler import errors
from reconciler.codec import to_json
from reconciler.daemon import loop
from reconciler.daemon.notify import Notifier
from reconciler.daemon.presence import Presence
from reconciler.daemon.rollout_page import RolloutPage
from reconciler.daemon.triggers import Triggers
from reconciler.etcd import connect
from reconciler.fleet.document import fleet_document
from reconciler.fleet.metrics import Metrics
from reconciler.fleet.reporter import Reporter, Round
from reconciler.fleet.reviews.loop import Loop, reviewer_of
from reconciler.fleet.reviews.metrics import Metrics as ReviewMetrics
from reconciler.reasons import FLEET, Reason
from reconciler.settings import Settings
from reconciler.text import json_text
from reconciler.web import Answer, Request, Server, handlers

log = structlog.get_logger()

_ROUND_SECONDS = 1800.0  # a round longer than this hangs
_LAST_MOMENT = 2.0  # seconds that a review under way has when the reporter is to end


class Service:
    """One reporter's daemon. `run` returns when it was asked to end."""

    def __init__(self, settings: Settings) -> None:
        self.reporter = Reporter(settings)
        self.own = settings.reporter
        self.metrics = Metrics()
        reviewer = reviewer_of(settings, self.reporter.interruptions)
        self.reviews = (
            Loop(
                reviewer,
                ReviewMetrics(self.metrics.registry),
                lambda reason: self.metrics.errors.labels("review", reason).inc(),
            )
            if reviewer
            else None
        )
        self._newest: Round | None = None
        self.rollout = RolloutPage(partial(connect, settings.fleet), self._said) if settings.fleet.etcd else None
        self._triggers = Triggers()
        self._notify = Notifier(_ROUND_SECONDS)
        self._git = loop.SourcePauses(self.own.interval)
        self._server: Server | None = None

    def run(self) -> int:
        """Run until SIGTERM or SIGINT. Raises errors.Terminal when it cannot begin (AlreadyRunning)."""
        presence = Presence(self.own.state_dir)
        try:
            loop.on_signals(self._triggers, self.reporter.stop)
            port = self._serve()
            self._notify.ready("asking the hosts")
            log.info("reporter.started", interval=self.own.interval, page=port, reviews=self.reviews is not None)
            if self.reviews:
                self.reviews.start()
            try:
                self._loop()
            finally:
                self._notify.stopping()
                if self.reviews:
                    self.reviews.close(_LAST_MOMENT)
                if self._server:
                    self._server.close()
                if self.rollout:
                    self.rollout.close()
                self.reporter.close()
        finally:
            presence.close()
        log.info("reporter.stopped")
        return 0

    def document(self) -> dict[str, Any]:
        """What status.json says."""
        document = fleet_document(self._newest)
        if self.rollout:
            # Its hosts are those of the page, with what they say themselves.
            document["rollout"] = {name: value for name, value in self.rollout.document().items() if name != "hosts"}
        return {**document, "reviews": self.reviews.document()} if self.reviews else document

    def _said(self) -> dict[str, str]:
        """Why hosts wait for others, as they say themselves."""
        views = self._newest.views if self._newest else ()
        return {one.member.host: one.message for one in views if one.state == "waiting" and one.reason in FLEET}

    def _loop(self) -> None:
        next_round = time.monotonic()
        while not self.reporter.stop.is_set():
            self._notify.alive()
            self._outgoing()
            wait = next_round - time.monotonic()
            if wait > 0:
                trigger = self._triggers.next(min(wait, self._notify.period or wait))
                if trigger is None or trigger.kind == "stop":
                    continue
                if self.reviews:
                    self.reviews.hurry()
            next_round = time.monotonic() + self.own.interval
            loop.survive("round", self._round, failed=self._no_round, notify=self._notify)

    def _no_round(self, reason: Reason) -> None:
        """Count a round that came to nothing, as when the reporter's own disk fails."""
        self.metrics.errors.labels("other", reason).inc()

    def _round(self) -> None:
        asks = self._git.is_due()
        with self._notify.working():
            try:
                found = self.reporter.look(poll=asks)
            except errors.ReconcilerError:
                if self.reporter.stop.is_set():
                    return  # it was cut short
                raise
        if asks:
            self._git.take(found.source)
        self._newest = found
        if self.rollout and found.fleet and found.fleet.rollout:
            self.rollout.take((found.fleet.site, found.fleet.commit, found.fleet.rollout))
        self.metrics.take(found)
        text = found.whole.text if found.whole else found.source.message or "no commit accepted yet"
        self._notify.status(f"{found.head[:12]}: {text}")
        log.info("round.finished", head=found.head[:12], seconds=round(found.seconds, 3), hosts=text)

    def _outgoing(self) -> None:
        for kind, sender in (("status", self.reporter.statuses), ("deployment", self.reporter.deployments)):
            if sender is not None:
                self.metrics.outgoing(kind, sender)

    def _serve(self) -> int | None:
        """The port, None when there is none."""
        # People may come through a proxy that has a name of its own.
        name = urlsplit(self.own.url).hostname or "localhost"
        table = {"/metrics": self._metrics, "/interruptions.json": self._interruptions, **handlers(self.document)}
        if self.rollout:
            table |= handlers(self.rollout.document, "/fleet", "fleet.json")
        self._server = loop.listen(self.own.listen, table, names=(name, *self.own.names))
        return self._server.port if self._server else None

    def _metrics(self, request: Request) -> Answer:
        self._outgoing()
        text, content_type = self.metrics.text(request.headers.get("accept", ""))
        return Answer(200, text, content_type)

    def _interruptions(self, request: Request) -> Answer:
        """For `ci review --interruptions`."""
        return Answer(200, json_text(to_json(self.reporter.interruptions())).encode() + b"\n", "application/json")
