"""What can be called or asked of the things in a template: methods by the type they belong to, attributes, functions.

What is not in these tables does not exist for a template.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jinja2
from jinja2.runtime import LoopContext, Macro
from jinja2.utils import Cycler, Joiner, Namespace, missing

from reconciler.render import formatting, lookups, meter, tokens, values
from reconciler.render.faults import FilterError, Refused
from reconciler.render.values import Lazy


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """A method of a value, to be called."""

    name: str
    owner: Any
    function: Callable[..., Any]

    def __str__(self) -> str:
        raise FilterError(f"{self.name} is a method: call it, {self.name}(…)")

    __repr__ = object.__repr__


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function that templates know by name."""

    name: str
    function: Callable[..., Any]

    def __str__(self) -> str:
        raise FilterError(f"{self.name} is a function: call it, {self.name}(…)")

    __repr__ = object.__repr__


# --- texts -------------------------------------------------------------------------------------------------------


def _plain_text(name: str) -> Callable[..., Any]:
    """A method of `str` that takes texts and small numbers, and whose work and result grow with its text alone."""
    method = getattr(str, name)

    def call(owner: str, *arguments: Any) -> Any:
        for argument in arguments:
            _argument(name, argument)
        cost = sum(values.search_cost(owner, part) for part in arguments if isinstance(part, str))
        meter.spend(1 + (len(owner) >> 8) + cost)
        result = method(owner, *arguments)
        if isinstance(result, str):
            return values.limited(result)
        if isinstance(result, list | tuple):
            values.listed(len(result))
            meter.spend(len(result), len(owner) + 50 * len(result))
        return result

    return call


def _sized(name: str) -> Callable[..., Any]:
    """A method of `str` that is given the size of its result."""
    method = getattr(str, name)

    def call(owner: str, size: int = 8, *fill: str) -> str:
        if not isinstance(size, int) or not all(isinstance(part, str) for part in fill):
            raise FilterError(f"{name}() takes a number and a text")
        values.bound(abs(size) * (1 + owner.count("\t") if name == "expandtabs" else 1))
        return values.limited(method(owner, size, *fill))

    return call


def _argument(name: str, value: Any) -> None:
    if isinstance(value, tuple) and name in ("startswith", "endswith"):
        values.measure(value)
        value = next((part for part in value if not isinstance(part, str)), "")
    if not isinstance(values.demand(value), str | int | None):
        raise FilterError(f"{name}() takes texts and numbers, not {values.kind(value)}")
    if tokens.is_held(value):
        raise Refused(f"{name}() cannot look at a text that holds a secret, because its value is not known here")


def _join(owner: str, items: Any) -> str:
    return join(items, owner)


def join(items: Any, separator: str) -> str:
    """The items as one text."""
    listed = values.items(items)
    pieces, size = [], 0
    for text in values.texts(listed):
        size += len(text) + len(separator)
        values.bound(size)
        pieces.append(text)
    return values.limited(separator.join(pieces))


def replace(owner: str, old: Any, new: Any, count: Any = -1) -> str:
    """Every `old` in the text as `new`, the first `count` of them."""
    if not isinstance(old, str) or not isinstance(new, str) or not isinstance(count, int):
        raise FilterError("replace() takes two texts and a number")
    if tokens.is_held(old):
        raise Refused("replace() cannot look at a text that holds a secret, because its value is not known here")
    meter.spend(values.search_cost(owner, old))
    found = owner.count(old)
    values.bound(len(owner) + (found if count < 0 else min(found, count)) * max(0, len(new) - len(old)))
    return values.limited(owner.replace(old, new, count))


def _format(owner: str, *arguments: Any, **named: Any) -> str:
    return formatting.fields(owner, arguments, named, look)


def _splitlines(owner: str, keepends: Any = False) -> list[str]:
    meter.spend(len(owner) >> 6, 2 * len(owner) + 50 * owner.count("\n"))
    lines = owner.splitlines(bool(keepends))
    values.listed(len(lines))
    return lines


def _split(name: str) -> Callable[..., Any]:
    plain = _plain_text(name)

    def call(owner: str, sep: Any = None, maxsplit: Any = -1) -> Any:
        meter.spend(0, 50 * (owner.count(sep) if isinstance(sep, str) and sep else len(owner) >> 1))
        return plain(owner, sep, maxsplit)

    return call


# The first see what a text holds, so they take no text that holds a secret; the last two only carry it along.
_LOOKING: Final = (
    "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit",
    "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper", "lower", "lstrip", "partition",
    "removeprefix", "removesuffix", "rfind", "rindex", "rpartition", "rstrip", "startswith", "strip", "swapcase",
    "title", "upper",
)  # fmt: skip
_TEXT: Final[Mapping[str, Callable[..., Any]]] = {
    **{name: _plain_text(name) for name in _LOOKING},
    **{name: _sized(name) for name in ("center", "expandtabs", "ljust", "rjust", "zfill")},
    **{name: _split(name) for name in ("split", "rsplit")},
    "replace": replace,
    "splitlines": _splitlines,
    "format": _format,
    "join": _join,
}
_CARRYING: Final = ("format", "join")


