"""A commit's files, read as data from the object store: no checkout, nothing followed, everything bounded.

`read` walks the raw tree objects and refuses whatever a checkout would have to be careful with; `read_worktree` gives the
same result for a plain directory, with the same refusals. All refusals of one tree are reported together as
errors.SiteInvalid. Other reasons raised: SitePathMissing, RevisionUnknown, and those of `objects`.
"""

import contextlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pygit2

from reconciler import errors
from reconciler.git import commits, content, objects
from reconciler.git.commits import CommitInfo
from reconciler.git.objects import Entry
from reconciler.reasons import Reason
from reconciler.text import printable

_FILE_MODES = (b"100644", b"100755")
# Code points that HFS+ leaves out when it compares names: `.g<U+200C>it` is `.git` there (git's own list).
_HFS_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])


@dataclass(frozen=True, slots=True)
class Budget:
    """What one site may hold: entries (files and directories), bytes in all and per file, directory depth, bytes of a name."""

    files: int = 20_000
    bytes: int = 64 << 20
    file_bytes: int = 4 << 20
    depth: int = 16
    name_bytes: int = 255


class _Exhausted(Exception):
    """The budget is used up: what was found so far is reported, the rest is not looked at."""


@dataclass(slots=True)
class _Reading:
    """One walk: what was read, what is left of the budget, what is wrong."""

    budget: Budget
    files: dict[str, bytes] = field(default_factory=dict)
    problems: list[errors.Problem] = field(default_factory=list)
    entries: int = 0
    size: int = 0

    def refuse(self, path: str, message: str, hint: str = "") -> None:
        self.problems.append(errors.Problem(path or ".", 0, 0, message, hint))
        if len(self.problems) >= errors.MAX_PROBLEMS:
            raise _Exhausted

    def count_entry(self, path: str) -> None:
        self.entries += 1
        if self.entries > self.budget.files:
            self.refuse(path, f"the site has more than {self.budget.files} files and directories", "split the site")
            raise _Exhausted

    def may_read(self, path: str, size: int) -> bool:
        """Whether a file of `size` bytes fits; a total that does not fit ends the walk."""
        if size > self.budget.file_bytes:
            self.refuse(
                path, f"the file has {size} bytes; {self.budget.file_bytes} are the limit", "keep it out of Git"
            )
            return False
        self.size += size
        if self.size > self.budget.bytes:
            self.refuse(path, f"the site has more than {self.budget.bytes} bytes", "keep large files out of Git")
            raise _Exhausted
        return True

    def enter(self, path: str, depth: int) -> bool:
        if depth > self.budget.depth:
            self.refuse(path, f"directories are nested more than {self.budget.depth} deep")
            return False
        return True

    def result(self) -> dict[str, bytes]:
        with contextlib.suppress(_Exhausted):
            self._tell_apart()
        if self.problems:
            raise errors.SiteInvalid(self.problems)
        return dict(sorted(self.files.items()))

    def _tell_apart(self) -> None:
        """Refuse paths that are one and the same where case, or how an accent is written, does not count."""
        seen: dict[str, str] = {}
        for path in sorted(self.files):
            first = seen.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
            if first != path:
                self.refuse(path, f"its name and {first!r} differ in case or accents only", "rename one of them")


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


def read_source(source: content.Given) -> dict[str, bytes]:
    """The files of a source (`content`). Raises as `read` and `read_worktree`."""
    if not source["commit"]:
        return read_worktree(Path(source["repository"], source["path"]))
    return read_store(content.store(Path(source["repository"])), source["commit"], source["path"])


def _read(repo: pygit2.Repository, commit: str, path: str, budget: Budget) -> dict[str, bytes]:
    reading = _Reading(budget)
    with contextlib.suppress(_Exhausted):
        tree = _descend(repo, objects.read_commit(repo, commit).tree, _segments(path), commit)
        _walk(repo, tree, "", 0, reading)
    return reading.result()


def has_folder(repository: Path, commit: str, path: str) -> bool:
    """Whether a commit has a directory `path`. Raises as `read`, but for SitePathMissing."""
    try:
        with objects.opened(repository) as repo:
            _descend(repo, objects.read_commit(repo, commit).tree, _segments(path), commit)
    except errors.Terminal as error:
        if error.reason == Reason.SitePathMissing:
            return False
        raise
    return True


def _walk(repo: pygit2.Repository, tree: str, prefix: str, depth: int, reading: _Reading) -> None:
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


