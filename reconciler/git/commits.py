"""What a commit's bytes say, parsed strictly by our own code. Pure: reading the bytes is `objects`' work, or that of `clone`'s child.

Reason raised, as errors.Terminal: CommitMalformed.
"""

import codecs
import contextlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from reconciler import errors
from reconciler.reasons import Reason
from reconciler.text import printable

_IDENTITY = re.compile(rb"[^\0\n<>]*<[^\0\n<>]*> \d{1,12} [+-]\d{4}\Z")
_HEADER = re.compile(rb"[a-zA-Z][a-zA-Z0-9:-]*\Z")
# What Python calls encodings, and no commit is written in: spellings of names and of programs. The first takes a minute for what is long.
_NO_CHARACTERS = frozenset(
    ("punycode", "idna", "unicode-escape", "unicode_escape", "raw-unicode-escape", "raw_unicode_escape")
)
_NAME, _SUBJECT, _BODY = 200, 1000, 100_000  # characters of a commit's texts


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


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """Who committed what, when. `committed_at` is in UTC; `subject` is the message's first line, `body` the rest.

    All texts are printable, whatever the commit holds.
    """

    id: str
    parents: tuple[str, ...]
    author: str
    author_email: str
    committed_at: datetime
    subject: str
    body: str


def parse(oid: str, data: bytes) -> RawCommit:
    """The bytes of a commit object: `tree`, `parent`*, `author`, `committer`, then others, once each except `mergetag`.

    Raises errors.Terminal (CommitMalformed).
    """
    try:
        headers, message = _parse_headers(data)
        _check_headers([(name, value) for name, value in headers])
    except ValueError as error:
        raise errors.Terminal(
            f"commit {oid} is malformed: {error} (make a new commit with git itself)", reason=Reason.CommitMalformed
        ) from None
    return RawCommit(oid, data, tuple(headers), message)


def info(raw: RawCommit) -> CommitInfo:
    """Author, committer's time and message. Raises errors.Terminal (CommitMalformed)."""
    name, _, rest = raw.values("author")[0].partition(b"<")
    seconds = int(raw.values("committer")[0].rsplit(b" ", 2)[1])
    try:
        committed_at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise errors.Terminal(
            f"commit {raw.oid} is malformed: its time {seconds} is no date (make a new commit)",
            reason=Reason.CommitMalformed,
        ) from None
    encoding = (raw.values("encoding") or [b"utf-8"])[0].decode("ascii", "replace")
    with contextlib.suppress(LookupError, ValueError):
        encoding = "utf-8" if codecs.lookup(encoding).name in _NO_CHARACTERS else encoding

    def text(data: bytes, limit: int, keep_newlines: bool = False) -> str:
        try:
            decoded = data.decode(encoding, "replace")
        except (LookupError, ValueError):  # no encoding of texts, or one that cannot replace what it cannot read
            decoded = data.decode("utf-8", "replace")
        return printable(decoded.strip(), keep_newlines=keep_newlines, limit=limit)

    subject, _, body = raw.message.lstrip(b"\n").partition(b"\n")
    author, email = text(name, _NAME), text(rest.partition(b">")[0], _NAME)
    return CommitInfo(
        raw.oid, raw.parents, author, email, committed_at, text(subject, _SUBJECT), text(body, _BODY, True)
    )


def _parse_headers(data: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    head, separator, message = data.partition(b"\n\n")
    if not separator:
        # git writes an empty message as a head that ends with one newline.
        if not data.endswith(b"\n"):
            raise ValueError("its headers do not end")
        head = data[:-1]
    headers: list[tuple[str, list[bytes]]] = []
    for line in head.split(b"\n"):
        if line.startswith(b" "):
            if not headers:
                raise ValueError("its first line continues nothing")
            headers[-1][1].append(line[1:])
            continue
        word, space, value = line.partition(b" ")
        if not space or not _HEADER.match(word) or b"\0" in value:
            raise ValueError(f"header line {line[:40]!r} is not `name value`")
        headers.append((word.decode(), [value]))
    return [(name, b"\n".join(lines)) for name, lines in headers], message


def _check_headers(headers: Sequence[tuple[str, bytes]]) -> None:
    names = [name for name, _ in headers]
    parents = names.count("parent")
    expected = ["tree", *["parent"] * parents, "author", "committer"]
    if names[: len(expected)] != expected:
        raise ValueError("its headers do not begin with tree, parent, author, committer, in this order and once each")
    rest = Counter(name for name in names[len(expected) :] if name != "mergetag")
    once = frozenset(expected)
    twice = sorted(name for name, times in rest.items() if times > 1 or name in once)
    if twice:
        raise ValueError(f"header {twice[0][:40]!r} occurs more than once")
    for name, value in headers[: len(expected)]:
        if name in ("tree", "parent") and not re.fullmatch(rb"[0-9a-f]{40}", value):
            raise ValueError(f"header {name!r} is not an object id")
        if name in ("author", "committer") and not _IDENTITY.match(value):
            raise ValueError(f"header {name!r} is not `name <address> seconds zone`")
