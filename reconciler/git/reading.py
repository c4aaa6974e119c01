"""What reading a site's files may take, and what is refused on the way, for a commit and for a folder alike."""

import contextlib
import unicodedata
from dataclasses import dataclass, field

from reconciler import errors
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


class Exhausted(Exception):
    """The budget is used up: what was found so far is reported, the rest is not looked at."""


@dataclass(slots=True)
class Reading:
    """One walk: what was read, what is left of the budget, what is wrong."""

    budget: Budget
    files: dict[str, bytes] = field(default_factory=dict)
    problems: list[errors.Problem] = field(default_factory=list)
    entries: int = 0
    size: int = 0

    def refuse(self, path: str, message: str, hint: str = "") -> None:
        self.problems.append(errors.Problem(path or ".", 0, 0, message, hint))
        if len(self.problems) >= errors.MAX_PROBLEMS:
            raise Exhausted

    def count_entry(self, path: str) -> None:
        self.entries += 1
        if self.entries > self.budget.files:
            self.refuse(path, f"the site has more than {self.budget.files} files and directories", "split the site")
            raise Exhausted

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
            raise Exhausted
        return True

    def enter(self, path: str, depth: int) -> bool:
        if depth > self.budget.depth:
            self.refuse(path, f"directories are nested more than {self.budget.depth} deep")
            return False
        return True

    def result(self) -> dict[str, bytes]:
        with contextlib.suppress(Exhausted):
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


def mode_problem(mode: bytes) -> tuple[str, str] | None:
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


def name_problem(name: bytes, budget: Budget) -> tuple[str, str] | None:
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
