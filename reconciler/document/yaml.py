"""Strict YAML: plain data with the place of every value, and every problem of the text at once.

Strict means: UTF-8, one document, string keys that can be seen, no key twice, no anchors, aliases, merge keys or tags,
bounded size, depth, number of values and size of numbers. Scalars are those of YAML 1.2's core schema, so `yes`, `on`
and `22:22` are text and `0777` is the number 777, which
keeps its spelling (`document/numbers.py`). The parser is libyaml's; values are made here, because PyYAML's own are YAML 1.1.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from reconciler.document.content import text as text_of
from reconciler.document.numbers import written
from reconciler.document.yaml_advice import advice
from reconciler.document.yaml_events import TooDeep, events
from reconciler.errors import Problem, SiteInvalid
from reconciler.text import encodable, printable

Path = tuple[str | int, ...]

MAX_BYTES: Final = 8 * 1024 * 1024
MAX_DEPTH: Final = 60
MAX_VALUES: Final = 100_000  # per file: the inventory of 1,000 hosts has 15,000
MAX_PROBLEMS: Final = 100  # per file: a file that is not YAML at all need not fill the screen
_MAX_DIGITS: Final = 300
_MAX_INTEGER: Final = (1 << 64) - 1  # what else reads a site may have no larger numbers
_MAX_KEY: Final = 1000  # characters

_NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEAN: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NUMBER: Final = re.compile(
    r"(?P<int>[-+]?[0-9]+)|(?P<oct>0o[0-7]+)|(?P<hex>0x[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<special>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)
_BASES: Final[dict[str | None, int]] = {"int": 10, "oct": 8, "hex": 16}
# What a number can begin with: most scalars are words, and need no regular expression to be told from numbers.
_NUMBER_START: Final = frozenset("-+.0123456789")

# A value's line and column (from 0), and the nodes below it: by key with the key's own line and column, or by index.
_Node = tuple[int, int, "dict[str, tuple[int, int, _Node]] | list[_Node] | None"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written. Lines and columns count from 1; 0 means the whole file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def problem(self, message: str, hint: str = "") -> Problem:
        """An error at this place."""
        return Problem(self.file, self.line, self.column, message, hint)

    def warning(self, message: str, hint: str = "") -> Problem:
        """A warning at this place."""
        return Problem(self.file, self.line, self.column, message, hint, "warning")


class Document:
    """One YAML file as plain data: dict, list, str, int, float, bool and None. Not to be changed."""

    __slots__ = ("_moves", "_node", "data", "name", "values")

    def __init__(self, name: str, data: Any, node: _Node | None = None, values: int = 0) -> None:
        self.name = name
        self.data = data
        self.values = values  # how many it has, keys and containers among them
        self._node = node
        self._moves: Mapping[Path, Path] = {}

    @classmethod
    def moved(cls, origin: "Document", data: Any, moves: Mapping[Path, Path]) -> "Document":
        """Data that was made of a document. What lies at a key of `moves`, or below it, was written at its value there."""
        made = cls(origin.name, data, origin._node, origin.values)
        made._moves = moves
        return made

    def place(self, path: Path = (), key: bool = False) -> Place:
        """The place of the value at `path`, or of its key in the mapping around it.

        A path that leads further than the document does gives the place of the last thing on it that exists.
        """
        if self._node is None:
            return Place(self.name)
        path = origin(path, self._moves)
        line, column, children = self._node
        last = len(path) - 1
        for index, step in enumerate(path):
            if isinstance(children, dict) and step in children:
                key_line, key_column, node = children[str(step)]
                line, column, children = node
                if key and index == last:
                    line, column = key_line, key_column
            elif isinstance(children, list) and isinstance(step, int) and step < len(children):
                line, column, children = children[step]
            else:
                break
        return Place(self.name, line + 1, column + 1)


def origin(path: Path, moves: Mapping[Path, Path]) -> Path:
    """Where what is at `path` was written: of the keys of `moves` the longest that it begins with counts."""
    length = next((size for size in range(len(path), 0, -1) if path[:size] in moves), 0) if moves else 0
    return (*moves[path[:length]], *path[length:]) if length else path


def load(content: bytes, name: str) -> Document:
    """Read one strict YAML document. An empty file is a document whose data is None.

    Raises SiteInvalid with every problem that was found: all breaches of the rules above, and at most one of syntax, since
    nothing after it can be read.
    """
    text = _decode(content, name)
    reader = _Reader(name)
    document = reader.read(text)
    if document is None or reader.problems:
        raise SiteInvalid(reader.problems[:MAX_PROBLEMS])
    return document


def scalar(text: str) -> Any:
    """The value of a plain (unquoted) scalar by YAML 1.2's core schema. Raises ValueError for what JSON cannot hold."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if text[0] not in _NUMBER_START:
        return text
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number of so many digits is not allowed")
    kind = match.lastgroup
    if kind in _BASES:
        integer = int(text if kind == "int" else text[2:], _BASES[kind])
        if abs(integer) > _MAX_INTEGER:
            raise ValueError(f"the number {text[:40]} is too large")
        return written(integer, text)
    number = math.inf if kind == "special" else float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is not a number that can be used")
    return written(number, text)


class _EndError(Exception):
    """What was found is reported, and nothing that follows is looked at."""


def _decode(content: bytes, name: str) -> str:
    if len(content) > MAX_BYTES:
        raise SiteInvalid([Problem(name, 0, 0, f"is larger than {MAX_BYTES // 1024 // 1024} MiB", "split it")])
    return text_of(content, name)


