"""The merge-request note: what happens in one line, what to look at first, groups of hosts, folded plans and diffs.

Built within a budget of characters. What does not fit is counted and named; the headline and the risks always fit.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from reconciler.errors import Problem
from reconciler.model import Action, Verb
from reconciler.phrases import count
from reconciler.report.text import difference, plan_text
from reconciler.review import escape
from reconciler.review.felt import felt
from reconciler.review.ranges import compact
from reconciler.review.risks import Item, Risk, headline, risks
from reconciler.review.types import Change, Group, Review, by_service, changes
from reconciler.review.waves import EARLY, Course, Duty, course, named, pace
from reconciler.review.words import what_happens
from reconciler.rollout.outlook import Outlook, Turn

LIMIT = 120_000  # characters; GitLab takes a million, and renders that slowly
_ITEMS = 12  # of one risk
_ROWS = 40  # of the table
_PLAN_LINES = 150  # of one group
_DIFF_LINES = 80  # of one file
_VARIANTS = 4  # of one file's diff
_PROBLEMS = 100
_FEW = 4  # hosts whose waves are shown unfolded
_NAMES = 160  # characters of a list of hosts


@dataclass(frozen=True, slots=True)
class Frame:
    """Who keeps a note up to date, and what only they can say. Markdown of ours: nothing here comes from a branch.

    `elsewhere` is where a reader finds what does not fit; `remarks` are lines that go below the headline.
    """

    by: str = "`reconciler ci review`"
    elsewhere: str = "see the artifact `plan.html` of this job"
    remarks: tuple[str, ...] = ()


def marker(review: Review) -> str:
    """The hidden first line by which a site finds its own note again.

    It names the site's folder, which no branch can choose: a name out of reconciler.yml could be another site's.
    """
    place = re.sub(r"[^\w./-]", "_", review.path or ".", flags=re.ASCII).replace("--", "__")
    return f"<!-- reconciler review of {place[:150]} -->"


def note(review: Review, *, limit: int = LIMIT, frame: Frame = Frame()) -> str:
    """The note's text, without its marker, of at most `limit` characters."""
    page = _Page(limit, frame)
    _head(page, review)
    if review.problems:
        _problems(page, review)
    elif review.failure:
        page.add(["**Planning ended early:**", "", *escape.fence(review.failure), ""])
    elif review.base_problems:
        page.add(["The base revision is not valid, so there is nothing to compare with. This branch is valid.", ""])
        page.add(escape.fence(_listed(review.base_problems[:5])))
    else:
        _risks(page, review)
        _felt(page, review)
        _course(page, course(review))
        _table(page, review)
        _plans(page, review)
        _services(page, review)
    if review.warnings and not review.problems:
        _warnings(page, review)
    return page.text()


@dataclass(slots=True)
class _Page:
    """Lines within a budget. A block goes in whole or not at all."""

    limit: int
    frame: Frame
    lines: list[str] = field(default_factory=list)
    size: int = 0

    def add(self, block: Sequence[str], *, spare: int = 2000) -> bool:
        """Take a block if it leaves `spare` characters. Returns whether it was taken."""
        size = sum(len(line) + 1 for line in block)
        if self.size + size + spare > self.limit:
            return False
        self.lines += block
        self.size += size
        return True

    def text(self) -> str:
        foot = f"<sub>Kept up to date by {self.frame.by}; everything in full: {self.frame.elsewhere}.</sub>"
        return "\n".join([*self.lines, "", foot, ""])


def _by(review: Review) -> str:
    """With which program: nodes that run another one may do something else."""
    catalogue = f" (catalogue {escape.code(review.catalogue[:12])})" if review.catalogue else ""
    return f" by reconciler {review.program}{catalogue}" if review.program else ""


