"""How commits of a clone hang together, and which of its refs stay."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pygit2
from pygit2.enums import SortMode

from reconciler import errors
from reconciler.git import objects
from reconciler.git.remote import matches
from reconciler.reasons import Reason

_MOST = 20_000  # commits that one side has and the other has not


def merge_bases(repository: Path, one: str, other: str) -> list[str]:
    """The last commits that two commits (40 hex digits) have in common: none, one, or the first two of several. Of several, as two branches
    have that were merged crosswise, none says alone what merging them changes.

    Raises errors.Terminal (RevisionUnknown) when either is not in the clone, GitObjectCorrupt when history is missing, LimitExceeded.
    """
    with objects.opened(repository) as repo:
        for oid in (one, other):
            if pygit2.Oid(hex=oid) not in repo.odb:
                raise errors.Terminal(f"commit {oid} is not in {repository} (fetch it)", reason=Reason.RevisionUnknown)
            objects.read_object(repo, oid, "commit", limit=objects.MAX_COMMIT_BYTES)
        try:
            best = repo.merge_base(one, other)
            if best is None:
                return []
            return [str(best), *(str(found) for found in (_beside(repo, best, one, other),) if found)]
        except (pygit2.GitError, KeyError, ValueError) as error:
            raise objects.corrupt(repo, other, f"has a history that cannot be read: {error}") from None


def _beside(repo: pygit2.Repository, best: pygit2.Oid, one: str, other: str) -> pygit2.Oid | None:
    """A commit that two commits have in common and a common ancestor of theirs has not."""
    sides = []
    for tip in (one, other):
        # By time alone, as commits say it: what is hidden may come all the same, and nothing that is not.
        walk = repo.walk(tip)
        walk.hide(best)
        sides.append({commit.id for commit in itertools.islice(walk, _MOST + 1)})
        if len(sides[-1]) > _MOST:
            raise errors.Terminal(
                f"more than {_MOST} commits lie between {best} and {tip}: too many to be looked through (begin it anew from the target branch)",
                reason=Reason.LimitExceeded,
            )
    found = sides[0] & sides[1] - {best}
    return next((oid for oid in sorted(found, key=str) if not repo.descendant_of(best, oid)), None)


def beyond(repo: pygit2.Repository, tip: str, other: str) -> list[str]:
    """The commits that `tip` has and `other` has not, each after its parents; where times are made up, some that both have as well. For
    tips whose `merge_bases` are known, for that bounds how many there are. Raises errors.Terminal (GitObjectCorrupt)."""
    try:
        walk = repo.walk(tip, SortMode.TOPOLOGICAL | SortMode.REVERSE)
        walk.hide(other)
        return [str(commit.id) for commit in walk]
    except (pygit2.GitError, KeyError, ValueError) as error:
        raise objects.corrupt(repo, tip, f"has a history that cannot be read: {error}") from None


def forget(repository: Path, below: Sequence[str], keep: Sequence[str]) -> int:
    """Delete the refs at or below the names `below`, but for those in `keep`; returns how many.

    Raises errors.Terminal (RepositoryUnusable).
    """
    with objects.opened(repository) as repo:
        try:
            gone = [name for name in repo.references if matches(name, below) and name not in keep]
            for name in gone:
                repo.references.delete(name)
        except (pygit2.GitError, KeyError, ValueError, OSError) as error:
            raise errors.Terminal(
                f"the refs of {repository} cannot be changed: {error}", reason=Reason.RepositoryUnusable
            ) from None
    return len(gone)
