"""The commits of open merge requests: a bare clone of their own, and a limited child that looks at them.

Apart from the clone that the branch is followed in: whatever a stranger pushes there, the branch's clone stays as it is, and
this one may be thrown away at any time.
"""

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler import errors
from reconciler.forge import OpenRequest
from reconciler.git import content, history, remote, replay, tree, trust
from reconciler.reasons import Reason
from reconciler.review import ci
from reconciler.review.gate import Rules
from reconciler.settings import Trust
from reconciler.system import files, run, walls
from reconciler.text import printable

MOST_BYTES = 2 << 30  # of the clone; once it has grown above, it is made anew
_LIMITS = run.Limits(seconds=600.0, cpu_seconds=60)
_SETTLING = 20.0  # seconds of processor time for all heads that are looked at together
_MOST_NAMES, _LONGEST = 1000, 400  # paths that are told, and characters of one
# Where forges keep the heads of merge requests, and where the clone keeps what a rewritten branch was at.
_HEADS = ("refs/merge-requests", "refs/pull")
_KEPT = "refs/reconciler/kept"


@dataclass(frozen=True, slots=True)
class Seen:
    """What is to be known of a head before it is planned.

    `base` is its merge base with the target, "" when they have no history in common, and `others` one more where there are several;
    `has_site` whether the site's folder is in the base, `into` what it is merged into: the same where the target's site is, and what nobody
    can tell of. `unclear` are paths of which nobody can tell what a merge makes of them because the target has gone on, `alone` those because
    of the head's own merges. `signature` is the reason why hosts would not take this very commit, None when they would.
    """

    base: str
    others: str
    has_site: bool
    into: str
    unclear: tuple[str, ...]
    alone: tuple[str, ...]
    signature: Reason | None


class Clone:
    """The clone in a folder. Used by one thread. Raises the errors of `git.remote`."""

    def __init__(self, where: remote.Remote, folder: Path, path: str, rules: Trust) -> None:
        self.remote, self.repository, self.path, self.rules = where, folder / "review.git", path, rules
        self._poller = remote.Poller(where)

    def target(self) -> str:
        """The commit that the target branch is at."""
        return self._poller.poll()[self.remote.ref]

    def fetch(self, request: OpenRequest | None = None) -> tuple[str, str]:
        """(target's commit, the request's): bring both here."""
        # Each fetch may bring as much as the transport allows.
        if files.size(self.repository) > MOST_BYTES:
            shutil.rmtree(self.repository, ignore_errors=True)
        refs = [self.remote.ref, *([request.ref] if request else [])]
        found = remote.fetch(self.remote, self.repository, refs)
        if request is not None and request.ref not in found:
            raise errors.Transient(
                f"the git server has no {request.ref} (yet): is that repository forge.project's?",
                reason=Reason.RevisionUnknown,
            )
        head = found[request.ref] if request else ""
        if request is not None and head != request.head:
            raise errors.Transient(
                f"the forge listed {request.head[:12]}, the git server has {head[:12]}: one of them is behind, or it was pushed to "
                "just now",
                reason=Reason.RevisionUnknown,
            )
        return found[self.remote.ref], head

    def look(self, target: str, head: str, *, merges: bool) -> Seen:
        """What is known of a head; with `merges` also what merging it comes to. Its history is read in a walled child; its signature is
        judged as a node would."""
        base, others, has_site, into, unclear, alone = self._child(
            "look_child", target, tuple[str, str, bool, str, tuple[str, ...], tuple[str, ...]], head=head, merges=merges
        )
        return Seen(base, others, has_site, into, unclear, alone, self._signature(head))

    def bases(self, target: str, heads: Mapping[str, bool]) -> dict[str, tuple[str, str]]:
        """Head → its merge base, and what it is merged into (`Seen.into`) where `heads` says that this counts, for those that are in the
        clone and whole, and were not too much for once."""
        found: dict[str, tuple[str, str]] = self._child(
            "bases_child", target, dict[str, tuple[str, str]], heads=dict(heads)
        )
        return found

    def asked(self, name: str) -> tuple[str, Rules]:
        """(commit of the target branch, what it asks of merge requests); `name` is what to call a site without a name."""
        target, _ = self.fetch()
        return target, ci.rules(self.source(target), name)

    def source(self, commit: str) -> ci.Source:
        return ci.Source(self.repository, commit, self.path)

    def tidy(self, requests: Sequence[OpenRequest]) -> None:
        """Forget every head but those of `requests`."""
        with suppress(errors.Terminal):  # there is no clone yet, or a broken one, which the next fetch replaces
            history.forget(self.repository, (*_HEADS, _KEPT), [request.ref for request in requests])

    def close(self) -> None:
        self._poller.close()

    def _child(self, function: str, target: str, answers: type, **more: Any) -> Any:
        argument = {"repository": str(self.repository.absolute()), "path": self.path, "target": target, **more}
        # History is followed object by object, so the clone stays open to be read while it works.
        wall = walls.Wall(tuple(map(str, content.repository_places(self.repository.absolute()))), sealed=False)
        return run.python(
            f"reconciler.fleet.reviews.clone:{function}", argument, limits=_LIMITS, answers=answers, wall=wall
        )

    def _signature(self, head: str) -> Reason | None:
        rules = trust.SignaturePolicy(
            self.rules.signatures, allowed_signers=self.rules.allowed_signers, gpg_keys=self.rules.gpg_keys
        )
        try:
            trust.verify(self.repository, head, rules)
        except errors.ReconcilerError as error:
            return error.reason
        return None


