"""What a change means for clusters of which most members must run: who joins, who leaves, and how the others forget those that left. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.model import Desired, Plan, Verb
from reconciler.phrases import count, few
from reconciler.site import Host
from reconciler.text import json_text


@dataclass(frozen=True, slots=True)
class Step:
    """The job by which a cluster, or OpenStack, forgets `left`; `owner` runs it, `words` say what it means."""

    left: str
    job: str
    owner: str
    words: str


@dataclass(frozen=True, slots=True)
class Members:
    """`clusters`: a container → its members before and after, where they differ; `steps` in their order; `unsaid`: hosts that the inventory has
    no more and says nothing of → the line for `left` that would."""

    clusters: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    unsaid: Mapping[str, str] = field(default_factory=dict)


def of(before: Desired | None, after: Desired, plan: Plan) -> Members:
    """As one host has it."""
    was = {order.name: order.members for order in before.orders} if before else {}
    clusters = {
        order.name: (was[order.name], order.members)
        for order in after.orders
        if was.get(order.name) and order.members and set(was[order.name]) != set(order.members)
    }
    jobs = {job.name: job for job in after.jobs}
    runs = [jobs[a.target] for a in plan.actions if a.verb is Verb.RUN and a.target in jobs]
    steps = tuple(Step(job.left, job.name, after.host, job.leaves) for job in runs if job.left)
    return Members(clusters, steps)


def merged(several: Iterable[Members]) -> Members:
    """Those of all hosts."""
    clusters: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    steps: dict[Step, None] = {}
    unsaid: dict[str, str] = {}
    for one in several:
        clusters |= one.clusters
        steps |= dict.fromkeys(one.steps)
        unsaid |= one.unsaid
    return Members(dict(sorted(clusters.items())), tuple(steps), unsaid)


def line(host: Host) -> str:
    """What to write below `left` of inventory.yml for a host that is gone for good."""
    names = {name: host.facts[name] for name in ("hostname", "nodename", "fqdn") if host.facts.get(name)}
    facts = {"facts": names} if names else {}
    entry = {"since": "…", "groups": list(host.own), "addresses": dict(host.declared), **facts}
    return f"{json_text(host.name)}: {json_text(entry)}"


def words(before: Iterable[str], after: Iterable[str]) -> tuple[str, str]:
    """What another number of members means: `3 → 2 members`, and how many may be down."""
    was, now = list(before), list(after)
    gone, new = [host for host in was if host not in now], [host for host in now if host not in was]
    parts = [f"without {few(gone)}"] if gone else []
    parts += [f"{few(new)} {'takes' if len(new) == 1 else 'take'} what the others have"] if new else []
    spare = (len(now) - 1) // 2
    parts.append(f"{count(spare, 'member')} may be down from then on" if spare else "none may be down from then on")
    same = f"{len(was)} → {len(now)} members"
    return same, "; ".join(parts)
