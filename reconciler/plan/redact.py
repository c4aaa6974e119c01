"""Diffs of files that never show a secret, whatever is on the disk.

Desired text holds tokens, so it can be shown as it is. What is on the disk may hold a secret of today, of last
month, or one pasted by hand, and nobody can tell which. So a line of a file that uses secrets is shown only when it is known
to be harmless: it stands in the desired text or in the text of the last good revision. Of any other line only the key is shown.
"""

import difflib
import re
from collections.abc import Mapping

from reconciler.model import File

HIDDEN = "<hidden>"
_KEY = re.compile(rb"^(\s*[\w.\-]+\s*[=:]\s*)")


def file_diff(file: File, wanted: bytes, found: bytes | None, previous: File | None) -> str:
    """A unified diff from what is on the disk to what should be, both redacted; "" when the texts look the same.

    `wanted` is the content with secrets, as it will be written; `found` what the disk has, None when there is no file;
    `previous` the file as of the last good revision.
    """
    if found is None:
        before: list[str] = []
    elif file.secrets or (previous and previous.secrets):
        before = _redacted(found, _harmless(file, wanted, previous))
    else:
        before = found.decode(errors="replace").splitlines()
    after = file.content.splitlines()
    lines = difflib.unified_diff(before, after, f"a/{file.path}", f"b/{file.path}", lineterm="", n=2)
    return "\n".join(_clip(line) for line in lines)


def _harmless(file: File, wanted: bytes, previous: File | None) -> Mapping[bytes, str]:
    """Line on the disk → line to show."""
    known: dict[bytes, str] = {}
    for text in ([previous.content] if previous else []) + [file.content]:
        known.update({line.encode(): line for line in text.splitlines() if "<<" not in line})
    tokens = file.content.splitlines()
    values = wanted.splitlines()
    if len(tokens) == len(values):  # a secret of several lines shifts the rest; those lines then stay hidden
        known.update(zip(values, tokens, strict=True))
    return known


def _redacted(found: bytes, known: Mapping[bytes, str]) -> list[str]:
    lines = []
    for line in found.splitlines():
        shown = known.get(line)
        if shown is None:
            key = _KEY.match(line)
            shown = (key[1].decode(errors="replace") if key else "") + HIDDEN
        lines.append(shown)
    return lines


def _clip(line: str, width: int = 400) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"
