"""From two revisions of a site to a review: every host planned from base to head, desired state against desired state.

The work is split over limited children without network; each loads both sites once and renders its share of the hosts. A
branch is a stranger's text: nothing of it is looked at in this process, only the plans that come back.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler import __version__, data, errors
from reconciler.errors import Problem
from reconciler.git.content import WORK_TREE, Source
from reconciler.model import Difference
from reconciler.reasons import Reason
from reconciler.review import Review, claims, gate, members, power
from reconciler.review.claims import Claims
from reconciler.review.grouping import Row, join
from reconciler.review.members import Members
from reconciler.review.types import Acknowledgement
from reconciler.rollout.policy import Rollout
from reconciler.source import child, prepare, shares
from reconciler.system import run

__all__ = ["WORK_TREE", "Limits", "Merge", "Source", "hosts", "review", "told"]

MEMORY = 448 << 20  # bytes, this process and its children together, for a site of ordinary size
_OWN_MEMORY = 56 << 20
_LIBRARIES = 20 << 20  # bytes of a child that are not its own data
_PER_BYTE = 40  # bytes more for each byte of both sites
_MOST_WORKERS = 2  # more would each have too little of it
# What happened to planning itself is told where the review is read; anything else is a mistake of whoever asked for it.
_TOLD = (Reason.LimitExceeded, Reason.DeadlineExceeded, Reason.ChildFailed, Reason.InternalError)


@dataclass(frozen=True, slots=True)
class Limits:
    """What planning may take.

    `seconds` of wall clock in all; `load_seconds` of processor time to validate a site, `host_seconds` to render a host of it, and as much
    again to compare the two revisions; `memory` in bytes for this process and its children together. Large sites get more time and
    memory, in proportion.
    """

    seconds: float = 300.0
    load_seconds: float = prepare.LOAD_SECONDS
    host_seconds: float = prepare.HOST_SECONDS
    memory: int = MEMORY

    def child(self, most: int) -> run.Limits:
        """Those of each of at most `most` children."""
        return run.Limits(
            seconds=self.seconds,
            cpu_seconds=int(2 * self.load_seconds + 3 * self.host_seconds + 2),
            memory=(self.memory - _OWN_MEMORY) // most - _LIBRARIES,
            memory_per_byte=_PER_BYTE,
            cpu_per_mib=80.0,  # its hosts: four times what those of a good site take
        )


@dataclass(frozen=True, slots=True)
class Merge:
    """That a head is to be merged. `fork`: where it and what it is merged into have parted; None: there was no such site yet."""

    fork: Source | None


def review(
    base: Source | None,
    head: Source,
    *,
    limits: Limits | None = None,
    hosts: Sequence[str] = (),
    progress: shares.Progress | None = None,
    made: Path | None = None,
    merge: Merge | None = None,
) -> Review:
    """Plan all hosts (or `hosts`) of `head` from `base` (None: from nothing). `made` is where the base's desired state lies as another
    version of this program made it. With `merge`, of what `base` will be once `head` is merged into it; where nobody can tell, the result
    says so (`Review.both`) and has no plans.

    `progress` is called a few times a second with the number of hosts done, of all, and the seconds gone. What is wrong with
    the site is in the result; raises errors.Terminal (LimitExceeded when a child ran into its limits, RevisionUnknown, HostUnknown …) and
    errors.Transient (DeadlineExceeded).
    """
    limits = limits or Limits()
    argument = {
        "base": base.to_json() if base else None,
        "head": head.to_json(),
        "hosts": list(hosts),
        "made": str(made.resolve()) if made else None,
        "merges": merge is not None,
        "fork": merge.fork.to_json() if merge and merge.fork else None,
        "host_seconds": limits.host_seconds,
        "load_seconds": limits.load_seconds,
    }
    most = min(os.cpu_count() or 1, _MOST_WORKERS)
    answers = shares.ask(
        "reconciler.review.ci_child:plan", argument, _Answer, limits=limits.child(most), most=most, progress=progress
    )
    try:
        return _joined(answers, base, head)
    except (LookupError, ValueError, TypeError):
        raise errors.Terminal("the child processes' answers do not fit each other", reason=Reason.ChildFailed) from None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What `ci_child.plan` answers."""

    site: str
    hosts: tuple[str, ...]
    joined: tuple[str, ...]
    left: tuple[str, ...]
    groups: tuple[Row, ...]
    rotated: Mapping[str, tuple[str, ...]]
    lighter: Mapping[str, tuple[str, ...]]
    upgrades: Mapping[str, tuple[str, ...]]
    backends: Mapping[str, tuple[str, ...]]
    haproxy: bool
    rollout: Rollout | None
    claims: Claims
    members: Members
    acknowledged: tuple[tuple[str, tuple[str, ...], str], ...]  # base, containers, host where it counts
    acknowledge: tuple[
        tuple[str, tuple[str, ...], tuple[str, ...], bool], ...
    ]  # base, containers, hosts, whether it is new
    policy: tuple[Difference, ...]
    warnings: tuple[Problem, ...]
    problems: tuple[Problem, ...]
    base_problems: tuple[Problem, ...]
    both: tuple[str, ...]
    readers: Mapping[str, str]
    rekeyed: tuple[str, ...]
    ground: power.Ground
    named: tuple[power.Named, ...]
    commands: tuple[power.Command, ...]


