"""From desired and actual state to a plan: the order of its sections.

Each section asks what differs, chooses the smallest action that puts it right, says why, and hands it to the draft.
"""

from reconciler.model import Actual, Desired, Memory, Plan
from reconciler.plan.containers import plan_container
from reconciler.plan.draft import Basis, Draft
from reconciler.plan.host import plan_host, plan_host_resets
from reconciler.plan.jobs import plan_again, plan_job, unready
from reconciler.plan.namespaces import plan_guests
from reconciler.plan.origins import program_change
from reconciler.plan.prechecks import plan_prechecks
from reconciler.plan.registrations import plan_registrations
from reconciler.plan.removals import leftovers, plan_removals, plan_strays, plan_unseen, unwanted
from reconciler.plan.successors import beside
from reconciler.plan.withheld import withhold
from reconciler.reasons import Reason


def diff(desired: Desired, actual: Actual, memory: Memory, basis: Basis) -> Plan:
    """What has to be done so that `actual` becomes `desired`, and what is held back and why."""
    draft = Draft(desired, actual, memory, basis)
    plan_host(draft)
    for container in desired.containers:
        plan_container(draft, container)
    plan_guests(draft)
    for job in desired.jobs:
        plan_job(draft, job)
    plan_registrations(draft)
    plan_again(draft)
    plan_removals(draft)
    plan_strays(draft)
    plan_host_resets(draft)
    plan_unseen(draft)
    plan_prechecks(draft)
    gone = unwanted(draft)
    actions = draft.finish(gone)
    if hold := basis.all_waits:  # only now: what is held back is all that would be done
        for action in actions:
            draft.hold(action, hold.reason, hold.message)
        actions = ()
    made = Plan(
        host=desired.host,
        revision=desired.revision,
        actions=actions,
        held=tuple(draft.held),
        leftovers=leftovers(draft),
        program=program_change(memory.last_good, desired),
    )
    for name, (reason, why) in beside(made, desired, gone, actual.containers, draft.mending).items():
        made = withhold(made, {name}, reason, why)
    for name, why in unready(made, desired, actual, memory).items():
        made = withhold(made, {name}, Reason.WaitsForHealth, why)
    return made
