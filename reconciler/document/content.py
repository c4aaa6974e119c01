"""What a file of text must not be, whatever its format: something else that got into its place on the way.

A pointer of Git LFS, a web page, the two sides of a merge, UTF-16, bytes that are no text, and characters that cannot be seen
are delivered by tools and editors, not written by anybody. Each is told by its name, because the error of the service that
reads it would not tell. Line ends become LF and a byte order mark at the beginning is dropped, as Ansible's templates do.
"""

import re
from typing import AnyStr, Final

from reconciler.errors import Problem, SiteInvalid

_LFS: Final = b"version https://git-lfs.github.com/spec/"
_LFS_SIZE: Final = 1024  # bytes; no pointer is larger
_VAULT: Final = b"$ANSIBLE_VAULT;"
_PAGE: Final = re.compile(r"\s*(?:<\?xml[^>]{0,200}\?>\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_PAGES: Final = (".html", ".htm", ".xhtml", ".html.j2")  # files that may be web pages
# White space without width, and what reorders a line; others that cannot be seen are letters' parts in some languages.
_UNSEEN: Final = re.compile("[\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_SIDES: Final = (re.compile(r"^<{7}(?: .*)?$", re.MULTILINE), re.compile(r"^={7}$", re.MULTILINE),
                 re.compile(r"^>{7}(?: .*)?$", re.MULTILINE))  # fmt: skip


def text(content: bytes, name: str, *, exact: bool = False) -> str:
    """The text of a file, with LF as its line ends; `exact`: as it is in the file. Raises SiteInvalid, with the place, for what is no such text."""
    if content.startswith(_LFS) and len(content) <= _LFS_SIZE:
        hint = (
            "take its path out of .gitattributes, then `git add --renormalize` it, so that Git itself has the content"
        )
        raise _refused(name, 1, 1, "is a pointer of Git LFS, not the file: nodes fetch no LFS objects", hint)
    if content.startswith(_VAULT):
        hint = "`ansible-vault decrypt` it, then encrypt it with sops; `reconciler import kolla-ansible` does that for a whole configuration"
        raise _refused(name, 1, 1, "is encrypted with ansible-vault, which no node opens", hint)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _refused(name, 1, 1, "is UTF-16 text", "save the file in UTF-8")
    try:
        whole = content.decode()
    except UnicodeDecodeError as error:
        raise _refused(name, *_place(content, error.start), "is not UTF-8 text", "save the file in UTF-8") from None
    found = lines(whole)
    if unresolved := _conflict(found):
        hint = "choose one and remove <<<<<<<, ======= and >>>>>>>"
        raise _refused(name, unresolved, 1, "is in the middle of a merge: both sides stand here", hint)
    if _PAGE.match(found) and not name.lower().endswith(_PAGES):
        hint = "it is often what a download got instead of the file: put the file itself here"
        raise _refused(name, 1, 1, "is a web page", hint)
    return whole if exact else found


def lines(found: str) -> str:
    """A text without its byte order mark, and with LF as its line ends."""
    found = found.removeprefix("\ufeff")
    return found.replace("\r\n", "\n").replace("\r", "\n") if "\r" in found else found


def check(content: bytes, name: str) -> str:
    """As `text`, for a file that is delivered as it is: without what cannot be seen."""
    found = text(content, name)
    if (at := found.find("\0")) >= 0:
        hint = "save it as UTF-8 text"
        raise _refused(name, *_place(found, at), "holds U+0000: it is binary, or text in UTF-16", hint)
    if not found.isascii() and (unseen := _UNSEEN.search(found)):
        hint = "remove it: it often comes with text that was copied from a page"
        what = f"holds a character that cannot be seen, U+{ord(unseen[0]):04X}"
        raise _refused(name, *_place(found, unseen.start()), what, hint)
    return found


def _conflict(found: str) -> int:
    """The line where an unresolved merge begins; 0 when there is none."""
    if "<<<<<<<" not in found:
        return 0
    first, middle, last = (side.search(found) for side in _SIDES)
    if first is None or middle is None or last is None or not first.start() < middle.start() < last.start():
        return 0
    return found.count("\n", 0, first.start()) + 1


def _place(found: AnyStr, at: int) -> tuple[int, int]:
    end = b"\n" if isinstance(found, bytes) else "\n"
    return found.count(end, 0, at) + 1, at - found.rfind(end, 0, at)


def _refused(name: str, line: int, column: int, message: str, hint: str) -> SiteInvalid:
    return SiteInvalid([Problem(name, line, column, message, hint)])
