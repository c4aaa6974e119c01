"""What would hold an upgrade back on this host, asked before anybody merges it: the checks of a commit that is not accepted.

Images that the checks need are pulled, and one-shot containers of them run; nothing that is here changes, and what is accepted stays so.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

import structlog

from reconciler import errors
from reconciler.git import clone
from reconciler.model import Action, Outcome, Plan, Verb
from reconciler.node.aims import Aim, Aims
from reconciler.node.applying import Executor
from reconciler.node.flight import Flight, Flights, Landed
from reconciler.node.observing import Observer
from reconciler.node.planning import Planner
from reconciler.node.reporting import Reporter
from reconciler.node.target import Target
from reconciler.phrases import count, few
from reconciler.plan import release_step
from reconciler.reasons import Reason
from reconciler.report import Report, RepositoryStatus
from reconciler.report.summary import AHEAD, StatusText
from reconciler.settings import Settings
from reconciler.source.follow import Follower
from reconciler.state import StateDirectory
from reconciler.text import one_line

log = structlog.get_logger()

_AGAIN: Final = 3600.0  # seconds after which a branch that did not move is asked about anew, and
_SOON: Final = 120.0  # where it could not be asked about
# Passes beside a flight are light, and how long one is under way must not be for a branch to say that nobody merged.
_LONGEST: Final = 600.0  # seconds of one check
_WHOLE: Final = 3600.0  # seconds after which no further one is begun
_RESTS: Final = 3  # times as long as an asking took nothing is asked after it


@dataclass(frozen=True, slots=True)
class Answer:
    """What the checks of `revision` said on this host. `step`: from which release to which; "" where it goes to no other one, and nothing
    was asked. `outcomes`: those of the checks, and of what they need and failed. `accepted`: the checks that somebody answers for, which were
    not made."""

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
        """What holds the upgrade: checks that failed, and images that could not be had for others; then the checks that were not made."""
        found = [one for one in self.outcomes if one.result != "done"]
        return tuple(sorted(found, key=lambda one: one.reason is Reason.DependencyFailed))

    @property
    def words(self) -> str:
        """In one line."""
        if not self.step:
            return "this host goes to no other release: nothing is asked before it"
        if not self.held:
            return f"{self.step}: {count(len(self.passed), 'check')} passed"
        failed = [one.action.target for one in self.held]
        return f"{self.step}: held by {few(failed)} ({len(self.passed)} passed)"


class Ahead:
    """Asks for one node, in its passes' thread: once by hand (`ask`), or whatever is pushed to a branch (`look`)."""

    def __init__(
        self,
        settings: Settings,
        state: StateDirectory,
        follower: Follower,
        aims: Aims,
        observer: Observer,
        planner: Planner,
        executor: Executor,
        flights: Flights,
        reporter: Reporter,
    ) -> None:
        self._settings, self._state, self._follower, self._aims = settings, state, follower, aims
        self._observer, self._planner, self._executor = observer, planner, executor
        self._flights, self._reporter = flights, reporter
        self.clock: Callable[[], float] = time.monotonic
        self._rests = -math.inf  # until when nothing is asked
        self._asked = ("", -math.inf)  # which head, and when to ask again

    def ask(self, revision: str) -> Answer:
        """Make the checks before the upgrade that a branch, or a commit, is for this host; its commit's status says what came of it.

        Raises errors.SiteInvalid and errors.Terminal where the commit is none that this host would accept, errors.Transient.
        """
        told = list[Answer]()
        with self._state.cycle(wait=60.0):
            commit, branch = self._follower.bring(revision)
            asked = Answer(self._settings.host, commit, branch)
            flight = self._begin(asked, told.append, apart=False)
            if flight is None:
                return told[0]
            for landed in self._flights.collect():
                assert landed.ahead
                landed.ahead(landed)
        if flight.landed.failure:
            raise errors.Transient(flight.landed.failure[1], reason=flight.landed.failure[0])
        return told[0]

    def look(self, report: Report, *, idle: bool) -> None:
        """Begin to ask about the head of the branch that the settings name, where that is due and the node is `idle`; end what takes too long.
        Never raises for a bad commit: its status says what is wrong with it."""
        (known, due), now = self._asked, self.clock()
        head, branch = self._follower.unmerged, self._settings.git.prechecks
        for flight in self._flights.flying:
            if flight.ahead and flight.seconds > _WHOLE:
                flight.drop(Reason.PrecheckPending, "not asked, as the checks before it took an hour")
        if not idle or not head or now < self._rests or (head == known and now < due):
            return
        self._asked = (head, now + _AGAIN)
        try:
            commit = self._follower.bring_head(branch)
            if not clone.is_ancestor(self._state.repository, commit, report.revision):
                self._begin(Answer(self._settings.host, commit, branch), lambda answer: None, apart=True)
        except errors.Transient as error:
            self._asked = (head, now + _SOON)
            log.warning("precheck.ahead", revision=head, reason=error.reason, message=str(error))
        except Exception as error:  # no pass fails by what is not merged
            found = error if isinstance(error, errors.ReconcilerError) else errors.defect(error, "asking ahead")
            log.warning("precheck.ahead", revision=head, reason=found.reason, message=str(found))
            text = f"{AHEAD}refused: {one_line(str(found))}"
            self._reporter.say_ahead(StatusText(head, "failed", text, text, branch), report.site)

    def _begin(self, asked: Answer, then: Callable[[Answer], None], *, apart: bool) -> Flight | None:
        """Begin to make the checks; None: there are none to make, and `then` was told so."""
        target = self._aims.of(asked.revision)
        self._aims.require_usable(target)
        target = _bounded(target) if apart else target
        memory = replace(self._observer.memory(target), prechecks={})  # whoever asks wants to know now
        before = release_step.crossed(memory, target.desired)
        if before and memory.schema_release not in ("", before):
            raise errors.Terminal(
                f"an upgrade to {memory.schema_release} is under way on this host: let it end before another one is asked about",
                reason=Reason.PrecheckPending,
            )
        asked = replace(asked, step=f"{before} → {target.desired.release}" if before else "")
        actual = self._observer.observe(target, memory, deep=True)
        planned = self._planner.plan(Aim(target), actual, memory)
        wanted = Plan(planned.host, planned.revision, _needed(planned.actions) if before else ())
        here = {container.name for container in (memory.last_good.containers if memory.last_good else ())}
        made = {action.target for action in wanted.actions}
        there = [check for check in target.desired.prechecks if before and (check.of_host or check.container in here)]
        asked = replace(asked, accepted=tuple(check.name for check in there if check.name not in made))

        def landed(flight: Flight) -> None:
            self._rests = self.clock() + _RESTS * flight.seconds
            self._tell(asked, flight.landed, target, then)

        blank = Report(
            target.desired.site,
            asked.host,
            asked.revision,
            datetime.now(UTC),
            0.0,
            "command",
            True,
            RepositoryStatus(True),
        )
        admission = self._planner.admission(target, actual)
        flight = self._executor.begin(target, wanted, actual, memory, admission, blank, apart=apart, ahead=landed)
        if flight is None:
            self._tell(asked, Landed(), target, then)
        return flight

    def _tell(self, asked: Answer, landed: Landed, target: Target, then: Callable[[Answer], None]) -> None:
        if landed.failure:
            log.warning("precheck.ahead", revision=asked.revision, reason=landed.failure[0], message=landed.failure[1])
            return
        told = (one for one in landed.outcomes if one.action.verb is Verb.PRECHECK or one.result != "done")
        answer = replace(asked, outcomes=tuple(told))
        log.info("precheck.ahead", revision=answer.revision, message=answer.words)
        self._reporter.say_ahead(_status(answer), target.desired.site)
        then(answer)


def _bounded(target: Target) -> Target:
    """With less patience for checks that need very long."""
    desired = target.desired
    checks = tuple(replace(check, timeout=min(check.timeout, _LONGEST)) for check in desired.prechecks)
    return replace(target, prepared=replace(target.prepared, desired=replace(desired, prechecks=checks)))


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
    text = f"{AHEAD}{answer.words}"
    if answer.held:
        text = f"{text}: {one_line(answer.held[0].message)}"
    return StatusText(answer.revision, state, text, text, answer.branch)
