"""A review for the terminal, with the lines of `reconciler plan`."""

from dataclasses import replace

from reconciler.report.text import plan_text, summary
from reconciler.review.ranges import compact
from reconciler.review.risks import headline
from reconciler.review.types import Review


def groups_text(review: Review, *, diffs: bool = True) -> str:
    """The headline, then every group of hosts with its plan."""
    lines = [f"{review.base} → {review.head}: {headline(review)}"]
    for group in review.groups:
        alike = (
            ""
            if group.exact
            else f" (as {group.hosts[0]} has it; the others differ in their own name and addresses only)"
        )
        lines.append(f"{compact(group.hosts)}: {summary(group.plan)}{alike}")
        lines.append(plan_text(replace(group.plan, leftovers=()), diffs=diffs))
    for text, hosts in (("join the inventory", review.joined), ("leave the inventory", review.left)):
        if hosts:
            lines.append(f"{compact(hosts)}: {text}")
    return "\n".join(lines)
