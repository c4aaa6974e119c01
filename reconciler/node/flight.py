"""What is in flight on this node: applies that take longer than a pass, each with one owner.

A flight owns what its actions are about until they have ended: no pass touches that, and what it is at is one more reason for the
planner to hold (`InFlight`). Passes begin flights, cut them short and collect what became of them, all in one thread; a flight's
own thread, and the bounded pool of its walk, do nothing but carry out its actions. Cutting a gate short is what a kill at that
point would be: everything stays as it is, and the next plan goes on from there.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Event, Lock, Thread

import structlog

from reconciler import errors
from reconciler.log import frames
from reconciler.model import ASIDE, Action, CheckResult, InFlight, Outcome, Plan, Verb
from reconciler.node.target import Target
from reconciler.reasons import Reason
from reconciler.report import Report

log = structlog.get_logger()

MOST = 4  # flights at a time
_ASIDE_SLOTS = 2  # actions at work in a flight that begins beside another one
_FRESH = 5.0  # seconds after its last action for which the engine may still tell of what we did to a container
_LATE = 600.0  # seconds for which it may still do what it was asked for and did not answer
_DOING: Mapping[Verb, str] = {
    Verb.PULL: "pulling {}",
    Verb.VALIDATE: "its own checker reads the new configuration of {}",
    Verb.PRECHECK: "asking {} before the upgrade",
    Verb.RUN: "waiting for the job {} to end",
    Verb.REGISTER: "registering {}",
    Verb.UNREGISTER: "withdrawing {}",
    Verb.SET: "setting {}",
    Verb.RESET: "putting {} back",
    Verb.REMOVE: "removing {}",
    Verb.STOP: "stopping {}",
    Verb.CREATE: "making {}",
    Verb.REPLACE: "replacing {}",
    Verb.RESTART: "restarting {}",
    Verb.START: "starting {}",
    Verb.RENAME: "putting {} back",
    Verb.RELOAD: "reloading {}",
}


@dataclass(slots=True)
class _At:
    """An action that is under way."""

    text: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of `actions`. `checks` None: they were not made."""

    outcomes: tuple[Outcome, ...] = ()
    checks: tuple[CheckResult, ...] | None = None
    failure: tuple[Reason, str] | None = None
    actions: tuple[Action, ...] = ()


