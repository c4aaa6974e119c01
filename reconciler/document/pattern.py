"""Regular expressions that a site or a template brings: Python's language without what makes matching slow.

RE2 matches in time linear in the text, whatever the expression. An expression is read by Python's own parser and written
anew for RE2, so that it means what it means to `re`: Unicode classes, flags, `$` before a last line break, `\\Z`. Refused
are look-around, back-references, possessive and atomic groups, which cannot be matched in linear time, expressions
that are too large, and repeated alternatives of which one that may be empty is not the last (`(?:a?|b)*`), which RE2
takes otherwise. Two differences are left: `\\b` and `\\B` are refused on texts beyond ASCII, and an expression that prefers
an empty match (`a*?`) is not tried again for a longer one at the same place.

RE2 is loaded with the first expression: a process that compiles none does not pay for it.
"""

import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

from re import _constants as sre, _parser as parser  # type: ignore[attr-defined]  # isort: skip  # the grammar of `re`

MAX_LENGTH: Final = 1000  # characters of an expression
MAX_REPEAT: Final = 1000  # RE2's own bound of {n}
MAX_WORK: Final = (
    50_000_000  # of one search: characters looked at times places of the expression; some nanoseconds each
)
_MAX_GROUPS: Final = 60
_MAX_MEMORY: Final = 4 << 20  # bytes of one program and its states
_MAX_NESTING: Final = 40

# Stands for every line break but the last one where `$` has to tell them apart. A noncharacter: no text has it.
_BREAK: Final = 0xFDD0

IGNORECASE: Final = re.IGNORECASE
MULTILINE: Final = re.MULTILINE


class PatternError(ValueError):
    """An expression that is not valid, not supported or too large, or a text that it cannot be matched against."""


@dataclass(frozen=True, slots=True)
class Match:
    """Where an expression matched: the spans of the whole and of each group, (-1, -1) for one that took no part."""

    text: str
    spans: tuple[tuple[int, int], ...]

    def group(self, index: int = 0) -> str | None:
        start, end = self.spans[index]
        return None if start < 0 else self.text[start:end]


Spend = Callable[[int], None]


def _free(_: int) -> None:
    """Work that nobody counts."""


class Pattern:
    """A compiled expression. `groups` counts its groups, `names` numbers the named ones."""

    def __init__(self, source: str, flags: int) -> None:
        self.source = source
        tree = _parse(source, flags)
        self.groups: int = tree.state.groups - 1
        self.names: dict[str, int] = dict(tree.state.groupdict)
        if self.groups > _MAX_GROUPS:
            raise PatternError(f"the regular expression has more than {_MAX_GROUPS} groups")
        self._writer = _Writer(source)
        self._plain = self._program(tree)
        self._tree = tree
        self._places = _places(tree)
        self.size: int = self._plain.programsize  # instructions; compiling one takes a fraction of a microsecond

    def search(self, text: str, spend: Spend = _free) -> Match | None:
        """The first match anywhere. Like the others, `spend` is told the work before it is done. Raises PatternError."""
        return next(self.finditer(text, spend), None)

    def match(self, text: str, spend: Spend = _free) -> Match | None:
        """The match at the beginning."""
        program, subject = self._prepared(text)
        spend(self._work(text))
        found = program.match(subject)
        return self._match(text, found) if found else None

    def finditer(self, text: str, spend: Spend = _free) -> Iterator[Match]:
        """All matches, from left to right."""
        program, subject = self._prepared(text)
        work = self._work(text)
        spend(work)
        # RE2 looks at all that is left for every match, in the worst case.
        each = 1 + self._places // 16
        last = (-1, -1)
        for found in program.finditer(subject):
            match = self._match(text, found)
            if match.spans[0] != last:  # RE2's own iterator gives an empty match at the end twice
                yield match
            last = match.spans[0]
            more = (len(text) - match.spans[0][1]) * each
            work += more
            if work > MAX_WORK:
                raise self._too_long(text)
            spend(more)

    def _work(self, text: str) -> int:
        return len(text) * self._places

    def _too_long(self, text: str) -> PatternError:
        return PatternError(f"a text of {len(text)} characters is too long for {_shown(self.source)}")

    def _match(self, text: str, found: Any) -> Match:
        return Match(text, tuple(found.span(index) for index in range(self.groups + 1)))

    def _prepared(self, text: str) -> tuple[Any, str]:
        if self._work(text) > MAX_WORK:
            raise self._too_long(text)
        if self._writer.boundary and not text.isascii():
            raise PatternError(f"\\b in {_shown(self.source)} cannot look at a text that is not plain ASCII")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise PatternError("a text with half of a surrogate pair cannot be matched") from None
        if self._writer.dollar and text.endswith("\n"):
            return self._broken, text[:-1].replace("\n", chr(_BREAK)) + "\n"
        return self._plain, text

    @property
    def _broken(self) -> Any:
        """The program for a text whose last character is its only line break."""
        return _broken(self)

    def _program(self, tree: Any, breaks: bool = False) -> Any:
        import re2

        options = re2.Options()
        options.max_mem = _MAX_MEMORY
        options.log_errors = False
        re2.purge()  # it keeps what is kept here
        written = self._writer.write(tree, breaks)
        try:
            return re2.compile(written, options)
        except re2.error as error:
            said = error.args[0] if error.args else ""
            said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
            what = "is too large" if "too large" in said or "repetition" in said else f"is not supported: {said}"
            raise PatternError(f"the regular expression {_shown(self.source)} {what}") from None


