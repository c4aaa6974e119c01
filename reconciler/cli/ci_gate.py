"""The review of a CI job as a gate: by the rules of the target branch, as far as the job's clone and token reach."""

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reconciler import errors
from reconciler.cli import output
from reconciler.reasons import Reason
from reconciler.review import Review, gate, headline
from reconciler.review.gate import Rule, Rules, Verdict

if TYPE_CHECKING:
    from reconciler.forge import Forge, ForgeSettings, OpenRequest
    from reconciler.review.ci import Source


@dataclass(frozen=True, slots=True)
class Asked:
    """What the target branch asks of a review."""

    rules: Rules
    wanted: dict[Rule, tuple[str, ...]]

    @property
    def remarks(self) -> tuple[str, ...]:
        """For the note."""
        return tuple(gate.remarks(self.wanted, self.rules))


def asked(found: Review, base: "Source | None") -> Asked:
    """By the rules of the target branch where the clone has it, else by those of the base, which that branch had."""
    from reconciler.review import ci as planning

    if base is None:
        return Asked(Rules(), {})
    rules = planning.rules(_target(base), os.environ.get("CI_PROJECT_NAME", "site"))
    return Asked(rules, gate.demands(gate.kinds(found), rules) if found.valid else {})


def settle(found: Review, asks: Asked, settings: "ForgeSettings | None", number: int) -> bool:
    """Whether everybody who must have seen the merge request has: said on stderr and in the commit status. Without a token
    nobody can tell, and this job is no gate."""
    if not asks.rules.required:
        return True
    if settings is None:
        if asks.wanted:
            words = " and ".join(f"{rule.words} ({', '.join(kinds)})" for rule, kinds in asks.wanted.items())
            output.line(f"asked for before it is merged, and not checked by this job: {words}", err=True)
        return True
    from reconciler.forge import connect

    forge = connect(settings)
    try:
        request = forge.request(number)
        verdict = _verdict(found, asks, forge, request)
        _post(forge, request, asks.rules, verdict)
    except errors.ReconcilerError as error:
        output.line(f"error: whether it was seen cannot be told: {error} [{error.reason}]", err=True)
        return False
    if verdict.state == "failed" and found.valid:
        output.line(f"error: {asks.rules.context}: {verdict.text}; start this job again after that", err=True)
    return verdict.state == "success"


def _target(base: "Source") -> "Source":
    from reconciler.git import tree

    branch = os.environ.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "")
    if not branch:
        return base
    try:
        return replace(base, commit=tree.resolve(base.repository, f"refs/remotes/origin/{branch}"))
    except errors.Terminal:
        output.line(f"the clone has no origin/{branch}: the rules are those of the base (set GIT_DEPTH to 0)", err=True)
        return base


def _verdict(found: Review, asks: Asked, forge: "Forge", request: "OpenRequest") -> Verdict:
    # A pipeline of merged results has a commit of its own.
    head = os.environ.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or os.environ.get("CI_COMMIT_SHA", "")
    if head != request.head:
        raise errors.Transient(
            f"the merge request is at {request.head[:12]} by now, and this job at {head[:12]}",
            reason=Reason.RevisionUnknown,
        )
    if not found.valid:
        return Verdict("failed", headline(found))
    labels = {rule.label for rule in asks.wanted if rule.label}
    approvals = any(not rule.label for rule in asks.wanted)
    given = forge.sign_offs(request, approvals=approvals, labels=labels, seen=time.time()) if asks.wanted else ()
    verdict = gate.verdict(asks.wanted, given, asks.rules)
    return verdict if verdict.text else Verdict("success", headline(found))


def _post(forge: "Forge", request: "OpenRequest", rules: Rules, verdict: Verdict) -> None:
    from reconciler.forge import Status
    from reconciler.forge.api import shows

    status = Status(request.head, rules.context, verdict.state, verdict.text, os.environ.get("CI_JOB_URL"))
    ref = request.branch or request.ref
    try:
        shown = forge.find_status(request.head, status.context, ref)
        if not shows(shown, status, forge.description_limit):
            forge.post_status(status, ref)
    except errors.Terminal as error:  # the job's own result says the same
        output.line(f"no commit status: {error} [{error.reason}]", err=True)
