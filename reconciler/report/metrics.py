"""What Prometheus sees: a registry of our own, served by web/ or written for node_exporter.

Labels come from closed sets: condition types, verbs, results, reasons, kinds, and the services of this host.
"""

import math
import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, exposition

from reconciler.model import Verb
from reconciler.reasons import Reason
from reconciler.report.cycle import Report
from reconciler.system import files
from reconciler.text import printable

_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)
_FILES = frozenset({Verb.WRITE, Verb.CHMOD, Verb.DELETE})
_REGISTRATIONS = frozenset({Verb.REGISTER, Verb.UNREGISTER})
_HOST = frozenset({Verb.SET, Verb.RESET})


class Metrics:
    """All metrics of one daemon."""

    def __init__(self) -> None:
        registry = CollectorRegistry(auto_describe=True)
        prometheus_client.ProcessCollector(registry=registry)
        self.registry = registry
        self.seconds = Histogram(
            "reconciler_reconcile_duration_seconds",
            "Duration of a cycle.",
            ["trigger"],
            buckets=_BUCKETS,
            registry=registry,
        )
        gauge, counter = partial(Gauge, registry=registry), partial(Counter, registry=registry)
        self.condition = gauge(
            "reconciler_condition", "1 while the node says so of itself, NaN when it cannot tell.", ["type"]
        )
        self.since = gauge(
            "reconciler_condition_since_timestamp_seconds", "When the condition took on the value it has.", ["type"]
        )
        self.drifted = gauge(
            "reconciler_drifted_items",
            "What differs from the accepted revision without a new commit, and was not put right.",
            ["kind", "service"],
        )
        self.cycle = gauge(
            "reconciler_last_cycle_timestamp_seconds",
            "End of the last cycle, however it went; before the first one the start of the daemon.",
        )
        self.cycle.set(time.time())
        self.began = gauge(
            "reconciler_pass_started_timestamp_seconds",
            "When the pass that is under way began; 0 while none is. All else is as of the last pass that ended.",
        )
        self.success = gauge(
            "reconciler_last_success_timestamp_seconds", "End of the last cycle that left the node converged."
        )
        self.accepted = gauge(
            "reconciler_last_revision_timestamp_seconds", "When the revision in force was first seen in a cycle."
        )
        self.commit = gauge(
            "reconciler_last_commit_timestamp_seconds", "When the newest commit of the branch was first seen there."
        )
        self.behind = gauge(
            "reconciler_behind", "1 while the newest commit of the branch is not the revision in force."
        )
        self.revision = gauge("reconciler_revision_info", "The revision in force.", ["site", "host", "revision"])
        self.program = gauge(
            "reconciler_program_info",
            "The version of this program, and the first digits of its catalogue's digest.",
            ["site", "host", "version", "catalogue"],
        )
        self.errors = counter("reconciler_errors", "Errors by where and why.", ["api", "reason"])
        self.actions = counter("reconciler_actions", "Actions carried out.", ["verb", "result"])
        self.containers = gauge("reconciler_managed_containers", "Containers wanted on this host.")
        self.held = gauge("reconciler_held_items", "Differences nothing is done about.", ["reason"])
        self.gave_way = gauge(
            "reconciler_gave_way", "1 while the node changes nothing because another tool manages the same containers."
        )
        self.etcd = gauge(
            "reconciler_etcd_unavailable",
            "1 while etcd, through which the hosts of a site agree, does not answer this node.",
        )
        self.halted = gauge("reconciler_rollout_halted", "1 while the commit being rolled out is halted.")
        self.places = gauge("reconciler_places_held", "Places of budgets that this host holds, the wave's included.")
        self.queued = gauge("reconciler_queued", "Waiting triggers, commit statuses and alerts.", ["kind"])
        self.connected = gauge("reconciler_engine_connected", "1 while the engine's events are heard.")
        self.certificates = gauge(
            "reconciler_certificate_expiry_timestamp_seconds",
            "End of the first certificate to end in a file of a service.",
            ["service", "file"],
        )
        self.checks = gauge(
            "reconciler_check_failed", "1 for a check that failed when it was last made.", ["service", "check"]
        )
        self._revision = ""
        self._head = ""
        self._failed: dict[str, int] = {}
        # Drift that only deep passes see, as of the last one: the others cannot tell.
        self._deep: dict[str, tuple[str, str]] = {}

    def report(self, report: Report, services: Mapping[str, str] | None = None) -> None:
        """Take a cycle's report in. `services` maps containers to services, for drift that is only reported."""
        self.seconds.labels(report.trigger).observe(report.seconds)
        for condition in report.conditions:
            unknown = condition.type == "Drifted" and condition.reason == Reason.Unknown
            self.condition.labels(condition.type).set(math.nan if unknown else condition.status)
            self.since.labels(condition.type).set(condition.since.timestamp())
        ended = report.started_at.timestamp() + report.seconds
        self.cycle.set(ended)
        if report.converged:
            self.success.set(ended)
        if report.revision != self._revision:
            self._revision = report.revision
            self.accepted.set(ended)
        if report.source.head and report.source.head != self._head:
            self._head = report.source.head
            self.commit.set(ended)
        if self._head:
            self.behind.set(self._head != report.revision)
        self.revision.clear()
        if report.revision:
            self.revision.labels(printable(report.site), printable(report.host), report.revision).set(1)
        self.program.clear()
        if report.program:
            made = (report.program, report.catalogue[:12])
            self.program.labels(printable(report.site), printable(report.host), *made).set(1)
        self.containers.set(report.containers)
        if report.checks:  # of a pass that made them; what is no longer made is not told
            self.checks.clear()
        for check in report.checks:
            self.checks.labels(printable(check.service), printable(check.name)).set(not check.ok)
        for outcome in report.outcomes:
            self.actions.labels(outcome.action.verb.value, outcome.result).inc()
            if outcome.result in ("failed", "rolled-back", "unknown"):
                self.error(outcome.reason)
        if not report.source.ok:
            self.error(report.source.reason)
        if report.failure:
            self.error(report.failure[0])
        if report.fleet is not None:
            self.etcd.set(bool(report.fleet.fault))
            self.places.set(len(report.fleet.holds))
            if not report.fleet.fault:
                self.halted.set(bool(report.fleet.halt))
        if report.plan is not None:
            self.gave_way.set(bool(report.gave_way))
            self._drift(report, services or {})

    @contextmanager
    def working(self) -> Iterator[None]:
        """While a pass is under way."""
        self.began.set_to_current_time()
        try:
            yield
        finally:
            self.began.set(0)

    def error(self, reason: Reason | None) -> None:
        """Count an error by its reason."""
        word = reason or Reason.Unknown
        self.errors.labels(word.api, word).inc()

    def statuses(self, queued: int, failed: int, reason: Reason | None) -> None:
        """Take the status reporter's counts in: waiting, failed since the start, and the newest reason."""
        self._outgoing("status", "forge", queued, failed, reason)

    def alerts(self, queued: int, failed: int, reason: Reason | None) -> None:
        """Take the counts of direct alerts in, as with `statuses`."""
        self._outgoing("alert", "alert", queued, failed, reason)

    def _outgoing(self, kind: str, api: str, queued: int, failed: int, reason: Reason | None) -> None:
        self.queued.labels(kind).set(queued)
        new = failed - self._failed.get(kind, 0)
        if new > 0:
            self.errors.labels(api, reason or Reason.Unknown).inc(new)
            self._failed[kind] = failed

    def certificate_ends(self, ends: Mapping[tuple[str, str], float]) -> None:
        """(service, file) → seconds since the epoch when the first certificate in it ends. Replaces what was known."""
        self.certificates.clear()
        for (service, file), end in ends.items():
            self.certificates.labels(printable(service), printable(file)).set(end)

    def _drift(self, report: Report, services: Mapping[str, str]) -> None:
        assert report.plan is not None
        healed = {outcome.action.id for outcome in report.changed}
        found: dict[str, tuple[str, str]] = {}
        inside: set[str] = set()
        for action in report.plan.actions:
            if action.drift and action.id not in healed:
                found[action.target] = (_kind(action.verb), action.service)
                inside |= {action.target for d in action.differences if d.inside}
        for held in report.drift:
            kind = "registration" if ":" in held.target else "file" if "/" in held.target else "container"
            owner = held.target.partition("/")[0]
            found[held.target] = (kind, services.get(owner, ""))
            inside |= {held.target for d in held.differences if d.inside}
        if report.deep:
            self._deep = {t: item for t, item in found.items() if item[0] == "registration" or t in inside}
        self.drifted.clear()
        for (kind, service), count in Tally({**self._deep, **found}.values()).items():
            self.drifted.labels(kind, printable(service)).set(count)
        self.held.clear()
        for reason, count in Tally(held.reason for held in report.plan.held).items():
            self.held.labels(reason).set(count)

    # --- giving them away --------------------------------------------------------------------------------------------

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics as of now, and their content type, in the format that the Accept header asks for."""
        encode, content_type = exposition.choose_encoder(accept)
        return encode(self.registry), content_type

    def write(self, path: Path) -> None:
        """Write them for node_exporter's textfile collector, whole or not at all, and readable for it. Raises errors.ReconcilerError."""
        files.sweep(path.parent, older=files.LEFTOVER_AGE)
        files.write_under(
            path.parent, path.name, prometheus_client.generate_latest(self.registry), mode=0o644, lasting=False
        )


def _kind(verb: Verb) -> str:
    if verb in _HOST:
        return "host"
    return "file" if verb in _FILES else "registration" if verb in _REGISTRATIONS else "container"
