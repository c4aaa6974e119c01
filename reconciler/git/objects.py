"""Git objects as bytes: read by id, checked against their id, parsed strictly by our own code.

libgit2 accepts, on fetch and on lookup, trees and commits that git itself would refuse, and two of its ways to look at one
tree can disagree. So only its object store is used (id → bytes); what the bytes mean is decided here, once.

Reasons raised: GitObjectCorrupt (the clone is damaged: fetch it afresh), RepositoryUnusable, and those of `commits`.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import ConfigLevel, ObjectType, RepositoryOpenFlag

from reconciler import errors
from reconciler.git import commits
from reconciler.git.commits import RawCommit
from reconciler.reasons import Reason

_KINDS = {ObjectType.COMMIT: "commit", ObjectType.TREE: "tree", ObjectType.BLOB: "blob", ObjectType.TAG: "tag"}
_OID = re.compile(r"[0-9a-f]{40}\Z")

# What a header or an id could not tell: no object of ours is larger, and a delta bomb must not be inflated to find out.
MAX_COMMIT_BYTES = 1 << 20
MAX_TREE_BYTES = 8 << 20


def isolate() -> None:
    """Make libgit2 ignore the machine's and the user's git configuration, write durably, and open what another user owns.

    Only data is read from a repository and no hook or filter program is run by libgit2, so the owner check, which is
    there for those, would only get in the way of CI checkouts.
    """
    for level in (ConfigLevel.PROGRAMDATA, ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL):
        pygit2.settings.search_path[level] = ""
    pygit2.settings.owner_validation = False
    pygit2.settings.enable_fsync_gitdir(True)


isolate()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[pygit2.Repository]:
    """Open exactly this repository (bare, or a work tree's top; no search in parent directories), and let go of it after.

    libgit2 shares open packs by path within a process, so one that was left open would hide the clone that took its
    place. Raises errors.Terminal (RepositoryUnusable) when there is no repository.
    """
    try:
        repository = pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH)
    except (pygit2.GitError, OSError) as error:
        raise errors.Terminal(
            f"{path} is not a git repository that can be read: {error} (fetch it again)",
            reason=Reason.RepositoryUnusable,
        ) from None
    try:
        yield repository
    finally:
        repository.free()


@contextlib.contextmanager
def store(folder: Path) -> Iterator[pygit2.Repository]:
    """As `opened`, for an object store by itself (a repository's `objects`): no settings of the repository are read, which in
    a CI job's checkout hold a token. Raises errors.Terminal (RepositoryUnusable)."""
    try:
        list(folder.iterdir())
        repository = pygit2.Repository()
        repository.set_odb(pygit2.Odb(str(folder)))
    except (pygit2.GitError, OSError) as error:
        raise errors.Terminal(
            f"{folder.parent} is not a git repository that can be read: {error} (fetch it again)",
            reason=Reason.RepositoryUnusable,
        ) from None
    try:
        yield repository
    finally:
        repository.free()


def corrupt(repository: pygit2.Repository, oid: str, what: str) -> errors.Terminal:
    """The error for an object that is missing or is not what its id says."""
    return errors.Terminal(
        f"git object {oid} in {(repository.path or 'the clone').rstrip('/')} {what} (the clone is damaged: fetch it afresh)",
        reason=Reason.GitObjectCorrupt,
    )


def header(repository: pygit2.Repository, oid: str) -> tuple[str, int]:
    """The kind ("commit", "tree", "blob", "tag") and size in bytes that an object's header declares, content unread.

    Raises errors.Terminal (GitObjectCorrupt).
    """
    try:
        number, size = repository.odb.read_header(pygit2.Oid(hex=oid))
        return _KINDS.get(ObjectType(number), "unknown"), int(size)
    except (pygit2.GitError, KeyError, ValueError, OSError) as error:
        raise corrupt(repository, oid, f"cannot be read: {error}") from None


def read_object(repository: pygit2.Repository, oid: str, kind: str, *, limit: int | None = None) -> bytes:
    """The content of object `oid` (40 hex digits), which must be a `kind` ("commit", "tree", "blob") and match its id.

    Raises errors.Terminal (GitObjectCorrupt) when it is missing, of another kind, altered, or larger than `limit` bytes.
    """
    if not _OID.match(oid):
        raise corrupt(repository, oid, "has no valid id")
    if limit is not None and (size := header(repository, oid)[1]) > limit:
        raise corrupt(repository, oid, f"is a {kind} of {size} bytes where {limit} are the limit")
    try:
        number, data = repository.odb.read(pygit2.Oid(hex=oid))
    except (pygit2.GitError, KeyError, ValueError, OSError) as error:
        raise corrupt(repository, oid, f"cannot be read: {error}") from None
    found = _KINDS.get(ObjectType(number), "unknown")
    if found != kind:
        raise corrupt(repository, oid, f"is a {found}, not a {kind}")
    content = bytes(data)
    actual = hashlib.sha1(b"%s %d\0" % (kind.encode(), len(content)) + content, usedforsecurity=False).hexdigest()
    if actual != oid:
        raise corrupt(repository, oid, f"does not match its id (its content has {actual})")
    return content


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a tree object, nothing about it checked yet: `mode` is the digits as stored."""

    mode: bytes
    name: bytes
    oid: str

    @property
    def is_tree(self) -> bool:
        """Whether the row is a directory."""
        return self.mode == b"40000"


def parse_tree(data: bytes) -> list[Entry]:
    """The rows of a tree object in stored order. Raises ValueError when the bytes are no sequence of rows."""
    entries: list[Entry] = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 8)
        end = data.find(b"\0", space + 1) if space >= 0 else -1
        if space < 0 or end < 0 or end + 21 > len(data):
            raise ValueError(f"not a tree: no complete entry at byte {position}")
        entries.append(Entry(data[position:space], data[space + 1 : end], data[end + 1 : end + 21].hex()))
        position = end + 21
    return entries


def read_commit(repository: pygit2.Repository, oid: str) -> RawCommit:
    """Read and parse a commit. Raises errors.Terminal (GitObjectCorrupt, CommitMalformed)."""
    return commits.parse(oid, read_object(repository, oid, "commit", limit=MAX_COMMIT_BYTES))