# --- lists and mappings ------------------------------------------------------------------------------------------


def _count(owner: Any, item: Any) -> int:
    return sum(values.equal(item, other) for other in owner)


def _index(owner: Any, item: Any) -> int:
    for index, other in enumerate(owner):
        if values.equal(item, other):
            return index
    raise FilterError("index(): the item is not in the list")


def _get(owner: Any, name: Any, default: Any = None) -> Any:
    found = values.item(owner, values.key(name))
    return default if found is values.MISSING else found


def _keys(owner: Any) -> list[Any]:
    return values.items(owner)


def _values(owner: Any) -> list[Any]:
    return [owner[name] for name in values.items(owner)]


def _items(owner: Any) -> list[tuple[Any, Any]]:
    names = values.items(owner)
    meter.spend(len(names), 60 * len(names))
    return [(name, owner[name]) for name in names]


_LIST: Final[Mapping[str, Callable[..., Any]]] = {"count": _count, "index": _index}
_MAPPING: Final[Mapping[str, Callable[..., Any]]] = {"get": _get, "items": _items, "keys": _keys, "values": _values}


# --- Jinja's own objects -----------------------------------------------------------------------------------------


def _changed(loop: LoopContext, *now: Any) -> bool:
    before = loop._last_changed_value
    loop._last_changed_value = now
    return not (isinstance(before, tuple) and values.equal(before, now))


def _cycle(loop: LoopContext, *choices: Any) -> Any:
    if not choices:
        raise FilterError("loop.cycle() needs values to choose from")
    return choices[loop.index0 % len(choices)]


_LOOP: Final = frozenset(
    ("index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0", "previtem", "nextitem")
)
_LOOP_METHODS: Final[Mapping[str, Callable[..., Any]]] = {"changed": _changed, "cycle": _cycle}
_CYCLER_METHODS: Final[Mapping[str, Callable[..., Any]]] = {"next": Cycler.next, "reset": Cycler.reset}
_CYCLER: Final = frozenset(("current",))
_MACRO: Final = frozenset(("name", "arguments"))


def look(where: Any, name: str) -> Any:
    """`where.name`: a method of the table, an attribute of one of Jinja's objects, a value of a mapping. Else undefined."""
    table, attributes = _offers(where)
    if name in table:
        return Method(name, where, table[name])
    if name in attributes:
        return getattr(where, name)
    return subscript(where, name)


def _offers(where: Any) -> tuple[Mapping[str, Callable[..., Any]], frozenset[str]]:
    """The methods and attributes of a thing."""
    if isinstance(where, LoopContext):
        return _LOOP_METHODS, _LOOP
    if isinstance(where, Cycler):
        return _CYCLER_METHODS, _CYCLER
    return _table(where), _MACRO if isinstance(where, Macro) else frozenset()


def _table(where: Any) -> Mapping[str, Callable[..., Any]]:
    if isinstance(where, str):
        return _TEXT
    if isinstance(where, list | tuple):
        return _LIST
    return _MAPPING if isinstance(where, (dict, Mapping)) else {}  # most are plain ones, which is quicker to tell


class StrictUndefined(jinja2.StrictUndefined):
    """What is not there. Its message suggests a neighbour where the object it was looked up in is known."""

    @property
    def _undefined_message(self) -> str:
        where, name = self._undefined_obj, str(self._undefined_name)
        if self._undefined_hint or where is missing:
            return super()._undefined_message
        known = [str(other) for other in where] if isinstance(where, Mapping) else []
        return f"{values.kind(where)} has no attribute {name!r}{values.suggestion(name, [*_table(where), *known])}"

    __repr__ = object.__repr__


def _undefined(where: Any, name: Any) -> StrictUndefined:
    return StrictUndefined(obj=where, name=name if isinstance(name, str) else values.text_of(values.demand(name))[:60])


def subscript(where: Any, name: Any) -> Any:
    """`where[name]`: an item, a value of a mapping, a part of a secret. Else undefined."""
    if isinstance(where, jinja2.Undefined):
        where._fail_with_undefined_error()
    if isinstance(where, Namespace):
        found = object.__getattribute__(where, "_Namespace__attrs").get(values.key(name), values.MISSING)
    else:
        found = values.item(where, values.demand(name)) if values.is_value(where) else values.MISSING
    return _undefined(where, name) if found is values.MISSING else found


