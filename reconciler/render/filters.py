"""The filters of Jinja that a configuration file has a use for, with Jinja's behaviour.

A list comes out where Jinja gives a generator. What depends on chance or on the machine is not here (`random`, `pprint`), nor is
what only a web page needs (`urlize`).
"""

import html
import math
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote as percent_encode

from reconciler.render import formatting, meter, methods, tokens, values
from reconciler.render.conditions import is_defined
from reconciler.render.faults import FilterError, Refused
from reconciler.render.operations import (
    FILTERS,
    Anything,
    Flag,
    MaybeWhole,
    Number,
    Pairs,
    Text,
    Value,
    Whole,
)

_MAX_PRECISION: Final = 30


# --- what is not there -------------------------------------------------------------------------------------------


@FILTERS.add("default", "d", carries=True)
def _default(value: Anything, default_value: Anything = "", boolean: Flag = False) -> Any:
    if not is_defined(value) or (boolean and not value):
        return default_value
    return value


# --- texts -------------------------------------------------------------------------------------------------------


@FILTERS.add("string", carries=True)
def _string(value: Value) -> str:
    return values.text_of(value)


@FILTERS.add("lower")
def _lower(value: Text) -> str:
    return values.limited(value.lower())


@FILTERS.add("upper")
def _upper(value: Text) -> str:
    return values.limited(value.upper())


@FILTERS.add("capitalize")
def _capitalize(value: Text) -> str:
    return values.limited(value.capitalize())


@FILTERS.add("title")
def _title(value: Text) -> str:
    meter.spend(len(value) >> 2)
    parts = re.split(r"([-\s({\[<]+)", value)
    return values.limited("".join(part[0].upper() + part[1:].lower() for part in parts if part))


@FILTERS.add("trim")
def _trim(value: Text, chars: Anything = None) -> str:
    if chars is not None and not isinstance(chars, str):
        raise FilterError("its characters are a text")
    return values.limited(value.strip(chars))


@FILTERS.add("replace")
def _replace(value: Text, old: Text, new: Text, count: MaybeWhole = None) -> str:
    return methods.replace(value, old, new, -1 if count is None else count)


@FILTERS.add("center")
def _center(value: Text, width: Whole = 80) -> str:
    return values.limited(value.center(width))


@FILTERS.add("truncate")
def _truncate(
    value: Text, length: Whole = 255, killwords: Flag = False, end: Text = "...", leeway: MaybeWhole = None
) -> str:
    if length < len(end):
        raise FilterError(f"its length must be at least {len(end)}")
    if len(value) <= length + (5 if leeway is None else leeway):
        return value
    kept = value[: length - len(end)]
    return values.limited((kept if killwords else kept.rsplit(" ", 1)[0]) + end)


@FILTERS.add("wordcount")
def _wordcount(value: Text) -> int:
    meter.spend(len(value) >> 3)
    return len(re.findall(r"\w+", value))


@FILTERS.add("wordwrap")
def _wordwrap(
    value: Text,
    width: Whole = 79,
    break_long_words: Flag = True,
    wrapstring: Anything = None,
    break_on_hyphens: Flag = True,
) -> str:
    if width < 1:
        raise FilterError("its width must be at least 1")
    if not (wrapstring is None or isinstance(wrapstring, str)):
        raise FilterError("its wrapstring is a text")
    meter.spend(len(value) >> 1, 60 * len(value))
    lines: list[str] = []
    for line in value.splitlines():
        lines += _wrapped(line, width, break_long_words, break_on_hyphens) or [""]
    return methods.join(lines, "\n" if wrapstring is None else wrapstring)


def _wrapped(line: str, width: int, break_words: bool, hyphens: bool) -> list[str]:
    """One line as lines of at most `width`; space is dropped where a line is broken."""
    words = re.split(r"(\s+)", line)
    if hyphens:
        words = [piece for word in words for piece in re.split(r"(?<=[^\W\d_]-)(?=[^\W\d_])", word)]
    lines: list[str] = []
    kept = ""
    for word in words:
        if len(kept) + len(word) <= width:
            kept += word
            continue
        if word.isspace():
            continue
        if kept.strip():
            lines.append(kept.rstrip())
        kept = word
        while break_words and len(kept) > width:
            lines.append(kept[:width])
            kept = kept[width:]
            meter.spend(1 + (len(kept) >> 9))
    return [*lines, kept.rstrip()] if kept.strip() else lines


@FILTERS.add("indent", carries=True)
def _indent(value: Text, width: Value = 4, first: Flag = False, blank: Flag = False) -> str:
    if not isinstance(width, str):
        if not isinstance(width, int) or not 0 <= width <= values.MAX_ITEMS:
            raise Refused(f"the filter indent is given {values.kind(width)} that is no width")
        values.bound(width * (1 + value.count("\n")))
        width = " " * width
    values.bound(len(value) + len(width) * (1 + value.count("\n")))
    lines = (value + "\n").splitlines()  # this is how Jinja keeps a last empty line
    meter.spend(len(lines), 60 * len(lines))
    if not lines:
        return ""
    rest = [width + line if blank or line else line for line in lines[1:]]
    return values.limited("\n".join([(width if first else "") + lines[0], *rest]))


