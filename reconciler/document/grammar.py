"""JSON Schema 2020-12 for people: problems with places, in words, with a suggestion.

The schemas describe the values themselves. Where a file may hold Jinja2 expressions, a text with `{{` or `{%` in it stands
for any value, and is checked again once it is evaluated; `x-literal: true` in a schema says that there it does not. The annotation
`x-expects` says in words what a pattern or format is about.
"""

import ipaddress
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from jsonschema import FormatChecker, ValidationError

from reconciler.document import budget, pattern
from reconciler.document.keywords import extras_of, is_expression, validator
from reconciler.document.numbers import WrittenFloat, WrittenInteger, plain
from reconciler.document.words import show, suggest
from reconciler.document.yaml import Document, Path
from reconciler.errors import Problem, SiteInvalid

_ARTICLES: Final = {
    "string": "a text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "a boolean (true or false)",
    "array": "a list",
    "object": "a mapping",
    "null": "empty",
}
_FORMATS: Final = {
    "ip": "an IP address",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "cidr": "a network such as 10.0.0.0/24",
    "duration": "a duration such as 30s, 5m or 1h",
    "regex": "a regular expression",
    "date": "a date such as 2026-01-31",
}
_BOOLEANS: Final = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_DURATION: Final = re.compile(r"(?P<count>[0-9]+(?:\.[0-9]+)?) ?(?P<unit>ms|s|m|h|d)?")
_MAX_SECONDS: Final = 10 * 366 * 86400
_MAX_FINDINGS: Final = 100  # of one check: nobody reads more of one file
_MAX_CHOICES: Final = 20  # of an enumeration, in a message
_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}

_Finding = tuple[Path, bool, str, str]  # path below the checked value, whether its key is meant, message, hint
formats: Final = FormatChecker(("date",))


def seconds(value: Any) -> float:
    """A duration in seconds, from a number of them or a text like `30s`, `5m`, `1.5h`, `2d`, `200ms`. Raises ValueError, for
    more than ten years too."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MAX_SECONDS:
        number: float = plain(value)
        return number
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{show(value)} is not a duration")
    result = float(match["count"]) * _UNITS[match["unit"]]
    if result > _MAX_SECONDS:
        raise ValueError(f"{show(value)} is too long")
    return int(result) if result.is_integer() else result


class Grammar:
    """A schema made ready for many checks. With `expressions`, a text with a Jinja2 expression stands for any value."""

    def __init__(self, schema: Mapping[str, Any], expressions: bool = False) -> None:
        kind = validator(expressions)
        self.schema = schema
        self._validator = kind(schema, format_checker=formats)
        self._plain = frozenset(_types(schema)) if schema.keys() <= _ANNOTATIONS and "type" in schema else None
        self._expressions = expressions

    def check(self, document: Document, path: Path = (), value: Any = None) -> list[Problem]:
        """Every breach in the document, or in the part of it at `path`, whose content `value` is then; of very many the first.

        Raises errors.SiteInvalid for what would take too long to check.
        """
        content = value if path else document.data
        if self._plain and (_type(content) in self._plain or (self._expressions and is_expression(content))):
            return []  # most variables have a type and nothing else: no need to walk a schema for them
        try:
            with budget.opened():
                problems = list(itertools.islice(self._problems(document, path, content), _MAX_FINDINGS + 1))
        except budget.ExhaustedError:
            place = document.place(path)
            raise SiteInvalid(
                [place.problem("takes too long to be checked against its schema", "make it, or the schema, smaller")]
            ) from None
        if len(problems) > _MAX_FINDINGS:
            last = problems[_MAX_FINDINGS]
            more = f"there are more problems than these {_MAX_FINDINGS} here: correct these first"
            problems[_MAX_FINDINGS] = Problem(last.file, last.line, last.column, more)
        return problems

    def _problems(self, document: Document, path: Path, content: Any) -> Iterator[Problem]:
        for where, key, message, hint in self._findings(content):
            yield document.place(path + where, key).problem(message, hint)

    def breaches(self, value: Any) -> Iterator[tuple[Path, str]]:
        """Every breach in a value without a place: where below it, and what is wrong and what to do."""
        for where, _, message, hint in self._findings(value):
            yield where, f"{message} ({hint})" if hint else message

    def _findings(self, value: Any) -> Iterator[_Finding]:
        wrong: set[Path] = set()  # of the wrong type: what else it breaks says nothing more
        for error in self._validator.iter_errors(value):
            if error.validator == "type":
                wrong.add(tuple(error.absolute_path))
            elif error.validator in ("enum", "const") and tuple(error.absolute_path) in wrong:
                continue
            yield from _explain(error)

    def valid(self, value: Any) -> bool:
        """Whether a value without a place is as the schema says; not when that takes too long to find out."""
        try:
            with budget.opened():
                return bool(self._validator.is_valid(value))
        except budget.ExhaustedError:
            return False


def resolved(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with its own definitions in the places that name them by `$ref`, with no other keyword beside it: nothing is looked up for
    each value that is checked. One that names itself holds itself."""
    made: dict[str, dict[str, Any]] = {}

    def named(reference: str) -> dict[str, Any]:
        if reference not in made:
            found: Any = schema
            for step in reference.removeprefix("#/").split("/"):
                found = found[step]
            made[reference] = {}
            made[reference].update(within(found))
        return made[reference]

    def within(part: Any) -> Any:
        if isinstance(part, dict):
            if part.keys() - _ANNOTATIONS == {"$ref"} and part["$ref"].startswith("#/"):
                return named(part["$ref"])
            return {key: within(value) for key, value in part.items()}
        return [within(value) for value in part] if isinstance(part, list) else part

    whole: dict[str, Any] = within(schema)
    return whole