class Flight:
    """One apply. `report` is that of the pass that began it; `ahead` is called once it was collected where it only asks about a commit that is
    not accepted: no report tells of it. Its methods may be called from any thread."""

    def __init__(
        self, target: Target, plan: Plan, report: Report, ahead: "Callable[[Flight], None] | None" = None
    ) -> None:
        self.target, self.plan, self.report, self.ahead = target, plan, report, ahead
        self.began = datetime.now(UTC)
        self._since = time.monotonic()
        self.ended = Event()
        self.landed = Landed()
        self.superseded = ""  # by which revision
        self.stop = Event()  # no further action begins
        self._guard = Lock()
        self._drained = {c.name: c.drain.stop for c in target.desired.containers if c.drain}
        self._left = {action.id: action for action in plan.actions}
        self._at: dict[str, _At] = {}  # by action
        self._cuts: dict[str, Event] = {}  # by container
        self._over: dict[str, datetime] = {}  # container → when its last action ended
        self._unanswered: dict[str, datetime] = {}  # container → when the engine left an action on it without an answer
        self._registered: set[str] = (
            set()
        )  # registrations that were converged: nobody looks at them before all has ended
        self._why = (Reason.Interrupted, "the program was asked to end")

    @property
    def revision(self) -> str:
        return self.target.desired.revision

    @property
    def seconds(self) -> float:
        """Since it began, whatever was done to the clock meanwhile."""
        return time.monotonic() - self._since

    # --- what carries it out calls these --------------------------------------------------------------------------

    def begin(self, action: Action) -> None:
        """An action begins."""
        text = _DOING.get(action.verb, "writing {}").format(action.target)
        with self._guard:
            self._at[action.id] = _At(text, datetime.now(UTC))

    def at(self, container: str, text: str) -> None:
        """See `apply.Progress`."""
        with self._guard:
            for identity, at in self._at.items():
                if self._left[identity].target.removeprefix(ASIDE) == container and at.text != text:
                    self._at[identity] = _At(text, datetime.now(UTC))

    def cut(self, container: str) -> Event:
        """See `apply.Progress`."""
        with self._guard:
            return self._cuts.setdefault(container, Event())

    def end(self, outcome: Outcome) -> None:
        """An action has ended."""
        with self._guard:
            action = self._left.pop(outcome.action.id)
            self._at.pop(outcome.action.id, None)
            for name in self._names(action):
                self._over[name] = datetime.now(UTC)
                if outcome.reason in (Reason.EngineTimeout, Reason.EngineUnreachable):
                    self._unanswered[name] = self._over[name]
            if action.verb in (Verb.REGISTER, Verb.UNREGISTER):
                self._registered.add(action.target)

    def fly(self, carry_out: Callable[["Flight"], Landed]) -> None:
        """Carry it out to its end, in this thread."""
        try:
            landed = carry_out(self)
            self.landed = replace(landed, outcomes=tuple(map(self._explained, landed.outcomes)))
        except errors.ReconcilerError as error:
            self.landed = Landed(failure=(error.reason, str(error)))
        except Exception as unforeseen:  # the daemon lives on, and the next pass says what happened
            found = errors.defect(unforeseen, "what was in flight")
            log.error("flight.crashed", error=type(unforeseen).__name__, frames=frames(unforeseen))
            self.landed = Landed(failure=(found.reason, str(found)))
        finally:
            with self._guard:
                self._left.clear()
                self._at.clear()
            self.ended.set()

    def _explained(self, outcome: Outcome) -> Outcome:
        """What was not begun, or not awaited, with the reason why."""
        if outcome.result == "skipped" and outcome.reason == Reason.Interrupted:
            return replace(outcome, reason=self._why[0], message=self._why[1])
        return outcome

    def _names(self, action: Action) -> set[str]:
        """The containers that an action is about, with those that are stopped so that one of them is out of use; files and images likewise."""
        names = {action.target.removeprefix(ASIDE), action.container} - {""}
        return names.union(*(self._drained.get(name, ()) for name in names))

    # --- what passes ask ------------------------------------------------------------------------------------------

    def drop(self, reason: Reason, message: str) -> None:
        """Begin no further action. What is under way goes on."""
        self._why = (reason, message)
        self.stop.set()

    def shorten(self, containers: Iterable[str]) -> None:
        """Wait no longer until these are healthy; they stay as they are."""
        for name in containers:
            self.cut(name).set()

    @property
    def containers(self) -> frozenset[str]:
        """Those of which an action has not ended."""
        with self._guard:
            return frozenset(name for action in self._left.values() for name in self._names(action))

    def at_now(self) -> tuple[InFlight, ...]:
        """The actions that are under way, the longest first; between two of them, and after the last, what comes next."""
        with self._guard:
            found = [
                InFlight(self._left[identity].target.removeprefix(ASIDE), at.text, at.since, self.revision)
                for identity, at in self._at.items()
            ]
            if not found:
                found = [self._between()]
        return tuple(sorted(found, key=lambda item: item.since))

    def _between(self) -> InFlight:
        """What to say while no action is under way."""
        since, left = max(self._over.values(), default=self.began), next(iter(self._left.values()), None)
        if self.ended.is_set():
            return InFlight("", "has just ended", since, self.revision)
        if left is None:
            return InFlight("", "waiting for its checks to answer", since, self.revision)
        return InFlight(left.target.removeprefix(ASIDE), f"about to {left.verb} {left.target}", since, self.revision)

    def items(self) -> dict[str, str]:
        """What it owns: container, file, image, job or registration → what that is at.

        A registration stays its own to the end. Passes beside a flight do not ask registrars, and what they were told before
        it began, perhaps that there is none yet, is no longer so.
        """
        with self._guard:
            registered = {} if self.ended.is_set() else dict.fromkeys(self._registered, "registered; to be looked at")
            waiting = {name: "waiting for its turn" for action in self._left.values() for name in self._names(action)}
            under_way = {n: at.text for i, at in self._at.items() for n in self._names(self._left[i])}
        return {**registered, **waiting, **under_way}

    def did(self, container: str, moment: datetime) -> bool:
        """Whether it may be us who did something to a container at a moment."""
        with self._guard:
            if any(container in self._names(action) for action in self._left.values()):
                return True
            over = self._over.get(container)
        return over is not None and self.began <= moment <= over

    def may_have(self, container: str, moment: datetime) -> bool:
        """Whether the engine may have done it for us at a moment, though it did not answer when it was asked to."""
        with self._guard:
            since = self._unanswered.get(container)
        return since is not None and since <= moment <= since + timedelta(seconds=_LATE)

    @property
    def lingers(self) -> float:
        """Seconds after its end for which the engine may tell of it."""
        with self._guard:
            return _LATE if self._unanswered else _FRESH


