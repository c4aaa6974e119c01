"""One round of a reporter: follow the branch, ask every host, judge, say what is news. The table of contents of the package."""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog

from reconciler import errors
from reconciler.fleet import inventory, judge, poll
from reconciler.fleet.announce import Announcement, Announcer, announcements, announcements_ahead
from reconciler.fleet.inventory import Fleet, Member
from reconciler.fleet.judge import Aggregate, Answer, View
from reconciler.fleet.memory import Store
from reconciler.forge import Deployments, ForgeSettings, Status, Statuses, StatusReporter, connect
from reconciler.git import clone
from reconciler.log import frames
from reconciler.model import Interruption
from reconciler.reasons import Reason
from reconciler.report import Refusal, RepositoryStatus, signed
from reconciler.settings import Settings
from reconciler.source.follow import Follower
from reconciler.state import StateDirectory
from reconciler.system import files

log = structlog.get_logger()

_SIGNERS = "allowed_signers"


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found. `fleet` None: no commit was ever accepted. `head`: the commit that hosts are judged by."""

    at: datetime
    seconds: float
    source: RepositoryStatus
    refusal: Refusal | None = None
    fleet: Fleet | None = None
    head: str = ""
    subject: str = ""
    views: tuple[View, ...] = ()
    whole: Aggregate | None = None

    @property
    def converged(self) -> bool:
        return self.whole is not None and self.whole.state == "success"


class Reporter:
    """Everything between rounds. Not thread-safe; `look` runs one round. Raises errors.ReconcilerError when it cannot begin.

    `clock` gives the time in UTC.
    """

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        # A testing branch is a host's own matter: a reporter follows the branch.
        self.settings = replace(settings, git=replace(settings.git, testing=False))
        self.own = settings.reporter
        if self.own.state_dir == settings.state_dir:
            raise errors.Terminal(
                f"reporter.state_dir and state_dir are both {settings.state_dir}: a reporter must not move a node's anchor "
                "(give each its own)",
                reason=Reason.SettingsInvalid,
            )
        self.state = StateDirectory(self.own.state_dir)
        self.state.create()
        self.store = Store(self.own.state_dir)
        self.follower = Follower(self.settings, self.state, self._fleet_at)
        self.statuses: StatusReporter | None = None
        self.deployments: StatusReporter | None = None
        if settings.forge:
            forge = connect(ForgeSettings.of(settings.forge))
            self.statuses = StatusReporter(Statuses(forge), self.state.posted)
            if settings.forge.kind == "gitlab":
                self.deployments = StatusReporter(Deployments(forge), self.own.state_dir / "deployed.json")
        self.stop = threading.Event()  # set: the round under way ends, without a result
        self._clock = clock
        self._fleets: dict[str, Fleet] = {}
        self._signers: str | None = None
        self._named = ("", "")  # a commit and its subject
        # Host → digest of what it answered last, and what that is: the same bytes are the same statement as long as the key is.
        self._verified: dict[str, tuple[bytes, str, signed.Statement]] = {}
        self._unknown: dict[str, datetime] = {}  # host → since when, as of this process
        self._resend = True

    def close(self, timeout: float = 5.0) -> bool:
        """Wait a moment for what is still to be posted; whether all of it was."""
        self.follower.poller.close()
        done = [sender.close(timeout) for sender in (self.statuses, self.deployments) if sender]
        return all(done)

    def look(self, *, poll: bool = True) -> Round:
        """One round. `poll` False: leave the git server alone. A failing server and bad commits are in the result.

        Raises errors.ReconcilerError when the reporter's own state cannot be read or written; errors.Transient (Interrupted)
        when it was asked to end.
        """
        began = time.monotonic()
        source = self.follower.look() if poll else RepositoryStatus(True, self.follower.in_force[0])
        accepted, _ = self.follower.in_force
        found = Round(self._clock(), 0.0, source, self.follower.refusal)
        if accepted:
            found = self._ask(found, self._fleet_at(accepted))
            self._fleets = {accepted: self._fleet_at(accepted)}
        return replace(found, seconds=time.monotonic() - began)

    def interruptions(self) -> Mapping[str, Mapping[str, Interruption]]:
        """Host → container → how long restarts of it were felt. May be asked by another thread."""
        return self.store.memory.interruptions

    def _fleet_at(self, commit: str) -> Fleet:
        if commit not in self._fleets:
            path, network = self.settings.git.path, self.own.network
            self._fleets[commit] = inventory.read(self.state.repository, commit, path, network)
        return self._fleets[commit]

    # --- asking ------------------------------------------------------------------------------------------------------

    def _ask(self, found: Round, fleet: Fleet) -> Round:
        signers = self._believed(fleet)
        answers = poll.each(partial(self._answer, fleet.site, signers), fleet.members, self.own.parallel)
        if self.stop.is_set():
            raise errors.Transient("the reporter was asked to end", reason=Reason.Interrupted)
        # Hosts are measured by the newest commit, one that was refused here included: they say what they make of it.
        head = found.source.head or fleet.commit
        now = self._clock()
        views = self._views(fleet.members, answers, head, now)
        whole = judge.aggregate(views, now, self.own.patience)
        self._say(fleet, head, views, now)
        self.store.save()
        return replace(found, at=now, fleet=fleet, head=head, subject=self._subject(head), views=views, whole=whole)

    def _believed(self, fleet: Fleet) -> Path:
        """The file that says whose reports are believed; also for `ssh-keygen -Y verify` by hand."""
        path, text = self.own.state_dir / _SIGNERS, fleet.allowed_signers()
        if text != self._signers or not path.exists():
            files.write_atomic(path, text.encode(), mode=0o644)
            self._signers = text
        return path

    def _answer(self, site: str, signers: Path, member: Member) -> Answer:
        """Called by several threads."""
        if self.stop.is_set():
            return Answer()
        if not member.key:
            message = "inventory.yml declares no report_key for it, so nothing that it says can be believed"
            return Answer(reason=Reason.ReportKeyMissing, message=message)
        if not member.address:
            message = f"inventory.yml has no address for it on the network {self.own.network!r}"
            return Answer(reason=Reason.ReportUnreachable, message=message)
        try:
            found = poll.fetch(member.address, self.own.port, self.own.timeout)
            digest = hashlib.sha256(found).digest()
            known = self._verified.get(member.host)
            if known is None or known[:2] != (digest, member.key):
                known = (digest, member.key, signed.verify(found, site, member.host, signers))
                self._verified[member.host] = known
            return Answer(known[2])
        except errors.ReconcilerError as error:
            return Answer(reason=error.reason, message=str(error))
        except Exception as error:
            return Answer(reason=Reason.ReportMalformed, message=_broken(member, error))

    def _views(
        self, members: Sequence[Member], answers: Sequence[Answer], head: str, now: datetime
    ) -> tuple[View, ...]:
        seen, found = dict(self.store.memory.seen), []
        felt = dict(self.store.memory.interruptions)
        unknown: dict[str, datetime] = {}
        for member, answer in zip(members, answers, strict=True):
            one = self._view(member, answer, seen.get(member.host), head, now)
            if one.state == "unknown":
                unknown[member.host] = self._unknown.get(member.host, now)
                one = replace(one, since=unknown[member.host])
            elif one.at is not None:
                seen[member.host] = one.at
                if answer.said is not None:
                    felt[member.host] = dict(answer.said.interruptions)
            if one.state == "unknown" and member.host not in self._unknown:
                log.warning("report.missing", host=member.host, reason=one.reason, message=one.message)
            found.append(one)
        self._unknown = unknown
        names = {member.host for member in members}
        self.store.memory = replace(
            self.store.memory,
            seen={host: at for host, at in seen.items() if host in names},
            interruptions={host: one for host, one in felt.items() if host in names and one},
        )
        return tuple(found)

    def _view(self, member: Member, answer: Answer, seen: datetime | None, head: str, now: datetime) -> View:
        try:
            return judge.view(member, answer, seen, head, now, self.own.stale_after)
        except Exception as error:
            why = Answer(reason=Reason.ReportMalformed, message=_broken(member, error))
            return judge.view(member, why, seen, head, now, self.own.stale_after)

    def _subject(self, head: str) -> str:
        try:
            if self._named[0] != head:
                self._named = head, clone.info(self.state.repository, head).subject
        except errors.ReconcilerError:  # a head that could not be fetched
            return ""
        return self._named[1]

    # --- telling -----------------------------------------------------------------------------------------------------

    def _say(self, fleet: Fleet, head: str, views: Sequence[View], now: datetime) -> None:
        if self.statuses is None:
            return
        could = announcements(fleet, head, views, now, self.own.patience)
        # Of its own knowledge: a host may not speak of any other commit.
        unmerged, branch = self.follower.unmerged, self.settings.git.prechecks
        if unmerged not in ("", head):
            could += announcements_ahead(fleet, unmerged, branch, views)
        announcer = Announcer(self.store.memory.said)
        due = announcer.due(could, now.timestamp(), again=self._resend)
        names = {one.name for one in could}
        self.store.memory = replace(
            self.store.memory,
            # A name that has nothing to say about this commit may have had about the one before, and a host that was not heard may be
            # heard again: keep them.
            said={name: one for name, one in announcer.said.items() if name in names or one.commit in (head, unmerged)},
        )
        # Remembered before it is posted: the outbox asks when it is not sure, and a restart says everything again.
        self.store.save()
        for one in due:
            text = one.text
            status = Status(text.commit, one.context, text.state, text.description, self.own.url or None)
            self.statuses.submit(status, one.branch or self.settings.git.branch, key=text.key)
        if self.deployments is not None and fleet.deployments:
            self._deploy(head, could)
        self._resend = False

    def _deploy(self, head: str, could: Sequence[Announcement]) -> None:
        """A deployment for each first success, and for each first failure before it."""
        assert self.deployments is not None
        deployed = dict(self.store.memory.deployed)
        for one in could:
            state = one.text.state
            if not one.environment or state == "pending":
                continue
            known = deployed.get(one.environment, ("", ""))
            if known in ((head, "success"), (head, state)):
                if not self._resend:
                    continue
                state = "success" if known[1] == "success" else "failed"
            deployed[one.environment] = (head, state)
            status = Status(head, one.environment, state)
            self.deployments.submit(status, self.settings.git.branch, key=state)
        self.store.memory = replace(self.store.memory, deployed=deployed)


def _broken(member: Member, error: Exception) -> str:
    """What one host says must not take the view of all others away, whatever it does to us."""
    log.error("report.broken", host=member.host, error=type(error).__name__, frames=frames(error))
    return f"its report cannot be judged ({type(error).__name__}; the log says where)"
