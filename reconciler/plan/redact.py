"""Diffs of files that never show a secret, whatever is on the disk.

Desired text holds tokens, so it can be shown as it is. What is on the disk may hold a secret of today, of last
month, of an apply that was never completed, or one of whoever wrote it before, and nobody can tell which. So a line is shown only
when it is known to be harmless: a text without secrets has it, the desired one or that of the last good revision. Of any other line
only the key is shown, and that too only when such a text has it; of what is no text only its size, because a digest gives a short secret
away. Whole files are shown when all that this node ever wrote
there since it first wrote the whole of it had no secret: then what differs was typed by somebody.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from reconciler.model import File
from reconciler.text import cut, decoded, described

_WIDE = 400  # characters of one line
HIDDEN = "<hidden>"
_CONTEXT = 2  # lines around a change
_MOST = 4_000_000  # lines that differ on the one side, times those on the other
_HUNK = re.compile(r"^@@ -(\d+)((?:,\d+)?) \+(\d+)((?:,\d+)?) @@$")
_KEY = re.compile(rb"^(\s*[\w.\-]+\s*[=:]\s*)")


def file_diff(file: File, wanted: bytes, found: bytes | None, previous: File | None, *, plain: bool = False) -> str:
    """A unified diff from what is on the disk to what should be, both redacted; "" when the texts look the same.

    `wanted` is the content with secrets, as it will be written; `found` what the disk has, None when there is no file;
    `previous` the file as of the last good revision; `plain` says that no secret was ever written to what is there.
    """
    without = plain and not file.secrets and not (previous and previous.secrets)
    if found is None:
        before: list[str] = []
    elif (text := decoded(found)) is None:
        ours = any(one.encoding and one.data == found for one in (file, previous) if one)
        before = [described(found, "" if without or ours else HIDDEN)]
    elif without:
        before = text.splitlines()
    else:
        before = _redacted(found, _harmless(file, wanted, previous), _keys(file, previous))
    return _shown(before, file.shown.splitlines(), file.path)


def text_diff(before: str, after: str, path: str) -> str:
    """The same of two texts that hold no secret for certain."""
    return _shown(before.splitlines(), after.splitlines(), path)


def _shown(before: Sequence[str], after: Sequence[str], path: str) -> str:
    return "\n".join(cut(line, _WIDE) for line in _unified(before, after, path))


def _unified(before: Sequence[str], after: Sequence[str], path: str) -> Iterable[str]:
    """A unified diff with two lines of context. Of what differs too much to be compared line by line only how much."""
    start = _same(before, after)
    end = _same(before[start:][::-1], after[start:][::-1])
    differing = (len(before) - start - end, len(after) - start - end)
    if differing[0] * differing[1] > _MOST:  # comparing takes time in proportion to this
        old, new = Counter(before), Counter(after)
        words = f"{(old - new).total()} lines go and {(new - old).total()} come"
        return (f"--- a/{path}", f"+++ b/{path}", f"too large to compare: {words}, of {len(before)} and {len(after)}")
    skipped = max(start - _CONTEXT, 0)
    stop = max(end - _CONTEXT, 0)
    lines = difflib.unified_diff(
        before[skipped : len(before) - stop],
        after[skipped : len(after) - stop],
        f"a/{path}",
        f"b/{path}",
        lineterm="",
        n=_CONTEXT,
    )
    return (_HUNK.sub(lambda found: _moved(found, skipped), line) if skipped else line for line in lines)


def _same(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines at the beginning are the same."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _moved(found: re.Match[str], lines: int) -> str:
    return f"@@ -{int(found[1]) + lines}{found[2]} +{int(found[3]) + lines}{found[4]} @@"


def _harmless(file: File, wanted: bytes, previous: File | None) -> Mapping[bytes, str]:
    """Line on the disk → line to show."""
    known: dict[bytes, str] = {}
    for text in _texts(file, previous):
        known.update({line.encode(): line for line in text.splitlines() if "<<" not in line})
    tokens = file.content.splitlines()
    values = wanted.splitlines()
    if not file.encoding and len(tokens) == len(
        values
    ):  # a secret of several lines shifts the rest; those lines then stay hidden
        known.update(zip(values, tokens, strict=True))
    return known


def _texts(file: File, previous: File | None) -> list[str]:
    return [one.content for one in (previous, file) if one and not one.encoding]


def _keys(file: File, previous: File | None) -> frozenset[bytes]:
    """What stands before the values in texts that are known: a secret of several lines may look like a key, too."""
    return frozenset(
        key[1].strip()
        for text in _texts(file, previous)
        for line in text.splitlines()
        if (key := _KEY.match(line.encode()))
    )


def _redacted(found: bytes, known: Mapping[bytes, str], keys: frozenset[bytes]) -> list[str]:
    lines = []
    for line in found.splitlines():
        shown = known.get(line)
        if shown is None:
            key = _KEY.match(line)
            named = key is not None and key[1].strip() in keys
            shown = (key[1].decode() if key is not None and named else "") + HIDDEN
        lines.append(shown)
    return lines
