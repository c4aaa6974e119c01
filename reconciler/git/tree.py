"""A commit's files, read as data from the object store: no checkout, nothing followed, everything bounded.

`read` walks the raw tree objects and refuses whatever a checkout would have to be careful with; `worktree` gives the
same result for a plain directory, with the same refusals. All refusals of one tree are reported together as
errors.SiteInvalid. Other reasons raised: SitePathMissing, RevisionUnknown, and those of `objects`.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pygit2

from reconciler import errors
from reconciler.git import commits, objects
from reconciler.git.commits import CommitInfo
from reconciler.git.objects import Entry
from reconciler.git.reading import Budget, Exhausted, Reading, mode_problem, name_problem
from reconciler.reasons import Reason


def read(repository: Path, commit: str, path: str = "", budget: Budget | None = None) -> dict[str, bytes]:
    """The files under `path` of a commit (40 hex digits): POSIX path relative to `path` → content, sorted by path.

    Raises errors.SiteInvalid with every refused entry, errors.Terminal (SitePathMissing, GitObjectCorrupt,
    CommitMalformed, RepositoryUnusable).
    """
    with objects.opened(repository) as repo:
        return _read(repo, commit, path, budget or Budget())


def read_store(folder: Path, commit: str, path: str = "", budget: Budget | None = None) -> dict[str, bytes]:
    """As `read`, from an object store (a repository's `objects`) and nothing else of the repository."""
    with objects.store(folder) as repo:
        return _read(repo, commit, path, budget or Budget())


def _read(repo: pygit2.Repository, commit: str, path: str, budget: Budget) -> dict[str, bytes]:
    reading = Reading(budget)
    with contextlib.suppress(Exhausted):
        tree = _descend(repo, objects.read_commit(repo, commit).tree, _segments(path), commit)
        _walk(repo, tree, "", 0, reading)
    return reading.result()


def folder(repository: Path, commit: str, path: str) -> str | None:
    """The id of a commit's directory `path`, the same for the same content; None: it has none. Raises as `read`, but for SitePathMissing."""
    try:
        with objects.opened(repository) as repo:
            return _descend(repo, objects.read_commit(repo, commit).tree, _segments(path), commit)
    except errors.Terminal as error:
        if error.reason == Reason.SitePathMissing:
            return None
        raise


def _walk(repo: pygit2.Repository, tree: str, prefix: str, depth: int, reading: Reading) -> None:
    for entry, name in _checked(repo, tree, prefix, reading):
        path = f"{prefix}{name}"
        reading.count_entry(path)
        kind, size = objects.header(repo, entry.oid)
        if kind != ("tree" if entry.is_tree else "blob"):
            reading.refuse(path, f"mode {entry.mode.decode()} names a {kind} object", "rewrite the tree with git")
        elif entry.is_tree:
            if reading.enter(path, depth + 1):
                _walk(repo, entry.oid, f"{path}/", depth + 1, reading)
        elif reading.may_read(path, size):
            reading.files[path] = objects.read_object(repo, entry.oid, "blob")


def _checked(repo: pygit2.Repository, tree: str, prefix: str, reading: Reading) -> Iterator[tuple[Entry, str]]:
    """The acceptable entries of one tree object with their decoded names; what is not acceptable becomes a problem."""
    entries = _rows(repo, tree, prefix, reading)
    seen: set[bytes] = set()
    previous = b""
    for entry in entries:
        shown = prefix + entry.name.decode(errors="backslashreplace")
        key = entry.name + (b"/" if entry.is_tree else b"")
        if entry.name in seen:
            reading.refuse(shown, "the name occurs more than once in its directory", "rewrite the tree with git")
            continue
        if previous and key < previous:
            reading.refuse(shown, "the tree's entries are not in git's order", "rewrite the tree with git")
        seen.add(entry.name)
        previous = key
        problem = name_problem(entry.name, reading.budget) or mode_problem(entry.mode)
        if problem:
            reading.refuse(shown, *problem)
            continue
        yield entry, entry.name.decode()


def _rows(repo: pygit2.Repository, tree: str, prefix: str, reading: Reading) -> list[Entry]:
    size = objects.header(repo, tree)[1]
    if size > objects.MAX_TREE_BYTES:
        reading.refuse(
            prefix.rstrip("/"), f"the directory's list has {size} bytes; {objects.MAX_TREE_BYTES} are the limit"
        )
        return []
    try:
        return objects.parse_tree(objects.read_object(repo, tree, "tree"))
    except ValueError as error:
        reading.refuse(prefix.rstrip("/"), str(error), "rewrite the tree with git")
        return []


def _segments(path: str) -> list[str]:
    """The components of a site's path inside its repository, as settings give it."""
    return [part for part in path.split("/") if part not in ("", ".")]


def _descend(repo: pygit2.Repository, tree: str, segments: list[str], commit: str) -> str:
    """The id of the tree at `segments` below `tree`. Only the trees on the way are looked at, and strictly."""
    for index, segment in enumerate(segments):
        reading = Reading(Budget())
        where = "/".join(segments[:index])
        matches = [entry for entry in _rows(repo, tree, where, reading) if entry.name == segment.encode()]
        if len(matches) > 1:
            reading.refuse("/".join(segments[: index + 1]), "the name occurs more than once in its directory")
        reading.result()
        if not matches or not matches[0].is_tree:
            raise errors.Terminal(
                f"commit {commit[:12]} has no directory {'/'.join(segments)!r}: {segment!r} is not "
                f"{'a directory' if matches else 'there'} in {where or 'the top directory'} (correct the site's path in the settings)",
                reason=Reason.SitePathMissing,
            )
        tree = matches[0].oid
    return tree


# --- commits --------------------------------------------------------------------------------------------------------


def commit_info(repository: Path, commit: str) -> CommitInfo:
    """Author, committer's time and message of a commit. Raises errors.Terminal (GitObjectCorrupt, CommitMalformed)."""
    with objects.opened(repository) as repo:
        return commits.info(objects.read_commit(repo, commit))


def resolve(repository: Path, revision: str) -> str:
    """The commit id (40 hex digits) that a revision (id, abbreviation, branch, `HEAD~1` …) names.

    Raises errors.Terminal (RevisionUnknown).
    """
    try:
        with objects.opened(repository) as repo:
            return str(repo.revparse_single(revision).peel(pygit2.Commit).id)
    except (KeyError, ValueError, pygit2.GitError) as error:
        why = "" if isinstance(error, KeyError) else f": {error}"  # a KeyError only says the name again
        raise errors.Terminal(
            f"{revision!r} names no commit in {repository}{why} (give a commit id, or a branch that was fetched)",
            reason=Reason.RevisionUnknown,
        ) from None


def is_ancestor(repository: Path, ancestor: str, descendant: str) -> bool:
    """Whether `ancestor` is reachable from `descendant` (a commit is its own ancestor). Both are 40-hex commit ids.

    Raises errors.Terminal (RevisionUnknown) when either is not in the repository, GitObjectCorrupt when history is missing.
    """
    with objects.opened(repository) as repo:
        return descends(repo, ancestor, descendant, repository)


def descends(repo: pygit2.Repository, ancestor: str, descendant: str, name: Path) -> bool:
    """As `is_ancestor`, in a repository that is open; `name` is how errors call it."""
    for oid in (ancestor, descendant):
        if not re.fullmatch(r"[0-9a-f]{40}", oid) or pygit2.Oid(hex=oid) not in repo.odb:
            raise errors.Terminal(
                f"commit {oid} is not in {name} (fetch it, or correct the id)", reason=Reason.RevisionUnknown
            )
        objects.read_object(repo, oid, "commit", limit=objects.MAX_COMMIT_BYTES)
    if ancestor == descendant:
        return True
    try:
        return bool(repo.descendant_of(descendant, ancestor))
    except (pygit2.GitError, KeyError, ValueError) as error:
        raise objects.corrupt(repo, descendant, f"has a history that cannot be read: {error}") from None