@lru_cache(maxsize=16)
def _broken(pattern: Pattern) -> Any:
    return pattern._program(pattern._tree, breaks=True)


@lru_cache(maxsize=64)
def compile(source: str, flags: int = 0) -> Pattern:
    """An expression made ready. `flags`: IGNORECASE, MULTILINE. Raises PatternError."""
    return Pattern(source, flags)


def escape(text: str) -> str:
    """An expression that matches just this text."""
    return re.escape(text)


def template(replacement: str, pattern: Pattern) -> list[str | int]:
    """A replacement text as literal pieces and numbers of groups: `\\1`, `\\g<name>`, `\\n` and the like. Raises PatternError."""
    pieces: list[str | int] = []
    for piece in _PIECE.finditer(replacement):
        octal, number, name, escape, literal = piece.groups()
        if literal is not None:
            pieces.append(literal)
        elif octal is not None:
            pieces.append(chr(int(octal, 8) & 0xFF))
        elif number is not None or name is not None:
            pieces.append(_group(number or name, pattern))
        elif escape in _ESCAPES:
            pieces.append(_ESCAPES[escape])
        elif escape and not escape.isalnum():
            pieces.append("\\" + escape)
        else:
            raise PatternError(f"the replacement {_shown(replacement)} has a bad escape \\{escape}")
    return pieces


def expand(pieces: Iterable[str | int], match: Match) -> str:
    """The replacement of one match."""
    return "".join(piece if isinstance(piece, str) else match.group(piece) or "" for piece in pieces)


# Octal as `re` has it: \0, \012, and three digits that begin with 1 to 3.
_PIECE: Final = re.compile(
    r"\\(?:(?P<o>0[0-7]{0,2}|[1-3][0-7]{2})|(?P<n>[1-9][0-9]?)|g<(?P<name>[^>]{1,100})>|(?P<e>.?))|(?P<l>[^\\]+)", re.DOTALL
)  # fmt: skip
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "f": "\f", "v": "\v", "b": "\b", "\\": "\\"}


def _group(name: str, pattern: Pattern) -> int:
    number = int(name) if name.isascii() and name.isdigit() else pattern.names.get(name, -1)
    if not 0 <= number <= pattern.groups:
        raise PatternError(f"the regular expression {_shown(pattern.source)} has no group {name!r}")
    return number


def _shown(source: str) -> str:
    return repr(source if len(source) <= 80 else source[:80] + "…")


def _parse(source: str, flags: int) -> Any:
    if len(source) > MAX_LENGTH:
        raise PatternError(f"the regular expression {_shown(source)} is longer than {MAX_LENGTH} characters")
    if source.count("(") > _MAX_NESTING * 4 or _nesting(source) > _MAX_NESTING:
        raise PatternError(f"the regular expression {_shown(source)} is nested too deeply")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a future meaning of `[[`: it is written anew below as it is read today
            return parser.parse(source, flags)
    except re.error as error:
        raise PatternError(f"the regular expression {_shown(source)} is not valid: {error}") from None
    except (OverflowError, ValueError, RecursionError) as error:
        raise PatternError(f"the regular expression {_shown(source)} is not valid: {error}") from None


def _nesting(source: str) -> int:
    deepest = depth = 0
    for character in source:
        depth += (character == "(") - (character == ")" and depth > 0)
        deepest = max(deepest, depth)
    return deepest


def _places(items: Any) -> int:
    """In how many places of an expression a matcher can be at once, at most: its characters, repetitions written out."""
    total = 1
    for kind, value in items:
        if kind is sre.BRANCH:
            total += sum(map(_places, value[1]))
        elif kind is sre.SUBPATTERN:
            total += _places(value[3])
        elif kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            least, most, inner = value
            total += (least + 1 if most is sre.MAXREPEAT else most) * _places(inner)
        else:
            total += 1
    return total