def call(function: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Call what may be called. Raises Refused for anything else."""
    meter.spend(2, 100)
    if isinstance(function, jinja2.Undefined):
        function._fail_with_undefined_error()
    if isinstance(function, tokens.SecretRef):
        values.part(function, 0)
    if isinstance(function, Method):
        return _call_method(function, arguments, named)
    if isinstance(function, Function):
        return _typed(function.name, function.function, arguments, named)
    if not isinstance(function, Macro | LoopContext | Joiner):
        raise Refused(f"{values.kind(function)} cannot be called")
    if isinstance(function, Joiner):
        return _typed("joiner", function, arguments, named)
    run = meter.current()
    if run.depth >= meter.MAX_CALLS:
        raise Refused(f"macros and loops call each other more than {meter.MAX_CALLS} deep")
    run.depth += 1
    try:
        if isinstance(function, LoopContext):
            if len(arguments) != 1 or named:
                raise FilterError("loop() takes one list")
            return values.limited(function(rows(arguments[0])))
        _check_arguments(function, arguments, named)
        return values.limited(function(*arguments, **named))
    finally:
        run.depth -= 1


def _check_arguments(macro: Macro, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    known = macro.arguments
    if len(arguments) > len(known) and not macro.catch_varargs:
        raise FilterError(f"the macro {macro.name} takes at most {len(known)} arguments")
    for name in named if not macro.catch_kwargs else ():
        if name not in known and not (name == "caller" and macro.caller):
            raise FilterError(f"the macro {macro.name} takes no argument {name!r}{values.suggestion(name, known)}")


def _call_method(method: Method, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    if isinstance(method.owner, str) and method.name not in _CARRYING and tokens.is_held(method.owner):
        raise Refused(f"{method.name}() cannot look at a text that holds a secret, because its value is not known here")
    if isinstance(method.owner, str) and method.name != "format":
        for value in (*arguments, *named.values()):
            values.demand(value)
    return _typed(f"{method.name}()", method.function, (method.owner, *arguments), named)


def _typed(name: str, function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    try:
        return function(*arguments, **named)
    except (TypeError, ValueError, OverflowError) as error:
        raise FilterError(f"{name}: {error}") from None


def rows(items: Any, count: int = 0) -> list[Any]:
    """What a loop goes through: values only, paid for; where it takes them apart, each of `count` parts."""
    result = values.items(items)
    meter.spend(len(result))
    for item in result:
        if count:
            row(item, count)
        elif not (values.is_value(item) or isinstance(item, jinja2.Undefined)):
            raise FilterError(f"a loop goes through values, and {values.kind(item)} is none")
    return result


def row(value: Any, count: int) -> list[Any]:
    """What `{% set a, b = … %}` takes apart, which must have as many parts."""
    parts = values.items(value)
    if len(parts) != count:
        raise FilterError(f"{count} values are needed here, and there are {len(parts)}")
    return parts


# --- functions ---------------------------------------------------------------------------------------------------


def _range(*arguments: Any) -> list[int]:
    if not all(isinstance(number, int) for number in arguments):
        raise FilterError("range() takes whole numbers")
    numbers = range(*(values.bounded(number) for number in arguments))
    try:
        count = len(numbers)
    except OverflowError:
        count = values.MAX_ITEMS + 1
    values.bound(count, values.MAX_ITEMS, "items")
    values.listed(count)
    meter.spend(0, 32 * count)
    return list(numbers)


def mapping(pairs: Any, named: Mapping[str, Any]) -> dict[Any, Any]:
    """A new mapping from another, or from pairs, and from names."""
    if isinstance(pairs, Lazy):
        raise FilterError("all variables of a host cannot be a value: name one")
    if isinstance(pairs, Mapping):
        result = dict(pairs)
    else:
        result = {}
        for pair in values.items(pairs):
            name, value = values.items(pair)
            result[values.key(name)] = value
    result.update(named)
    values.listed(len(result))
    meter.spend(len(result), 230 + 100 * len(result))
    return result


def _dict(pairs: Any = (), /, **named: Any) -> dict[Any, Any]:
    return mapping(pairs, named)


def _namespace(pairs: Any = (), /, **named: Any) -> Namespace:
    return Namespace(mapping(pairs, named))


def _cycler(*choices: Any) -> Cycler:
    if not choices:
        raise FilterError("cycler() needs values to choose from")
    return Cycler(*choices)


def _joiner(sep: Any = ", ") -> Joiner:
    return Joiner(values.text_of(values.demand(sep)))


_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "range": _range,
    "dict": _dict,
    "namespace": _namespace,
    "cycler": _cycler,
    "joiner": _joiner,
    "template": lookups.template,
    "override": lookups.override,
    "overrides": lookups.overrides,
    "first_override": lookups.first_override,
    "lookup": lookups.lookup,
    "id_of": lookups.id_of,
}
FUNCTIONS: Final[Mapping[str, Function]] = {name: Function(name, made) for name, made in _FUNCTIONS.items()}


def names() -> dict[str, list[str]]:
    """What templates can call or ask for, by what it belongs to; for the documentation."""
    return {
        "a text": sorted(_TEXT),
        "a list": sorted(_LIST),
        "a mapping": sorted(_MAPPING),
        "loop": sorted((*_LOOP, *_LOOP_METHODS)),
        "cycler": sorted((*_CYCLER, *_CYCLER_METHODS)),
        "a macro": sorted(_MACRO),
        "functions": sorted(FUNCTIONS),
    }
