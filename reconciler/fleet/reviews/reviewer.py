"""One round of reviews: which merge requests are open, which of them are due, and each of those planned and told.

Planning is that of `ci review`, in the same limited children; the note is the same. The token stays in this process.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import structlog

from reconciler import data, errors, review
from reconciler.fleet.reviews import queue
from reconciler.fleet.reviews.clone import Clone, Seen
from reconciler.fleet.reviews.gate import Gate
from reconciler.fleet.reviews.memory import Store
from reconciler.fleet.reviews.queue import Outcome, Reviewed, State
from reconciler.forge import Forge, OpenRequest
from reconciler.git.remote import Remote
from reconciler.log import frames
from reconciler.model import Interruption
from reconciler.reasons import Reason
from reconciler.review import Review, ci, escape
from reconciler.review import gate as rules_of
from reconciler.review.gate import Rules
from reconciler.settings import Settings

log = structlog.get_logger()

_TRIES = 3  # of what a busy machine or a slow server may have caused
# What a branch itself may cause: its note says so, and the others go on.
_ITS_OWN = (
    Reason.LimitExceeded,
    Reason.GitObjectCorrupt,
    Reason.CommitMalformed,
    Reason.SitePathMissing,
    Reason.GitTimeout,
    Reason.ChildFailed,
    Reason.DeadlineExceeded,
)
_AGAIN = (Reason.GitTimeout, Reason.ChildFailed, Reason.DeadlineExceeded)
_PREPARED = 20  # notes kept in memory while the forge takes none
_NAMED = 5  # files that both sides changed
_SPARE = 400  # characters of a note that its marker may have


# Host → container → how long restarts of it were felt.
Interruptions = Callable[[], Mapping[str, Mapping[str, Interruption]]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One open merge request, and what is known of it."""

    request: OpenRequest
    known: Reviewed


