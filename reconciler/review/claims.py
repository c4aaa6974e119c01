"""What hosts will ask of each other to carry out their plans: places of budgets, and who runs a job for all. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.model import Desired, Plan, Verb
from reconciler.plan import withheld
from reconciler.rollout.policy import Budget, together


@dataclass(frozen=True, slots=True)
class Claims:
    """Of one host or of many. `budgets`: all there are; `touched`: a budget → hosts that stop a member of it; `budgeted`: a container that is
    stopped somewhere → its budget; `owners`: a job that is run once for the cluster → the host that runs it; `waits`: such a job, run or not → hosts
    that change what should come after it."""

    budgets: Mapping[str, Budget] = field(default_factory=dict)
    touched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    budgeted: Mapping[str, str] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    waits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def of(after: Desired, plan: Plan, budgets: Mapping[str, Budget]) -> Claims:
    """Those of one host: `budgets` are those of what is on it in `after`, which its `plan` makes."""
    stopped = withheld.stops(plan.actions)
    runs = {action.target for action in plan.actions if action.verb is Verb.RUN}
    shared = [job for job in after.jobs if job.once == "cluster"]
    return Claims(
        budgets,
        dict.fromkeys(withheld.budgets(after.orders, stopped), (after.host,)),
        {order.name: order.budget for order in after.orders if order.at_once and order.name in stopped},
        {job.name: job.owner for job in shared if job.name in runs},
        {job.name: (after.host,) for job in shared if stopped & set(job.before)},
    )


def merged(several: Iterable[Claims]) -> Claims:
    """Those of all."""
    budgets: dict[str, Budget] = {}
    touched: dict[str, list[str]] = {}
    waits: dict[str, list[str]] = {}
    budgeted: dict[str, str] = {}
    owners: dict[str, str] = {}
    for one in several:
        budgets = together(budgets, one.budgets)
        for name, hosts in one.touched.items():
            touched.setdefault(name, []).extend(hosts)
        for name, hosts in one.waits.items():
            waits.setdefault(name, []).extend(hosts)
        budgeted |= one.budgeted
        owners |= one.owners
    return Claims(budgets, _fixed(touched), budgeted, owners, _fixed(waits))


def _fixed(found: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(hosts) for name, hosts in found.items()}
