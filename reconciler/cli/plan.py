"""`plan` and `drift`: what would be done, for hosts of a site or for this node."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reconciler import errors
from reconciler.cli import checkout, output, written
from reconciler.cli.options import config_option, json_option, load_settings, site_argument
from reconciler.cli.site import answer_of, in_children, source
from reconciler.model import Desired, Difference, Plan
from reconciler.phrases import few
from reconciler.reasons import Reason
from reconciler.review.claims import Claims
from reconciler.rollout.policy import Rollout

if TYPE_CHECKING:
    from reconciler.model import Action, Held
    from reconciler.node.aims import Aim
    from reconciler.node.node import Node
    from reconciler.review.waves import Course
    from reconciler.settings import Settings

T = TypeVar("T")
FORMATS = ("text", "json", "markdown")
_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Planned:
    """What `children.plan` answers: all hosts, a plan for each of its share, and what differs in how the site treats them."""

    hosts: tuple[str, ...]
    plans: tuple[Plan, ...]
    policy: tuple[Difference, ...]
    rollout: Rollout | None
    claims: Claims
    joined: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """What `children.every` answers: all hosts, and what each of its share is to be."""

    hosts: tuple[str, ...]
    made: tuple[Desired, ...]


@click.command()
@click.argument("site", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.option("--host", "hosts", multiple=True, help="Only this host; may be repeated.")
@click.option("--base", help="Revision to compare the work tree with, or `nothing`.")
@click.option("--base-from", type=click.Path(exists=True, path_type=Path),
              help="Compare with what another version of this program made (`reconciler desired`): a folder, or one host's file.")  # fmt: skip
@click.option("--against", type=click.Choice(["node"]), help="node: compare with this node's actual state.")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--json", "json_", is_flag=True, help="The same as --format json.")
@click.option("--no-diffs", is_flag=True, help="Only one line per action.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there are changes.")
@config_option
def plan(
    site: Path | None,
    hosts: tuple[str, ...],
    base: str | None,
    base_from: Path | None,
    against: str | None,
    format_: str,
    json_: bool,
    no_diffs: bool,
    detailed_exitcode: bool,
) -> int:
    """Show what would be done, by hosts of a site or here.

    With SITE: what its hosts would do when its work tree replaced the base revision. By default that is the merge
    request's base in GitLab CI, else HEAD when the work tree differs from it, else HEAD's parent. Needs no node and no key.

    Without SITE, on a node: what this node would do now, by its settings and its actual state.

    Exits with 0, on errors with 1; with --detailed-exitcode with 2 when there are changes.
    """
    compared = "actual state"
    policy: list[Difference] = []
    course: Course | None = None
    if site is None or against == "node":
        plans = [node_plan(load_settings())] if site is None else [node_plan_of(site, hosts)]
    else:
        with output.progress("planning"):
            start, compared = checkout.base_of(site, base)
            plans, policy, course = site_plans(site, hosts, start, base_from)
        compared = f"{compared} as in {base_from}" if base_from else compared
    _print(plans, policy, course, "json" if json_ else format_, compared, diffs=not no_diffs)
    return 2 if detailed_exitcode and any(found.actions for found in plans) else 0


@click.command()
@site_argument
@click.option("--host", "hosts", multiple=True, help="Only this host; may be repeated.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write into.")
@click.option(
    "--revision",
    default="",
    help="The commit that the folder holds; says later what a commit changed, and what the program.",
)
@json_option
def desired(site: Path, hosts: tuple[str, ...], out: Path, revision: str, json_: bool) -> None:
    """Write what the hosts of a site are to be, as this program makes it: HOST.json each.

    It holds no secret, and needs no key and no node. `reconciler plan SITE --base-from` and `reconciler ci review --base-from` of another
    version of this program compare with it.
    """
    from reconciler.source import made

    with output.progress("rendering"):
        found = desired_of(site, hosts, revision)
    for one in found:
        written.write(out / f"{one.host}.json", made.encode(one))
    by = {"program": found[0].program, "catalogue": found[0].catalogue} if found else {}
    if json_:
        output.as_json({"hosts": [one.host for one in found], "revision": revision, **by})
    else:
        output.line(
            f"desired state of {len(found)} hosts written to {out}{os.sep} (reconciler {by.get('program', '')})"
        )


@click.command()
@json_option
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there is drift.")
@config_option
def drift(json_: bool, detailed_exitcode: bool) -> int:
    """Show what differs here though nobody committed it.

    Looks at this node now, also into containers and at registrations, and compares with the accepted revision. Exits with 0; on
    errors, and when something could not be looked at, with 1; with --detailed-exitcode with 2 when there is drift.
    """
    from reconciler.codec import to_json
    from reconciler.report.text import difference
    from reconciler.state import StateDirectory

    settings, began = load_settings(), datetime.now().astimezone()
    found = node_plan(settings)
    unknown = [item for item in found.held if item.reason == Reason.Unknown]
    looked = f"looked at {began:%H:%M:%S}"
    explained = (StateDirectory(settings.state_dir).report or {}).get("explained", {})
    state = [action for action in found.actions if action.drift]
    held = [item for item in found.held if item.drift]
    if json_:
        healed: Any = [to_json(action) for action in state]
        verdict = {"host": found.host, "revision": found.revision, "to_heal": healed, "held": to_json(held)}
        more = {"unknown": to_json(unknown), "looked_at": began.isoformat(timespec="seconds")}
        output.as_json({**verdict, "explained": explained, **more})
    elif not state and not held:
        output.line(f"no drift in what could be looked at ({looked})" if unknown else f"no drift ({looked})", "ok")
    else:
        rows = [
            (action.target, action.cause, action.differences, f"{action.verb} {_when(action, settings)}")
            for action in state
        ]
        rows += [(item.target, item.message, item.differences, item.reason) for item in held]
        for target, cause, differences, answer in rows:
            output.line(f"{target}  {cause}  → {answer}", "warn")
            if target in explained:
                output.line(f"    {explained[target]}")
            for item in differences:
                output.line(f"    {difference(item)}")
    if unknown and not json_:
        output.line(f"unknown: {len(unknown)} could not be looked at", "fail")
        for target, message in _by_message(unknown):
            output.line(f"    {target}: {message}", "fail")
    return 1 if unknown else 2 if detailed_exitcode and (state or held) else 0


def _when(action: "Action", settings: "Settings") -> str:
    """What only a deep pass sees is put right by one."""
    from reconciler.model import Verb, is_asked

    deep = (
        action.verb in (Verb.REGISTER, Verb.UNREGISTER)
        or is_asked(action.target)
        or any(d.inside for d in action.differences)
    )
    if not deep:
        return "at the next pass"
    return f"at the next deep pass (every {settings.daemon.deep_interval:g} s; now: `reconciler reconcile --deep`)"


def _by_message(unknown: Sequence["Held"]) -> list[tuple[str, str]]:
    """What has the same reason is one line."""
    targets: dict[str, list[str]] = {}
    for item in unknown:
        targets.setdefault(item.message, []).append(item.target)
    return [(few(names), message) for message, names in targets.items()]


def site_plans(
    site: Path, hosts: Sequence[str], base: Any, base_from: Path | None = None
) -> tuple[list[Plan], list[Difference], "Course | None"]:
    """The plans of the hosts of a site (none named: all), in the inventory's order, what differs in how they treat it, and how all of it
    goes from host to host.

    `base_from` is where the base's desired state lies as another program made it. Raises errors.SiteInvalid.
    """
    made = str(base_from.resolve()) if base_from else None
    argument = {"source": source(site), "base": base, "hosts": list(hosts), "revision": "work tree", "made": made}
    answers = in_children("plan", argument, Planned, seconds=_SECONDS)
    plans = {plan.host: plan for answer in answers for plan in answer.plans}
    found = _ordered(plans, hosts, answers[0].hosts)
    return found, list(answers[0].policy), _course(found, answers)


def _course(plans: Sequence[Plan], answers: Sequence[Planned]) -> "Course | None":
    from reconciler.review import Group, Review
    from reconciler.review.claims import merged
    from reconciler.review.waves import course

    first, asked = answers[0], merged(answer.claims for answer in answers)
    groups = tuple(
        Group((plan.host,), plan, tuple(action.id for action in plan.actions), (True,) * len(plan.actions))
        for plan in plans
    )
    return course(
        Review(
            site="",
            base="",
            head="",
            hosts=tuple(plan.host for plan in plans),
            joined=first.joined,
            groups=groups,
            rollout=replace(first.rollout, budgets=asked.budgets) if first.rollout else None,
            claims=asked,
        )
    )


def desired_of(site: Path, hosts: Sequence[str], revision: str) -> list[Desired]:
    """What the hosts of a site (none named: all) are to be, in the inventory's order. Raises errors.SiteInvalid."""
    argument = {"source": source(site), "hosts": list(hosts), "revision": revision}
    answers = in_children("every", argument, Rendered, seconds=_SECONDS)
    return _ordered({made.host: made for answer in answers for made in answer.made}, hosts, answers[0].hosts)


