"""What Prometheus sees of a reporter. Labels come from closed sets: states, reasons, kinds; never a host's name."""

import time
from collections import Counter as Tally

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, exposition

from reconciler.fleet.judge import STATES, differing
from reconciler.fleet.reporter import Round
from reconciler.forge import StatusReporter
from reconciler.reasons import Reason

_BUCKETS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)


class Metrics:
    """All metrics of one reporter."""

    def __init__(self) -> None:
        registry = CollectorRegistry(auto_describe=True)
        prometheus_client.ProcessCollector(registry=registry)
        self.registry = registry
        self.hosts = Gauge(
            "reconciler_fleet_hosts",
            "Hosts of the inventory by what they are at the head commit.",
            ["state"],
            registry=registry,
        )
        self.missing = Gauge(
            "reconciler_fleet_unknown_hosts",
            "Hosts without a report that counts, by why.",
            ["reason"],
            registry=registry,
        )
        self.differing = Gauge(
            "reconciler_fleet_differing_hosts",
            "Hosts that run another version of this program, or another catalogue, than most.",
            registry=registry,
        )
        self.seconds = Histogram(
            "reconciler_fleet_round_duration_seconds", "Duration of a round.", buckets=_BUCKETS, registry=registry
        )
        self.round = Gauge(
            "reconciler_fleet_last_round_timestamp_seconds",
            "End of the last round; before the first one the start of the reporter.",
            registry=registry,
        )
        self.round.set(time.time())
        self.source = Gauge(
            "reconciler_fleet_last_source_timestamp_seconds",
            "When the repository was last read and its newest commit accepted; before that the start of the reporter.",
            registry=registry,
        )
        self.source.set(time.time())
        self.queued = Gauge(
            "reconciler_queued", "Waiting commit statuses and deployments.", ["kind"], registry=registry
        )
        self.posted = Counter(
            "reconciler_posted", "Commit statuses and deployments posted.", ["kind"], registry=registry
        )
        self.errors = Counter("reconciler_errors", "Errors by where and why.", ["api", "reason"], registry=registry)
        self._counted: dict[tuple[str, str], int] = {}

    def take(self, found: Round) -> None:
        """Take a round in."""
        ended = found.at.timestamp()
        self.seconds.observe(found.seconds)
        self.round.set(ended)
        if found.source.ok and found.refusal is None:
            self.source.set(ended)
        elif not found.source.ok:
            self.errors.labels("git", found.source.reason).inc()
        counts = found.whole.counts if found.whole else {}
        for state in STATES:
            self.hosts.labels(state).set(counts.get(state, 0))
        self.differing.set(len(differing(found.views)))
        self.missing.clear()
        for reason, count in Tally(one.reason for one in found.views if one.state == "unknown").items():
            self.missing.labels(reason or Reason.Unknown).set(count)

    def outgoing(self, kind: str, sender: StatusReporter) -> None:
        """Take the counts of what goes to the forge in."""
        now = sender.statistics
        self.queued.labels(kind).set(now.queued)
        if (new := self._new(kind, "posted", now.posted)) > 0:
            self.posted.labels(kind).inc(new)
        if (new := self._new(kind, "failed", now.failed)) > 0:
            self.errors.labels("forge", now.last_reason or Reason.Unknown).inc(new)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics as of now, and their content type, in the format that the Accept header asks for."""
        encode, content_type = exposition.choose_encoder(accept)
        return encode(self.registry), content_type

    def _new(self, kind: str, what: str, count: int) -> int:
        new = count - self._counted.get((kind, what), 0)
        self._counted[kind, what] = count
        return new
