"""Git objects as bytes: read by id, checked against their id, parsed strictly by our own code.

libgit2 accepts, on fetch and on lookup, trees and commits that git itself would refuse, and two of its ways to look at one
tree can disagree. So only its object store is used (id → bytes); what the bytes mean is decided here, once.

Reasons raised: GitObjectCorrupt (the clone is damaged: fetch it afresh), RepositoryUnusable, CommitMalformed.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import ConfigLevel, ObjectType, RepositoryOpenFlag

from reconciler import errors

_KINDS = {ObjectType.COMMIT: "commit", ObjectType.TREE: "tree", ObjectType.BLOB: "blob", ObjectType.TAG: "tag"}
_OID = re.compile(r"[0-9a-f]{40}\Z")
_IDENTITY = re.compile(rb"[^\0\n<>]*<[^\0\n<>]*> \d{1,12} [+-]\d{4}\Z")
_HEADER = re.compile(rb"[a-zA-Z][a-zA-Z0-9:-]*\Z")

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
            f"{path} is not a git repository that can be read: {error} (fetch it again)", reason="RepositoryUnusable"
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
            reason="RepositoryUnusable",
        ) from None
    try:
        yield repository
    finally:
        repository.free()


def corrupt(repository: pygit2.Repository, oid: str, what: str) -> errors.Terminal:
    """The error for an object that is missing or is not what its id says."""
    return errors.Terminal(
        f"git object {oid} in {(repository.path or 'the clone').rstrip('/')} {what} (the clone is damaged: fetch it afresh)",
        reason="GitObjectCorrupt",
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


@dataclass(frozen=True, slots=True)
class RawCommit:
    """A commit object taken apart. `headers` are all (name, value) rows in order, continuation lines joined with newlines."""

    oid: str
    data: bytes
    headers: tuple[tuple[str, bytes], ...]
    message: bytes

    def values(self, name: str) -> list[bytes]:
        """The values of every header called `name`."""
        return [value for header, value in self.headers if header == name]

    @property
    def tree(self) -> str:
        """The id of the commit's tree."""
        return self.values("tree")[0].decode()

    @property
    def parents(self) -> tuple[str, ...]:
        """The ids of its parents, first parent first."""
        return tuple(value.decode() for value in self.values("parent"))


def read_commit(repository: pygit2.Repository, oid: str) -> RawCommit:
    """Read and parse a commit: `tree`, `parent`*, `author`, `committer`, then others, once each except `mergetag`.

    Raises errors.Terminal (GitObjectCorrupt, CommitMalformed).
    """
    data = read_object(repository, oid, "commit", limit=MAX_COMMIT_BYTES)
    try:
        headers, message = _parse_headers(data)
        _check_headers([(name, value) for name, value in headers])
    except ValueError as error:
        raise errors.Terminal(
            f"commit {oid} is malformed: {error} (make a new commit with git itself)", reason="CommitMalformed"
        ) from None
    return RawCommit(oid, data, tuple(headers), message)


def _parse_headers(data: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    head, separator, message = data.partition(b"\n\n")
    if not separator:
        # git writes an empty message as a head that ends with one newline.
        if not data.endswith(b"\n"):
            raise ValueError("its headers do not end")
        head = data[:-1]
    headers: list[tuple[str, bytes]] = []
    for line in head.split(b"\n"):
        if line.startswith(b" "):
            if not headers:
                raise ValueError("its first line continues nothing")
            name, value = headers[-1]
            headers[-1] = (name, value + b"\n" + line[1:])
            continue
        word, space, value = line.partition(b" ")
        if not space or not _HEADER.match(word) or b"\0" in value:
            raise ValueError(f"header line {line[:40]!r} is not `name value`")
        headers.append((word.decode(), value))
    return headers, message


def _check_headers(headers: Sequence[tuple[str, bytes]]) -> None:
    names = [name for name, _ in headers]
    parents = names.count("parent")
    expected = ["tree", *["parent"] * parents, "author", "committer"]
    if names[: len(expected)] != expected:
        raise ValueError("its headers do not begin with tree, parent, author, committer, in this order and once each")
    rest = [name for name in names[len(expected) :] if name != "mergetag"]
    twice = sorted({name for name in rest if rest.count(name) > 1 or name in expected})
    if twice:
        raise ValueError(f"header {twice[0]!r} occurs more than once")
    for name, value in headers[: len(expected)]:
        if name in ("tree", "parent") and not re.fullmatch(rb"[0-9a-f]{40}", value):
            raise ValueError(f"header {name!r} is not an object id")
        if name in ("author", "committer") and not _IDENTITY.match(value):
            raise ValueError(f"header {name!r} is not `name <address> seconds zone`")