def check(document: Document, schema: Mapping[str, Any], expressions: bool = False) -> list[Problem]:
    """Every breach of a schema in a document, with its place."""
    return Grammar(schema, expressions).check(document)


def normalise(value: Any, schema: Mapping[str, Any] | bool) -> Any:
    """A value in the type that its schema asks for, where Kolla's spellings stand for one.

    "yes", "no", "true", "false", "on", "off" in any case for a boolean and "8080" for a number, also below lists and
    mappings. A number keeps its spelling unless a number is asked for. Everything else, expressions too, is returned
    as it is; nothing is changed in place.
    """
    if isinstance(schema, bool):
        return value
    if isinstance(value, str):
        return _respell(value, _types(schema))
    if isinstance(value, int | float):
        kinds = _types(schema)
        return plain(value) if kinds and "string" not in kinds else value
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [normalise(item, schema["items"]) for item in value]
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties")
        rest = rest if isinstance(rest, Mapping) else {}
        if properties or rest:
            return {key: normalise(item, properties.get(key, rest)) for key, item in value.items()}
    return value


def defaults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """A value with the schema's defaults filled in below it, and durations (format `duration`) as seconds.

    `root` is the schema that `$ref` refers to, by default the schema itself. The value keeps to the schema.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        schema = {**root["$defs"][schema["$ref"].removeprefix("#/$defs/")], **schema}
    if isinstance(value, dict):
        properties: Mapping[str, Any] = schema.get("properties", {})
        result = {name: defaults(part["default"], part, root) for name, part in properties.items() if "default" in part}
        rest = schema.get("additionalProperties")
        rest = rest if isinstance(rest, Mapping) else {}
        return result | {key: defaults(item, properties.get(key, rest), root) for key, item in value.items()}
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [defaults(item, schema["items"], root) for item in value]
    if schema.get("format") == "duration" and value is not None:
        return seconds(value)
    return value


# --- checks ----------------------------------------------------------------------------------------------------

# Keywords that say nothing about a value beyond its type.
_ANNOTATIONS: Final = frozenset(
    ("type", "title", "description", "default", "example", "examples", "deprecated", "$comment")
)


@formats.checks("ip")
def _is_address(value: object) -> bool:
    return not isinstance(value, str) or _parses(ipaddress.ip_address, value)


@formats.checks("cidr")
def _is_network(value: object) -> bool:
    return not isinstance(value, str) or ("/" in value and _parses(ipaddress.ip_network, value))


@formats.checks("duration")
def _is_duration(value: object) -> bool:
    return not isinstance(value, str) or _parses(seconds, value)


@formats.checks("regex")
def _is_pattern(value: object) -> bool:
    return not isinstance(value, str) or not _pattern_error(value)


def _pattern_error(expression: str) -> str:
    """What is wrong with a regular expression; the empty text when nothing is."""
    try:
        pattern.compile(expression)
    except pattern.PatternError as error:
        return str(error)
    return ""


@formats.checks("ipv4")
def _is_ipv4(value: object) -> bool:
    return not isinstance(value, str) or _parses(ipaddress.IPv4Address, value)


@formats.checks("ipv6")
def _is_ipv6(value: object) -> bool:
    return not isinstance(value, str) or _parses(ipaddress.IPv6Address, value)


def _parses(reader: Callable[[str], Any], value: str) -> bool:
    try:
        reader(value)
    except ValueError:
        return False
    return True


def _types(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", ())
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _type(value: Any) -> str:
    return _JSON_TYPES.get(type(value), "")


_JSON_TYPES: Final = {
    str: "string",
    int: "integer",
    WrittenInteger: "integer",
    float: "number",
    WrittenFloat: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
    type(None): "null",
}


def _respell(value: str, kinds: list[str]) -> Any:
    if "string" in kinds or not kinds:
        return value
    if "boolean" in kinds and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    if ("integer" in kinds or "number" in kinds) and _INTEGER.fullmatch(value):
        return int(value)
    if "number" in kinds and _NUMBER.fullmatch(value) and math.isfinite(float(value)):
        return float(value)
    return value


# --- words -----------------------------------------------------------------------------------------------------


def _explain(error: ValidationError) -> Iterator[_Finding]:
    path = tuple(error.absolute_path)
    keyword, expected = str(error.validator), error.validator_value
    value: Any = error.instance
    schema = error.schema if isinstance(error.schema, dict) else {}
    if "propertyNames" in error.absolute_schema_path:
        known = schema.get("enum", ())
        hint = _pattern_error(value) if schema.get("format") == "regex" and isinstance(value, str) else ""
        hint = hint or suggest(value, known) or f"use {schema.get('x-expects', f'what matches {expected}')}"
        yield (*path, value), True, f"the name {show(value)} is not allowed", hint
    elif keyword == "additionalProperties":
        known = schema.get("properties", {})
        for key in extras_of(value, schema):
            # What other tools have under that name, and what to do instead.
            hint = schema.get("x-instead", {}).get(key) or suggest(key, known) or _choices(known)
            yield (*path, key), True, f"unknown key {show(key)}", hint
    elif keyword in ("anyOf", "oneOf") and "x-expects" not in schema:
        yield from _branch(error)
    else:
        message, hint = _words(keyword, expected, value, schema)
        if schema.get("x-literal") and is_expression(value):
            message, hint = f"cannot be an expression: {show(value)}", "write it out"
        if keyword == "required":  # one error per key, which only its message names
            message = f"is missing {error.message.removesuffix(' is a required property')}"
        yield path, False, message or error.message, hint


def _branch(error: ValidationError) -> Iterator[_Finding]:
    """What a value breaks in the alternative that it comes nearest to: the first whose type is the value's own."""
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    for errors in branches.values():
        if not any(inner.validator == "type" and not inner.relative_path for inner in errors):
            for inner in errors:
                yield from _explain(inner)
            return
    kinds = [
        kind for errors in branches.values() for inner in errors for kind in _types({"type": inner.validator_value})
    ]
    yield tuple(error.absolute_path), False, f"must be {_either(kinds)}, is {show(error.instance)}", ""


