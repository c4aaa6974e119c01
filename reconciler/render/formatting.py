"""The two ways of Python to fill values into a text, with bounded widths and without a way into objects."""

import re
import string
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from reconciler.render import meter, tokens, values
from reconciler.render.faults import FilterError, Refused

_MAX_WIDTH: Final = 999
_CONVERSION: Final = re.compile(
    r"%(?:\((?P<name>[^()]{0,200})\))?(?P<flags>[-#0 +]{0,10})(?P<width>\*|\d{0,4})(?:\.(?P<precision>\*|\d{0,4}))?(?P<kind>.?)", re.DOTALL
)  # fmt: skip
_SPECIFICATION: Final = re.compile(
    r"(?:.?[<>=^])?[-+ ]?#?0?(?P<width>\d{0,4})[,_]?(?:\.(?P<precision>\d{0,4}))?[a-zA-Z%]?"
)


def percent(text: str, arguments: Any) -> str:
    """`text % arguments`: a tuple gives one value to each conversion, a mapping gives them by name."""
    named = isinstance(arguments, Mapping)
    waiting = list(arguments) if isinstance(arguments, tuple) else [arguments]
    pieces: list[str] = []
    size, end, used = 0, 0, 0
    for match in _conversions(text):
        pieces.append(text[end : match.start()])
        end = match.end()
        if match["kind"] == "%":
            pieces.append("%")
        elif match["name"] is not None:
            found = values.item(arguments, match["name"]) if named else values.MISSING
            if found is values.MISSING:
                raise FilterError(f"the conversion {match[0]!r} finds no value of that name")
            pieces.append(_converted(match, found))
        else:
            if used >= len(waiting):
                raise FilterError("not enough values for the conversions of the text")
            pieces.append(_converted(match, waiting[used]))
            used += 1
        size += len(pieces[-1]) + len(pieces[-2])
        values.bound(size)
    if used < len(waiting) and not named:
        raise FilterError("more values than conversions in the text")
    pieces.append(text[end:])
    return values.limited("".join(pieces))


def _conversions(text: str) -> Iterator[re.Match[str]]:
    position = text.find("%")
    while position >= 0:
        match = _CONVERSION.match(text, position)
        assert match is not None, "a % alone matches"
        meter.spend(3, 100)
        yield match
        position = text.find("%", match.end())


def _converted(match: re.Match[str], value: Any) -> str:
    for part in (match["width"], match["precision"]):
        _check_width(part, match[0])
    value, letter = values.demand(value), match["kind"]
    options = (
        f"%{match['flags']}{match['width']}{'' if match['precision'] is None else '.' + match['precision']}{letter}"
    )
    try:
        if letter in ("s", "r", "a"):
            text = values.text_of(value) if letter == "s" else values.quoted(value)
            if tokens.is_held(text) and options != "%s":
                raise Refused(
                    f"the conversion {match[0]!r} cannot look at a secret, because its value is not known here"
                )
            return meter.text(options % text)
        if letter and letter in "diouxXeEfFgGc":
            if (isinstance(value, str) and letter != "c") or not isinstance(value, str | int | float):
                raise FilterError(f"the conversion {match[0]!r} takes a number, not {values.kind(value)}")
            return meter.text(options % value)
    except (TypeError, ValueError, OverflowError) as error:
        raise FilterError(f"the conversion {match[0]!r}: {error}") from None
    raise FilterError(f"the conversion {match[0]!r} is not known")


def _check_width(part: str | None, shown: str) -> None:
    if part and (part == "*" or int(part) > _MAX_WIDTH):
        raise Refused(f"the conversion {shown!r} would make a text of unbounded width")


Look = Callable[[Any, str], Any]


def fields(text: str, arguments: tuple[Any, ...], named: Mapping[str, Any], look: Look) -> str:
    """`text.format(*arguments, **named)`. `look(value, name)` is what `{value.name}` and `{value[name]}` mean."""
    pieces: list[str] = []
    size, automatic = 0, 0
    try:
        for literal, field, specification, conversion in string.Formatter().parse(text):
            meter.spend(3, 100)
            pieces.append(literal)
            if field is not None:
                if field[:1] in ("", ".", "["):
                    field, automatic = f"{automatic}{field}", automatic + 1
                value = _field(field, arguments, named, look)
                pieces.append(_formatted(value, specification or "", conversion or ""))
                size += len(pieces[-1])
            size += len(literal)
            values.bound(size)
    except ValueError as error:
        raise FilterError(f"format(): {error}") from None
    return values.limited("".join(pieces))


def _field(field: str, arguments: tuple[Any, ...], named: Mapping[str, Any], look: Look) -> Any:
    first, *rest = re.split(r"[.\[]", field)
    if first.isascii() and first.isdigit():
        if len(first) > 3 or int(first) >= len(arguments):
            raise FilterError(f"format(): there is no value for the field {{{first}}}")
        value = arguments[int(first)]
    elif first in named:
        value = named[first]
    else:
        raise FilterError(f"format(): there is no value for the field {{{first}}}")
    for name in rest:
        value = look(value, name.removesuffix("]"))
    return values.demand(value)


def _formatted(value: Any, specification: str, conversion: str) -> str:
    if conversion not in ("", "s", "r", "a"):
        raise FilterError(f"format(): the conversion !{conversion} is not known")
    if conversion:
        value = values.text_of(value) if conversion == "s" else values.quoted(value)
        value = ascii(value)[1:-1] if conversion == "a" else value
    if not specification:
        return values.text_of(value)
    match = _SPECIFICATION.fullmatch(specification)
    if match is None or any(part and int(part) > _MAX_WIDTH for part in match.groups()):
        raise Refused(f"format(): the field {specification[:40]!r} is not known, or of unbounded width")
    if not isinstance(value, str | int | float) or tokens.is_held(value):
        raise FilterError(f"format(): only a plain text or number can have a field such as {specification!r}")
    return meter.text(format(value, specification))