# --- the child's side -----------------------------------------------------------------------------------------------


def look_child(argument: Mapping[str, Any]) -> list[Any]:
    """`Clone.look` as JSON → all of `Seen` but the signature."""
    repository, target, path = Path(argument["repository"]), argument["target"], argument["path"]
    head = argument["head"]
    base, others, *_ = *history.merge_bases(repository, target, head), "", ""
    found = replay.Unclear()
    if argument["merges"] and base and not others:
        found = replay.unclear(repository, base, head, target, path)
    has_site, into = bool(base and _site(repository, base, path)), _into(repository, target, path, found)
    return [base, others, has_site, into, _shown(found.moved), _shown(found.alone)]


def bases_child(argument: Mapping[str, Any]) -> dict[str, list[str]]:
    """`Clone.bases` as JSON → head → [merge base, what it is merged into]; "" where there is no base, or several."""
    repository, target, path = Path(argument["repository"]), argument["target"], argument["path"]
    found: dict[str, list[str]] = {}
    began = time.process_time()
    for head, merges in argument["heads"].items():
        with suppress(errors.Terminal):
            bases = history.merge_bases(repository, target, head)
            unclear = replay.Unclear()
            if merges and len(bases) == 1:
                if time.process_time() - began > _SETTLING:
                    continue
                unclear = replay.unclear(repository, bases[0], head, target, path)
            found[head] = [bases[0] if len(bases) == 1 else "", _into(repository, target, path, unclear)]
    return found


def _shown(names: Sequence[str]) -> list[str]:
    return [printable(name, limit=_LONGEST) for name in names[:_MOST_NAMES]]


def _into(repository: Path, target: str, path: str, found: replay.Unclear) -> str:
    """What a head is merged into."""
    site = _site(repository, target, path)
    names = "\0".join(found.moved).encode(errors="surrogateescape")
    return f"{site} {hashlib.sha256(names).hexdigest()[:16]}" if names else site


def _site(repository: Path, commit: str, path: str) -> str:
    """What the site's folder is in a commit: the same for the same content; "" where it has none."""
    try:
        return tree.folder(repository, commit, path) or ""
    except errors.SiteInvalid:
        return commit  # planning says what is wrong with it
