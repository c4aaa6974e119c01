"""Tells people in the background: never delays or fails a cycle.

A cycle leaves its report's alerts here and goes on. One thread keeps the ledger and has children carry messages out. The
ledger is a file, written before anybody is told (`sure` False) and after it: who dies in between tells it again, and
the fingerprint says that it is the same. While a thread works it holds a lock, for a node may be reconciled by hand beside its
daemon.
"""

import contextlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import structlog
from filelock import FileLock, Timeout

from reconciler import errors, moments
from reconciler.alerts import ledger, messages
from reconciler.alerts.items import Alert, Coverage, Rules, alerts_of, coverage
from reconciler.alerts.ledger import Delivery, Ledger, Pace
from reconciler.codec import UNREADABLE, Lost, from_json, to_json
from reconciler.reasons import Reason
from reconciler.report import Report
from reconciler.settings import Alerts, AlertTarget
from reconciler.system import files, run, walls
from reconciler.system.background import Worker
from reconciler.system.pacing import after_failure

log = structlog.get_logger(__name__)

_OBSERVATIONS = 50  # kept while the thread is busy
_BATCH = 20  # messages for one child
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 900.0  # seconds, after failures that may heal by themselves
_REFUSED_PAUSE = 1800.0  # seconds, after those that an operator has to heal
_LIMITS = run.Limits(seconds=45.0, cpu_seconds=20, memory=1 << 30)
# GitLab wants one alert at a time; of others one message can hold many.
_SINGLE = frozenset({"gitlab"})


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the start. `waiting`: alerts that some target should have heard of by now."""

    sent: int = 0
    failed: int = 0
    waiting: int = 0
    last_reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class _Observation:
    alerts: tuple[Alert, ...]
    seen: Coverage
    at: datetime
    deep: bool


@dataclass(slots=True)
class _Pause:
    """A target that is left alone until `until`, for as long as `length`, after `failures` in a row."""

    until: datetime | None = None
    length: timedelta = timedelta()
    failures: int = 0
    said: str = field(default="")

    def lasts(self, now: datetime) -> bool:
        return self.until is not None and moments.waits(self.until, now, self.length)


class Notifier:
    """Tells the targets of `settings` what is wrong. `take` never blocks and never raises.

    `store` is the ledger's file; its directory must exist. `identity` names the node among all that share a target.
    `clock` gives the time of day, in UTC.
    """

    def __init__(
        self,
        settings: Alerts,
        store: Path,
        identity: str,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        random: Random | None = None,
        limits: run.Limits = _LIMITS,
    ) -> None:
        self._settings = settings
        self._store = store
        self._identity = identity
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - spreads requests, hides nothing
        self._limits = limits
        self._rules = Rules(
            settings.source_after, settings.failing_after, settings.suspended_after, settings.waiting_after
        )
        self._pace = Pace(settings.repeat, settings.settle, settings.per_hour)
        self._lock = FileLock(store.with_suffix(".lock"), mode=0o600)
        self._worker = Worker("alerts", self._seconds, self._work)
        self._changed = self._worker.changed
        self._observed: deque[_Observation] = deque(maxlen=_OBSERVATIONS)
        self._pauses: dict[str, _Pause] = {name: _Pause() for name in settings.targets}
        self._statistics = Statistics()
        self._unsaved: Ledger | None = None
        self._failed = False
        self._next: datetime | None = None

    def take(self, report: Report) -> None:
        """Take a report with its conditions in; returns at once."""
        now = self._clock()
        seen = _Observation(alerts_of(report, now, self._rules), coverage(report), now, report.deep)
        with self._changed:
            if self._worker.closed:
                return
            self._observed.append(seen)
            self._worker.wake()

    @property
    def statistics(self) -> Statistics:
        """Counts for metrics."""
        with self._changed:
            return self._statistics

    def flush(self, timeout: float) -> bool:
        """Wait until what can be told now is told. True when nothing that is due is left."""
        with self._changed:
            return self._changed.wait_for(self._idle, timeout) and not self._statistics.waiting

    def close(self, timeout: float) -> bool:
        """Flush for at most `timeout` seconds and stop; what is under way is abandoned, and told by the next process."""
        done = self.flush(timeout) if self._worker.began else True
        self._worker.close()
        return done

    def _idle(self) -> bool:
        seconds = self._seconds()
        return not self._worker.busy and (seconds is None or seconds > 0)

    def _seconds(self) -> float | None:
        """Until somebody is to be told something; None when nothing is known to come."""
        if self._observed and not self._failed:
            return 0.0
        left = (self._next - self._clock()).total_seconds() if self._next else None
        if self._failed and left is not None and left > _FIRST_PAUSE:
            return 0.0  # the clock was set back since
        return left

    # --- the thread --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._step()
            self._failed = False
        except Exception as error:  # the thread must outlive whatever a disk or a child does
            reason, text = Reason.InternalError, type(error).__name__
            if isinstance(error, errors.ReconcilerError):
                reason, text = error.reason, str(error)
            log.warning("alerts.failed", reason=reason, message=text)
            with self._changed:
                s = self._statistics
                self._statistics = replace(s, failed=s.failed + 1, last_reason=reason)
                self._failed = True  # what was observed may be waiting still
                self._next = self._clock() + timedelta(seconds=_FIRST_PAUSE)

    def _step(self) -> None:
        """Take in what was observed, then tell each target what it should hear, and see when to come back."""
        try:
            with self._alone():
                before = self._load()
                book = before
                with self._changed:
                    observed = [*self._observed]
                    self._observed.clear()
                for seen in observed:
                    book = ledger.observe(
                        book, seen.alerts, seen.seen, seen.at, identity=self._identity, deep=seen.deep
                    )
                for name, target in self._settings.targets.items():
                    if not self._worker.closed:
                        book = self._tell(name, target, book)
                now = self._clock()
                book = ledger.tidied(book, self._settings.targets.keys(), now, self._pace)
                if book != before:
                    self._save(book)
        except Timeout:
            raise errors.Transient("another process of this node is at its alerts", reason=Reason.Busy) from None
        with self._changed:
            self._next = self._moment(book, now)
            waiting = {d.item for name in self._settings.targets for d in ledger.due(book, name, now, self._pace)}
            self._statistics = replace(self._statistics, waiting=len(waiting))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes of this node out. On a disk that takes no lock none of them can remember anything either."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._lock.acquire(timeout=self._limits.seconds))
            except Timeout:
                raise
            except OSError:
                pass
            yield

    def _moment(self, book: Ledger, now: datetime) -> datetime | None:
        moments = []
        for name in self._settings.targets:
            if moment := ledger.next_due(book, [name], now, self._pace):
                pause = self._pauses[name]
                moments.append(max(moment, pause.until) if pause.until and pause.lasts(now) else moment)
        return min(moments, default=None)

    # --- telling -----------------------------------------------------------------------------------------------------

    def _tell(self, name: str, target: AlertTarget, book: Ledger) -> Ledger:
        """Tell one target what is due; returns what is to be remembered."""
        pause = self._pauses[name]
        while not self._worker.closed and not pause.lasts(self._clock()):
            now = self._clock()
            room = min(ledger.room(book, name, now, self._pace), _BATCH)
            size = 1 if target.kind in _SINGLE else messages.GROUP
            found = ledger.due(book, name, now, self._pace)[: room * size]
            if not found:
                break
            groups = [found[i : i + size] for i in range(0, len(found), size)]
            announced = ledger.told(book, name, found, now, sure=False, messages=len(groups))
            self._save(announced)
            done, failure = self._send(target, groups, now)
            book = ledger.told(announced, name, [d for group in groups[:done] for d in group], now, sure=True)
            # The one that failed may have arrived all the same; those behind it were not tried.
            untried = [d for group in groups[done + 1 :] for d in group] if failure else []
            book = ledger.restored(book, name, untried)
            self._note(name, pause, done, failure)
        return book

    def _send(
        self, target: AlertTarget, groups: list[tuple[Delivery, ...]], now: datetime
    ) -> tuple[int, errors.ReconcilerError | None]:
        """How many of the messages arrived, and what kept the next one from it."""
        texts = [_message(target, group, now, self._settings.runbook) for group in groups]
        argument = {**{k: str(v) if isinstance(v, Path) else v for k, v in asdict(target).items()}, "messages": texts}
        try:
            answer: _Answer = run.python(
                f"reconciler.alerts.deliver:{'run_apprise' if target.kind == 'apprise' else 'run'}",
                argument,
                limits=self._limits,
                answers=_Answer,
                wall=walls.Wall(_files(target), sealed=False, network=True, ports=None),
            )
        except errors.ReconcilerError as error:
            return 0, error
        return max(0, min(answer.done, len(groups))), _revived(answer.error)

    def _note(self, name: str, pause: _Pause, done: int, failure: errors.ReconcilerError | None) -> None:
        with self._changed:
            s = self._statistics
            self._statistics = replace(
                s,
                sent=s.sent + done,
                failed=s.failed + bool(failure),
                last_reason=failure.reason if failure else None,
            )
        if failure is None:
            pause.until, pause.failures, pause.said = None, 0, ""
            return
        pause.failures += 1
        seconds = _REFUSED_PAUSE
        if isinstance(failure, errors.Transient):
            seconds = after_failure(_FIRST_PAUSE, pause.failures, _LONGEST_PAUSE, failure.retry_after, self._random)
        pause.length = timedelta(seconds=seconds)
        pause.until = self._clock() + pause.length
        if pause.said != str(failure):
            pause.said = str(failure)
            log.warning("alert.failed", target=name, reason=failure.reason, message=str(failure))

    # --- memory ------------------------------------------------------------------------------------------------------

    def _load(self) -> Ledger:
        """What is remembered. A file that cannot be used is told about and begun anew: who is told twice can see that."""
        if self._unsaved is not None:
            return self._unsaved
        try:
            return from_json(Ledger, json.loads(self._store.read_bytes()), Lost())
        except FileNotFoundError:
            return Ledger()
        except (OSError, *UNREADABLE) as error:
            log.warning("alerts.forgotten", path=str(self._store), error=type(error).__name__)
            return Ledger()

    def _save(self, book: Ledger) -> None:
        """Remember `book`. A full disk is a reason to tell people, not one to be silent: then this process remembers."""
        try:
            if book.entries or book.sent:
                content = json.dumps(to_json(book), separators=(",", ":")).encode()
                files.write_atomic(self._store, content, mode=0o600)
            else:
                files.remove(self._store.parent, self._store.name)
        except errors.ReconcilerError as error:
            if self._unsaved is None:
                log.warning("alerts.unsaved", reason=error.reason, message=str(error))
            self._unsaved = book
        else:
            self._unsaved = None


def _message(target: AlertTarget, group: tuple[Delivery, ...], now: datetime, runbook: str) -> Mapping[str, Any]:
    if target.kind == "gitlab":
        return messages.gitlab(group[0], runbook)
    if target.kind == "webhook":
        return messages.webhook(group, now, runbook)
    return messages.text(group, runbook)


@dataclass(frozen=True, slots=True)
class _Failure:
    """An error as `deliver` describes it."""

    transient: bool
    reason: Reason
    message: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What `deliver.run` answers."""

    done: int
    error: _Failure | None = None


def _files(target: AlertTarget) -> tuple[str, ...]:
    """What a child has to read for a target."""
    named = (target.key_file, target.ca_file, target.url_file)
    return tuple(str(path.absolute()) for path in named if path)


def _revived(error: _Failure | None) -> errors.ReconcilerError | None:
    if error is None:
        return None
    if error.transient:
        return errors.Transient(error.message, reason=error.reason, retry_after=error.retry_after)
    return errors.Terminal(error.message, reason=error.reason)
