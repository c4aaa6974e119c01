"""Plans of many hosts put together, in two steps: each child groups its share, then the shares are joined."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.codec import from_json, to_json
from reconciler.model import Plan
from reconciler.review.shape import Shaper
from reconciler.review.types import Group
from reconciler.site import Host


@dataclass(frozen=True, slots=True)
class Row:
    """A group as one child found it: its first host's plan, and per action the digests of up to two versions."""

    key: str
    hosts: tuple[str, ...]
    shapes: tuple[str, ...]
    versions: tuple[tuple[str, ...], ...]
    lines: tuple[str, ...]
    plan: Plan


@dataclass(slots=True)
class Collector:
    """Keeps one plan per group, whatever the number of hosts. `rows` are for `join`."""

    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, host: Host, plan: Plan) -> None:
        """Put a host's plan to those that are the same but for each host's own name and addresses."""
        if not (plan.actions or plan.held):
            return
        shaper = Shaper(host)
        # What an action waits for follows from the plan's other actions; with it, one action would differ between groups.
        actions = [to_json(replace(action, needs=())) for action in plan.actions]
        held = [to_json(item) for item in plan.held]
        shapes = [shaper.shape(action) for action in actions]
        key = shaper.key([*shapes, "held", *map(shaper.shape, held)])
        group = self.found.get(key)
        if group is None:
            shown = to_json(replace(plan, leftovers=()))
            versions: list[list[str]] = [[] for _ in actions]
            group = self.found[key] = {
                "key": key, "hosts": [], "shapes": shapes, "versions": versions, "lines": [], "plan": shown,
            }  # fmt: skip
        group["hosts"].append(host.name)
        _note(group["lines"], shaper.key([*(action.line for action in plan.actions), str(held)]))
        for versions_of, action in zip(group["versions"], actions, strict=True):
            _note(versions_of, shaper.key([str(action)]))

    @property
    def rows(self) -> list[Row]:
        return [from_json(Row, row) for row in self.found.values()]


def join(shares: Iterable[Iterable[Row]], order: Mapping[str, int]) -> tuple[Group, ...]:
    """The groups of all shares, in the order of their first hosts; `order` numbers the hosts."""
    found: dict[str, list[Row]] = {}
    for share in shares:
        for row in share:
            found.setdefault(row.key, []).append(row)
    groups = [_group(same, order) for same in found.values()]
    return tuple(sorted(groups, key=lambda group: order[group.hosts[0]]))


def _group(same: list[Row], order: Mapping[str, int]) -> Group:
    first = min(same, key=lambda row: order[row.hosts[0]])
    hosts = sorted((host for row in same for host in row.hosts), key=order.__getitem__)
    lines = {digest for row in same for digest in row.lines}
    actions = range(len(first.plan.actions))
    exact = tuple(len({digest for row in same for digest in row.versions[number]}) == 1 for number in actions)
    return Group(tuple(hosts), first.plan, tuple(first.shapes[number] for number in actions), exact, len(lines) == 1)


def _note(digests: list[str], digest: str) -> None:
    """Remember up to two: that is enough to know that there is not one."""
    if digest not in digests and len(digests) < 2:
        digests.append(digest)