@dataclass(slots=True)
class Flights:
    """The flights of one node, for its passes' thread. `hold` keeps every other process out as long as it is entered, `landed` is
    called when a flight ends, in the flight's thread."""

    hold: Callable[[], contextlib.AbstractContextManager[None]]
    landed: Callable[[], None] = lambda: None
    flying: tuple[Flight, ...] = ()
    _held: dict[int, contextlib.ExitStack] = field(default_factory=dict)
    _last: tuple[tuple[Flight, float], ...] = ()

    def begin(self, flight: Flight, carry_out: Callable[[Flight], Landed], *, apart: bool) -> None:
        """Carry it out: here, or `apart` in a thread of its own, beside the passes that follow."""
        if not apart:
            flight.fly(carry_out)
            self.flying = (*self.flying, flight)
            return
        stack = contextlib.ExitStack()
        stack.enter_context(self.hold())
        self._held[id(flight)] = stack
        self.flying = (*self.flying, flight)

        def fly() -> None:
            flight.fly(carry_out)
            self.landed()

        Thread(target=fly, name="flight").start()

    @property
    def full(self) -> bool:
        """Whether no further flight may begin."""
        return len(self.flying) >= MOST

    @property
    def any_ended(self) -> bool:
        """Whether something has ended that no pass has collected yet."""
        return any(flight.ended.is_set() for flight in self.flying)

    @property
    def slots(self) -> int | None:
        """How many actions of a flight that begins now may be at work at a time; None: as many as the settings say."""
        return _ASIDE_SLOTS if self.flying else None

    def items(self) -> dict[str, str]:
        """What is in flight, and what it is at."""
        return {name: text for flight in self.flying for name, text in flight.items().items()}

    def at_now(self) -> tuple[InFlight, ...]:
        """See Flight."""
        told = (flight for flight in self.flying if not flight.ahead)
        return tuple(sorted((item for flight in told for item in flight.at_now()), key=lambda item: item.since))

    def collect(self) -> tuple[Flight, ...]:
        """Those that have ended, once each."""
        ended = tuple(flight for flight in self.flying if flight.ended.is_set())
        self.flying = tuple(flight for flight in self.flying if flight not in ended)
        now = time.monotonic()
        kept = ((flight, at) for flight, at in self._last if now - at < flight.lingers)
        self._last = (*kept, *((flight, now) for flight in ended))
        for flight in ended:
            self._held.pop(id(flight), contextlib.ExitStack()).close()
        return ended

    def did(self, container: str, moment: datetime) -> bool:
        """Whether it may be us who did something to a container at a moment. May be called from any thread."""
        return any(flight.did(container, moment) for flight in (*self.flying, *(old for old, _ in self._last)))

    def may_have(self, container: str, moment: datetime) -> bool:
        """Whether the engine may have done something to a container for us, though it did not answer. May be called from any thread."""
        return any(flight.may_have(container, moment) for flight, _ in self._last)

    def overdue(self, seconds: float) -> bool:
        """Whether one has been under way for longer than any should."""
        return any(flight.seconds > seconds for flight in self.flying)

    def end(self) -> None:
        """The program ends: what is at work is ended, what only waits is cut short."""
        for flight in self.flying:
            flight.drop(Reason.Interrupted, "the program was asked to end")
            flight.shorten(flight.containers)
        for flight in self.flying:
            flight.ended.wait()


def wait_for(flights: Iterable[Flight], containers: Iterable[str], seconds: float) -> None:
    """Wait until none of the flights owns one of these containers, for `seconds` at most."""
    deadline, names, watched = time.monotonic() + seconds, frozenset(containers), tuple(flights)
    while time.monotonic() < deadline and any(
        names & flight.containers and not flight.ended.is_set() for flight in watched
    ):
        time.sleep(0.02)