def _checked(repo: pygit2.Repository, tree: str, prefix: str, reading: _Reading) -> Iterator[tuple[Entry, str]]:
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
        problem = _name_problem(entry.name, reading.budget) or _mode_problem(entry.mode)
        if problem:
            reading.refuse(shown, *problem)
            continue
        yield entry, entry.name.decode()


def _rows(repo: pygit2.Repository, tree: str, prefix: str, reading: _Reading) -> list[Entry]:
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


def _mode_problem(mode: bytes) -> tuple[str, str] | None:
    if mode == b"40000" or mode in _FILE_MODES:
        return None
    if mode == b"120000":
        return "symbolic links are not followed and not allowed", "copy the file"
    if mode == b"160000":
        return "submodules are not allowed", "copy the files into the repository"
    return (
        f"mode {mode.decode(errors='backslashreplace')!r} is none of git's for a file or directory",
        "rewrite the tree with git",
    )


def _name_problem(name: bytes, budget: Budget) -> tuple[str, str] | None:
    """What is wrong with one path component, or None."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return "the name is not UTF-8", "rename it"
    if not text or text in (".", ".."):
        return f"{text!r} is not a name", "rewrite the tree with git"
    if len(name) > budget.name_bytes:
        return f"the name has {len(name)} bytes; {budget.name_bytes} are the limit", "rename it"
    if "/" in text or "\\" in text:
        return "the name contains a slash or backslash", "rename it"
    folded = text.translate(_HFS_IGNORED).casefold()
    if folded == ".git" or folded.split(":")[0].rstrip(" .") in (".git", "git~1"):
        return "the name stands for git's own directory on some systems", "rename it"
    if printable(text) != text:
        return "the name contains a character that cannot be seen", "rename it"
    return None


def _segments(path: str) -> list[str]:
    """The components of a site's path inside its repository, as settings give it."""
    return [part for part in path.split("/") if part not in ("", ".")]


def _descend(repo: pygit2.Repository, tree: str, segments: list[str], commit: str) -> str:
    """The id of the tree at `segments` below `tree`. Only the trees on the way are looked at, and strictly."""
    for index, segment in enumerate(segments):
        reading = _Reading(Budget())
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


# --- a plain directory ----------------------------------------------------------------------------------------------


def read_worktree(directory: Path, budget: Budget | None = None) -> dict[str, bytes]:
    """The files of a directory as `read` gives those of a commit; `.git` at its top is left out, nothing else is.

    Raises errors.SiteInvalid with every refused entry, errors.Terminal (SitePathMissing) when there is no such directory.
    """
    reading = _Reading(budget or Budget())
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise errors.Terminal(
            f"cannot read the site directory {directory}: {error.strerror} (give the directory that holds inventory.yml)",
            reason=Reason.SitePathMissing,
        ) from None
    try:
        _walk_directory(descriptor, "", 0, reading)
    except _Exhausted:
        pass
    finally:
        os.close(descriptor)
    return reading.result()


def _walk_directory(descriptor: int, prefix: str, depth: int, reading: _Reading) -> None:
    for name in sorted(os.fsencode(name) for name in os.listdir(descriptor)):
        if not prefix and name == b".git":
            continue
        path = prefix + name.decode(errors="backslashreplace")
        problem = _name_problem(name, reading.budget)
        if problem:
            reading.refuse(path, *problem)
            continue
        reading.count_entry(path)
        try:
            _read_entry(descriptor, name.decode(), path, depth, reading)
        except OSError as error:
            reading.refuse(path, f"cannot be read: {error.strerror}", "correct its permissions")


def _read_entry(parent: int, name: str, path: str, depth: int, reading: _Reading) -> None:
    mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        reading.refuse(path, *(_mode_problem(b"120000") or ("", "")))
        return
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        reading.refuse(path, "neither a file nor a directory", "remove it")
        return
    # O_NONBLOCK: should a pipe take the file's place just now, opening it must not wait for a writer.
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    try:
        if stat.S_ISDIR(mode):
            if reading.enter(path, depth + 1):
                _walk_directory(descriptor, f"{path}/", depth + 1, reading)
        elif reading.may_read(path, os.fstat(descriptor).st_size):
            with os.fdopen(os.dup(descriptor), "rb") as stream:
                content = stream.read(reading.budget.file_bytes + 1)
            if len(content) > reading.budget.file_bytes:
                reading.refuse(path, "the file grew over the limit while it was read", "try again")
            reading.files[path] = content
    finally:
        os.close(descriptor)