@dataclass(frozen=True, slots=True)
class Overview:
    """What is known after a round, or in the middle of one. `more`: the forge has more open ones than are looked at;
    `forks`: how many of forks are left alone; `at` in seconds since the epoch."""

    entries: tuple[Entry, ...] = ()
    more: bool = False
    forks: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A review that is to be told."""

    head: str
    base: str
    target: str
    into: str  # what it is merged into, where that counts
    rules: str
    found: Review
    text: str
    unsure: bool  # whether another try might end otherwise


class Reviewer:
    """Everything between rounds. Used by one thread; `overview` may be read by others. `done` is called after each review
    with its state and seconds. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        settings: Settings,
        forge: Forge,
        *,
        clock: Callable[[], float] = time.time,
        random: Random | None = None,
        interruptions: Interruptions = dict,
        done: Callable[[State, float], None] = lambda state, seconds: None,
    ) -> None:
        self.settings, self.forge, self.own = settings, forge, settings.review
        git = settings.git
        names = ("url", "branch", "token_file", "username", "ca_file", "ssh_key", "known_hosts", "timeout", "deadline")
        where = Remote(**{name: getattr(git, name) for name in names})
        self.clone = Clone(where, settings.reporter.state_dir, git.path, settings.trust)
        self.store = Store(settings.reporter.state_dir)
        self.limits = ci.Limits(seconds=self.own.time_limit, host_seconds=self.own.host_limit)
        self.program = f"{_program()} {git.path} {self.own.time_limit:g} {self.own.host_limit:g}"
        self.gate = Gate(forge, settings.reporter.url, lambda: self._clock())
        self.stop = threading.Event()  # set: no further review begins
        self.overview = Overview()
        self.done, self._interruptions = done, interruptions
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - spreads requests, hides nothing
        self._prepared: dict[int, _Prepared] = {}
        self._underway: tuple[int, Reviewed] | None = None
        self._target = ""  # where the target branch was when it was last looked at

    def round(self) -> Overview:
        """Review what is due, as much of it as may be done at once. What one merge request makes go wrong is in the result;
        raises errors.ReconcilerError when the forge, the git server or the disk fails as a whole."""
        target = self.clone.target()
        listed = self.forge.open_requests(self.settings.git.branch, self.own.most)
        requests = [one for one in listed[: self.own.most] if self.own.forks or one.branch]
        forks = len(listed[: self.own.most]) - len(requests)
        self._forget_others(requests)
        target = self._target = self._settle(requests, target)
        more = len(listed) > self.own.most
        asked = self._asked(target) if requests else Rules()
        self._show(requests, more, forks)
        self._withdraw(requests)
        for request in requests:
            self._tell_status(request, asked)
        for request in self._chosen(requests, target, asked):
            if self.stop.is_set():
                break
            self._review(request, asked)
            self._tell_status(request, asked)
            self._show(requests, more, forks)
        self.store.save()
        self._show(requests, more, forks)
        return self.overview

    def close(self) -> None:
        self.stop.set()
        self.clone.close()

    def abandon(self) -> None:
        """Called by another thread when the process ends on request: a review under way is no failure."""
        if self._underway:
            iid, known = self._underway
            self.store.memory.requests[iid] = known
            self.store.save()

    # --- what is due -------------------------------------------------------------------------------------------------

    def _forget_others(self, requests: Sequence[OpenRequest]) -> None:
        """Closed, merged, or into another branch by now."""
        known, numbers = self.store.memory.requests, {one.iid for one in requests}
        gone = [iid for iid in known if iid not in numbers]
        for iid in gone:
            self._leave(known[iid])
            del known[iid]
            self._prepared.pop(iid, None)
        if gone:
            log.info("review.closed", merge_requests=gone)
            self.store.save()
        self.clone.tidy(requests)

    def _leave(self, known: Reviewed) -> None:
        """Note a success at a head that is not asked to be merged any more, where somebody may wait for one."""
        told = known.told
        if told and told.state == "success" and self.store.memory.rules[1].required:
            self.store.memory.left.append(told)

    def _withdraw(self, requests: Sequence[OpenRequest]) -> None:
        """Take back the successes that were left, but for heads that were merged, and those that somebody asks to merge again."""
        memory, open_ = self.store.memory, {one.head for one in requests}
        due = [told for told in memory.left if told.head not in open_]
        if not due:
            return
        try:
            target, _ = self.clone.fetch()
            bases = self.clone.bases(target, {told.head: False for told in due})
            merged = {head for head, (base, _) in bases.items() if head == base}
            for told in due:
                if told.head not in merged:
                    self.gate.withdraw(told)
                memory.left.remove(told)
        except errors.ReconcilerError as error:  # in the next round
            log.warning("review.left", reason=error.reason, message=str(error))
        self.store.save()

    def _settle(self, requests: Sequence[OpenRequest], target: str) -> str:
        """When the target branch moved: where the merge base stays the same, and what is merged into where that counts, so does the plan.
        Returns where it is now."""
        known = self.store.memory.requests
        same = [
            one
            for one in requests
            if (found := known.get(one.iid)) and found.head == one.head and found.base and found.target != target
        ]
        if not same:
            return target
        target, _ = self.clone.fetch()
        try:
            bases = self.clone.bases(target, {one.head: bool(known[one.iid].site) for one in same})
        except errors.ReconcilerError as error:  # a history that is made to be slow: each is looked at in its turn
            log.warning("review.unsettled", reason=error.reason, message=str(error))
            return target
        for one in same:
            base, into = bases.get(one.head, ("", ""))
            if base == known[one.iid].base and known[one.iid].site in ("", into):
                known[one.iid] = replace(known[one.iid], target=target)
        self.store.save()
        return target

    def _asked(self, target: str) -> Rules:
        """What the target branch asks of merge requests: read anew when it moved, and while something keeps it from being read."""
        known, found = self.store.memory.rules
        if known != target or found.problem:
            self.store.memory.rules = self.clone.asked(self._name())
        return self.store.memory.rules[1]

    def _made_by(self, asked: Rules) -> str:
        """What a review was made by: where it is another one, it is made again."""
        return f"{self.program} {asked.key}"

    def _chosen(self, requests: Sequence[OpenRequest], target: str, asked: Rules) -> list[OpenRequest]:
        """Whose turn it is now, within what a round and an hour may hold."""
        known, now = self.store.memory.requests, self._clock()
        spent = self.store.memory.spent(now)
        made_by = self._made_by(asked)
        due = [one for one in requests if queue.is_due(one, known.get(one.iid), target, made_by, now)]
        room = max(0, min(self.own.per_round, self.own.per_hour - spent.total()))
        if len(due) > room:
            log.info("review.waiting", merge_requests=len(due) - room, begun_this_hour=spent.total())
        return queue.in_order(due, known, spent)[:room]

    # --- one merge request -------------------------------------------------------------------------------------------

    def _review(self, request: OpenRequest, asked: Rules) -> None:
        """Plan one merge request and tell; whatever happens is remembered, and nothing is raised but for our own disk."""
        memory, began = self.store.memory, time.monotonic()
        known = memory.requests.get(request.iid, Reviewed())
        failures = known.failures + 1 if known.tried == request.head else 1
        memory.started.append((self._clock(), request.author))
        # Before it begins, and as a failure: what brings this whole process down is not the first thing that the next one tries.
        self._failed(request, known, failures, Reason.Interrupted, "the reporter ended in the middle of it")
        self._underway = (request.iid, known)
        self.store.save()
        try:
            ready = self._prepare(request, known, failures, asked)
            if ready is None:
                memory.started.pop()  # it was none
                return
            self._tell(request, ready)
            self._succeeded(request, ready, failures)
        except errors.ReconcilerError as error:
            self._failed(request, known, failures, error.reason, str(error), getattr(error, "retry_after", None))
            log.warning(
                "review.failed", merge_request=request.iid, head=request.head, reason=error.reason, message=str(error)
            )
        except Exception as error:  # whatever one branch brings about, the others are reviewed
            self._failed(request, known, failures, Reason.InternalError, type(error).__name__)
            log.error("review.crashed", merge_request=request.iid, error=type(error).__name__, frames=frames(error))
        finally:
            self._underway = None
            self.store.save()
        self.done(memory.requests[request.iid].state, time.monotonic() - began)

    def _prepare(self, request: OpenRequest, known: Reviewed, failures: int, asked: Rules) -> _Prepared | None:
        """Fetch and plan; None when all that moved is the target, and not the merge base."""
        kept = self._prepared.get(request.iid)
        made_by = self._made_by(asked)
        if kept and (kept.head, kept.rules) == (request.head, made_by):
            return kept
        try:
            target, head = self.clone.fetch(request)
            self._target = target
            seen = self.clone.look(target, head, merges=bool(asked.required))
        except errors.ReconcilerError as error:
            if error.reason not in _ITS_OWN:
                raise
            found = self._empty(request.head, f"{error} [{error.reason}]", error.reason)
            return self._prepared_of(request, "", request.head, found, None, failures, asked)
        same = (head, seen.base, made_by, seen.into if asked.required else "")
        if seen.base and not known.failures and same == (known.head, known.base, known.rules, known.site):
            self.store.memory.requests[request.iid] = replace(known, target=target)
            return None
        return self._prepared_of(request, target, head, self._planned(seen, target, head, asked), seen, failures, asked)

    def _planned(self, seen: Seen, target: str, head: str, asked: Rules) -> Review:
        branch = self.settings.git.branch
        if not seen.base:
            return self._empty(head, f"it has no commit in common with {branch} (base it on {branch})")
        if seen.others:
            names = f"{seen.base[:12]}, {seen.others[:12]}"
            return self._empty(
                head,
                f"it and {branch} have several last commits in common ({names} …), and from none of them can be told what a merge changes "
                f"(merge {branch} into it)",
            )
        if seen.unclear:
            return self._empty(
                head,
                f"{branch} has changed {_names(seen.unclear, str)} as well since {seen.base[:12]}, and nobody can tell what is merged then: git "
                f"carries changes along with what the other side moved, and a rebase makes commits one by one (rebase it onto {branch})",
            )
        if not asked.required or target == seen.base:
            return replace(self._from_base(seen, head), both=seen.alone)
        # What it does from where it begins is not what it does to a branch that has gone on.
        fork = self.clone.source(seen.base) if seen.has_site else None
        found = ci.told(
            self.clone.source(target),
            self.clone.source(head),
            target[:12],
            site=self._name(),
            limits=self.limits,
            also=_ITS_OWN,
            merge=ci.Merge(fork),
        )
        return replace(self._from_base(seen, head) if found.both else found, both=(*found.both, *seen.alone))

    def _from_base(self, seen: Seen, head: str) -> Review:
        label = seen.base[:12] if seen.has_site else f"{seen.base[:12]}, which has no such folder"
        base = self.clone.source(seen.base) if seen.has_site else None
        # Where the base has no such folder either, it is not this branch that lacks it: the settings may be wrong.
        also = [reason for reason in _ITS_OWN if seen.has_site or reason != Reason.SitePathMissing]
        return ci.told(base, self.clone.source(head), label, site=self._name(), limits=self.limits, also=also)

    def _empty(self, head: str, failure: str, reason: Reason | None = None) -> Review:
        return Review(self._name(), "", head[:12], self.settings.git.path, failure=failure, reason=reason)

    def _name(self) -> str:
        """What to call a site whose own name cannot be read."""
        return self.settings.git.path or "site"

    def _prepared_of(
        self,
        request: OpenRequest,
        target: str,
        head: str,
        found: Review,
        seen: Seen | None,
        failures: int,
        asked: Rules,
    ) -> _Prepared:
        base = seen.base if seen else ""
        unsure = found.reason in _AGAIN and failures < _TRIES
        branch = self.settings.git.branch
        merges = bool(found.base) and found.base == target[:12] != base[:12]
        fetched = f"git fetch origin {request.ref}"
        if merges:
            fetched = f"git fetch origin {branch} {request.ref} && git checkout {target[:12]} && git merge {head[:12]}"
        start = base[:12] if seen and seen.has_site else "nothing"
        command = f"reconciler diff {target[:12]} HEAD" if merges else f"reconciler diff {start} {head[:12]}"
        site = f" --site {self.settings.git.path}" if self.settings.git.path else ""
        remarks = _remarks(seen, unsure)
        if merges:
            remarks.append(
                f"{escape.code(branch)} has gone on since {escape.code(base[:12])}: this is what merging it changes there."
            )
        if found.both and seen:
            parted = found.both[: len(found.both) - len(seen.alone)]
            remarks += [_both(parted, branch)] if parted else []
            remarks += [_alone(seen.alone, branch)] if seen.alone else []
        frame = review.Frame(
            by="`reconciler reporter`",
            elsewhere=f"`{fetched} && {command}{site}` in a clone",
            remarks=(*remarks, *rules_of.remarks(rules_of.demands(rules_of.kinds(found), asked), asked)),
        )
        found = replace(found, measured=self._interruptions())
        limit = min(review.LIMIT, self.forge.note_limit - _SPARE)
        text = review.note(found, limit=limit, frame=frame)
        counted = seen.into if seen and asked.required else ""
        return _Prepared(head, base, target, counted, self._made_by(asked), found, text, unsure)

    # --- telling -----------------------------------------------------------------------------------------------------

    def _tell(self, request: OpenRequest, ready: _Prepared) -> None:
        """The note. Kept until it is told: planning again would be dear."""
        self._prepared.pop(request.iid, None)
        while len(self._prepared) >= _PREPARED:
            del self._prepared[next(iter(self._prepared))]
        self._prepared[request.iid] = ready
        self.forge.upsert_note(request.iid, review.marker(ready.found), ready.text)
        del self._prepared[request.iid]

    def _tell_status(self, request: OpenRequest, asked: Rules) -> None:
        """What goes wrong with one status is tried again in the next round."""
        known = self.store.memory.requests
        found = known.get(request.iid, Reviewed())
        if found.told and found.told.head != request.head:
            self._leave(found)
            found = replace(found, told=None)
        before = self.gate.arrived(request, found)
        known[request.iid] = before
        try:
            known[request.iid] = self.gate.tell(request, before, asked, self._target)
        except errors.ReconcilerError as error:
            log.warning("review.status", merge_request=request.iid, reason=error.reason, message=str(error))

    def _succeeded(self, request: OpenRequest, ready: _Prepared, failures: int) -> None:
        found, now, before = ready.found, self._clock(), self.store.memory.requests[request.iid]
        state: State = "valid" if found.valid else "failed" if found.failure else "invalid"
        text = found.failure or review.headline(found)
        known = Reviewed(ready.head, ready.base, ready.target, ready.rules, state, text, found.reason, now)
        kinds = rules_of.kinds(found)
        had = before.outcome.had if before.outcome and before.outcome.head == ready.head else None
        since = rules_of.since(had, kinds, now) if found.valid else had
        outcome = Outcome(ready.head, found.valid, _said(found), kinds, since)
        known = replace(
            known, outcome=outcome, told=before.told, arrived=before.arrived, missing=before.missing, site=ready.into
        )
        if ready.unsure:
            known = replace(known, tried=request.head, failures=failures, retry_at=now + self._pause(failures))
        self.store.memory.requests[request.iid] = known
        log.info(
            "review.finished", merge_request=request.iid, head=ready.head, result=state, reason=found.reason, text=text
        )

    def _failed(
        self,
        request: OpenRequest,
        known: Reviewed,
        failures: int,
        reason: Reason,
        message: str,
        retry_after: float | None = None,
    ) -> None:
        now = self._clock()
        self.store.memory.requests[request.iid] = replace(
            known,
            state="failed",
            text=message,
            reason=reason,
            at=now,
            tried=request.head,
            failures=failures,
            retry_at=now + max(self._pause(failures), retry_after or 0.0),
        )

    def _pause(self, failures: int) -> float:
        return queue.pause(self.own.interval, failures, self._random.random())

    def _show(self, requests: Sequence[OpenRequest], more: bool, forks: int) -> None:
        known = self.store.memory.requests
        entries = tuple(Entry(one, self._current(one, known.get(one.iid, Reviewed()))) for one in requests)
        self.overview = Overview(entries, more, forks, self._clock())

    def _current(self, request: OpenRequest, known: Reviewed) -> Reviewed:
        """A review of an older head is none of this one."""
        return known if request.head in (known.head, known.tried) else replace(known, state="waiting")


