"""What would hold an upgrade back on this host, asked before anybody merges it: the checks of a commit that is not accepted.

Images that the checks need are pulled, and one-shot containers of them run; nothing that is here changes, and what is accepted stays so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from reconciler import errors
from reconciler.model import Action, Outcome, Plan, Verb
from reconciler.node.aims import Aim
from reconciler.node.node import Node
from reconciler.phrases import count, few
from reconciler.plan import release_step
from reconciler.reasons import Reason
from reconciler.report import Report, RepositoryStatus
from reconciler.report.summary import StatusText


@dataclass(frozen=True, slots=True)
class Answer:
    """What the checks of `revision` said on this host. `step`: from which release to which; "" where it goes to no other one, and nothing
    was asked. `accepted`: the checks that somebody answers for, which were not made."""

    host: str
    revision: str
    branch: str
    step: str = ""
    outcomes: tuple[Outcome, ...] = ()
    accepted: tuple[str, ...] = ()

    @property
    def passed(self) -> tuple[str, ...]:
        return tuple(one.action.target for one in self.outcomes if one.result == "done")

    @property
    def held(self) -> tuple[Outcome, ...]:
        """Those that hold the upgrade, and those that could not be made."""
        return tuple(one for one in self.outcomes if one.result != "done")

    @property
    def words(self) -> str:
        """In one line."""
        if not self.step:
            return "this host goes to no other release: nothing is asked before it"
        if not self.held:
            return f"{self.step}: {count(len(self.passed), 'check')} passed"
        failed = [one.action.target for one in self.held]
        return f"{self.step}: held by {few(failed)} ({len(self.passed)} passed)"


def ask(node: Node, revision: str) -> Answer:
    """Make the checks before the upgrade that a branch, or a commit, is for this host; its commit's status says what came of it.

    Raises errors.SiteInvalid and errors.Terminal where the commit is none that this host would accept, errors.Transient.
    """
    node.require_state()
    with node.state.cycle(wait=60.0):
        commit, branch = node.follower.bring(revision)
        target = node.aims.of(commit)
        node.aims.require_usable(target)
        memory = replace(node.observer.memory(target), prechecks={})  # whoever asks wants to know now
        before, release = release_step.crossed(memory, target.desired), target.desired.release
        found = Answer(node.settings.host, commit, branch)
        if before:
            if memory.schema_release not in ("", before):
                raise errors.Terminal(
                    f"an upgrade to {memory.schema_release} is under way on this host: let it end before another one is asked about",
                    reason=Reason.PrecheckPending,
                )
            actual = node.observer.observe(target, memory, deep=True)
            planned = node.planner.plan(Aim(target), actual, memory)
            wanted = Plan(planned.host, planned.revision, _needed(planned.actions))
            blank = Report(
                target.desired.site,
                node.settings.host,
                commit,
                datetime.now(UTC),
                0.0,
                "command",
                True,
                RepositoryStatus(True),
            )
            admission = node.planner.admission(target, actual)
            flight = node.executor.begin(target, wanted, actual, memory, admission, blank, apart=False)
            outcomes = flight.landed.outcomes if flight else ()
            node.flights.collect()
            if flight and flight.landed.failure:
                raise errors.Transient(flight.landed.failure[1], reason=flight.landed.failure[0])
            asked = {action.target for action in wanted.actions}
            here = {container.name for container in (memory.last_good.containers if memory.last_good else ())}
            found = Answer(
                node.settings.host,
                commit,
                branch,
                f"{before} → {release}",
                tuple(one for one in outcomes if one.action.verb is Verb.PRECHECK),
                tuple(
                    check.name
                    for check in target.desired.prechecks
                    if check.name not in asked and (check.of_host or check.container in here)
                ),
            )
        node.reporter.say(_status(found), target.desired.site)
    return found


def _needed(actions: Sequence[Action]) -> tuple[Action, ...]:
    """The checks, and the images that they need."""
    by_id = {action.id: action for action in actions}
    wanted = {action.id for action in actions if action.verb is Verb.PRECHECK}
    wanted |= {need for name in list(wanted) for need in by_id[name].needs if need in by_id}
    return tuple(
        replace(action, needs=tuple(need for need in action.needs if need in wanted))
        for action in actions
        if action.id in wanted
    )


def _status(answer: Answer) -> StatusText:
    state: Literal["success", "failed"] = "failed" if answer.held else "success"
    text = f"before it is merged: {answer.words}"
    if answer.held:
        text = f"{text}: {answer.held[0].message}".partition("\n")[0]
    return StatusText(answer.revision, state, text, f"asked ahead: {text}", answer.branch)
