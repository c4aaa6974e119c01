"""One reconciliation, from the repository to the report: the table of contents of the program."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import structlog

from reconciler import errors
from reconciler.log import frames
from reconciler.node.flight import Flight
from reconciler.node.node import Node
from reconciler.node.remembering import overcome, remember, remember_part
from reconciler.plan import without
from reconciler.reasons import Reason
from reconciler.report import Report
from reconciler.state import STATE_FAULTS

log = structlog.get_logger()


Attend = Callable[[Flight], None]


def reconcile(
    node: Node, *, trigger: str = "command", deep: bool | None = None, poll: bool = True, attend: Attend | None = None
) -> Report:
    """Look for a new revision, observe, plan, apply, report. Raises errors.Transient (Busy); anything else that goes
    wrong is in the report.

    `deep` None: look into containers and at registrations when it is time to. `poll` False: only this node's state.
    `attend` None: everything is done before this returns. Otherwise it waits for what was begun, for as long as it likes;
    what has not ended then is in flight: the report says what it is at, and a later pass what became of it.
    """
    try:
        node.require_state()
        with node.state.cycle():
            started, began = datetime.now(UTC), time.monotonic()
            source = node.look_for_revision() if poll else node.last_source
            blank = Report("", node.settings.host, "", started, 0.0, trigger, False, source)
            report = _converge(node, blank, deep, attend)
            earlier = (started - report.started_at).total_seconds()
            return node.conclude(replace(report, seconds=earlier + time.monotonic() - began))
    except errors.ReconcilerError as error:
        if error.reason not in STATE_FAULTS:
            raise
        return node.conclude(node.reporter.without_state(error, trigger))


def _converge(node: Node, report: Report, deep: bool | None, attend: Attend | None) -> Report:
    """Everything after the source; a failure keeps what is known so far."""
    revision, testing = node.in_force
    report = replace(report, refusal=node.refusal, revision=revision, testing=testing)
    try:
        node.look_for_other_tools()
        aim = node.agree(node.aim())
        if aim is None:
            return report
        target, commit = aim.target, node.commit(report.revision)
        report = replace(
            report,
            site=target.desired.site,
            containers=len(target.desired.containers),
            suspended=aim.held_by(Reason.Suspended).message,
            gave_way=aim.held_by(Reason.OtherTool).message,
            window=aim.waits,
            kept=target.desired.revision,
            program=aim.program,
            catalogue=aim.catalogue,
            warnings=(*target.prepared.warnings, *node.state.lost.values()),
            subject=commit.subject,
            author=commit.author,
        )
        observer, planner = node.observer, node.planner
        node.take_over(aim)
        report, landed = node.collect(aim, report)
        again = node.look_again(aim, landed.outcomes)
        in_flight, memory = node.flights.items(), observer.memory(target)
        deep, inside = observer.wants_deep(target.desired, memory) if deep is None else (deep, deep)
        actual = observer.observe(target, memory, deep=deep, inside=inside)
        plan = planner.plan(aim, actual, memory, in_flight)
        if not (deep and inside) and observer.needs_deep_look(plan):
            deep, actual = True, observer.observe(target, memory, deep=True)
            plan = planner.plan(aim, actual, memory, in_flight)
        plan = node.permits.admit(aim, plan, actual)
        report = replace(report, fleet=node.permits.agreed)
        overcome(node.state, memory, actual, plan)
        report = replace(report, graph=target.graph, not_working=observer.not_working(target, actual, plan, in_flight))
        explained = {**report.explained, **node.explain(plan)}
        report = replace(report, plan=plan, deep=deep, explained=explained, happened=node.happened(plan))
        report = replace(report, happened=(*report.happened, *node.permits.take_news(report.started_at)))
        now = without(plan, (outcome.action.id for outcome in report.failed))  # what has just failed waits for its turn
        flight = node.begin(aim, now, actual, memory, report, apart=attend is not None)
        if flight and attend:
            attend(flight)
        report, done = node.collect(aim, report)
        again = (*again, *node.look_again(aim, done.outcomes))
        told = {action.id: action for action in (*landed.actions, *done.actions, *plan.actions)}
        told_plan = replace(plan, actions=tuple(told.values()), held=(*plan.held, *again))
        report = replace(report, plan=told_plan, in_flight=observer.explained(target, node.flights.at_now()))
        if report.carried_out and not in_flight:  # what was in flight ended after `actual` was looked at
            remember(node.state, target, plan, actual, memory, partial(planner.is_with_all, target))
        else:
            remember_part(node.state, target, plan, memory, done.outcomes, in_flight)
        settled = (*(landed.checks or ()), *(done.checks or ()))
        report = replace(report, checks=observer.check(target, settled, node.flights.items(), deep=deep))
        if attend:
            node.ahead.look(report, idle=not node.flights.flying and plan.empty)
    except errors.ReconcilerError as error:
        return replace(report, failure=(error.reason, str(error)))
    except Exception as unforeseen:  # a pass ends with a report, whatever it meets
        found = errors.defect(unforeseen, "this pass")
        log.error("cycle.crashed", error=type(unforeseen).__name__, frames=frames(unforeseen))
        return replace(report, failure=(found.reason, str(found)))
    return report
