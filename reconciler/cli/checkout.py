"""Where a site's folder lies in a Git repository, and what to compare its content with."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler import errors
from reconciler.git.content import Source
from reconciler.reasons import Reason

NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Checkout:
    """A work tree: its top, and the site's folder in it ("" when it is the top)."""

    top: Path
    path: str

    def source(self, commit: str) -> Mapping[str, str]:
        """The site at a commit, for the functions of `children`."""
        return Source(self.top, commit, self.path).to_json()


def find(site: Path) -> Checkout | None:
    """The repository around a folder; None when there is none."""
    folder = site.resolve()
    for top in (folder, *folder.parents):
        if (top / ".git").exists():
            return Checkout(top, "" if top == folder else folder.relative_to(top).as_posix())
    return None


def base_of(site: Path, wanted: str | None) -> tuple[Mapping[str, str] | None, str]:
    """What to compare the work tree with: its source (None: nothing) and how to call it.

    Where `wanted` says nothing: the merge request's base as GitLab CI tells it, else HEAD when the work tree differs
    from it, else HEAD's parent, else nothing. Raises errors.Terminal (RevisionUnknown).
    """
    from reconciler.git import tree

    if wanted == NOTHING:
        return None, NOTHING
    checkout = find(site)
    if checkout is None:
        if wanted:
            raise errors.Terminal(
                f"{site} is not in a Git repository, so there is no {wanted!r} (give --base nothing)",
                reason=Reason.RevisionUnknown,
            )
        return None, NOTHING
    if wanted or (wanted := os.environ.get("CI_MERGE_REQUEST_DIFF_BASE_SHA")):
        return _named(checkout, wanted)
    try:
        head = tree.resolve(checkout.top, "HEAD")
    except errors.Terminal:
        return None, NOTHING
    if not _same(checkout, head, site):
        return _named(checkout, head)
    parents = tree.commit_info(checkout.top, head).parents
    return _named(checkout, parents[0]) if parents else (None, NOTHING)


def _named(checkout: Checkout, revision: str) -> tuple[Mapping[str, str] | None, str]:
    from reconciler.git import tree

    commit = tree.resolve(checkout.top, revision)
    try:
        there = tree.folder(checkout.top, commit, checkout.path) is not None
    except errors.SiteInvalid:
        there = True  # the child says what is wrong with it
    return (checkout.source(commit), commit[:12]) if there else (None, f"{commit[:12]}, which has no such folder")


def _same(checkout: Checkout, commit: str, site: Path) -> bool:
    from reconciler.git import tree, worktree

    try:
        return tree.read(checkout.top, commit, checkout.path) == worktree.read(site)
    except errors.ReconcilerError:
        return False
