"""Which commit a node is to be at: follows the branch, and this host's testing branch where its settings allow one.

The branch moves the anchor, and only forward. A testing branch (`testing/<host>`) moves nothing: while it is there and
contains the anchor this host tries it, and the anchor stays where the node goes back to.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog

from reconciler import errors
from reconciler.git import clone, refnames, trust
from reconciler.git import remote as git
from reconciler.git.failures import public
from reconciler.log import frames
from reconciler.reasons import Reason
from reconciler.report import Refusal, RepositoryStatus
from reconciler.settings import Settings
from reconciler.state import Anchor, StateDirectory, Trial

log = structlog.get_logger()

_DAMAGED = (Reason.GitObjectCorrupt, Reason.RepositoryUnusable)
_REMOTE_FIELDS = ("url", "branch", "token_file", "username", "ca_file", "ssh_key", "known_hosts", "timeout", "deadline")


class Follower:
    """Polls, fetches, verifies, has a commit validated, and remembers what was accepted. Not thread-safe.

    `validate` makes everything of a commit that this host needs, and raises errors.ReconcilerError where it cannot; `first` does
    when a commit must not be taken for the first one here.
    """

    def __init__(
        self,
        settings: Settings,
        state: StateDirectory,
        validate: Callable[[str], object],
        first: Callable[[str], None] = lambda commit: None,
    ) -> None:
        self.settings, self.state, self._prepare, self._first = settings, state, validate, first
        self.remote = git.Remote(**{name: getattr(settings.git, name) for name in _REMOTE_FIELDS})
        self.poller = git.Poller(self.remote)
        self.testing = f"testing/{settings.host}" if settings.git.testing else ""
        more = [branch for branch in (self.testing, settings.git.prechecks) if branch]
        self._refs = [self.remote.ref, *(f"refs/heads/{branch}" for branch in more)]
        self._heads: dict[str, str] = {}
        self._refusal: Refusal | None = None
        self._trial_refusal: Refusal | None = None
        self._judged = ("", "")  # testing branch's head, and the anchor it was compared with

    @property
    def in_force(self) -> tuple[str, str]:
        """The commit this node is to be at ("": none yet), and the testing branch that it is from ("": the branch)."""
        trial = self.state.trial if self.testing else None
        if trial:
            return trial.commit, trial.branch
        anchor = self.state.anchor
        return (anchor.commit if anchor else ""), ""

    @property
    def refusal(self) -> Refusal | None:
        """The newest commit of a branch that was not accepted; the branch's own goes first."""
        return self._refusal or self._trial_refusal

    @property
    def unmerged(self) -> str:
        """The head of the branch that this host is asked about before it is merged, as it was seen last; "": there is none."""
        branch = self.settings.git.prechecks
        return self._heads.get(f"refs/heads/{branch}", "") if branch else ""

    def moved(self) -> bool:
        """Whether a branch is somewhere else than at the last look. Raises errors.ReconcilerError."""
        return self.poller.poll(self._refs) != self._heads

    def look(self) -> RepositoryStatus:
        """Bring the anchor and the trial up to the branches' heads, as far as those are verified and valid. Never raises
        for a failing server or a bad commit: that is what the result and `refusal` say."""
        head = ""
        try:
            heads = self.poller.poll(self._refs)
            head = heads[self.remote.ref]
            self._follow(head)
            wanted = heads.get(f"refs/heads/{self.testing}", "") if self.testing else ""
            self._try(wanted)
            self._heads = heads
        except errors.ReconcilerError as error:
            reason, message = described(error, self.remote, self.state.anchor)
            log.warning("source.failed", reason=reason, message=message)
            return RepositoryStatus(False, head, reason, message, getattr(error, "retry_after", None))
        except Exception as unforeseen:  # what is in force is kept up, whatever a commit or a server brings about
            found = errors.defect(unforeseen, "looking for a new commit")
            log.error("source.failed", reason=found.reason, message=str(found), frames=frames(unforeseen))
            return RepositoryStatus(False, head, found.reason, str(found))
        tried = self.state.trial or self._trial_refusal
        return RepositoryStatus(True, wanted if tried and not self._refusal else head)

    def accept(self, revision: str, reason: str) -> Anchor:
        """Make `revision` the anchor on an operator's word; see `Node.accept`."""
        from reconciler.git import tree  # an operator's program may load libgit2; the daemon does without

        self._fetch()
        commit = tree.resolve(self.state.repository, revision)
        self._validate(commit)
        accepted = self.state.move_anchor(Anchor(commit, datetime.now(UTC), reason=reason))
        log.warning("revision.accepted", revision=commit, signer="", operator=reason)
        return accepted

    def bring(self, revision: str) -> tuple[str, str]:
        """Fetch a branch that is not followed, or find a commit that was fetched with one that is: the commit, which is signed as the settings
        ask, and the branch it was asked for by ("": none).

        Raises errors.Terminal (RevisionUnknown, Signature…), errors.Transient.
        """
        from reconciler.git import tree  # as in `accept`

        ref = f"refs/heads/{revision}"
        more = [ref] if refnames.is_valid(ref) else []
        found = self._fetch(more)
        commit = found.get(ref) or tree.resolve(self.state.repository, revision)
        self._verified(commit)
        return commit, revision if ref in found else ""

    def bring_head(self, branch: str) -> str:
        """The head of a branch, fetched and signed as the settings ask. Raises as `bring`, and errors.Transient where it has none any more."""
        ref = f"refs/heads/{branch}"
        commit = self._fetch([ref]).get(ref)
        if commit is None:
            raise errors.Transient(f"the branch {branch} was deleted a moment ago", reason=Reason.RevisionUnknown)
        self._verified(commit)
        return commit

    def _fetch(self, more: Sequence[str] = (), *, fresh: bool = False) -> dict[str, str]:
        """The branches' heads, and of what they were at before only what this host goes by."""
        trial, anchor, carried = self.state.trial, self.state.anchor, self.state.carried
        keep = (
            anchor.commit if anchor else "",
            trial.commit if trial else "",
            carried.desired.revision if carried else "",
            self.state.begun,
        )
        return git.fetch(self.remote, self.state.repository, [*self._refs, *more], fresh=fresh, keep=keep)

    def _validate(self, commit: str) -> None:
        """Make everything of a commit that this host needs. Raises errors.ReconcilerError, whatever the commit holds."""
        try:
            clone.info(self.state.repository, commit)  # every report names its author
            self._prepare(commit)
        except errors.ReconcilerError:
            raise
        except Exception as unforeseen:
            log.error("revision.crashed", revision=commit, error=type(unforeseen).__name__, frames=frames(unforeseen))
            raise errors.defect(unforeseen, f"preparing {commit[:12]}") from None

    # --- the branch ----------------------------------------------------------------------------------------------

    def _follow(self, head: str) -> None:
        anchor = self.state.anchor
        if anchor and anchor.commit == head:
            self._refusal = None
            return
        if self._refusal and self._refusal.commit == head and not self._refusal.reason.tried_again:
            return
        self._fetch()
        self._mended(lambda: self._consider(head, anchor))

    def _mended(self, step: Callable[[], None]) -> None:
        """Do a step; once more with a new clone, should the clone turn out to be damaged."""
        try:
            step()
        except errors.Terminal as error:
            if error.reason not in _DAMAGED:
                raise
            log.warning("clone.damaged", message=str(error))
            self._fetch(fresh=True)
            step()

    def _consider(self, head: str, anchor: Anchor | None) -> None:
        """Verify → validate everything → persist the anchor, in this order."""
        try:
            # A descendant first: a signature is judged as of now, so only a commit that moves the anchor is looked at.
            trust.advance(self.state.repository, anchor.commit if anchor else None, head)
            signer = self._verified(head)
            self._validate(head)
            if anchor is None:
                self._first(head)
        except errors.Terminal as error:
            self._refusal = _refusal(head, error)
            return
        self.state.move_anchor(Anchor(head, datetime.now(UTC), signer))
        self._refusal = None
        log.info("revision.accepted", revision=head, signer=signer)

    def _verified(self, commit: str) -> str:
        rules = self.settings.trust
        signatures = trust.SignaturePolicy(rules.signatures, rules.allowed_signers, gpg_keys=rules.gpg_keys)
        return trust.verify(self.state.repository, commit, signatures) or ""

    # --- the testing branch --------------------------------------------------------------------------------------

    def _try(self, head: str) -> None:
        """Follow the testing branch; `head` is "" when there is none, or none is wanted."""
        trial, anchor = self.state.trial, self.state.anchor
        if not head or anchor is None:
            self._end(trial, f"{self.settings.git.branch} is followed: no testing branch")
            self._trial_refusal, self._judged = None, ("", "")
            return
        again = self._trial_refusal is not None and self._trial_refusal.reason.tried_again
        if (head, anchor.commit) == self._judged and not again:
            return
        if trial is None or trial.commit != head:
            self._fetch()
        self._mended(lambda: self._consider_trial(head, anchor, trial))
        self._judged = (head, anchor.commit)

    def _consider_trial(self, head: str, anchor: Anchor, trial: Trial | None) -> None:
        repository, branch = self.state.repository, self.settings.git.branch
        if clone.is_ancestor(repository, head, anchor.commit):
            self._end(trial, f"{branch} contains it")
            self._trial_refusal = None
            return
        try:
            if not clone.is_ancestor(repository, anchor.commit, head):
                raise errors.Terminal(
                    f"{self.testing} does not contain {anchor.commit[:12]}, which {branch} is at: rebase it. Until then this "
                    f"node follows {branch}",
                    reason=Reason.TestingBranchBehind,
                )
            if trial is None or trial.commit != head:
                signer = self._verified(head)
                self._validate(head)
                self.state.begin_trial(Trial(self.testing, head, datetime.now(UTC), signer))
                log.info("trial.accepted", revision=head, branch=self.testing, signer=signer)
            self._trial_refusal = None
        except errors.Terminal as error:
            self._trial_refusal = _refusal(head, error, self.testing)
            # The commit tried before stays, as long as it is ahead of the branch.
            if trial and not clone.is_ancestor(repository, anchor.commit, trial.commit):
                self._end(trial, f"{branch} moved on")

    def _end(self, trial: Trial | None, why: str) -> None:
        if trial:
            self.state.end_trial()
            log.info("trial.ended", revision=trial.commit, branch=trial.branch, why=why)


def _refusal(commit: str, error: errors.Terminal, branch: str = "") -> Refusal:
    """Raises the error itself when it is the clone that is wrong, not the commit."""
    if error.reason in _DAMAGED:
        raise error
    problems = tuple(str(problem) for problem in getattr(error, "problems", ()))
    log.error("revision.refused", revision=commit, reason=error.reason, message=str(error), problems=problems)
    return Refusal(commit, error.reason, str(error), problems, branch)


def described(error: errors.ReconcilerError, remote: git.Remote, anchor: Anchor | None) -> tuple[Reason, str]:
    """Reason and message of what asking for the branch met; a branch that was there once was deleted."""
    if error.reason not in (Reason.GitEmptyRepository, Reason.GitBranchMissing) or anchor is None:
        return error.reason, str(error)
    at = anchor.commit
    return Reason.GitBranchMissing, (
        f"{public(remote.url)}: the branch {remote.branch}, which was at {at[:12]}, is there no more: it was deleted or renamed. "
        f"Push it again (git push origin {at[:12]}:refs/heads/{remote.branch}), or correct git.branch in the settings"
    )
