"""Who must have seen a merge request before it may be merged, because of its risks, and who has not yet. Pure."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from reconciler.codec import to_json
from reconciler.review import escape
from reconciler.review.risks import KINDS, risks
from reconciler.review.types import Review
from reconciler.text import json_text

if TYPE_CHECKING:
    from reconciler.forge import SignOff


@dataclass(frozen=True, slots=True)
class Rule:
    """What one risk asks for: an approval by somebody who has no part in the merge request, or where `label` is not "" that
    label, set by such a person or, with `anybody`, by the author as well."""

    label: str = ""
    anybody: bool = False

    @property
    def words(self) -> str:
        if not self.label:
            return "an approval by somebody else than the author"
        return f"the label {self.label!r}" + ("" if self.anybody else " set by somebody else than the author")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a target branch asks for, by risk. `problem` is why its reconciler.yml cannot be read: then every risk asks for an
    approval, for nobody knows which of them does."""

    site: str = "site"
    required: Mapping[str, Rule] = field(default_factory=dict)
    problem: str = ""

    @property
    def context(self) -> str:
        """The name of the commit status that stands for the review."""
        return f"reconciler/{self.site}/review"

    @property
    def key(self) -> str:
        """Tells these rules from others."""
        return hashlib.sha256(json_text(to_json(self)).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether everybody who must have seen a merge request has."""

    state: Literal["success", "failed"]
    text: str


def rules(site: str, policy: Mapping[str, Any]) -> Rules:
    """The rules of a reconciler.yml whose defaults are filled in."""
    wanted = policy["review"]["require"]
    return Rules(site, {kind: _rule(wanted[kind]) for kind in KINDS if wanted[kind] != "nobody"})


def unreadable(site: str, problem: str) -> Rules:
    """The rules of a branch whose reconciler.yml cannot be read."""
    return Rules(site, dict.fromkeys(KINDS, Rule()), problem)


def kinds(review: Review) -> tuple[str, ...]:
    """The risks of a review; all of them where there was nothing to compare with, or nobody can tell what a merge makes of both sides."""
    return KINDS if review.base_problems or review.both else tuple(dict.fromkeys(risk.kind for risk in risks(review)))


def demands(kinds: Iterable[str], of: Rules) -> dict[Rule, tuple[str, ...]]:
    """What the risks of a merge request ask for: each rule once, with the risks that it is for."""
    found: dict[Rule, tuple[str, ...]] = {}
    for kind in kinds:
        if kind in of.required:
            rule = of.required[kind]
            found[rule] = (*found.get(rule, ()), kind)
    return found


def since(before: Mapping[str, float] | None, kinds: Iterable[str], now: float) -> dict[str, float]:
    """Since when the plan of a head has each of its risks: 0.0 for those of the first plan, which `before` is None for.

    What merging a head does is another matter once the branch has gone on, and whoever approved it saw the plan of before.
    """
    return {kind: 0.0 if before is None else before.get(kind, now) for kind in kinds}


def verdict(
    wanted: Mapping[Rule, Sequence[str]],
    given: Iterable["SignOff"],
    of: Rules,
    since: Mapping[str, float] | None = None,
) -> Verdict:
    """What is there, or what is missing and why what was given does not count. `since`: a word counts for no risk that the plan
    got only after it was given."""
    given = tuple(given)
    missing, why, seen = [], [], []
    for rule, kinds in wanted.items():
        offers = [one for one in given if one.label == rule.label]
        flaws = {
            one.user: one.flaw or ("" if rule.anybody else one.part) or _late(one.at, kinds, since or {})
            for one in offers
        }
        if good := [user for user, flaw in flaws.items() if not flaw]:
            seen.append(f"{'approved' if not rule.label else f'label {rule.label!r} set'} by {good[0]}")
        else:
            missing.append(f"{rule.words} ({', '.join(kinds)})")
            why += [f"{user}'s does not count: {flaw}" for user, flaw in flaws.items()]
    if not missing:
        return Verdict("success", "; ".join(dict.fromkeys(seen)))
    problem = [f"the target branch's rules cannot be read: {of.problem}"] if of.problem else []
    return Verdict("failed", "; ".join([f"needs {' and '.join(missing)}", *dict.fromkeys(why), *problem]))


def _late(at: float, kinds: Sequence[str], since: Mapping[str, float]) -> str:
    new = [kind for kind in kinds if since.get(kind, 0.0) > at]
    return f"given before the plan had {', '.join(new)}: look at it, and give it again" if new else ""


def remarks(wanted: Mapping[Rule, Sequence[str]], of: Rules) -> list[str]:
    """What the note says of it. Markdown; it holds nothing that changes when somebody approves."""
    if not wanted:
        return []
    lines = [f"  - {escape.code(rule.words)} ({', '.join(kinds)})" for rule, kinds in wanted.items()]
    first = f"**Before it is merged somebody must have seen it.** The status {escape.code(of.context)} says whether that is so:"
    if of.problem:
        lines.append(
            f"  - the rules of the target branch cannot be read, so every risk counts: {escape.code(of.problem, 200)}"
        )
    return ["\n".join([first, "", *lines])]


def _rule(value: Any) -> Rule:
    return Rule() if value == "approval" else Rule(value["label"], value.get("by") == "anybody")
