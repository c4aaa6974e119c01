"""How commits of a clone hang together, and which of its refs stay."""

from collections.abc import Sequence
from pathlib import Path

import pygit2

from reconciler import errors
from reconciler.git import objects
from reconciler.git.remote import matches
from reconciler.reasons import Reason


def merge_base(repository: Path, one: str, other: str) -> str | None:
    """The best common ancestor of two commits (40 hex digits); None when their histories have nothing in common.

    Raises errors.Terminal (RevisionUnknown) when either is not in the clone, GitObjectCorrupt when history is missing.
    """
    with objects.opened(repository) as repo:
        for oid in (one, other):
            if pygit2.Oid(hex=oid) not in repo.odb:
                raise errors.Terminal(f"commit {oid} is not in {repository} (fetch it)", reason=Reason.RevisionUnknown)
            objects.read_object(repo, oid, "commit", limit=objects.MAX_COMMIT_BYTES)
        try:
            found = repo.merge_base(one, other)
        except (pygit2.GitError, KeyError, ValueError) as error:
            raise objects.corrupt(repo, other, f"has a history that cannot be read: {error}") from None
    return str(found) if found else None


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
