"""Posts commit statuses in the background: never delays or fails a cycle, and posts only what is news.

One thread posts; per context and commit only the newest status waits. What was posted is remembered in a file, so that neither
the next cycle nor a restart posts it again. The file is written before a post (`unsure`) and after it: whoever dies
in between asks the forge by name before posting again, and so does who finds no file.
"""

import contextlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import structlog
from filelock import FileLock

from reconciler import errors
from reconciler.forge.api import Poster, State, Status
from reconciler.reasons import Reason
from reconciler.system import files
from reconciler.system.background import Worker
from reconciler.system.pacing import after_failure

log = structlog.get_logger(__name__)

_COMMITS_KEPT = 3  # per context; enough for a branch that is tried and left again
_CONTEXTS_KEPT = 5000
_FULL_KEPT = 50
_LOCK_WAIT = 10.0  # seconds: who has the lock writes one file
_FIRST_BACKOFF, _LONGEST_BACKOFF = 5.0, 900.0  # seconds
_REFUSED_PAUSE = 1800.0  # seconds; each refused post can leave an empty pipeline behind, so ask rarely
_DURATION = re.compile(r"\b\d+(?:[.,]\d+)?\s?(?:ms|s|sec|seconds?|min|minutes?|h|hours?)\b")


def material(description: str) -> str:
    """`description` without durations: two cycles that differ only in speed have nothing new to say."""
    return " ".join(_DURATION.sub("", description).split())


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the start. `last_error` is the newest failure, "" after a success."""

    posted: int = 0
    skipped: int = 0
    failed: int = 0
    queued: int = 0
    last_error: str = ""
    last_reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """What was posted for one context, commit and branch.

    `unsure`: written before the post, not confirmed since. `key` is None for a status that was read from the forge,
    which knows no keys: then `text` tells what it says.
    """

    commit: str
    ref: str
    state: State
    key: str | None
    text: str = ""
    unsure: bool = False


class _Memory:
    """What was posted, in a JSON file that another process of this node may write as well. A file that cannot be read is an empty
    memory, which makes us ask the forge."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, FileLock(path.with_suffix(".lock"), mode=0o600, thread_local=False)
        self._read: files.Identity | None = None  # which file it was that was read or written last
        self.full: list[str] = []
        self._entries: dict[str, list[_Entry]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in what another process has posted since. Without a file what this one remembers stays."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            found = files.identity(self._path)
            if found != self._read:
                content = json.loads(self._path.read_bytes())
                entries = {str(c): [_Entry(**row) for row in rows] for c, rows in content["contexts"].items()}
                self.full = [str(commit) for commit in content["full"]]
                self._entries, self._read = entries, found

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes out, and begin with what they wrote. Where no lock can be had only something is posted twice."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                stack.enter_context(self._lock.acquire(timeout=_LOCK_WAIT))
            self.refresh()
            yield

    def knows(self, context: str) -> bool:
        """True when anything was ever posted for `context`: then what is not here was not posted."""
        return context in self._entries

    def find(self, context: str, commit: str, ref: str) -> _Entry | None:
        """What was posted last for that context, commit and branch."""
        return next((e for e in self._entries.get(context, []) if (e.commit, e.ref) == (commit, ref)), None)

    def put(self, context: str, entry: _Entry) -> None:
        """Remember `entry` as the newest of its context. Raises as files.write_atomic."""
        with self._alone():
            others = [e for e in self._entries.get(context, []) if (e.commit, e.ref) != (entry.commit, entry.ref)]
            self._entries.pop(context, None)
            self._entries[context] = [entry, *others][:_COMMITS_KEPT]
            for forgotten in list(self._entries)[:-_CONTEXTS_KEPT]:
                del self._entries[forgotten]
            self._save()

    def mark_full(self, commit: str) -> None:
        """Remember that `commit` takes no more statuses. Raises as files.write_atomic."""
        with self._alone():
            self.full = [commit, *(c for c in self.full if c != commit)][:_FULL_KEPT]
            self._save()

    def _save(self) -> None:
        rows: dict[str, list[dict[str, Any]]] = {
            context: [{name: getattr(e, name) for name in e.__slots__} for e in entries]
            for context, entries in self._entries.items()
        }
        content = json.dumps({"contexts": rows, "full": self.full})
        files.write_atomic(self._path, content.encode(), mode=0o600)
        self._read = files.identity(self._path)


@dataclass(slots=True)
class _Item:
    """A status that waits until `due` on the reporter's clock. `held`: after a failure, so not even a flush is sooner."""

    status: Status
    ref: str
    key: str
    due: float
    held: bool = False


class StatusReporter:
    """Hands statuses to a forge. `submit` never blocks and never raises; one background thread does the rest.

    `store` is the file to remember in; its directory must exist. `jitter` is the longest random delay before a post,
    in seconds. `clock` gives seconds that only grow. What waits at the end of the process is not kept: the next
    process submits the state of its first cycle.
    """

    def __init__(
        self,
        forge: Poster,
        store: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
        jitter: float = 5.0,
    ) -> None:
        self._forge = forge
        self._memory = _Memory(store)
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - spreads requests, hides nothing
        self._jitter = jitter
        self._worker = Worker("status-reporter", self._seconds, self._step, longest=60.0)
        self._changed = self._worker.changed
        # By context and commit: a refused commit and the one that is enforced each have something to say.
        self._queue: OrderedDict[tuple[str, str], _Item] = OrderedDict()
        self._statistics = Statistics()
        self._hold_until = float("-inf")
        self._failures = 0
        self._busy = False
        self._hurry = False

    def submit(self, status: Status, ref: str, key: str | None = None) -> None:
        """Report `status` on branch `ref` when it is news; returns at once.

        `key` says what makes two statuses of one state equal; by default the description without its durations.
        A pending status is no news for a commit that has a result, or that is pending already: results alone cannot
        leave a pipeline running for ever, and GitLab does not change the text of a pending status.
        """
        with self._changed:
            if self._worker.closed:
                return
            place = (status.context, status.commit)
            waiting = self._queue.get(place)
            # A newer status takes the place and the time of the one that waits: it is never put off by its successors.
            due = waiting.due if waiting else self._clock() + self._random.uniform(0, self._jitter)
            held = waiting is not None and waiting.held
            same = material(status.description) if key is None else key
            if waiting and (waiting.status.state, waiting.key) == (status.state, same):
                return  # what waits says the same, and it was said first
            self._queue[place] = _Item(status, ref, same, due, held)
            self._drop_oldest(status.context)
            self._worker.wake()

    @property
    def statistics(self) -> Statistics:
        """Counts for metrics."""
        with self._changed:
            return replace(self._statistics, queued=len(self._queue) + self._busy)

    def flush(self, timeout: float) -> bool:
        """Post what waits without its jitter, but not before the end of a back-off. True when nothing is left."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._queue and not self._busy, timeout)
            finally:
                self._hurry = False

    def close(self, timeout: float) -> bool:
        """Flush for at most `timeout` seconds and stop. True when nothing is left. A request under way is abandoned."""
        done = self.flush(timeout)
        with self._changed:
            self._worker.close()
            self._queue.clear()
        return done

    def _drop_oldest(self, context: str) -> None:
        """While the forge is away commits come and go; only the newest few of a context are still worth a post."""
        waiting = [place for place in self._queue if place[0] == context]
        for place in waiting[:-_COMMITS_KEPT]:
            del self._queue[place]

    def _step(self) -> None:
        with self._changed:
            if not self._queue:
                return  # closed meanwhile
            place = self._first()
            item = self._queue.pop(place)
            self._busy = True
        try:
            posted = self._report(item)
        except Exception as error:  # the thread must outlive whatever a forge or a disk does
            self._failed(item, error)
        else:
            self._done(posted)

    def _seconds(self) -> float | None:
        """Until the first item is due; None when nothing waits."""
        if not self._queue:
            return None
        return max(self._hold_until, self._due(self._queue[self._first()])) - self._clock()

    def _first(self) -> tuple[str, str]:
        return min(self._queue, key=lambda place: self._due(self._queue[place]))

    def _due(self, item: _Item) -> float:
        return item.due if item.held or not self._hurry else float("-inf")

    def _report(self, item: _Item) -> bool:
        """Post `item` if it is news. True when it was posted. Raises what the forge raises."""
        status = item.status
        self._memory.refresh()
        if status.commit in self._memory.full:
            return False
        known = self._memory.find(status.context, status.commit, item.ref)
        if known.unsure if known else not self._memory.knows(status.context):
            known = self._ask(item)
        if known is not None and not _is_news(item, known):
            return False
        entry = _Entry(status.commit, item.ref, status.state, item.key, unsure=True)
        self._remember(status.context, entry)
        try:
            self._forge.post_status(status, item.ref)
        except errors.Terminal as error:
            if error.reason == Reason.ForgeLimitReached:
                with contextlib.suppress(errors.ReconcilerError):
                    self._memory.mark_full(status.commit)
            raise
        self._remember(status.context, replace(entry, unsure=False))
        return True

    def _ask(self, item: _Item) -> _Entry | None:
        """What the forge shows for `item`, remembered; None when it shows nothing."""
        found = self._forge.find_status(item.status.commit, item.status.context, item.ref)
        if found is None:
            return None
        entry = _Entry(found.commit, item.ref, found.state, key=None, text=found.description)
        self._remember(item.status.context, entry)
        return entry

    def _remember(self, context: str, entry: _Entry) -> None:
        # A full disk must not stop the reports; this process still remembers.
        try:
            self._memory.put(context, entry)
        except errors.ReconcilerError as error:
            log.warning("posted statuses cannot be remembered", error=str(error))

    def _done(self, posted: bool) -> None:
        with self._changed:
            s = self._statistics
            if posted:
                self._statistics = replace(s, posted=s.posted + 1, last_error="", last_reason=None)
                self._failures = 0
            else:
                self._statistics = replace(s, skipped=s.skipped + 1)
            self._busy = False
            self._changed.notify_all()

    def _failed(self, item: _Item, error: Exception) -> None:
        """Count, say it once, and decide when to try again."""
        reason = error.reason if isinstance(error, errors.ReconcilerError) else Reason.InternalError
        text = str(error) if isinstance(error, errors.ReconcilerError) else type(error).__name__
        with self._changed:
            s = self._statistics
            said_before = s.last_error == text
            self._statistics = replace(s, failed=s.failed + 1, last_error=text, last_reason=reason)
            self._busy = False
            self._failures += isinstance(error, errors.Transient)
            pause = self._pause(error)
            if isinstance(error, errors.Transient) or reason in (Reason.ForgeForbidden, Reason.ForgeMisconfigured):
                # The same would happen to every other context.
                self._hold_until = self._clock() + pause
            if reason != Reason.ForgeLimitReached and not self._worker.closed:
                item = self._queue.setdefault((item.status.context, item.status.commit), item)
                item.due, item.held = self._clock() + pause, True
            self._changed.notify_all()
        if not said_before:
            log.warning("commit status not posted", context=item.status.context, reason=reason, error=text)

    def _pause(self, error: Exception) -> float:
        """Seconds until the next try after `error`."""
        if not isinstance(error, errors.Transient):
            return _REFUSED_PAUSE
        return after_failure(_FIRST_BACKOFF, self._failures, _LONGEST_BACKOFF, error.retry_after, self._random)


def _is_news(item: _Item, known: _Entry) -> bool:
    """Whether `item` says more than what is shown. First match wins."""
    if item.status.state == "pending":
        return False  # pending again, or a step back from a result: see `submit`
    if item.status.state != known.state:
        return True
    return item.key != known.key if known.key is not None else not _same_text(known.text, item.status.description)


def _same_text(shown: str, wanted: str) -> bool:
    """Whether a forge's text is ours but for durations; theirs may be cut short."""
    if shown.endswith("…"):
        start = material(shown[:-1])
        return bool(start) and material(" ".join(wanted.split())).startswith(start)
    return material(shown) == material(wanted)
