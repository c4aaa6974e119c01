"""What a pass showed of this host, as a rollout takes it: since when it is well, what says that its commit failed, and what of it is here. Pure."""

from collections.abc import Collection
from typing import Final

from reconciler.model import Desired, Outcome, Plan, Verb
from reconciler.node.target import Target
from reconciler.plan import withheld
from reconciler.reasons import FLEET, NO_VERDICT, Blame, Reason, Standing
from reconciler.report import Report

# Of these a waiting node is as well as one that waits for nothing.
OURS: Final = FLEET | {Reason.OutsideWindow}


def images(desired: Desired) -> frozenset[str]:
    """The images of everything that may run on this host."""
    jobs = (job.container.image for job in desired.jobs if job.owner == desired.host)
    return frozenset((*(container.image for container in desired.containers), *jobs))


def pulls(plan: Plan) -> bool:
    """Whether images are still to come, or in flight."""
    return any(action.verb is Verb.PULL for action in plan.actions) or any(
        held.reason is Reason.InFlight for held in plan.held
    )


def is_to_blame(outcome: Outcome) -> bool:
    """Whether an outcome says that the commit failed here. A registry that does not answer is asked again, and nothing was stopped; nor does
    it say so when a container or an engine went away meanwhile, which a later pass looks at."""
    reason = outcome.reason
    if reason is None or reason.blames is None or reason in NO_VERDICT:
        return False
    return outcome.action.verb is not Verb.PULL or reason.blames is Blame.CONFIGURATION


def budgets(target: Target, containers: Collection[str]) -> frozenset[str]:
    """The budgets of containers."""
    return withheld.budgets(target.desired.orders, containers)


def well_since(before: tuple[str, float] | None, report: Report, now: float) -> tuple[str, float] | None:
    """The revision that is kept up and since when all is well with it, None while it is not. What was changed has to stay well from then on,
    whatever was before."""
    if not is_well(report):
        return None
    if before is None or before[0] != report.kept or report.outcomes:
        return report.kept, now
    return before


def is_well(report: Report) -> bool:
    """Whether everything that is kept up is as it has to be. What waits for other hosts, or for a window, is no fault."""
    plan = report.plan
    if plan is None or report.failure or report.failed or report.under_way or report.not_answering:
        return False
    done = {outcome.action.id for outcome in report.outcomes if outcome.result == "done"}
    if not {action.id for action in plan.actions} <= done:
        return False
    if report.not_working:
        return False
    return all(held.reason in OURS or held.reason.standing is Standing.HARMLESS for held in plan.held)
