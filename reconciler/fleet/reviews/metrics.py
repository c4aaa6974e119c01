"""What Prometheus sees of reviews. Labels come from closed sets; never a merge request or its author."""

import time

from prometheus_client import CollectorRegistry, Gauge, Histogram

from reconciler.fleet.reviews.queue import STATES, State
from reconciler.fleet.reviews.reviewer import Overview

_BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


class Metrics:
    """The metrics of reviews, in a reporter's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Gauge(
            "reconciler_review_merge_requests",
            "Open merge requests by what is known of their newest commit.",
            ["state"],
            registry=registry,
        )
        self.seconds = Histogram(
            "reconciler_review_duration_seconds",
            "Duration of a review, from the fetch to the note.",
            ["state"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.round = Gauge(
            "reconciler_review_last_round_timestamp_seconds",
            "When merge requests were last listed and what was due of them reviewed; before that the start of the reporter.",
            registry=registry,
        )
        self.round.set(time.time())

    def reviewed(self, state: State, seconds: float) -> None:
        """Take one review in."""
        self.seconds.labels(state).observe(seconds)

    def take(self, found: Overview) -> None:
        """Take a round in."""
        self.round.set(found.at)
        for state in STATES:
            self.requests.labels(state).set(sum(1 for entry in found.entries if entry.known.state == state))
