"""Whether the state directory is still this node's: not gone, exchanged, another host's, or an older copy of itself.

Without its state a node would take any commit for its first one, and run once more what may run only once. So a process keeps the
directory that it began with, and a *witness* outside the directory says across restarts what the state last said: whose it is
and what was accepted. When the two do not agree nothing is changed, until an operator says what is to count.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reconciler import errors
from reconciler.codec import UNREADABLE, Lost, from_json, to_json
from reconciler.model import OURS
from reconciler.reasons import Reason
from reconciler.state.records import Anchor, Owner
from reconciler.state.store import StateDirectory
from reconciler.system import files

STATE_FAULTS = frozenset(
    {Reason.StateLost, Reason.StateReadOnly, Reason.StateCopied, Reason.StateCorrupt}
)  # reasons why it cannot be relied upon
_ADVICE = (
    "Nothing is changed on this node until an operator decides: put the directory back, or look at what the branch holds now and "
    "run `reconciler anchor accept {revision} --reason …`"
)


_LEAST_ROOM = 1 << 20  # bytes: what a pass writes down is less


def _room(folder: Path) -> int:
    """Bytes that root can still write on a folder's file system; none when it has no room for another file."""
    found = os.statvfs(folder)
    return 0 if found.f_files and not found.f_ffree else found.f_bfree * found.f_frsize


@dataclass(frozen=True, slots=True)
class Witness:
    """What the state directory said when it was last this node's."""

    key: str
    commit: str
    accepted_at: datetime


class Hold:
    """One process's hold on a state directory. `roots` are the folders that the witness lies in: the host's config roots."""

    def __init__(self, state: StateDirectory, roots: Iterable[str]) -> None:
        self._state, self._roots = state, [Path(root) for root in roots]
        # By the path of the directory: two installations may share a config root.
        self._name = f"{OURS}{hashlib.sha256(str(state.path.resolve()).encode()).hexdigest()[:12]}"
        self._key = ""
        self._anchor: Anchor | None = None  # the newest that this process saw

    @property
    def witness(self) -> Witness | None:
        """The newest of all roots; None when nothing was ever accepted, or no root is there. Raises as the state does."""
        found = [witness for root in self._roots if (witness := self._read(root))]
        return max(found, key=lambda witness: witness.accepted_at, default=None)

    def require(self) -> None:
        """Raises errors.Terminal (StateLost), errors.Transient (StateReadOnly): the state cannot be relied upon."""
        witness = self.witness
        known = max((a for a in (self._anchor, witness) if a), key=lambda a: a.accepted_at, default=None)
        if how := self._state.exchanged():
            raise self._lost(how, known)
        owner, anchor = self._state.owner, self._state.anchor
        key = self._key or (witness.key if witness else "")
        if key and owner is None:
            raise self._lost("has lost owner.json, and with it whose containers are this node's", known)
        if key and owner and key not in (owner.key, *owner.also):
            raise self._lost(f"belongs to another installation ({owner.key})", known)
        if known and anchor is None:
            raise self._lost(f"has lost what was accepted last ({known.commit[:12]})", known)
        if known and anchor and anchor.accepted_at < known.accepted_at:
            said = f"accepted {anchor.commit[:12]} last, and this node had accepted {known.commit[:12]} since"
            raise self._lost(f"is an older copy: it {said}", known)
        if self._state.path.exists() and (room := _room(self._state.path)) < _LEAST_ROOM:
            raise errors.Transient(
                f"no space is left for {self._state.path} ({room >> 10} KiB), so nothing that is done could be remembered: nothing is "
                "changed until there is (make room on its file system)",
                reason=Reason.StateReadOnly,
            )
        if not os.access(self._state.path, os.W_OK):
            raise errors.Transient(
                f"{self._state.path} cannot be written to, so nothing that is done could be remembered: nothing is changed until "
                "it can (is its file system mounted read-only? see `dmesg`)",
                reason=Reason.StateReadOnly,
            )
        self._key, self._anchor = owner.key if owner else "", anchor

    def note(self) -> None:
        """Bring the witness up to what the state says. Raises errors.ReconcilerError where it cannot be written."""
        owner, anchor = self._state.owner, self._state.anchor
        if owner is None or anchor is None:
            return
        now = Witness(owner.key, anchor.commit, anchor.accepted_at)
        for root in self._roots:
            if root.is_dir() and not files.exchangeable(root.resolve() / "*") and self._read(root) != now:
                files.sweep(root, older=files.LEFTOVER_AGE)  # of a note that was cut short; others may write there
                files.write_under(root, self._name, json.dumps(to_json(now)).encode(), mode=0o600)

    def forget(self) -> None:
        """Remove the witness: this installation is at its end."""
        for root in self._roots:
            if root.is_dir():
                files.remove(root, self._name)

    def renewed(self) -> bool:
        """Whether an operator decided since this process saw the state last: then it may begin anew with what is there."""
        there = StateDirectory(self._state.path)
        try:
            Hold(there, map(str, self._roots)).require()
            anchor = there.anchor
        except errors.ReconcilerError:
            return False
        return bool(
            anchor and anchor.reason and (self._anchor is None or anchor.accepted_at > self._anchor.accepted_at)
        )

    def begin(self) -> None:
        """Take the directory that is there now for the one to keep; it is made where this node never had one. Raises as `require`: then none is
        kept, so that whatever comes in its place is looked at as if this process began with it."""
        self._state.let_go()
        self._key, self._anchor = "", None
        # Made in the place of one that was lost, it would be in the way of what is put back.
        if self._state.path.exists() or self.witness is None:
            self._state.create()
            self._state.take()
        try:
            self.require()
        except errors.ReconcilerError:
            self._state.let_go()
            raise

    def establish(self) -> Owner:
        """On an operator's word: take what is there now for this node's state, or begin it anew with the key it had.

        Raises errors.Terminal (StateLost) when it is the state of another host: its memory must not be acted upon.
        """
        self._state.create()
        self._state.take()
        self._key, self._anchor = "", None
        witness, owner = self.witness, self._state.owner
        if witness and owner and witness.key not in (owner.key, *owner.also) and self._state.remembers:
            raise errors.Terminal(
                f"{self._state.path} is the state of another installation ({owner.key}), and this node's had the key {witness.key}: "
                f"move it away first (mv {self._state.path} {self._state.path}.other)",
                reason=Reason.StateLost,
            )
        self._state.after = witness.accepted_at if witness else None
        return self._state.identify(witness.key if witness else "")

    def _lost(self, how: str, known: Anchor | Witness | None) -> errors.Terminal:
        advice = _ADVICE.format(revision=known.commit[:12] if known else "REVISION")
        return errors.Terminal(f"the state in {self._state.path} {how}. {advice}", reason=Reason.StateLost)

    def _read(self, root: Path) -> Witness | None:
        if files.exchangeable(root.resolve() / "*"):
            return None  # whoever may write there may say anything
        content = b""
        with suppress(FileNotFoundError, NotADirectoryError):
            content, _ = files.read_nofollow(root, self._name)
        try:
            return from_json(Witness, json.loads(content), Lost()) if content else None
        except UNREADABLE:
            raise errors.Terminal(
                f"{root / self._name}, which says what this node accepted last, cannot be read: remove it when "
                "`reconciler anchor show` is right",
                reason=Reason.StateCorrupt,
            ) from None
