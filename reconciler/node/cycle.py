"""One reconciliation, from the repository to the report: the table of contents of the program."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from reconciler import errors
from reconciler.log import frames
from reconciler.node.node import Node
from reconciler.node.remembering import overcome, remember
from reconciler.reasons import Reason
from reconciler.report import Report
from reconciler.state import STATE_FAULTS

log = structlog.get_logger()


def reconcile(node: Node, *, trigger: str = "command", deep: bool | None = None, poll: bool = True) -> Report:
    """Look for a new revision, observe, plan, apply, report. Raises errors.Transient (Busy); anything else that goes
    wrong is in the report.

    `deep` None: look into containers and at registrations when it is time to. `poll` False: only this node's state.
    """
    try:
        node.require_state()
        with node.state.cycle():
            started, began = datetime.now(UTC), time.monotonic()
            source = node.look_for_revision() if poll else node.last_source
            report = _converge(node, Report("", node.settings.host, "", started, 0.0, trigger, False, source), deep)
            return node.conclude(replace(report, seconds=time.monotonic() - began))
    except errors.ReconcilerError as error:
        if error.reason not in STATE_FAULTS:
            raise
        return node.conclude(node.reporter.without_state(error, trigger))


def _converge(node: Node, report: Report, deep: bool | None) -> Report:
    """Everything after the source; a failure keeps what is known so far."""
    revision, testing = node.in_force
    report = replace(report, refusal=node.refusal, revision=revision, testing=testing)
    try:
        aim = node.aim()
        if aim is None:
            return report
        target, commit = aim.target, node.commit(report.revision)
        report = replace(
            report,
            site=target.desired.site,
            containers=len(target.desired.containers),
            suspended=aim.held_by(Reason.Suspended).message,
            window=aim.held_by(Reason.OutsideWindow).until,
            warnings=target.prepared.warnings,
            subject=commit.subject,
            author=commit.author,
        )
        observer, planner = node.observer, node.planner
        memory = observer.memory(target)
        deep, inside = observer.wants_deep(target.desired.revision, memory) if deep is None else (deep, deep)
        actual = observer.observe(target, memory, deep=deep, inside=inside)
        plan = planner.plan(aim, actual, memory)
        if not (deep and inside) and observer.acts_on_hearsay(plan):
            deep, actual = True, observer.observe(target, memory, deep=True)
            plan = planner.plan(aim, actual, memory)
        overcome(node.state, memory, actual, plan)
        report = replace(report, graph=target.graph, sick=observer.sick(target, actual, plan))
        explained, happened = node.explain(plan), node.happened(plan)
        outcomes = node.apply(aim, plan, actual, memory)
        report = replace(report, plan=plan, outcomes=outcomes, deep=deep, explained=explained, happened=happened)
        report = replace(report, plan=replace(plan, held=(*plan.held, *node.look_again(aim, outcomes))))
        if report.carried_out:
            remember(node.state, target, plan, actual, memory)
        # Also while something is left undone: what does not answer may be the reason.
        settling = bool(outcomes) and report.converged
        report = replace(report, checks=observer.check(target, deep=deep, changed=settling))
    except errors.ReconcilerError as error:
        return replace(report, failure=(error.reason, str(error)))
    except Exception as unforeseen:  # a pass ends with a report, whatever it meets
        found = errors.defect(unforeseen, "this pass")
        log.error("cycle.crashed", error=type(unforeseen).__name__, frames=frames(unforeseen))
        return replace(report, failure=(found.reason, str(found)))
    return report
