"""The child's side of `prepare`: validate, render, and pick out the encrypted files that the host's own key is for."""

import base64
from collections.abc import Mapping
from typing import Any

from reconciler import errors
from reconciler.codec import to_json
from reconciler.git.content import WORK_TREE
from reconciler.model import Desired
from reconciler.reasons import Reason
from reconciler.rollout import policy
from reconciler.rollout.policy import Rollout
from reconciler.secrets import sops
from reconciler.secrets.locked import Locked
from reconciler.site import Site
from reconciler.source import site_child
from reconciler.source.prepare import Answer
from reconciler.source.site_child import Content, gather, warm

__all__ = ["desired", "gather", "locked", "of_folder", "warm"]


def desired(argument: Mapping[str, Any], gathered: Mapping[str, Any]) -> dict[str, Any]:
    """{"source", "host", "revision"} → an `Answer`."""
    content = site_child.files(gathered, "source")
    whole = site_child.load(content)
    host = argument["host"]
    if host not in whole.hosts:
        known = ", ".join(sorted(whole.hosts)[:8])
        raise errors.Terminal(
            f"this host is {host!r}, which inventory.yml does not know (it has {known}): nothing is changed. Add it there, or "
            "set `host` in the node's settings",
            reason=Reason.HostUnknown,
        )
    return answer(whole, content, host, argument["revision"])


def of_folder(argument: Mapping[str, Any], gathered: Mapping[str, Any]) -> dict[str, Any]:
    """{"source", "host"} → an `Answer` about any host, at the revision "work tree"."""
    content = site_child.files(gathered, "source")
    whole = site_child.load(content)
    site_child.require_host(argument["host"], whole.hosts)
    return answer(whole, content, argument["host"], WORK_TREE)


def answer(whole: Site, content: Content, host: str, revision: str) -> dict[str, Any]:
    """The `Answer` about a host."""
    made = site_child.render(whole, host, revision)
    warnings = tuple(str(warning) for warning in whole.warnings)
    found: dict[str, Any] = to_json(
        Answer(made, locked(whole, content, made), warnings, rollout(whole, budgets(whole, made)))
    )
    return found


def rollout(whole: Site, budgets: Mapping[str, policy.Budget]) -> Rollout:
    """The waves of the site, and these budgets."""
    rules = whole.policy["rollout"]
    labels = {name: whole.written(name) for name in policy.labels(rules)}
    return policy.of(rules, tuple(whole.hosts), whole.groups, budgets, labels)


def budgets(whole: Site, made: Desired) -> dict[str, policy.Budget]:
    """The budgets of what is on the host of `made`, by name. Of containers that share one the strictest counts."""
    found: dict[str, policy.Budget] = {}
    for order in made.orders:
        if order.at_once:
            members = dict.fromkeys(host for group in order.groups for host in whole.groups.get(group, ()))
            budget = policy.Budget(order.budget, order.at_once, tuple(members), bool(order.address))
            found = policy.together(found, {order.budget: budget})
    return found


def locked(whole: Site, content: Content, desired: Desired) -> tuple[Locked, ...]:
    """The encrypted files that concern a host which uses secrets, checked as far as that goes without a key."""
    if not desired.secrets:
        return ()
    found = []
    for name in whole.recipients(desired.host):
        examined = sops.examine(content[name], name=name)
        found.append(Locked(name, base64.b64encode(examined.text).decode(), examined.recipients))
    for path, secret in whole.sealed.items():
        if secret.name in desired.secrets:
            name = f"config/{path}"
            examined = sops.examine(content[name], name=name)
            found.append(Locked(name, base64.b64encode(examined.text).decode(), examined.recipients, secret.name))
    return tuple(found)
