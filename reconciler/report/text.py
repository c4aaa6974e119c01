"""A plan as text: one line per action with its cause, the same in the terminal, a merge request's note and a test. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reconciler.model import Action, Difference, Held, Plan, Verb
from reconciler.phrases import count
from reconciler.text import printable

_SHOWN_HOSTS = 4
# Differences that the verb, or the file's diff, says already.
_IMPLIED = {Verb.WRITE: "content", Verb.DELETE: "content", Verb.CREATE: "state", Verb.START: "state"}


def summary(plan: Plan) -> str:
    """What a plan does in one line: "2 write, 1 restart; 1 held back", "nothing to do"."""
    counts: dict[str, int] = {}
    for action in plan.actions:
        counts[action.verb.value] = counts.get(action.verb.value, 0) + 1
    text = ", ".join(f"{count} {verb}" for verb, count in counts.items()) or "nothing to do"
    return f"{text}; {len(plan.held)} held back" if plan.held else text


def plan_text(plan: Plan, *, diffs: bool = True, indent: str = "  ") -> str:
    """The actions of a plan in their order, what is held back and why, and what is left over; "" when there is nothing."""
    lines: list[str] = []
    for action in plan.actions:
        lines += _action(action, diffs, indent)
    if plan.held:
        lines.append(f"{indent}held back:")
        lines += _held(plan.held, diffs, indent * 2)
    if plan.leftovers:
        volumes = printable(", ".join(plan.leftovers))
        lines.append(f"{indent}volumes that nothing uses any more (never removed): {volumes}")
    return "\n".join(lines)


def plans_text(plans: Sequence[Plan], *, diffs: bool = True) -> str:
    """The plans of many hosts: those of equal hosts once, hosts with nothing to do in one line at the end."""
    parts = []
    for hosts, plan in grouped(plans):
        parts.append(f"{host_list(hosts)}: {summary(plan)}")
        if text := plan_text(plan, diffs=diffs):
            parts.append(text)
    idle = [plan.host for plan in plans if _nothing(plan)]
    if idle:
        parts.append(f"{host_list(idle)}: nothing to do")
    return "\n".join(parts)


def policy_text(policy: Sequence[Difference]) -> str:
    """What changes in how nodes treat the site."""
    return "\n".join(["how nodes treat the site:", *(f"  {difference(item)}" for item in policy)])


def plans_markdown(plans: Sequence[Plan], *, title: str = "Plan", limit: int = 60_000) -> str:
    """The same for a note: a heading, one folded block per kind of host. Cut at `limit` characters, saying so."""
    changed = sum(1 for plan in plans if plan.actions)
    held = sum(1 for plan in plans if plan.held and not plan.actions)
    counted = f"{changed} of {count(len(plans), 'host')} would change"
    parts = [f"### {title}", "", f"**{counted}**" + (f", {held} more held back" if held else ""), ""]
    for hosts, plan in grouped(plans):
        risks = sorted({risk for action in plan.actions for risk in action.risks})
        warning = f" — ⚠ {', '.join(risks)}" if risks else ""
        body = plan_text(plan, indent="")
        fence = "`" * max(3, _longest_run(body) + 1)
        block = [
            f"<details><summary><b>{_escape(host_list(hosts))}</b>: {_escape(summary(plan))}{warning}</summary>",
            "",
            f"{fence}diff",
            body,
            fence,
            "",
            "</details>",
            "",
        ]
        if sum(map(len, parts)) + sum(map(len, block)) > limit:
            parts.append(
                "*The rest is too long for a note: see the job's log, or run `reconciler plan` in a checkout.*"
            )
            break
        parts += block
    return "\n".join(parts).rstrip() + "\n"


def grouped(plans: Iterable[Plan]) -> list[tuple[list[str], Plan]]:
    """Hosts with something to do or held back, those with equal plans together, in the order of the first of each."""
    found: dict[Plan, list[str]] = {}
    for plan in plans:
        if not _nothing(plan):
            found.setdefault(replace(plan, host="", revision=""), []).append(plan.host)
    return [(hosts, plan) for plan, hosts in found.items()]


def host_list(hosts: Sequence[str]) -> str:
    """A few names, or the first ones and how many there are."""
    if len(hosts) <= _SHOWN_HOSTS:
        return ", ".join(hosts)
    return f"{', '.join(hosts[: _SHOWN_HOSTS - 1])} … {hosts[-1]} ({len(hosts)} hosts)"


def difference(found: Difference) -> str:
    """One field that differs: `mem_limit: 1073741824 → 536870912` reads from what is there to what should be."""
    return printable(f"{found.field}: {found.actual} → {found.desired}")


def _nothing(plan: Plan) -> bool:
    return not (plan.actions or plan.held or plan.leftovers)


def _action(action: Action, diffs: bool, indent: str) -> list[str]:
    risks = f"  [{', '.join(action.risks)}]" if action.risks else ""
    lines = [f"{indent}{action.line}{risks}"]
    if diffs:
        told = [found for found in action.differences if _IMPLIED.get(action.verb) != found.field]
        lines += [f"{indent}    {difference(found)}" for found in told]
        rows = printable(action.diff, keep_newlines=True).removesuffix("\n").split("\n") if action.diff else ()
        lines += [f"{indent}    {row}" for row in rows]
    return lines


def _held(held: Sequence[Held], diffs: bool, indent: str) -> list[str]:
    """A line each; what is held back for the same reason in the same words is one."""
    alike: dict[tuple[str, ...], list[Held]] = {}
    for number, item in enumerate(held):
        by_itself = (str(number),) if diffs and item.differences else ()
        alike.setdefault((item.reason, item.message, *by_itself), []).append(item)
    lines = []
    for items in alike.values():
        targets = ", ".join(item.target for item in items)
        lines.append(indent + printable(f"{targets}  {items[0].reason}: {items[0].message}"))
        if diffs:
            lines += [f"{indent}    {difference(found)}" for item in items for found in item.differences]
    return lines


def _longest_run(text: str) -> int:
    longest = run = 0
    for char in text:
        run = run + 1 if char == "`" else 0
        longest = max(longest, run)
    return longest


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
