"""The one place that makes a text safe to leave the program: for terminals, logs, JSON, XML, HTML, statuses and labels. Pure.

Much of what the program says was written by others: commits, file names, services, registrars, hosts. Whatever cannot be seen,
ends a line, reorders letters or steers a terminal becomes an escape that can be seen, in Python's spelling: `\\x1b`, `\\n`,
`\\u202e`. Nothing is dropped, so two texts that differ do not become the same picture. A backslash stays one backslash:
making a text safe twice is making it safe once.

What goes into markup (HTML, XML, Markdown) is made printable here first, and quoted for that markup by its own writer.
"""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

# Characters that are drawn as nothing though `str.isprintable` lets them pass: fillers, blanks, joiners, variation selectors.
_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SPACES: Final = "Zs"  # a no-break space is drawn as what it is
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_NAMED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, *, keep_newlines: bool = False, limit: int | None = None) -> str:
    """`text` as one line that can be shown anywhere, of at most `limit` characters (the last one is then "…").

    With `keep_newlines`, line ends (`\\n`) and tabs stay; a carriage return never does. The result can be encoded as UTF-8,
    and holds nothing that XML 1.0 forbids. What becomes an escape: controls (C0, DEL, C1), lone surrogates, format characters
    (bidirectional, zero-width, byte order mark), line and paragraph separators, private, unassigned and invisible characters.
    """
    # An escape is never shorter than its character: what lies beyond the limit need not be looked at.
    part = text if limit is None else text[: limit + 1]
    if not (part.isprintable() and (part.isascii() or not _INVISIBLE.search(part))):
        part = part.translate(_BLOCK if keep_newlines else _LINE)
    return part if limit is None else cut(part, limit)


def one_line(text: str, *, limit: int | None = None) -> str:
    """`text` as one printable line in which line ends and runs of blanks are single blanks."""
    return printable(" ".join(text.split()), limit=limit)


def last_line(output: str, *, limit: int = 300) -> str:
    """The last line of what a program said, printable and of at most `limit` characters; "(no output)" where it said nothing."""
    return printable((output.strip().splitlines() or ["(no output)"])[-1], limit=limit)


def cut(text: str, limit: int) -> str:
    """`text` with at most `limit` characters, the last one "…" where it was longer."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def decoded(data: bytes) -> str | None:
    """The text that bytes are in UTF-8; None when they are no text: another encoding, or a zero byte in it."""
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def described(data: bytes, digest: str = "") -> str:
    """What is said of bytes that are no text: `binary, 12.3 MiB, sha256 …`; `digest` stands in for that of the bytes."""
    size, unit = float(len(data)), "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    exact = f"{size:.0f}" if unit == "bytes" else f"{size:.1f}"
    return f"binary, {exact} {unit}, sha256 {digest or hashlib.sha256(data).hexdigest()}"


def encodable(text: str) -> bool:
    """Whether a text can be written as UTF-8: a lone surrogate (`"\\ud800"` in YAML or JSON) cannot."""
    return text.isascii() or not _SURROGATES.search(text)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Plain JSON values as JSON that can be written anywhere: what is not printable becomes JSON's own escape.

    A reader gets the very texts back, except for lone surrogates, which no UTF-8 can hold: they come back as `\\ud800` written
    out. Numbers that JSON does not have (NaN, infinity) become their names, and any other object its `str`. Without `indent`
    the result is one line.
    """
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False, default=str)
    except (ValueError, TypeError):
        text = json.dumps(_plain(value), indent=indent, ensure_ascii=False, default=str)
    # Only texts can hold what is not printable: all else is digits, punctuation, and the line ends that indent.
    lines = text.split("\n")
    return "\n".join(line if line.isprintable() and line.isascii() else line.translate(_JSON) for line in lines)


class _Escapes:
    """A table for `str.translate`: code point → what stands for it. Not a dict, so that odd texts leave nothing behind."""

    def __init__(self, kept: str = "", *, as_json: bool = False) -> None:
        self._kept, self._as_json = frozenset(kept), as_json

    def __getitem__(self, code: int) -> str | int:
        char = chr(code)
        if char in self._kept or _visible(char):
            return code
        return _json_escape(code) if self._as_json else _escape(code)


def _visible(char: str) -> bool:
    if char.isprintable():
        return char.isascii() or not _INVISIBLE.match(char)
    return unicodedata.category(char) == _SPACES


def _escape(code: int) -> str:
    named = _NAMED.get(chr(code))
    if named or code <= 0xFF:
        return named or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _json_escape(code: int) -> str:
    if 0xD800 <= code <= 0xDFFF:
        return f"\\\\u{code:04x}"
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _plain(value: Any) -> Any:
    """`value` with names for numbers that JSON does not have, and texts for keys."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


_LINE: Final = _Escapes()
_BLOCK: Final = _Escapes("\n\t")
_JSON: Final = _Escapes(as_json=True)
