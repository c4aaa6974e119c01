"""A review for the terminal, with the lines of `reconciler plan`."""

from dataclasses import replace

from reconciler.phrases import count
from reconciler.report.text import plan_text, policy_text, summary
from reconciler.review.ranges import compact
from reconciler.review.risks import headline
from reconciler.review.types import Review
from reconciler.review.waves import EARLY, Course, course, named, pace
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
    lines += course_lines(course(review))
    return "\n".join(lines)


def course_lines(found: Course | None) -> list[str]:
    """How the change goes from host to host, where hosts agree through etcd."""
    if found is None:
        return []
    lines = [f"rollout, where hosts agree through etcd: {found.words}"]
    for turn in found.outlook.turns:
        narrow = f" for {turn.narrow}" if turn.narrow else ""
        lines.append(f"  {turn.wave}: {named(turn)}, {pace(turn)}, {count(turn.steps, 'step')}{narrow}")
    if found.outlook.new:
        lines.append(f"  new hosts, which wait for nobody: {compact(found.outlook.new)}")
    lines += [f"  {one.container} on {compact(one.hosts)}: {one.words()}" for one in found.interrupted]
    lines += [f"  budget {b.name}: {b.at_most} at once, of {compact(hosts)}" for b, hosts in found.outlook.touched]
    for one in found.duties:
        early = f"; {EARLY} {compact(one.early)}" if one.early else ""
        lines.append(f"  {one.owner} runs the job {one.job} for all, in the wave {one.wave}{early}")
    return [printable(line) for line in lines]
