"""The filters of Jinja that a configuration file has a use for, with Jinja's behaviour.

A list comes out where Jinja gives a generator. What depends on chance or on the machine is not here (`random`, `pprint`), nor is
what only a web page needs (`urlize`).
"""

import functools
import html
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote as percent_encode

import jinja2

from reconciler.render import formatting, meter, methods, tokens, values
from reconciler.render.conditions import is_defined
from reconciler.render.faults import FilterError, Refused
from reconciler.render.operations import (
    FILTERS,
    TESTS,
    Anything,
    Flag,
    Items,
    MaybeWhole,
    Name,
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


# --- lists -------------------------------------------------------------------------------------------------------


@FILTERS.add("length", "count")
def _length(value: Value) -> int:
    if not isinstance(value, str | list | tuple | Mapping):
        raise FilterError(f"takes a list, a mapping or a text, not {values.kind(value)}")
    return len(value)


@FILTERS.add("list")
def _list(value: Items) -> list[Any]:
    return value


@FILTERS.add("items")
def _items(value: Anything) -> list[Any]:
    if isinstance(value, jinja2.Undefined):
        is_defined(value)
        return []
    if not isinstance(value, Mapping):
        raise FilterError(f"takes a mapping, not {values.kind(value)}")
    names = values.items(value)
    meter.spend(len(names), 60 * len(names))
    return [(name, value[name]) for name in names]


@FILTERS.add("first", carries=True)
def _first(value: Items) -> Any:
    return value[0] if value else methods.StrictUndefined("an empty list has no first item")


@FILTERS.add("last", carries=True)
def _last(value: Items) -> Any:
    return value[-1] if value else methods.StrictUndefined("an empty list has no last item")


@FILTERS.add("reverse")
def _reverse(value: Value) -> Any:
    if isinstance(value, str):
        return values.limited(value[::-1])
    return values.items(value)[::-1]


@FILTERS.add("batch")
def _batch(value: Items, linecount: Whole, fill_with: Value = None) -> list[Any]:
    if linecount < 1:
        raise FilterError("its size must be at least 1")
    rows = [value[start : start + linecount] for start in range(0, len(value), linecount)]
    meter.spend(len(rows), 60 * len(rows) + 8 * linecount)
    if rows and fill_with is not None:
        rows[-1] += [fill_with] * (linecount - len(rows[-1]))
    return rows


@FILTERS.add("slice")
def _slice(value: Items, slices: Whole, fill_with: Value = None) -> list[Any]:
    if slices < 1:
        raise FilterError("their number must be at least 1")
    meter.spend(slices, 80 * slices)
    each, more = divmod(len(value), slices)
    result, end = [], 0
    for number in range(slices):
        start, end = end, end + each + (number < more)
        part = value[start:end]
        result.append([*part, fill_with] if fill_with is not None and number >= more else part)
    return result


@FILTERS.add("join", carries=True)
def _join(value: Items, d: Text = "", attribute: Name = None) -> str:
    return methods.join(value if attribute is None else [_part(item, attribute) for item in value], d)


@FILTERS.add("sum")
def _sum(value: Items, attribute: Name = None, start: Value = 0) -> Any:
    total = start
    for item in value:
        total = add(total, item if attribute is None else _part(item, attribute))
    return total


def add(one: Any, other: Any) -> Any:
    """`one + other`: numbers, texts or lists."""
    one, other = values.demand(one), values.demand(other)
    meter.spend(1)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return values.bounded(one + other)
    if isinstance(one, str) and isinstance(other, str):
        values.bound(len(one) + len(other))
        return values.limited(str.__add__(one, other))
    if (
        isinstance(one, list | tuple)
        and isinstance(other, list | tuple)
        and isinstance(one, list) == isinstance(other, list)
    ):
        values.listed(len(one) + len(other))
        return [*one, *other] if isinstance(one, list) else (*one, *other)
    raise FilterError(f"{values.kind(one)} and {values.kind(other)} cannot be added")


def _part(item: Any, attribute: str | int) -> Any:
    """What a dotted path leads to; undefined where it does not."""
    found = values.path(values.demand(item), attribute)
    if found is values.MISSING:
        return methods.StrictUndefined(obj=item, name=str(attribute)[:60])
    return found


def _folded(value: Any, case_sensitive: bool) -> Any:
    return meter.text(value.lower()) if isinstance(value, str) and not case_sensitive else value


def ordered(items: list[Any], key: Callable[[Any], Any], reverse: bool = False) -> list[Any]:
    """The items sorted by what `key` gives, which is paid for comparison by comparison."""

    def compare(one: tuple[Any, Any], other: tuple[Any, Any]) -> int:
        return -1 if values.less(one[0], other[0]) else int(values.less(other[0], one[0]))

    keyed = [(key(item), item) for item in items]
    return [item for _, item in sorted(keyed, key=functools.cmp_to_key(compare), reverse=reverse)]


def _by(attribute: Any, case_sensitive: bool) -> Callable[[Any], Any]:
    names = str(attribute).split(",") if attribute is not None else []

    def key(item: Any) -> Any:
        found = [values.demand(_part(item, name)) for name in names] if names else [values.demand(item)]
        folded = [_folded(part, case_sensitive) for part in found]
        return folded[0] if len(folded) == 1 else folded

    return key


@FILTERS.add("sort")
def _sort(value: Items, reverse: Flag = False, case_sensitive: Flag = False, attribute: Name = None) -> list[Any]:
    return ordered(value, _by(attribute, case_sensitive), reverse)


@FILTERS.add("min")
def _min(value: Items, case_sensitive: Flag = False, attribute: Name = None) -> Any:
    return _extreme(value, case_sensitive, attribute, False)


@FILTERS.add("max")
def _max(value: Items, case_sensitive: Flag = False, attribute: Name = None) -> Any:
    return _extreme(value, case_sensitive, attribute, True)


def _extreme(items: list[Any], case_sensitive: bool, attribute: Name, largest: bool) -> Any:
    if not items:
        return methods.StrictUndefined("an empty list has no smallest and no largest item")
    key = _by(attribute, case_sensitive)
    best, best_key = items[0], key(items[0])
    for item in items[1:]:
        found = key(item)
        if values.less(best_key, found) if largest else values.less(found, best_key):
            best, best_key = item, found
    return best


@FILTERS.add("dictsort")
def _dictsort(value: Pairs, case_sensitive: Flag = False, by: Text = "key", reverse: Flag = False) -> list[Any]:
    if by not in ("key", "value"):
        raise FilterError("it sorts by key or value")
    position = 0 if by == "key" else 1
    pairs = [(name, value[name]) for name in values.items(value)]
    return ordered(pairs, lambda pair: _folded(values.demand(pair[position]), case_sensitive), reverse)


@FILTERS.add("groupby")
def _groupby(value: Items, attribute: Name, default: Value = None, case_sensitive: Flag = False) -> list[Any]:
    if attribute is None:
        raise FilterError("needs the name of an attribute")

    def key(item: Any) -> Any:
        found = values.path(values.demand(item), attribute)
        if found is values.MISSING:
            found = default if default is not None else values.demand(_part(item, attribute))
        return found

    groups: list[Any] = []
    last: Any = values.MISSING
    for item in ordered(value, lambda item: _folded(key(item), case_sensitive)):
        now = _folded(key(item), case_sensitive)
        if last is values.MISSING or not values.equal(now, last):
            meter.spend(1, 200)
            groups.append(values.Group((key(item), [])))
            last = now
        groups[-1][1].append(item)
    return groups


@FILTERS.add("unique")
def _unique(value: Items, case_sensitive: Flag = True, attribute: Name = None) -> list[Any]:
    return unique(value, case_sensitive, attribute)


def unique(items: Iterable[Any], case_sensitive: bool = True, attribute: Name = None) -> list[Any]:
    """The items without repeats, in order of first appearance. Upper and lower case differ, as in Ansible."""
    seen: dict[str, Any] = {}
    key = _by(attribute, case_sensitive)
    for item in items:
        seen.setdefault(values.quoted(values.plain(key(item))), item)
    return list(seen.values())


# --- filters over filters ----------------------------------------------------------------------------------------


@FILTERS.add("attr")
def _attr(value: Value, name: Text) -> Any:
    return _part(value, name)


@FILTERS.add("map")
def _map(value: Items, *arguments: Value, **named: Value) -> list[Any]:
    if not arguments and "attribute" in named:
        attribute, default = named.pop("attribute"), named.pop("default", values.MISSING)
        if named or not isinstance(attribute, str | int):
            raise FilterError("takes attribute= and default= alone")
        return [_mapped(item, attribute, default) for item in value]
    if not arguments:
        raise FilterError("needs the name of a filter, or attribute=")
    filter_ = FILTERS.find(arguments[0])
    return [filter_(item, *arguments[1:], **named) for item in value]


def _mapped(item: Any, attribute: str | int, default: Any) -> Any:
    found = _part(item, attribute)
    return default if default is not values.MISSING and not is_defined(found) else found


def _chosen(items: list[Any], arguments: tuple[Any, ...], named: dict[str, Any], wanted: bool) -> list[Any]:
    if not arguments:
        return [item for item in items if bool(values.demand(item)) is wanted]
    test = TESTS.find(arguments[0])
    return [item for item in items if bool(test(item, *arguments[1:], **named)) is wanted]


def _chosen_by(items: list[Any], arguments: tuple[Any, ...], named: dict[str, Any], wanted: bool) -> list[Any]:
    if not arguments or not isinstance(arguments[0], str | int):
        raise FilterError("needs the name of an attribute")
    attribute, *rest = arguments
    test: Callable[..., Any] = TESTS.find(rest[0]) if rest else lambda part: bool(values.demand(part))
    return [item for item in items if bool(test(_part(item, attribute), *rest[1:], **named)) is wanted]


@FILTERS.add("select")
def _select(value: Items, *arguments: Value, **named: Value) -> list[Any]:
    return _chosen(value, arguments, named, True)


@FILTERS.add("reject")
def _reject(value: Items, *arguments: Value, **named: Value) -> list[Any]:
    return _chosen(value, arguments, named, False)


@FILTERS.add("selectattr")
def _selectattr(value: Items, *arguments: Value, **named: Value) -> list[Any]:
    return _chosen_by(value, arguments, named, True)


@FILTERS.add("rejectattr")
def _rejectattr(value: Items, *arguments: Value, **named: Value) -> list[Any]:
    return _chosen_by(value, arguments, named, False)