def _ordered(found: Mapping[str, T], wanted: Sequence[str], hosts: Sequence[str]) -> list[T]:
    """What was found of each wanted host (none: all), in the order of `hosts`."""
    chosen = [host for host in hosts if not wanted or host in wanted]
    if found.keys() != set(chosen):
        raise errors.Terminal("the child processes answer for other hosts than asked", reason=Reason.ChildFailed)
    return [found[host] for host in chosen]


def node_plan(settings: "Settings") -> Plan:
    """What this node would do now. Raises errors.ReconcilerError."""
    from reconciler.node.node import Node

    node = Node(settings, forge=False)
    try:
        aim = node.aim()
        if aim is None:
            raise errors.Terminal(
                "this node has not accepted any revision yet (run `reconciler reconcile`, or see `reconciler doctor`)",
                reason=Reason.NoRevision,
            )
        return planned(node, aim)
    finally:
        node.close()


def node_plan_of(site: Path, hosts: Sequence[str]) -> Plan:
    """What this node would do if the content of a folder were its site."""
    from reconciler.node.aims import Aim
    from reconciler.node.node import Node
    from reconciler.node.target import make_target
    from reconciler.secrets import sops
    from reconciler.source import prepare

    node = Node(load_settings(), forge=False)
    try:
        host = hosts[0] if hosts else node.settings.host
        keys = node.settings.secrets
        answer = answer_of(site, host)
        opened = prepare.unlock(
            answer.locked, answer.desired, sops.Keys(keys.age_key_file, keys.ssh_key_file, keys.program)
        )
        target = make_target(prepare.Prepared(answer.desired, opened))
        node.aims.require_usable(target)
        return planned(node, Aim(target, node.aims.holds(target.desired.policy)))
    finally:
        node.close()


def planned(node: "Node", aim: "Aim") -> Plan:
    """What the node would do now, deep down. Nothing is changed."""
    memory = node.observer.memory(aim.target)
    return node.planner.plan(aim, node.observer.observe(aim.target, memory, deep=True), memory)


def _print(
    plans: Sequence[Plan],
    policy: Sequence[Difference],
    course: "Course | None",
    format_: str,
    compared: str,
    *,
    diffs: bool,
) -> None:
    from reconciler.codec import to_json
    from reconciler.report import text
    from reconciler.review.text import course_lines

    if format_ == "json":
        shown = [{"host": p.host, **to_json(p)} for p in plans]
        output.as_json({"base": compared, "plans": shown, "policy": [to_json(item) for item in policy]})
    elif format_ == "markdown":
        output.document(text.plans_markdown(plans, title=f"Plan against {compared}"), nl=False)
    else:
        output.diff(f"plan against {compared}\n{text.plans_text(plans, diffs=diffs)}")
        if policy:
            output.line(text.policy_text(policy))
        for line in course_lines(course):
            output.line(line)