def _words(keyword: str, expected: Any, value: Any, schema: Mapping[str, Any]) -> tuple[str, str]:
    """The message and hint for a breach of one keyword."""
    if "x-expects" in schema and keyword in ("pattern", "format", "anyOf", "oneOf", "type"):
        return f"must be {schema['x-expects']}, is {show(value)}", ""
    if "x-expects" in schema and keyword == "not":
        return f"must be {schema['x-expects']}", ""
    if keyword == "type":
        kinds = [expected] if isinstance(expected, str) else list(expected)
        quote = "string" in kinds and isinstance(value, (int, float))
        return f"must be {_either(kinds)}, is {show(value)}", f'quote it: "{show(value)}"' if quote else ""
    if keyword == "format" and expected == "regex":
        return _pattern_error(value), ""
    if keyword == "enum":
        near = suggest(value, [word for word in expected if isinstance(word, str)]) if isinstance(value, str) else ""
        shown = ", ".join(map(_word, expected[:_MAX_CHOICES])) + (" …" if len(expected) > _MAX_CHOICES else "")
        return f"must be one of {shown}, is {show(value)}", near
    simple = {
        "const": f"must be {_word(expected)}",
        "minimum": f"must be at least {expected}",
        "maximum": f"must be at most {expected}",
        "exclusiveMinimum": f"must be more than {expected}",
        "exclusiveMaximum": f"must be less than {expected}",
        "multipleOf": f"must be a multiple of {expected}",
        "format": f"must be {_FORMATS.get(str(expected), f'a valid {expected}')}",
        "pattern": f"must match {expected}",
        "minLength": "must not be empty" if expected == 1 else f"must have at least {expected} characters",
        "maxLength": f"must have at most {expected} characters",
    }
    if keyword in simple:
        return f"{simple[keyword]}, is {show(value)}", ""
    counts = {
        "minItems": "must not be empty" if expected == 1 else f"must have at least {expected} items",
        "maxItems": f"must have at most {expected} items",
        "minProperties": "must not be empty" if expected == 1 else f"must have at least {expected} keys",
        "maxProperties": f"must have at most {expected} key{'s' if expected != 1 else ''}",
        "uniqueItems": "has an item twice",
        "not": "is not allowed here",
    }
    return counts.get(keyword, ""), ""


def _either(kinds: Iterable[str]) -> str:
    words = [_ARTICLES.get(kind, kind) for kind in dict.fromkeys(kinds)]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _word(value: Any) -> str:
    return value if isinstance(value, str) and value else show(value)


def _choices(known: Iterable[str]) -> str:
    names = list(known)
    return f"one of {', '.join(names)}" if 0 < len(names) <= 8 else ""