def _said(found: Review) -> str:
    """A review in one line that holds nothing of the branch."""
    return review.headline(found) + (f" [{found.reason}]" if found.reason else "")


def _remarks(seen: Seen | None, unsure: bool) -> list[str]:
    found = []
    if seen and seen.signature:
        found.append(
            f"⚠️ This commit is not signed as the hosts of this site demand (`{seen.signature}`): they will take what is merged "
            "only with a signature of an allowed key."
        )
    if unsure:
        found.append(f"It is tried again by itself, {_TRIES} times at most.")
    return found


def _both(names: Sequence[str], branch: str) -> str:
    return (
        f"⚠️ {escape.code(branch)} has changed {_names(names)} as well since they parted, and what a merge makes of that nobody can tell: this is "
        f"planned from where it begins, and every risk counts. Rebase it onto {escape.code(branch)}, and it is planned as it will be."
    )


def _alone(names: Sequence[str], branch: str) -> str:
    return (
        f"⚠️ This is what a merge or a squash comes to. A rebase leaves out the merges that are in it, and what comes of {_names(names)} then nobody "
        f"can tell: every risk counts. Rebase it onto {escape.code(branch)}, and it is the same either way."
    )


def _names(names: Sequence[str], shown: Callable[[str], str] = escape.code) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(shown, names[:_NAMED])) + more


def _program() -> str:
    """Which program plans: another one, or another catalogue, may plan something else."""
    digest = hashlib.sha256()
    here = Path(__file__).parents[2]
    for file in sorted(here.rglob("*.py")):
        digest.update(file.relative_to(here).as_posix().encode() + b"\0" + file.read_bytes())
    for name, content in data.services().items():
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()[:16]