def told(
    base: Source | None,
    head: Source,
    label: str,
    *,
    site: str = "",
    limits: Limits | None = None,
    progress: shares.Progress | None = None,
    also: Sequence[str] = (),
    made: Path | None = None,
    merge: Merge | None = None,
) -> Review:
    """As `review`, for a reader: `label` is what to call the base, `site` the site where it does not say its own name, and
    what ended planning early is in the result. Raises what concerns nobody but the caller, but for the reasons `also`.
    """
    program, catalogue = __version__, data.catalogue_digest()
    empty = Review(site=site, base=label, head=head.label, path=head.path, program=program, catalogue=catalogue)
    try:
        found = review(base, head, limits=limits, progress=progress, made=made, merge=merge)
        return replace(found, base=label, site=found.site or site, program=program, catalogue=catalogue)
    except errors.SiteInvalid as error:
        return replace(empty, problems=error.problems)
    except errors.ReconcilerError as error:
        if error.reason not in (*_TOLD, *also):
            raise
        return replace(empty, failure=f"{error} [{error.reason}]", reason=error.reason)


def _joined(answers: Sequence[_Answer], base: Source | None, head: Source) -> Review:
    first, found = answers[0], claims.merged(answer.claims for answer in answers)
    order = {name: number for number, name in enumerate(first.hosts)}
    had = power.together(answer.ground for answer in answers)
    groups = power.of_joined(join((answer.groups for answer in answers), order), had, first.joined)
    named = sorted((one for answer in answers for one in answer.named), key=lambda one: order[one.host])
    commands = sorted((one for answer in answers for one in answer.commands), key=lambda one: order[one.host])
    return Review(
        site=first.site,
        base=base.label if base else "nothing",
        head=head.label,
        path=head.path,
        hosts=first.hosts,
        joined=first.joined,
        left=first.left,
        groups=groups,
        rotated=_gathered((answer.rotated for answer in answers), order),
        lighter=_gathered((answer.lighter for answer in answers), order),
        upgrades=_gathered((answer.upgrades for answer in answers), order),
        backends={name: hosts for answer in answers for name, hosts in answer.backends.items()}
        if any(answer.haproxy for answer in answers)
        else {},
        rollout=replace(first.rollout, budgets=found.budgets) if base and first.rollout else None,
        claims=found,
        members=members.merged(answer.members for answer in answers),
        acknowledgements=_acknowledgements(answers),
        base_commit=base.commit if base else "",
        policy=first.policy,
        warnings=_sorted(first.warnings),
        problems=_sorted(problem for answer in answers for problem in answer.problems),
        base_problems=_sorted(problem for answer in answers for problem in answer.base_problems),
        both=first.both,
        readers=first.readers,
        rekeyed=first.rekeyed,
        elsewhere=power.elsewhere(groups, had) if base else {},
        learned=power.learned(named, had),
        commands=power.ordered(commands, had, first.joined),
    )


def _acknowledgements(answers: Sequence[_Answer]) -> tuple[Acknowledgement, ...]:
    used: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for answer in answers:
        for base, names, host in answer.acknowledged:
            used.setdefault((base, names), []).append(host)
    return tuple(
        Acknowledgement(base, names, hosts, tuple(h for h in hosts if h in used.get((base, names), ())), new)
        for base, names, hosts, new in answers[0].acknowledge
    )


def _gathered(parts: Iterable[Mapping[str, tuple[str, ...]]], order: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Name → hosts, out of all children's shares."""
    found: dict[str, set[str]] = {}
    for part in parts:
        for name, hosts in part.items():
            found.setdefault(name, set()).update(hosts)
    return {name: tuple(sorted(hosts, key=order.__getitem__)) for name, hosts in sorted(found.items())}


def rules(source: Source, name: str = "site") -> gate.Rules:
    """What a target branch asks of merge requests; `name` is what to call a site that does not say its own name. Whatever
    keeps that from being read is in the result. Raises errors.Transient."""
    try:
        return child.ask("reconciler.review.ci_child:rules", {"source": source.to_json(), "name": name}, gate.Rules)
    except errors.Terminal as error:
        if error.reason == Reason.SitePathMissing:
            return gate.Rules(name)  # there is no site yet, and so nobody who asks for anything
        return gate.unreadable(name, f"{error} [{error.reason}]")


def hosts(source: Source) -> tuple[str, tuple[str, ...]]:
    """The site's name and its hosts. Raises errors.SiteInvalid and what `review` raises."""
    return child.ask("reconciler.review.ci_child:hosts", {"source": source.to_json()}, tuple[str, tuple[str, ...]])


def _sorted(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(set(problems)))
