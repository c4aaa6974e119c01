"""Reading a mapping of service.yml: every value evaluated, in the type that is asked for, with all problems gathered."""

import math
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from reconciler.document.grammar import seconds
from reconciler.document.numbers import plain
from reconciler.document.words import show, suggest
from reconciler.document.yaml import Document, Path, Place
from reconciler.errors import Problem, SiteInvalid
from reconciler.render import tokens, values
from reconciler.render.ansible import to_bool
from reconciler.render.evaluate import Position, Scope, evaluate, render_text

T = TypeVar("T")

_LARGEST: Final = (1 << 63) - 1  # what the engine can be told
_SIZE: Final = re.compile(r"(-?\d{1,18}(?:\.\d{1,18})?)([bkmgt]?)b?", re.IGNORECASE)
_WORDS: Final = re.compile(r"[ !#-&(-\[\]-~]*")  # no quote and no backslash: what a shell splits at blanks alone
_UNITS: Final = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Fields:
    """One mapping, for example a container. A value that is not what it must be is reported and read as absent."""

    def __init__(
        self,
        raw: Any,
        scope: Scope,
        document: Document,
        path: Path,
        problems: list[Problem],
        evaluated: bool = False,  # `raw` came out of an expression: it is not evaluated again
    ) -> None:
        self.scope = scope
        self.document = document
        self.path = path
        self.problems = problems
        self._done = evaluated or isinstance(raw, str)
        content = self._evaluated(raw, path) if isinstance(raw, str) and not evaluated else raw
        self.raw: Mapping[str, Any] = content if isinstance(content, dict) else {}
        if content is not None and not isinstance(content, dict):
            self.problem(None, f"must be a mapping, is {show(content)}")

    def __contains__(self, key: str) -> bool:
        return key in self.raw

    def place(self, key: str | int | None = None) -> Place:
        return self.document.place(self.path if key is None else (*self.path, key))

    def problem(self, key: str | None, message: str, hint: str = "") -> None:
        """Report something about one key (or the whole mapping)."""
        self.problems.append(self.place(key).problem(message, hint))

    def value(self, key: str, default: Any = None, *, secret: bool = False) -> Any:
        """The evaluated value of any type; the default when it is absent or cannot be evaluated.

        A secret in it is a problem unless `secret` says that nothing ever shows this value: the engine shows its options to
        everybody who may ask it, and plans, logs and reports name what they are about.
        """
        if key not in self.raw:
            return default
        raw = self.raw[key]
        found = raw if self._done else self._evaluated(raw, (*self.path, key), default)
        if not secret and (held := tokens.held(found)):
            message = f"{key} would show {tokens.words(held)}, to `docker inspect`, in plans or in reports"
            self.problem(key, message, "give it in a file, or as a password")
        return found

    def text(self, key: str, default: str = "", *, secret: bool = False) -> str:
        """A text. A number is as it was written."""
        value = self.value(key, secret=secret)
        if value is None:
            return default
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
        self._wrong(key, value, "a text")
        return default

    def optional_text(self, key: str) -> str | None:
        """A text, None when it is absent or empty."""
        return self.text(key) or None

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        """One of `choices`."""
        value = self.text(key, default)
        if value in choices:
            return value
        self.problem(key, f"{key} must be one of {', '.join(choices)}, is {value!r}", suggest(value, choices))
        return default

    def flag(self, key: str, default: bool = False) -> bool:
        """A boolean, in Kolla's spellings too."""
        value = self.value(key, default, secret=True)
        if isinstance(value, bool):
            return value
        if isinstance(value, str | int) and str(plain(value)).lower() in _FLAGS:
            return bool(to_bool(value))
        if value is None or value == "":
            return default if value is None else False
        self._wrong(key, value, "true or false")
        return default

    def integer(self, key: str, default: int | None = 0) -> int | None:
        """A whole number, as a number or a text."""
        value = self.value(key, secret=True)
        if value is None or value == "":
            return default
        try:
            if isinstance(value, str | int) and not isinstance(value, bool) and abs(int(value)) <= _LARGEST:
                return int(value)
        except ValueError:
            pass
        self._wrong(key, value, "an integer")
        return default

    def duration(self, key: str, default: float) -> float:
        """Seconds, from a number or a text such as 30, 30s or 5m."""
        value = self.value(key, secret=True)
        if value is None or value == "":
            return default
        try:
            return float(seconds(value))
        except ValueError:
            self._wrong(key, value, "a duration in seconds")
            return default

    def size(self, key: str, default: int | None = 0) -> int | None:
        """Bytes, from a number or a text such as 512m or 1g."""
        value = self.value(key, secret=True)
        if value is None or value == "":
            return default
        match = _SIZE.fullmatch(str(plain(value)).strip()) if isinstance(value, str | int | float) else None
        size = float(match[1]) * _UNITS[match[2].lower()] if match and not isinstance(value, bool) else math.inf
        if abs(size) > _LARGEST:
            self._wrong(key, value, "a size such as 512m")
            return default
        return int(size)

    def items(self, key: str, *, secret: bool = False) -> list[Any]:
        """A list of anything; a single text counts as a list of one."""
        value = self.value(key, secret=secret)
        if value is None or value == "":
            return []
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list):
            self._wrong(key, value, "a list")
            return []
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, the empty ones dropped."""
        result = []
        for item in self.items(key):
            if isinstance(item, dict | list | bool):
                self._wrong(key, item, "a list of texts")
            elif item not in (None, ""):
                result.append(str(item))
        return tuple(result)

    def mapping(self, key: str) -> dict[str, Any]:
        """A mapping of anything."""
        value = self.value(key)
        if value in (None, "", []):
            return {}
        if not isinstance(value, dict):
            self._wrong(key, value, "a mapping")
            return {}
        return value

    def words(self, key: str) -> tuple[str, ...] | None:
        """A command: a text is split as a shell would, a list is taken as it is; None when absent or empty."""
        value = self.value(key)
        if value in (None, "", []):
            return None
        if isinstance(value, list):
            return tuple(str(item) for item in value)
        text = self.text(key)
        self.scope.variables.pay().spend(len(text))  # shlex looks at every character
        if _WORDS.fullmatch(text):
            return tuple(text.split())
        try:
            return tuple(shlex.split(text))
        except ValueError as error:
            self.problem(key, f"{key} is not a command: {error}")
            return None

    def naming(self, names: Mapping[str, Any]) -> "Fields":
        """The same mapping, in whose expressions these names count too."""
        scope = Scope(self.scope.variables, {**self.scope.own, **names})
        return Fields(self.raw, scope, self.document, self.path, self.problems, self._done)

    def values(self) -> dict[str, Any]:
        """Every value of the mapping, evaluated."""
        return {key: self.value(key) for key in self.raw}

    def below(self, key: str) -> "Fields":
        """The mapping under a key; empty when absent."""
        return Fields(self.raw.get(key) or {}, self.scope, self.document, (*self.path, key), self.problems, self._done)

    def each(self, key: str) -> list["Fields"]:
        """The mappings of a list; the list itself may be an expression."""
        raw, done = self.raw.get(key), self._done
        if isinstance(raw, str):
            raw, done = self.value(key, secret=True), True  # each entry is read by itself
        if raw is None or raw == "":
            return []
        if not isinstance(raw, list):
            self._wrong(key, raw, "a list of mappings")
            return []
        path = (*self.path, key)
        return [
            Fields(item, self.scope, self.document, (*path, index), self.problems, done)
            for index, item in enumerate(raw)
        ]

    def repeated(self) -> list["Fields"]:
        """The mapping once for every item of its `each`, as `item` in its expressions; itself when it says none."""
        if "each" not in self:
            return [self]
        items = self.items("each", secret=True)
        if len(items) > values.MAX_EACH:
            self.problem("each", f"each has {len(items)} items; {values.MAX_EACH} are the limit")
            return []
        return [self.naming({"item": item}) for item in items]

    def shared(self, what: str, key: tuple[Any, ...], work: Callable[[], T]) -> T:
        """The result of `work`, which reads this mapping and depends on `key` besides: worked out once for all hosts that see it
        alike, as `sharing` tells. What an expression made is of one host, and worked out anew; so is what has problems."""
        if self._done:
            return work()
        before = len(self.problems)
        own = tuple((name, repr(value)) for name, value in self.scope.own.items())
        return self.scope.variables.unit(
            (what, id(self.raw), self.path, own, *key),
            work,
            alive=self.raw,
            inside=True,
            good=lambda: len(self.problems) == before,
        )

    def rendered(self, key: str) -> str:
        """A text whose every expression becomes text, as in a template. Raises SiteInvalid."""
        place = self.place(key)
        return render_text(str(self.raw[key]), self.scope, place.file, max(place.line, 1))

    def _evaluated(self, raw: Any, path: Path, default: Any = None) -> Any:
        try:
            return evaluate(raw, self.scope, Position.within(self.document, path))
        except SiteInvalid as error:
            self.problems += error.problems
            return default

    def _wrong(self, key: str, value: Any, expected: str) -> None:
        shown = "a text that holds a secret" if tokens.is_held(value) else show(value)
        self.problem(key, f"{key} must be {expected}, is {shown}")


_FLAGS: Final = frozenset(("yes", "no", "true", "false", "on", "off", "1", "0"))
