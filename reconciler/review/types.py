"""What a review holds: the plans of all hosts, equal ones together, and what is true of the site as a whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.errors import Problem
from reconciler.model import Action, Difference, Interruption, Plan
from reconciler.reasons import Reason
from reconciler.review.claims import Claims
from reconciler.review.members import Members
from reconciler.rollout.policy import Rollout


@dataclass(frozen=True, slots=True)
class Group:
    """Hosts with the same plan. `plan` is the first one's.

    The plans may differ in each host's own name and addresses. `shapes` and `exact` have one entry per action of `plan`: equal
    shapes are the same action, in whichever group; `exact` says whether all hosts have it to the letter. `same_lines` says so of the
    plan's lines.
    """

    hosts: tuple[str, ...]
    plan: Plan
    shapes: tuple[str, ...] = ()
    exact: tuple[bool, ...] = ()
    same_lines: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """One action wherever it is planned: `hosts` in inventory order, `action` as the first one has it."""

    action: Action
    hosts: tuple[str, ...]
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """An entry of `acknowledge:`: the containers, the hosts that it is for and those where it counts now, and whether this change
    brings it."""

    base: str
    remove: tuple[str, ...]
    hosts: tuple[str, ...]
    used: tuple[str, ...]
    new: bool


@dataclass(frozen=True, slots=True)
class Review:
    """What a branch would do.

    `base` and `head` are what to call the two revisions. `hosts` are all of the head's, `groups` those that have something to do or
    hold something back. `problems` are what is wrong with the head (then nothing is planned), `base_problems` why there is
    nothing to compare with. `rotated` maps a secret to the hosts that use it,
    `lighter` what no longer counts as data plane or stateful (`web: data_plane`) to the hosts that have it.
    `upgrades` maps a step of OpenStack's releases (`2025.1 → 2026.1`) to the hosts that take it.
    `measured` maps a host to how long restarts of its containers were felt there, as it reported; `backends` a container that answers
    behind haproxy to the hosts that haproxy may choose from.
    `rollout` has the head's waves and the budgets of all its hosts (None: there is no base to go on from), `claims` what the plans ask of
    them, `members` who joins clusters and who leaves them.
    """

    site: str
    base: str
    head: str
    path: str = ""  # the site's folder in the repository
    hosts: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
    rotated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lighter: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    upgrades: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    measured: Mapping[str, Mapping[str, Interruption]] = field(default_factory=dict)
    backends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rollout: Rollout | None = None
    claims: Claims = field(default_factory=Claims)
    members: Members = field(default_factory=Members)
    acknowledgements: tuple[Acknowledgement, ...] = ()
    base_commit: str = ""
    policy: tuple[Difference, ...] = ()
    warnings: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()
    base_problems: tuple[Problem, ...] = ()
    readers: Mapping[str, str] = field(default_factory=dict)  # encrypted file → who can read it from now on
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # image from where none was from → hosts
    learned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # "service: secret", another's → hosts
    # Container and command of another service's check → hosts.
    commands: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    rekeyed: tuple[str, ...] = ()  # hosts with another report_key
    both: tuple[str, ...] = ()  # files that the branch changed as well: nobody can tell what a merge makes of them
    program: str = ""  # the version of this program that planned, and
    catalogue: str = ""  # the digest of its catalogue
    failure: str = ""  # why planning ended early: a limit, most likely
    reason: Reason | None = None  # the failure's word

    @property
    def valid(self) -> bool:
        """Whether the branch may be merged as far as planning can tell."""
        return not self.problems and not self.failure

    @property
    def changed(self) -> tuple[str, ...]:
        """Hosts with at least one action."""
        return tuple(host for group in self.groups if group.plan.actions for host in group.hosts)


def changes(review: Review) -> list[Change]:
    """Every action of every group, those that are the same put together, in plan order."""
    order = {host: number for number, host in enumerate((*review.hosts, *review.left))}
    found: dict[str, list[Change]] = {}
    for group in review.groups:
        for shape, action, exact in zip(group.shapes, group.plan.actions, group.exact, strict=True):
            found.setdefault(shape, []).append(Change(action, group.hosts, exact))
    return [_together(same, order) for same in found.values()]


def _together(same: list[Change], order: Mapping[str, int]) -> Change:
    hosts = sorted({host for change in same for host in change.hosts}, key=lambda host: order.get(host, 0))
    exact = all(change.exact for change in same) and len({replace(change.action, needs=()) for change in same}) == 1
    return Change(same[0].action, tuple(hosts), exact)


def by_service(found: Iterable[Change]) -> dict[str, list[Change]]:
    """Changes by the service they belong to; what has none (images) under its container's, else under ""."""
    result: dict[str, list[Change]] = {}
    for change in found:
        result.setdefault(change.action.service, []).append(change)
    return dict(sorted(result.items()))
