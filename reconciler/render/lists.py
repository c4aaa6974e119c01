"""The filters of Jinja over lists and mappings, and those that take a filter or a test. A list comes out where Jinja gives a generator."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jinja2

from reconciler.render import meter, methods, values
from reconciler.render.conditions import is_defined
from reconciler.render.faults import FilterError
from reconciler.render.operations import FILTERS, TESTS, Anything, Flag, Items, Name, Pairs, Text, Value, Whole


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