def _head(page: _Page, review: Review) -> None:
    mark = "❌ " if not review.valid else ""
    first, _, rest = headline(review).partition(" · ")
    where = escape.code(review.site) + (f" ({escape.code(review.path)})" if review.path else "")
    page.add([f"### {mark}Plan for {where}: {first}", ""])
    base, head = escape.code(review.base, 40), escape.code(review.head, 40)
    page.add([f"**{rest}**", ""] if rest else [])
    page.add(
        [f"From {base} to {head}, planned for {count(len(review.hosts), 'host')}{_by(review)}.", ""]
        if review.hosts
        else []
    )
    for remark in page.frame.remarks:
        page.add([remark, ""])


def _problems(page: _Page, review: Review) -> None:
    found = [problem for problem in review.problems if problem.severity == "error"]
    page.add(["Correct these, then push again:", ""])
    shown = found[:_PROBLEMS]
    while shown and not page.add([*escape.fence(_listed(shown)), ""]):
        shown = shown[: len(shown) // 2]
    if len(shown) < len(found):
        page.add([f"*Cut here: {len(found) - len(shown)} more; {page.frame.elsewhere}.*", ""])


def _warnings(page: _Page, review: Review) -> None:
    shown = review.warnings[:_PROBLEMS]
    block = [_summary(count(len(review.warnings), "warning")), "", *escape.fence(_listed(shown)), "", "</details>", ""]
    page.add(block)


def _listed(problems: Iterable[Problem]) -> str:
    return "\n".join(escape.clean(str(problem)) for problem in problems)


# --- risks ----------------------------------------------------------------------------------------------------------


def _risks(page: _Page, review: Review) -> None:
    found = risks(review)
    if not found:
        return
    page.add(["#### Look at these first", ""])
    for risk in found:
        page.add(_risk(risk, page.frame.elsewhere), spare=0)
    page.add([""], spare=0)


def _risk(risk: Risk, elsewhere: str) -> list[str]:
    mark = "⚠️ " if risk.grave else ""
    lines = [f"- {mark}**{risk.title}** — {risk.why}"]
    for item in risk.items[:_ITEMS]:
        where = f" on {hosts(item.hosts)}" if item.hosts else ""
        detail = f": {escape.code(item.detail, 160)}" if item.detail else ""
        lines.append(f"  - {escape.code(item.text)}{where}{detail}")
    if len(risk.items) > _ITEMS:
        lines.append(f"  - *{_more(risk.items[_ITEMS:])}; {elsewhere}*")
    if risk.lines:
        lines += ["", f"  {risk.meant}:", ""]
        lines += [f"  {line}" for line in escape.fence("\n".join(risk.lines), "yaml")]
    return lines


def _more(items: Sequence[Item]) -> str:
    touched = {host for item in items for host in item.hosts}
    return f"and {len(items)} more" + (f" on {count(len(touched), 'host')}" if touched else "")


def hosts(names: Sequence[str]) -> str:
    """Host names as code, compacted; how many where it is not plain to see."""
    text = compact(names)
    return escape.code(text, _NAMES) + (f" ({len(names)} hosts)" if len(names) > 3 else "")


# --- what is felt ---------------------------------------------------------------------------------------------------


def _felt(page: _Page, review: Review) -> None:
    """What takes longest first; what nobody measured in one line."""
    found = felt(review)
    known = [one for one in found if one.seconds is not None or one.behind]
    unknown = [one for one in found if one not in known]
    lines = [f"- {escape.code(one.container)} on {hosts(one.hosts)}: {one.words}" for one in known[:_ITEMS]]
    if len(known) > _ITEMS:
        lines.append(f"- *and {len(known) - _ITEMS} more that take less; {page.frame.elsewhere}*")
    if unknown:
        names = ", ".join(escape.code(one.container) for one in unknown[:_ITEMS])
        lines.append(
            f"- not measured yet: {names}" + (f" and {len(unknown) - _ITEMS} more" if len(unknown) > _ITEMS else "")
        )
    if lines:
        page.add(["#### What will be felt", "", *lines, ""])


# --- the rollout ----------------------------------------------------------------------------------------------------


def _course(page: _Page, found: Course | None) -> None:
    """How the change goes from host to host, where they agree through etcd."""
    if found is None:
        return
    lines = [
        "#### Rollout",
        "",
        f"{found.words} This counts for hosts that agree through etcd (`[fleet]` in their settings).",
        "",
    ]
    lines += _waves(found.outlook)
    said = [
        f"- ⚠️ {escape.code(one.container)} on {hosts(one.hosts)}: {one.words(escape.code)}" for one in found.interrupted
    ]
    said += [
        f"- budget {escape.code(budget.name)}: {budget.at_most} at once, of {hosts(touched)}"
        for budget, touched in found.outlook.touched
    ]
    said += [_duty(one) for one in found.duties]
    if len(said) > _ITEMS:
        said = [*said[:_ITEMS], f"- *and {len(said) - _ITEMS} more; {page.frame.elsewhere}*"]
    page.add([*lines, *said, *([""] if said else [])])


def _duty(one: Duty) -> str:
    said = f"{escape.code(one.owner)} runs the job {escape.code(one.job)} for all, in the wave {escape.code(one.wave)}"
    return f"- {said}; {EARLY} {hosts(one.early)}" if one.early else f"- {said}"


def _waves(found: Outlook) -> list[str]:
    """The table, folded beyond a few hosts."""
    rows = ["| Wave | Hosts that change | | Goes | Steps |", "|:--|:--|--:|:--|--:|"]
    rows += [
        f"| {escape.code(turn.wave)} | {escape.code(named(turn), _NAMES)} | {len(turn.hosts)} | {pace(turn)} | {_needed(turn)} |"
        for turn in found.turns
    ]
    if found.new:
        rows.append(
            f"| *new hosts* | {escape.code(compact(found.new), _NAMES)} | {len(found.new)} | wait for nobody | |"
        )
    if sum(len(turn.hosts) for turn in found.turns) + len(found.new) <= _FEW:
        return [*rows, ""]
    return [_summary("Which host is in which wave"), "", *rows, "", "</details>", ""]


def _needed(turn: Turn) -> str:
    return f"{turn.steps} (for {escape.code(turn.narrow)})" if turn.narrow else str(turn.steps)


# --- groups ---------------------------------------------------------------------------------------------------------


def _table(page: _Page, review: Review) -> None:
    if not review.groups:
        return
    rows = ["| Hosts | | What happens | Risks |", "|:--|--:|:--|:--|"]
    for group in review.groups[:_ROWS]:
        found = sorted({risk for action in group.plan.actions for risk in action.risks})
        rows.append(
            f"| {escape.code(compact(group.hosts), _NAMES)} | {len(group.hosts)} | {what_happens(group.plan, escape.code)} "
            f"| {', '.join(found)} |"
        )
    page.add([*rows, ""])
    if len(review.groups) > _ROWS:
        rest = review.groups[_ROWS:]
        touched = sum(len(group.hosts) for group in rest)
        page.add([f"*Cut here: {len(rest)} more groups with {touched} hosts; {page.frame.elsewhere}.*", ""])


def _plans(page: _Page, review: Review) -> None:
    """The lines that `reconciler plan` prints, per group."""
    left_out = []
    for group in review.groups[:_ROWS]:
        if not page.add(_plan(group, page.frame.elsewhere)):
            left_out.append(group)
    if left_out:
        names = hosts([host for group in left_out for host in group.hosts])
        page.add([f"*Cut here: the plans of {names}; {page.frame.elsewhere}.*", ""], spare=500)


def _plan(group: Group, elsewhere: str) -> list[str]:
    plan = replace(group.plan, leftovers=())
    lines = plan_text(plan, diffs=False, indent="").split("\n")
    if len(lines) > _PLAN_LINES:
        lines = [*lines[:_PLAN_LINES], f"… cut here: {len(lines) - _PLAN_LINES} more lines, {elsewhere}"]
    title = f"Plan of {escape.markup_code(compact(group.hosts), _NAMES)}: {count(len(plan.actions), 'action')}"
    alike = [] if group.same_lines else [_alike(group.hosts[0]), ""]
    return [_summary(title), "", *alike, *escape.fence("\n".join(lines)), "", "</details>", ""]


def _alike(host: str) -> str:
    return f"As {escape.code(host)} has it; the others differ in their own name and addresses only."


# --- services -------------------------------------------------------------------------------------------------------


def _services(page: _Page, review: Review) -> None:
    """Diffs and differing options, per service."""
    left_out = []
    services = by_service(change for change in changes(review) if _shows(change.action))
    if services:
        page.add(["#### Diffs by service", ""])
    for name, found in services.items():
        if not page.add(_service(name, found, page.frame.elsewhere)):
            short = _service(name, found, page.frame.elsewhere, diffs=False)
            if not page.add(short):
                left_out.append(name)
    if left_out:
        names = ", ".join(escape.code(name) for name in left_out[:20])
        page.add(
            [f"*Cut here: the diffs of {count(len(left_out), 'service')} ({names}); {page.frame.elsewhere}.*", ""],
            spare=500,
        )


def _shows(action: Action) -> bool:
    return bool(action.diff or action.differences) and action.verb not in (Verb.CREATE, Verb.REMOVE)


def _service(name: str, found: Sequence[Change], elsewhere: str, *, diffs: bool = True) -> list[str]:
    touched = list(dict.fromkeys(host for change in found for host in change.hosts))
    title = f"<b>{escape.markup_code(name or 'images')}</b>: {count(len(found), 'change')} on {_hosts(touched)}"
    lines = [_summary(title), ""]
    if not diffs:
        lines += [f"*Cut here: too long for a note; {elsewhere}.*", ""]
    rotated = [change for change in found if "secret" in change.action.risks and not change.action.diff]
    if rotated:
        names = ", ".join(escape.code(change.action.target) for change in rotated[:_ITEMS])
        more = f" and {len(rotated) - _ITEMS} more" if len(rotated) > _ITEMS else ""
        lines += [f"The value of a secret changes, the text does not: {names}{more}.", ""]
    targets: dict[str, list[Change]] = {}
    for change in found:
        if change in rotated:
            continue
        targets.setdefault(change.action.id, []).append(change)
    for same in targets.values():
        for change in same[:_VARIANTS]:
            lines += _change(change, elsewhere, diffs=diffs)
        if len(same) > _VARIANTS:
            rest = [host for change in same[_VARIANTS:] for host in change.hosts]
            lines += [f"*Cut here: {len(same) - _VARIANTS} other ways on {hosts(rest)}; {elsewhere}.*", ""]
    return [*lines, "</details>", ""]


def _change(change: Change, elsewhere: str, *, diffs: bool) -> list[str]:
    action = change.action
    lines = [f"{escape.code(f'{action.verb} {action.target}')} on {hosts(change.hosts)}", ""]
    if not diffs:
        return lines
    if not change.exact:
        lines += [_alike(change.hosts[0]), ""]
    body = action.diff.split("\n") if action.diff else [difference(found) for found in action.differences]
    if len(body) > _DIFF_LINES:
        body = [*body[:_DIFF_LINES], f"… cut here: {len(body) - _DIFF_LINES} more lines, {elsewhere}"]
    return [*lines, *escape.fence("\n".join(body), "diff" if action.diff else "text"), ""]


def _summary(title: str) -> str:
    """The opening of a folded block. `title` is HTML."""
    return f"<details><summary>{title}</summary>"


def _hosts(names: Sequence[str]) -> str:
    return (
        f"{escape.markup_code(compact(names), _NAMES)} ({len(names)})"
        if len(names) > 3
        else escape.markup_code(compact(names))
    )