def _prefers_nothing(items: Any) -> bool:
    """Whether an alternative that may be empty comes before others: when it is, `re` repeats no more, and RE2 tries the others."""
    for kind, value in items:
        if kind is sre.BRANCH:
            *others, _ = value[1]
            if any(branch.getwidth()[0] == 0 for branch in others) or any(map(_prefers_nothing, value[1])):
                return True
        elif (kind is sre.SUBPATTERN and _prefers_nothing(value[3])) or (
            kind in (sre.MAX_REPEAT, sre.MIN_REPEAT) and _prefers_nothing(value[2])
        ):
            return True
    return False


# --- writing an expression for RE2 ----------------------------------------------------------------------------------

Ranges = Sequence[tuple[int, int]]  # code points, both ends included, ascending

_SPACES: Final[Ranges] = (
    (0x09, 0x0D), (0x1C, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
    (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000),
)  # fmt: skip
_ASCII_SPACES: Final[Ranges] = ((0x09, 0x0D), (0x20, 0x20))
_ASCII_WORD: Final[Ranges] = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_REFUSED: Final = {
    sre.ASSERT: "look-around", sre.ASSERT_NOT: "look-around", sre.FAILURE: "look-around",
    sre.GROUPREF: "a back-reference", sre.GROUPREF_EXISTS: "a conditional group",
    sre.ATOMIC_GROUP: "an atomic group", sre.POSSESSIVE_REPEAT: "a possessive repetition",
}  # fmt: skip


class _Writer:
    """Writes a parsed expression for RE2. `dollar` and `boundary`: whether it has a `$` or a `\\b` that needs care."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._breaks = False
        self.dollar = False
        self.boundary = False

    def write(self, tree: Any, breaks: bool) -> str:
        self._breaks = breaks
        flags = tree.state.flags
        text = self._all(tree, flags)
        return f"(?i:{text})" if flags & re.IGNORECASE else text

    def _all(self, items: Any, flags: int) -> str:
        return "".join(self._one(kind, value, flags) for kind, value in items)

    def _one(self, kind: Any, value: Any, flags: int) -> str:
        if kind in _REFUSED:
            raise PatternError(
                f"the regular expression {_shown(self._source)} uses {_REFUSED[kind]}, which cannot be matched in linear time: "
                "write it without"
            )
        if kind is sre.LITERAL:
            return self._class([(sre.LITERAL, value)], flags) if self._breaks and value == 10 else _character(value)
        if kind is sre.NOT_LITERAL:
            return self._class([(sre.NEGATE, None), (sre.LITERAL, value)], flags)
        if kind is sre.ANY:
            return "(?s:.)" if flags & re.DOTALL else self._class([(sre.NEGATE, None), (sre.LITERAL, 10)], flags)
        if kind is sre.IN:
            return self._class(value, flags)
        if kind is sre.AT:
            return self._at(value, flags)
        if kind is sre.BRANCH:
            return f"(?:{'|'.join(self._all(branch, flags) for branch in value[1])})"
        if kind is sre.SUBPATTERN:
            return self._group(value, flags)
        if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            return self._repeat(value, flags) + ("?" if kind is sre.MIN_REPEAT else "")
        raise PatternError(f"the regular expression {_shown(self._source)} is not supported")

    def _group(self, value: Any, flags: int) -> str:
        number, added, removed, items = value
        text = self._all(items, (flags | added) & ~removed)
        if added & re.IGNORECASE or removed & re.IGNORECASE:
            text = f"(?{'' if added & re.IGNORECASE else '-'}i:{text})"
        return f"(?:{text})" if number is None else f"({text})"

    def _repeat(self, value: Any, flags: int) -> str:
        least, most, items = value
        if least > MAX_REPEAT or (most is not sre.MAXREPEAT and most > MAX_REPEAT):
            raise PatternError(f"the regular expression {_shown(self._source)} repeats more than {MAX_REPEAT} times")
        if most is sre.MAXREPEAT and items.getwidth()[0] == 0 and _prefers_nothing(items):
            raise PatternError(
                f"the regular expression {_shown(self._source)} repeats alternatives of which one that may be empty is not the last: "
                "put it last, or leave it out"
            )
        end = "" if most is sre.MAXREPEAT else str(most)
        count = {(0, ""): "*", (1, ""): "+", (0, "1"): "?"}.get((least, end), f"{{{least},{end}}}")
        return f"(?:{self._all(items, flags)}){count}"

    def _at(self, where: Any, flags: int) -> str:
        if where in (sre.AT_BOUNDARY, sre.AT_NON_BOUNDARY):
            self.boundary = self.boundary or not flags & re.ASCII
            return r"\b" if where is sre.AT_BOUNDARY else r"\B"
        if where is sre.AT_BEGINNING_STRING or (where is sre.AT_BEGINNING and not flags & re.MULTILINE):
            return r"\A"
        if where is sre.AT_END_STRING:
            return r"\z"
        if where is sre.AT_BEGINNING:
            return f"(?:(?m:^)|{_character(_BREAK)})" if self._breaks else "(?m:^)"
        if flags & re.MULTILINE:
            return "(?m:$)"
        self.dollar = True
        return "(?m:$)" if self._breaks else r"\z"

    # Two line breaks mean different things in one expression only when `$` and a multi-line `^` or `$` stand in it.

    def _class(self, items: Any, flags: int) -> str:
        negated = bool(items) and items[0][0] is sre.NEGATE
        items = items[1:] if negated else items
        if any(kind is sre.CATEGORY and value is sre.CATEGORY_NOT_WORD for kind, value in items):
            text = self._counted(items, flags, negated)
            if text:
                return text
        parts = [self._item(kind, value, flags) for kind, value in items]
        if self._breaks and self._has_break(items, flags):
            parts.append(_character(_BREAK))
        return f"[{'^' if negated else ''}{''.join(parts)}]"

    def _counted(self, items: Any, flags: int, negated: bool) -> str:
        """A class with `\\W` in it, code point by code point: RE2 has no way to say it beside other items."""
        ranges: list[tuple[int, int]] = []
        for kind, value in items:
            ranges += _code_points(kind, value, bool(flags & re.ASCII))
        if self._breaks and any(low <= 10 <= high for low, high in ranges):
            ranges.append((_BREAK, _BREAK))
        merged = _merged(ranges)
        if negated:
            merged = _complement(merged)
        return f"[{''.join(map(_span, merged))}]" if merged else r"[^\x{0}-\x{10FFFF}]"

    def _item(self, kind: Any, value: Any, flags: int) -> str:
        if kind is sre.LITERAL:
            return _character(value)
        if kind is sre.RANGE:
            return _span(value)
        ascii_only = bool(flags & re.ASCII)
        if value is sre.CATEGORY_DIGIT:
            return "0-9" if ascii_only else r"\p{Nd}"
        if value is sre.CATEGORY_WORD:
            return "0-9A-Za-z_" if ascii_only else r"\p{L}\p{N}_"
        return "".join(map(_span, _code_points(kind, value, ascii_only)))

    def _has_break(self, items: Any, flags: int) -> bool:
        return any(low <= 10 <= high for kind, value in items for low, high in _code_points(kind, value, True))


def _code_points(kind: Any, value: Any, ascii_only: bool) -> Ranges:
    if kind is sre.LITERAL:
        return [(value, value)]
    if kind is sre.RANGE:
        return [value]
    spaces = _ASCII_SPACES if ascii_only else _SPACES
    if value is sre.CATEGORY_SPACE:
        return spaces
    if value is sre.CATEGORY_NOT_SPACE:
        return _complement(spaces)
    if value in (sre.CATEGORY_DIGIT, sre.CATEGORY_NOT_DIGIT):
        found: Ranges = ((0x30, 0x39),) if ascii_only else _unicode("digit")
    else:
        found = _ASCII_WORD if ascii_only else _unicode("word")
    return found if value in (sre.CATEGORY_DIGIT, sre.CATEGORY_WORD) else _complement(found)


@cache
def _unicode(kind: str) -> Ranges:
    """All digits, or all word characters, as Python's own tables have them."""
    holds = str.isdecimal if kind == "digit" else lambda text: text.isalnum() or text == "_"
    ranges: list[tuple[int, int]] = []
    for number in range(sys.maxunicode + 1):
        if holds(chr(number)):
            if ranges and ranges[-1][1] == number - 1:
                ranges[-1] = (ranges[-1][0], number)
            else:
                ranges.append((number, number))
    return ranges


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], high))
        else:
            result.append((low, high))
    return result


def _complement(ranges: Ranges) -> list[tuple[int, int]]:
    result, start = [], 0
    for low, high in ranges:
        if low > start:
            result.append((start, low - 1))
        start = high + 1
    if start <= sys.maxunicode:
        result.append((start, sys.maxunicode))
    return result


def _character(number: int) -> str:
    return chr(number) if number < 128 and chr(number).isalnum() else f"\\x{{{number:X}}}"


def _span(ends: tuple[int, int]) -> str:
    return f"{_character(ends[0])}-{_character(ends[1])}"
