"""One node: the stages of a cycle wired together, and what is worth keeping between cycles.

A stage has a module of its own, and hands the next one values: what the node is to be (`aims.py`), what is there (`observing.py`),
what has to be done (`planning.py`), doing it (`applying.py`), what is kept of it (`remembering.py`) and who is told
(`reporting.py`). `cycle.py` says in which order.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from threading import Event

import structlog

from reconciler import errors
from reconciler.engine import Engine
from reconciler.gates import other_tool
from reconciler.git import clone
from reconciler.git.commits import CommitInfo
from reconciler.model import Actual, Held, Memory, Outcome, Plan
from reconciler.node import host, landing
from reconciler.node.ahead import Ahead, Answer
from reconciler.node.aims import Aim, Aims
from reconciler.node.applying import Executor
from reconciler.node.flight import Flight, Flights, Landed
from reconciler.node.observing import Observer
from reconciler.node.permits import Permits
from reconciler.node.planning import Planner
from reconciler.node.reporting import Reporter
from reconciler.phrases import few
from reconciler.plan import recurring, second_look
from reconciler.reasons import Reason
from reconciler.report import Refusal, Report, RepositoryStatus
from reconciler.report.summary import pending
from reconciler.settings import Settings
from reconciler.source.follow import Follower
from reconciler.state import Anchor, Hold, Owner, StateDirectory

log = structlog.get_logger()


class Node:
    """One node. Not thread-safe: `StateDirectory.cycle` lets one cycle in at a time."""

    def __init__(self, settings: Settings, *, engine: Engine | None = None, forge: bool = True) -> None:
        self.settings = settings
        self.stop = Event()
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.state = StateDirectory(settings.state_dir)
        self.hold = Hold(self.state, settings.policy.config_roots)
        self.engine = engine or Engine(settings.engine.url, owner="", timeout=settings.engine.timeout)
        self.engine.adopted = lambda: {applied.id for applied in self.state.memory().applied.values()}
        self.follower = Follower(settings, self.state, self._validate, self._require_never_here)
        self.aims = Aims(settings, self.state, self._now)
        self.flights = Flights(self.state.cycle)
        self.observer = Observer(settings, self.state, self.engine, self.aims, self.flights, self._now, self.stop)
        self.planner = Planner(settings, self.state, self.engine, self.flights, self._now)
        self.permits = Permits(settings, self.state, self.aims, self.observer, self.engine)
        self.planner.is_everywhere = self.permits.is_everywhere
        self.executor = Executor(settings, self.state, self.engine, self.observer, self.flights)
        self.reporter = Reporter(settings, self.state, self.hold, lambda: self.aims.site, self._now, forge=forge)
        self.ahead = Ahead(
            settings,
            self.state,
            self.follower,
            self.aims,
            self.observer,
            self.planner,
            self.executor,
            self.flights,
            self.reporter,
        )
        # Target → who or what caused the drift in a plan; the daemon, which hears the engine's events, knows.
        self.explain: Callable[[Plan], Mapping[str, str]] = lambda plan: {}
        # What others did that left nothing to put right: `at`, `target`, `text`.
        self.happened: Callable[[Plan], tuple[Mapping[str, str], ...]] = lambda plan: ()
        self._source: RepositoryStatus | None = None
        self._commit: CommitInfo | None = None
        self._holds = False  # whether the state was found to be this node's
        with suppress(errors.ReconcilerError):  # whoever uses it is told
            self.hold.begin()
            self._own(self.state.identify())

    def _now(self) -> datetime:
        return self.clock()

    # --- whose state this is -----------------------------------------------------------------------------------------

    def _own(self, owner: Owner) -> None:
        self.engine.owner, self.engine.also = owner.key, owner.also
        self._holds = True

    def require_state(self) -> None:
        """Raises errors.ReconcilerError (StateLost, StateReadOnly, StateCopied, StateCorrupt): the state cannot be relied upon, and
        nothing may be changed. Begins anew when an operator said that what is there counts."""
        try:
            self.hold.require()
        except errors.Terminal as error:
            self._holds = False
            if error.reason != Reason.StateLost or not self.hold.renewed():
                raise
        if not self._holds:
            self.hold.begin()
            self._own(self.state.identify())
            self._source, self._commit = None, None
            self.aims.forget()
            self.observer.forget()
        elif (owner := self.state.owner) is not None:
            self._own(owner)  # an operator may have claimed another's since

    def _validate(self, commit: str) -> None:
        self.aims.require_usable(self.aims.of(commit))

    def _require_never_here(self, commit: str) -> None:
        """Raises errors.Terminal (StateLost): no commit was ever accepted here, and what a former one made is here."""
        desired = self.aims.of(commit).desired
        label = f"{desired.site}/{desired.host}"
        found = self.engine.made_for(label)
        if not found:
            return
        keys = sorted({key for key in found.values() if key not in (self.engine.owner, *self.engine.also, "")})
        claims = "".join(f"`reconciler owner claim {key}`, " for key in keys)
        raise errors.Terminal(
            f"the state in {self.state.path} has never accepted a commit, but containers of {label} are here ({few(sorted(found))}): the state of "
            f"this node was lost. Put it back; or say that the commit may count, and whose the containers are: {claims}"
            f"`reconciler anchor accept {commit[:12]} --reason …`",
            reason=Reason.StateLost,
        )

    def close(self) -> None:
        """Let go of connections; waits a moment for statuses and alerts that are still to be sent."""
        self._end_flights()
        self.follower.poller.close()
        self.observer.close()
        self.permits.close()
        self.engine.close()
        self.state.let_go()
        self.reporter.close()

    def _end_flights(self) -> None:
        """The program ends: what is in flight ends at a safe point, and what became of it is told."""
        self.flights.end()
        if not self.flights.flying:
            return
        revision, _ = self.in_force
        with ExitStack() as stack:
            with suppress(errors.ReconcilerError):  # whoever writes to the state then is told
                stack.enter_context(self.state.cycle())  # what flew kept other cycles out: so does telling of it
            for flight in self.flights.collect():
                self._tell_end(flight, revision)

    def _tell_end(self, flight: Flight, revision: str) -> None:
        try:
            if flight.revision != revision:
                landing.record(flight, self.state)
                return
            self.reporter.conclude(landing.told(flight))
        except errors.ReconcilerError as error:
            log.error("cycle.failed", reason=error.reason, message=str(error))

    # --- source: poll, fetch, trust, validate, anchor ------------------------------------------------------------

    def look_for_revision(self) -> RepositoryStatus:
        """Bring the anchor up to the branch's head, if that is verified, a descendant and valid. Never raises for a
        failing server or a bad commit: that is what the result and `refusal` say."""
        self._source = self.follower.look()
        return self._source

    def ask_ahead(self, revision: str) -> Answer:
        """See `Ahead.ask`."""
        self.require_state()
        return self.ahead.ask(revision)

    @property
    def last_source(self) -> RepositoryStatus:
        """What the last look at the repository gave, for a pass that does not look."""
        if self._source is not None:
            return self._source
        anchor = self.state.anchor
        return RepositoryStatus(True, anchor.commit if anchor else "")

    def accept(self, revision: str, reason: str) -> Anchor:
        """Make `revision` the anchor on an operator's word, wherever it is in history and whoever signed it.

        It is fetched with the branch and must be valid. A state that was lost is begun anew with it. Raises errors.SiteInvalid,
        errors.Terminal (RevisionUnknown, StateLost …), errors.Transient.
        """
        self._own(self.hold.establish())
        with self.state.cycle(wait=60.0):
            accepted = self.follower.accept(revision, reason)
            self.hold.note()
            return accepted

    def commit(self, commit: str) -> CommitInfo:
        """Subject and author of a commit, for the report."""
        if self._commit is None or self._commit.id != commit:
            self._commit = clone.info(self.state.repository, commit)
        return self._commit

    @property
    def refusal(self) -> Refusal | None:
        return self.follower.refusal

    @property
    def in_force(self) -> tuple[str, str]:
        """The accepted revision ("": none yet), and the testing branch it is from ("": the branch)."""
        return self.follower.in_force

    # --- what a pass is made of --------------------------------------------------------------------------------------

    def look_for_other_tools(self) -> None:
        """Note when kolla-ansible has taken back what was taken over from it. What cannot be looked at the plan says."""
        memory = self.state.memory()
        if memory.taken:
            with suppress(OSError):
                holding = host.observe_units() & memory.taken.keys() & memory.applied.keys()
                now = self._now()
                self.state.other_tool(lambda before: other_tool.seen(before, holding, now))

    def aim(self) -> Aim | None:
        """What this node is to be now; None while no revision is accepted. Raises errors.ReconcilerError."""
        self.require_state()
        revision, _ = self.in_force
        return self.aims.aim(revision) if revision else None

    def agree(self, aim: Aim | None) -> Aim | None:
        """The same once the other hosts were asked: what their rollout holds back is held back here. Raises as `aim`."""
        revision, testing = self.in_force
        if aim is None or not self.permits.agree(revision, bool(testing)):
            return aim
        return self.aim()

    def take_over(self, aim: Aim) -> None:
        """See `landing.take_over`."""
        landing.take_over(self.flights, aim, self.reporter, self.state.memory().revision)

    def collect(self, aim: Aim, told: Report) -> tuple[Report, Landed]:
        """See `landing.collect`."""
        return landing.collect(self.flights, aim.target, told, self.state)

    def begin(
        self, aim: Aim, wanted: Plan, actual: Actual, memory: Memory, told: Report, *, apart: bool
    ) -> Flight | None:
        """Begin to carry out the plan that was made of `actual` and `memory`; None when there is nothing to do. `apart`: it goes on
        beside this thread, else all is done when this returns."""
        revision, testing = self.in_force
        if not wanted.empty and aim.target.desired.revision == revision and not self.flights.flying:
            self.reporter.say(pending(revision, len(wanted.actions), testing), aim.target.desired.site)
        now, interrupted = self._now(), recurring.interrupted(wanted, actual)
        self.state.healed(lambda healed: recurring.noted(healed, interrupted, now))
        admission = self.planner.admission(aim.target, actual)
        return self.executor.begin(aim.target, wanted, actual, memory, admission, told, apart=apart)

    def look_again(self, aim: Aim, outcomes: Sequence[Outcome]) -> tuple[Held, ...]:
        """Whether what was done put right what it should have: what did not is remembered, and not acted upon again."""
        if not second_look.looks_again(outcomes):
            return ()
        in_flight, memory = self.flights.items(), self.observer.memory(aim.target)
        actual = self.observer.observe(aim.target, memory, deep=second_look.looks_deep(outcomes))
        again = self.planner.plan(aim, actual, memory, in_flight)
        found = second_look.stayed(outcomes, again)
        self.state.unachieved(found)
        return second_look.held(again, found)

    def conclude(self, finished: Report) -> Report:
        """The end of a pass: its report is told to everybody."""
        self.observer.pass_ended(acted=bool(finished.outcomes))
        self.permits.pass_ended(finished)
        told = self.reporter.conclude(finished)
        self.permits.concluded()
        return told
