"""The one door through which text of others enters: services, registrars, engines, git servers, programs, peers.

What comes through it holds no secret that this process knows, in any of its usual spellings, and nothing that steers a terminal.
Adapters call `said` on the very text they got, before they cut or fold it: half a secret is not recognised any more. Errors
of the hierarchy and everything that a report is made of call it once more, so that a text which somebody let in elsewhere
does not get out.
"""

from reconciler.secret import known
from reconciler.text import printable


def said(text: str | bytes, *, most: int | None = None, last: int | None = None) -> str:
    """Foreign text as it may be shown: of at most `most` characters from its beginning, or `last` from its end.

    Line ends and tabs stay. Doing it twice is doing it once.
    """
    whole = text.decode(errors="replace") if isinstance(text, bytes) else text
    clean = printable(known()(whole), keep_newlines=True)
    if last is not None:
        return clean[-last:] if last else ""
    return clean if most is None else clean[:most]


def line(text: str | bytes, most: int = 300) -> str:
    """The same on one line, runs of white space folded, of at most `most` characters."""
    return " ".join(said(text).split())[:most]


def whole_lines(content: bytes, most: int) -> bytes:
    """The last `most` bytes, from where a line begins when that cuts something off: the rest of a secret is not recognised."""
    if len(content) < most:
        return content
    tail = content[-most:]
    _, end, rest = tail.partition(b"\n")
    return rest if end else tail