@FILTERS.add("format", carries=True)
def _format(value: Text, *arguments: Value, **named: Value) -> str:
    if arguments and named:
        raise FilterError("takes values by place or by name, not both")
    return formatting.percent(value, named or arguments)


@FILTERS.add("urlencode", carries=True)
def _urlencode(value: Value) -> str:
    if not isinstance(value, list | tuple | Mapping):
        return url_quoted(values.text_of(value))
    pairs = list(value.items()) if isinstance(value, Mapping) else [values.items(pair) for pair in value]
    values.listed(len(pairs))
    return methods.join([f"{_query(name)}={_query(part)}" for name, part in pairs], "&")


def url_quoted(text: str) -> str:
    """A text as it stands in the path of a URL; a secret is encoded when it is known."""
    if tokens.is_held(text):
        return tokens.apply("urlencode", text)
    meter.spend(len(text) >> 4 if text.isascii() else len(text) >> 2)
    return values.limited(percent_encode(text, safe="/"))


def _query(value: Any) -> str:
    text = values.text_of(values.demand(value))
    meter.spend(len(text) >> 2)
    return (
        url_quoted(text) if tokens.is_held(text) else values.limited(percent_encode(text, safe="").replace("%20", "+"))
    )


@FILTERS.add("escape", "e", "forceescape")
def _escape(value: Value) -> str:
    text = values.text_of(value)
    values.bound(5 * len(text), 5 * values.MAX_TEXT)
    return values.limited(_escaped(text))


def _escaped(text: str) -> str:
    return html.escape(text, quote=False).replace("'", "&#39;").replace('"', "&#34;")


@FILTERS.add("safe", carries=True)
def _safe(value: Value) -> Any:
    return value  # nothing is escaped here, so that there is nothing to be safe from


@FILTERS.add("striptags")
def _striptags(value: Text) -> str:
    meter.spend(len(value) >> 3, 4 * len(value))
    text = _outside(_outside(value, "<!--", "-->"), "<", ">")
    return values.limited(" ".join(html.unescape(text).split()))


def _outside(text: str, opening: str, closing: str) -> str:
    """What is left without everything between the two marks; a mark that is never closed stays."""
    pieces, end = [], 0
    while (start := text.find(opening, end)) >= 0:
        stop = text.find(closing, start)
        if stop < 0:
            break
        pieces.append(text[end:start])
        end = stop + len(closing)
    return "".join((*pieces, text[end:]))


@FILTERS.add("xmlattr")
def _xmlattr(value: Pairs, autospace: Flag = True) -> str:
    written = []
    for name in values.items(value):
        if not isinstance(name, str) or re.search(r"[\s/>=]", name):
            raise FilterError(f"{name!r:.60} cannot be the name of an attribute")
        found = value[name]
        if found is not None and is_defined(found):
            written.append(f'{_escape_text(name)}="{_escape_text(values.text_of(values.demand(found)))}"')
    text = methods.join(written, " ")
    return f" {text}" if text and autospace else text


def _escape_text(text: str) -> str:
    if tokens.is_held(text):
        raise Refused("the filter xmlattr cannot escape a secret, because its value is not known here")
    return values.limited(_escaped(text))


@FILTERS.add("filesizeformat")
def _filesizeformat(value: Value, binary: Flag = False) -> str:
    size, base = float(value), 1024 if binary else 1000
    units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"] if binary else ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]  # fmt: skip
    if size == 1:
        return "1 Byte"
    if size < base:
        return f"{int(size)} Bytes"
    power = next((power for power in range(1, 8) if size < base ** (power + 1)), 8)
    return f"{size / base**power:.1f} {units[power - 1]}"


# --- numbers -----------------------------------------------------------------------------------------------------


@FILTERS.add("int")
def _int(value: Value, default: Value = 0, base: Whole = 10) -> Any:
    try:
        if isinstance(value, str):
            meter.spend(len(value) >> 4)
            try:
                return values.bounded(int(value, base))
            except ValueError:
                return values.bounded(int(float(value)))
        return values.bounded(int(value))
    except (TypeError, ValueError, OverflowError):
        return default


@FILTERS.add("float")
def _float(value: Value, default: Value = 0.0) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return default


@FILTERS.add("abs")
def _abs(value: Number) -> Any:
    return abs(value)


@FILTERS.add("round")
def _round(value: Number, precision: Whole = 0, method: Text = "common") -> Any:
    if method not in ("common", "ceil", "floor"):
        raise FilterError("its method is common, ceil or floor")
    if abs(precision) > _MAX_PRECISION:
        raise Refused(f"the filter round is given {precision}; the limit is {_MAX_PRECISION}")
    if method == "common":
        return round(value, precision)
    turned = math.ceil if method == "ceil" else math.floor
    return turned(value * 10**precision) / 10**precision
