"""A review as JSON, for tools: schemas/plan.schema.json is its grammar."""

from typing import Any

from reconciler.codec import to_json
from reconciler.errors import Problem
from reconciler.model import Difference
from reconciler.review.felt import Felt, felt
from reconciler.review.risks import headline, risks
from reconciler.review.types import Group, Review
from reconciler.review.waves import Course, course

VERSION = 1


def as_json(review: Review) -> dict[str, Any]:
    """Plain JSON values. A group's `plan` is its first host's; `exact` says whether the others' are equal to the letter."""
    return {
        "version": VERSION,
        "site": review.site,
        "path": review.path,
        "base": review.base,
        "head": review.head,
        "program": review.program,
        "catalogue": review.catalogue,
        "valid": review.valid,
        "headline": headline(review),
        "hosts": {
            "total": len(review.hosts),
            "changed": list(review.changed),
            "joined": list(review.joined),
            "left": list(review.left),
        },
        "risks": [
            {
                "kind": risk.kind,
                "title": risk.title,
                "grave": risk.grave,
                "lines": list(risk.lines),
                "items": [{"text": i.text, "hosts": list(i.hosts), "detail": i.detail} for i in risk.items],
            }
            for risk in risks(review)
        ],
        "felt": [_felt(one) for one in felt(review)],
        **_rollout(course(review)),
        "groups": [_group(group) for group in review.groups],
        "rotated_secrets": {name: list(hosts) for name, hosts in sorted(review.rotated.items())},
        "policy": [_difference(found) for found in review.policy],
        "problems": [_problem(problem) for problem in review.problems],
        "warnings": [_problem(problem) for problem in review.warnings],
        "base_problems": [_problem(problem) for problem in review.base_problems],
        "failure": review.failure,
    }


def _felt(one: Felt) -> dict[str, Any]:
    measured = {"seconds": one.seconds, "times": one.times, "elsewhere": one.elsewhere}
    return {"container": one.container, "hosts": list(one.hosts), **measured, "text": one.words}


def _rollout(found: Course | None) -> dict[str, Any]:
    """Nothing where hosts have nothing to agree upon."""
    if found is None:
        return {}
    ahead = found.outlook
    waves = [
        {
            "name": turn.wave,
            "hosts": list(turn.hosts),
            "unchanged": turn.others,
            "at_once": turn.at_once,
            "in_order": turn.in_order,
            "steps": turn.steps,
            "narrowed_by": turn.narrow,
        }
        for turn in ahead.turns
    ]
    return {
        "rollout": {
            "seconds": ahead.seconds,
            "bake": ahead.bake,
            "steps": ahead.steps,
            "waves": waves,
            "new_hosts": list(ahead.new),
            "budgets": [
                {"name": budget.name, "at_once": budget.at_most, "members": list(budget.members), "hosts": list(hosts)}
                for budget, hosts in ahead.touched
            ],
            "jobs": [
                {"job": one.job, "host": one.owner, "wave": one.wave, "earlier": list(one.early)}
                for one in found.duties
            ],
            "data_plane": [
                {
                    "container": one.container,
                    "hosts": list(one.hosts),
                    "at_once": one.at_once,
                    "budget": one.budget,
                    "text": one.words(),
                }
                for one in found.interrupted
            ],
        }
    }


def _group(group: Group) -> dict[str, Any]:
    plan = group.plan
    return {
        "hosts": list(group.hosts),
        "exact": all(group.exact),
        "plan": {
            "host": plan.host,
            "revision": plan.revision,
            "actions": [{"line": action.line, **to_json(action)} for action in plan.actions],
            "held": to_json(plan.held),
        },
    }


def _difference(found: Difference) -> dict[str, str]:
    return {"field": found.field, "desired": found.desired, "actual": found.actual}


def _problem(problem: Problem) -> dict[str, Any]:
    names = ("file", "line", "column", "message", "hint", "severity")
    return {name: getattr(problem, name) for name in names}
