"""One reconciliation, from the repository to the report: the table of contents of the program."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from reconciler import errors
from reconciler.log import frames
from reconciler.node.node import Node
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
        return node.conclude(node.without_state(error, trigger))


def _converge(node: Node, report: Report, deep: bool | None) -> Report:
    """Everything after the source; a failure keeps what is known so far."""
    revision, testing = node.in_force
    report = replace(report, refusal=node.refusal, revision=revision, testing=testing)
    try:
        target = node.target()
        if target is None:
            return report
        suspension, commit = node.state.suspension, node.commit(report.revision)
        report = replace(
            report,
            site=target.desired.site,
            containers=len(target.desired.containers),
            suspended=suspension.reason if suspension else "",
            window=str(node.closed or ""),
            warnings=target.prepared.warnings,
            subject=commit.subject,
            author=commit.author,
        )
        memory = node.memory(target)
        deep, inside = node.wants_deep(target.desired.revision, memory) if deep is None else (deep, deep)
        actual = node.observe(target, memory, deep=deep, inside=inside)
        plan = node.plan(target, actual, memory)
        if not (deep and inside) and node.acts_on_hearsay(plan):
            deep, actual = True, node.observe(target, memory, deep=True)
            plan = node.plan(target, actual, memory)
        node.overcome(memory, actual, plan)
        report = replace(report, graph=target.graph, sick=node.sick(target, actual, plan))
        explained, happened = node.explain(plan), node.happened(plan)
        outcomes = node.apply(target, plan, actual, memory)
        report = replace(report, plan=plan, outcomes=outcomes, deep=deep, explained=explained, happened=happened)
        report = replace(report, plan=replace(plan, held=(*plan.held, *node.look_again(target, outcomes))))
        if report.carried_out:
            node.remember(target, plan, actual, memory)
        # Also while something is left undone: what does not answer may be the reason.
        settling = bool(outcomes) and report.converged
        report = replace(report, checks=node.check(target, deep=deep, changed=settling))
    except errors.ReconcilerError as error:
        return replace(report, failure=(error.reason, str(error)))
    except Exception as unforeseen:  # a pass ends with a report, whatever it meets
        found = errors.defect(unforeseen, "this pass")
        log.error("cycle.crashed", error=type(unforeseen).__name__, frames=frames(unforeseen))
        return replace(report, failure=(found.reason, str(found)))
    return report