class _Reader:
    """Turns libyaml's events into data and nodes, and notes every breach on the way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self._events: Iterator[Any] = iter(())
        self._values = 0

    def read(self, text: str) -> Document | None:
        """The document; None, and why in `problems`, when it cannot be read to its end."""
        try:
            return self.document(events(text, MAX_DEPTH))
        except TooDeep as error:
            self.report(error.problem_mark.line, error.problem_mark.column, error.problem)
        except yaml.MarkedYAMLError as error:
            self.syntax(error, text.split("\n"))
        except yaml.reader.ReaderError as error:
            self.character(text.encode()[: error.position].decode(errors="replace"), error.character)
        except yaml.YAMLError as error:
            self.report(-1, -1, f"cannot be read as YAML: {error}")
        except _EndError:
            pass
        return None

    def report(self, line: int, column: int, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.name, line + 1, column + 1, message, hint))

    def syntax(self, error: yaml.MarkedYAMLError, lines: list[str]) -> None:
        mark = error.problem_mark or error.context_mark
        # Found where the next line begins, and meant is the one before.
        if error.context == "while scanning a simple key":
            mark = error.context_mark
        message = ": ".join(part for part in (error.context, error.problem) if part) or "syntax error"
        line, column = (mark.line, mark.column) if mark else (-1, -1)
        self.report(line, column, f"not valid YAML: {message}", advice(error, lines) if mark else "")

    def character(self, before: str, code: int | str) -> None:
        """Report a character that YAML does not allow, after the text `before`."""
        number = code if isinstance(code, int) else ord(code)
        line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
        self.report(line, column, f"the character U+{number:04X} is not allowed in YAML", "remove it")

    def document(self, events: Iterator[Any]) -> Document:
        self._events = events
        data, node, count = None, None, 0
        for event in events:
            kind = type(event)
            if kind is yaml.DocumentStartEvent:
                count += 1
                if count == 2:
                    mark = event.start_mark
                    self.report(mark.line, mark.column, "a second document begins here", "one document per file")
            elif kind not in (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentEndEvent):
                content, place = self._value(event)
                if count == 1:
                    data, node = content, place
        return Document(self.name, data, node, self._values)

    def _value(self, event: Any) -> tuple[Any, _Node]:
        mark = event.start_mark
        line, column = mark.line, mark.column
        kind = type(event)
        self._values += 1
        if len(self.problems) >= MAX_PROBLEMS:
            raise _EndError
        if self._values > MAX_VALUES:
            self.report(line, column, f"has more than {MAX_VALUES} values", "split the file")
            raise _EndError
        if kind is yaml.AliasEvent:
            self.report(line, column, f"the alias *{event.anchor} is not allowed", "write the value out")
            return None, (line, column, None)
        if event.anchor is not None:
            self.report(line, column, f"the anchor &{event.anchor} is not allowed", "write the value where it is used")
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.report(line, column, f"the tag {tag} is not allowed", "quote a text that begins with !")
        if kind is yaml.ScalarEvent:
            return self._scalar(event, line, column), (line, column, None)

        if kind is yaml.SequenceStartEvent:
            return self._sequence(line, column)
        return self._mapping(line, column)

    def _scalar(self, event: Any, line: int, column: int) -> Any:
        if event.style or event.tag is not None:
            if "\0" in event.value or not encodable(event.value):
                self.report(line, column, "a text cannot hold U+0000 or half a surrogate pair", "remove it")
            return event.value
        try:
            return scalar(event.value)
        except ValueError as error:
            self.report(line, column, str(error), "quote it if it is text")
            return None

    def _sequence(self, line: int, column: int) -> tuple[Any, _Node]:
        items: list[Any] = []
        nodes: list[_Node] = []
        for event in self._events:
            if type(event) is yaml.SequenceEndEvent:
                break
            item, node = self._value(event)
            items.append(item)
            nodes.append(node)
        return items, (line, column, nodes)

    def _mapping(self, line: int, column: int) -> tuple[Any, _Node]:
        items: dict[str, Any] = {}
        nodes: dict[str, tuple[int, int, _Node]] = {}
        for event in self._events:
            if type(event) is yaml.MappingEndEvent:
                break
            mark = event.start_mark
            key_line, key_column = mark.line, mark.column
            key = self._key(event)
            value, node = self._value(next(self._events))
            if key is None:
                continue
            if key in items:
                first = nodes[key][0] + 1
                self.report(key_line, key_column, f"the key {key[:80]!r} is here twice", f"first on line {first}")
                continue
            items[key] = value
            nodes[key] = (key_line, key_column, node)
        return items, (line, column, nodes)

    def _key(self, event: Any) -> str | None:
        """The key, or None when it is none that can be used (which is then reported)."""
        key, (line, column, _) = self._value(event)
        if not isinstance(key, str):
            if type(event) is yaml.ScalarEvent:
                hint = f'write "{event.value[:40]}":'
                self.report(line, column, f"the key {event.value[:80]!r} is not a text", hint)
            elif type(event) is not yaml.AliasEvent:
                self.report(line, column, "a list or mapping cannot be a key", 'quote an expression: "{{ … }}"')
            return None
        if key == "<<" and not event.style:
            self.report(line, column, "the merge key << is not allowed", "write the keys out")
            return None
        if len(key) > _MAX_KEY or printable(key) != key:
            what = "is too long" if len(key) > _MAX_KEY else "holds a character that cannot be seen"
            self.report(line, column, f"the key '{printable(key, limit=80)}' {what}", "rename it")
            return None
        return key
