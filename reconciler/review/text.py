"""A review for the terminal, with the lines of `reconciler plan`."""

from dataclasses import replace

from reconciler.report.text import plan_text, policy_text, summary
from reconciler.review.ranges import compact
from reconciler.review.risks import headline
from reconciler.review.types import Review
from reconciler.text import printable


def groups_text(review: Review, *, diffs: bool = True) -> str:
    """The headline, every group of hosts with its plan, then what changes for the site as a whole."""
    lines = [printable(f"{review.base} → {review.head}: {headline(review)}")]
    for group in review.groups:
        alike = (
            ""
            if all(group.exact)
            else f" (as {group.hosts[0]} has it; the others differ in their own name and addresses only)"
        )
        lines.append(printable(f"{compact(group.hosts)}: {summary(group.plan)}{alike}"))
        lines.append(plan_text(replace(group.plan, leftovers=()), diffs=diffs))
    if review.joined:
        lines.append(printable(f"new in the inventory: {compact(review.joined)}"))
    if review.left:
        lines.append(printable(f"no longer in the inventory: {compact(review.left)} (what runs there stays as it is)"))
    if review.policy:
        lines.append(policy_text(review.policy))
    return "\n".join(lines)
