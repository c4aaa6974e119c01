"""What passes do about what is in flight: a newer revision takes over, and what has ended is told."""

from dataclasses import replace

import structlog

from reconciler import plan, report
from reconciler.node.aims import Aim
from reconciler.node.flight import Flight, Flights, Landed, wait_for
from reconciler.node.reporting import Reporter
from reconciler.node.target import Target
from reconciler.reasons import Reason
from reconciler.report import Report
from reconciler.report.summary import superseded
from reconciler.state import StateDirectory

log = structlog.get_logger()

_CUT_SECONDS = 2.0  # for which a pass waits until what it cut short has ended


def take_over(flights: Flights, aim: Aim, reporter: Reporter, carried_out: str) -> None:
    """See that what is in flight for another revision ends where that of `aim` takes its place: what was not begun is dropped, what
    it changes is not awaited any more. Nothing takes its place while nothing may be changed. `carried_out` is the revision that was
    last carried out completely."""
    if not flights.flying:
        return
    if any(hold.reason == Reason.Suspended for hold in aim.holds):
        for flight in flights.flying:
            flight.drop(Reason.Suspended, aim.held_by(Reason.Suspended).message)
    if aim.holds:
        return
    target = aim.target
    revision = target.desired.revision
    others = [flight for flight in flights.flying if flight.revision != revision and not flight.ahead]
    cut: set[str] = set()
    for flight in others:
        changed = plan.superseded(flight.containers, flight.target.part_digest, target.part_digest)
        flight.drop(Reason.Superseded, f"{revision[:12]} came before it was done")
        flight.shorten(changed)
        if not flight.superseded:
            whole = flight.revision == carried_out
            reporter.say(superseded(flight.revision, revision, flight.report.testing, whole=whole), target.desired.site)
            log.info("flight.superseded", revision=flight.revision[:12], by=revision[:12], cut=sorted(changed))
        cut |= changed if flight.superseded != revision else set()
        flight.superseded = revision
    wait_for(others, cut, _CUT_SECONDS)


def collect(flights: Flights, target: Target, told: Report, state: StateDirectory) -> tuple[Report, Landed]:
    """What became of what was in flight: what belongs to the revision of `target` goes into the report of this pass, of any other
    the history tells."""
    whole = Landed()
    for flight in flights.collect():
        landed, before = flight.landed, flight.report
        if flight.ahead:
            flight.ahead(flight)
            continue
        if flight.revision != target.desired.revision:
            record(flight, state)
            continue
        told = replace(
            told,
            started_at=min(before.started_at, told.started_at),
            trigger=before.trigger,
            outcomes=(*told.outcomes, *landed.outcomes),
            explained={**told.explained, **before.explained},
            failure=told.failure or landed.failure,
        )
        checks = None if landed.checks is None else (*(whole.checks or ()), *landed.checks)
        actions = (*whole.actions, *flight.plan.actions)
        whole = Landed((*whole.outcomes, *landed.outcomes), checks or whole.checks, actions=actions)
    return told, whole


def told(flight: Flight) -> Report:
    """What is said of one that has landed."""
    landed = flight.landed
    return replace(flight.report, outcomes=landed.outcomes, failure=landed.failure, seconds=flight.seconds)


def record(flight: Flight, state: StateDirectory) -> None:
    """The history's line for what another revision took the place of."""
    if entry := report.history_entry(told(flight)):
        state.history.record(entry, report.is_repetition)
