"""The values that templates handle, and what can be done with any of them: written, compared, looked into.

A value is None, a boolean, a number, a text, a list, a tuple, a mapping with plain keys, or one of the lazy mappings
of a host's variables. Everything else that a template can have in its hands (a macro, a loop, a function) can be called or asked
for its declared attributes, and is no value: it is not printed, compared or stored in results. Each function pays for what it
does (`meter`) and gives up at MAX_DEPTH, so that a structure that holds one part many times over costs what it looks like.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

import jinja2

from reconciler.render import meter, tokens
from reconciler.render.faults import FilterError, Refused
from reconciler.text import encodable

MAX_TEXT: Final = 4 << 20  # characters of one text
MAX_ITEMS: Final = 100_000  # of one list or range
MAX_EACH: Final = 500  # items of one entry's `each`: nobody has as many cells or relays
MAX_DEPTH: Final = 64  # of lists and mappings inside one another
MAX_BITS: Final = 4096  # of a number


class Lazy(Mapping[str, Any]):
    """A mapping whose values are evaluated when they are asked for. Iterating gives the names only."""

    __slots__ = ()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __str__(self) -> str:
        raise FilterError("all variables at once cannot be printed: name one")

    __repr__ = object.__repr__


class Group(tuple[Any, list[Any]]):
    """What `groupby` gives: the value that the items share, and the items."""

    __slots__ = ()


Scalar = str | int | float | bool | None
_SCALARS: Final = (str, int, float, type(None))
# The plain ones first: asking the class of a Lazy takes longer.
_MAPPINGS: Final[tuple[type[Mapping[Any, Any]], ...]] = (dict, Lazy)
_SEQUENCES: Final = (list, tuple, str)
_VALUES: Final = (*_SCALARS, list, tuple, dict, Lazy)
_KINDS: Final = (
    (bool, "a boolean"), (str, "a text"), (int, "a number"), (float, "a number"), (type(None), "none"),
    (list, "a list"), (tuple, "a list"), (Mapping, "a mapping"),
)  # fmt: skip


def kind(value: Any) -> str:
    """What a value is, in words."""
    return next((words for types, words in _KINDS if isinstance(value, types)), f"a {type(value).__name__.lower()}")


def is_value(value: Any) -> bool:
    """Whether it is one of the values; what a list or mapping holds is not looked at."""
    return isinstance(value, _VALUES)


_PLAIN: Final = frozenset((str, int, float, bool, type(None)))


def is_plain(value: Any) -> bool:
    """Whether it is data whose `repr`, and its type, tell it from anything else."""
    kind_of = type(value)
    if kind_of is dict:
        return all(type(name) in _PLAIN and is_plain(part_) for name, part_ in value.items())
    return kind_of in _PLAIN or (kind_of in (list, tuple) and all(map(is_plain, value)))


def demand(value: Any) -> Any:
    """The value itself. Raises what an undefined one says, and FilterError for what is no value.

    The missing else of `a if b` is the empty text, as it is where it is printed.
    """
    if isinstance(value, jinja2.Undefined):
        return str(value)
    if not is_value(value):
        raise FilterError(f"{kind(value)} is no value: it can only be called or asked for its attributes")
    return value


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word, else nothing."""
    close = get_close_matches(word[:64], [name for name in known if not name.startswith("_")][:2000], 1)
    return f"; did you mean {close[0]!r}?" if close else ""


# --- writing -----------------------------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    """A value as a text, as Python writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) or value is None:
        meter.spend(1 + number_cost(value), 60)
        return str(bounded(value))
    pieces: list[str] = []
    _write(value, pieces, 0)
    return limited("".join(pieces))


def quoted(value: Any) -> str:
    """A value as `repr` writes it."""
    pieces: list[str] = []
    _write(value, pieces, 0)
    return limited("".join(pieces))


def limited(text: str) -> str:
    """A text that was made, paid for. Raises Refused when it is longer than MAX_TEXT."""
    bound(len(text))
    return meter.text(text)


def bound(size: int, limit: int = MAX_TEXT, what: str = "characters") -> None:
    """Raise Refused when a result of `size` would be larger than the limit."""
    if size > limit:
        raise Refused(f"the result would have {size} {what}, larger than the limit of {limit}")


def bounded(number: Any) -> Any:
    """A number. Raises Refused when it is an integer of more than MAX_BITS."""
    if isinstance(number, int) and number.bit_length() > MAX_BITS:
        raise Refused(f"the result would be larger than the limit of {MAX_BITS} bits for a number")
    return number


def number_cost(number: Any) -> int:
    """Steps of writing a number out: the square of its length."""
    return (bounded(number).bit_length() >> 8) ** 2 >> 2 if isinstance(number, int) else 0


def _write(value: Any, pieces: list[str], depth: int) -> None:
    meter.spend(3, 60)
    value = demand(value)
    if isinstance(value, str):
        pieces.append(meter.text(str.__repr__(value)))
    elif isinstance(value, int | float) or value is None:
        meter.spend(number_cost(value))
        pieces.append(repr(bounded(value)))
    elif isinstance(value, list | tuple):
        _deeper(depth)
        pieces.append("[" if isinstance(value, list) else "(")
        for index, item in enumerate(value):
            if index:
                pieces.append(", ")
            _write(item, pieces, depth + 1)
        pieces.append("]" if isinstance(value, list) else ",)" if len(value) == 1 else ")")
    elif isinstance(value, dict):
        _deeper(depth)
        pieces.append("{")
        for index, (key, item) in enumerate(value.items()):
            if index:
                pieces.append(", ")
            _write(key, pieces, depth + 1)
            pieces.append(": ")
            _write(item, pieces, depth + 1)
        pieces.append("}")
    else:
        str(value)  # raises what a lazy mapping says


def _deeper(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise Refused(f"a value is nested deeper than {MAX_DEPTH} levels")


def measure(value: Any) -> None:
    """Pay for walking a value with everything in it. Raises what an undefined part says."""
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, list | tuple | dict):
            meter.spend(1 + len(item))
            _deeper(depth)
            waiting += [(part, depth + 1) for part in (item.values() if isinstance(item, dict) else item)]
        elif isinstance(item, jinja2.Undefined):
            str(item)


# --- comparing ---------------------------------------------------------------------------------------------------


_LONG: Final = 1 << 9  # characters, for which comparing costs a step more


def equal(one: Any, other: Any, depth: int = 0) -> bool:
    """Whether two values are the same, as Python says; a list is never a tuple."""
    meter.spend(3)
    one, other = demand(one), demand(other)
    if isinstance(one, str) and isinstance(other, str):
        meter.spend(min(len(one), len(other)) >> 9)
        return one == other
    if isinstance(one, _SCALARS) or isinstance(other, _SCALARS):
        return isinstance(one, _SCALARS) and isinstance(other, _SCALARS) and one == other
    _deeper(depth)
    if isinstance(one, dict) and isinstance(other, dict):
        return len(one) == len(other) and all(
            key in other and equal(item, other[key], depth + 1) for key, item in one.items()
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return (
            isinstance(one, list) == isinstance(other, list)
            and len(one) == len(other)
            and all(equal(item, other[index], depth + 1) for index, item in enumerate(one))
        )
    return one is other


def distinct(listed_items: Iterable[Any]) -> dict[str, Any]:
    """The items without repeats, in order of first appearance, by a text that tells different ones apart."""
    result: dict[str, Any] = {}
    for item_ in listed_items:
        result.setdefault(quoted(plain(item_)), item_)
    return result


def less(one: Any, other: Any, depth: int = 0) -> bool:
    """Whether `one` comes before `other`: numbers, texts, and lists of them. Raises FilterError for anything else."""
    meter.spend(3)
    one, other = demand(one), demand(other)
    if isinstance(one, str) and isinstance(other, str):
        meter.spend(min(len(one), len(other)) >> 9)
        return one < other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one < other
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        _deeper(depth)
        for left, right in zip(one, other, strict=False):
            if not equal(left, right, depth + 1):
                return less(left, right, depth + 1)
        return len(one) < len(other)
    raise FilterError(f"{kind(one)} and {kind(other)} have no order")


def contains(container: Any, item: Any) -> bool:
    """Whether a list has an item, a mapping a key, a text a part."""
    if isinstance(container, str):
        if not isinstance(item, str):
            raise FilterError(f"a text contains texts only, not {kind(demand(item))}")
        if tokens.is_held(container):
            raise Refused("what a secret contains is not known here")
        meter.spend(search_cost(container, item))
        return item in container
    container = demand(container)
    if isinstance(container, Mapping):
        meter.spend(1)
        return key(item) in container
    if isinstance(container, list | tuple):
        if type(item) is str and len(item) < _LONG and set(map(type, container)) == {str}:
            # Most lists are names of hosts, and a site has many: what `equal` costs of each is counted, and Python compares.
            found = item in container
            meter.spend(3 * (container.index(item) + 1 if found else len(container)))
            return found
        return any(equal(item, other) for other in container)
    raise FilterError(f"{kind(container)} contains nothing: a list, a mapping or a text does")


def search_cost(text: str, part: str) -> int:
    """Steps of looking for a part of a text, in the worst case."""
    return 1 + (len(text) * min(len(part) + 1, 100) >> 9)


def key(value: Any) -> Any:
    """A value that can be the key of a mapping. Raises FilterError."""
    if not isinstance(value, _SCALARS):
        raise FilterError(f"the key of a mapping is a text or a number, not {kind(demand(value))}")
    return value


# --- looking into ------------------------------------------------------------------------------------------------


def items(value: Any) -> list[Any]:
    """The items of a list, the keys of a mapping, the characters of a text. Raises FilterError for anything else."""
    value = demand(value)
    if tokens.is_held(value):
        raise Refused(f"{tokens.words(tokens.names(value))} has no items, because its value is not known here")
    if isinstance(value, list | tuple | str | Mapping):
        result = list(value)
        listed(len(result))
        return result
    raise FilterError(f"a list is needed, not {kind(value)}")


def listed(count: int) -> None:
    """Pay for a list of so many items. Raises Refused when they are more than MAX_ITEMS."""
    bound(count, MAX_ITEMS, "items")
    meter.spend(1 + (count >> 2), 60 + 16 * count)


def item(where: Any, name: Any) -> Any:
    """An item of a list, a value of a mapping, a part of a secret; MISSING when there is none."""
    meter.spend(1)
    if isinstance(where, tokens.SecretRef):
        return part(where, name)
    if tokens.is_held(where):
        raise Refused(
            f"a part of a text that holds {tokens.words(tokens.names(where))} cannot be taken, because its value is not known here"
        )
    where = demand(where)
    if isinstance(where, _MAPPINGS) and isinstance(name, _SCALARS):
        try:
            return where[name]
        except KeyError:
            return MISSING
    if isinstance(where, _SEQUENCES):
        if isinstance(where, Group) and name in ("grouper", "list"):
            return where[name == "list"]
        if isinstance(name, str) and name.isascii() and name.isdigit():
            name = int(name[:9])
        if isinstance(name, int) and -len(where) <= name < len(where):
            return where[name]
    return MISSING


MISSING: Final = object()


def path(where: Any, names: str | int) -> Any:
    """What a dotted path leads to, as `map(attribute=…)` writes it; MISSING when some step is not there."""
    for name in names.split(".") if isinstance(names, str) else (names,):
        where = item(where, name)
        if where is MISSING:
            return MISSING
    return where


def part(secret: tokens.SecretRef, name: Any) -> tokens.SecretRef:
    """A named part of a secret that is a mapping. Raises Refused for any other look at it."""
    try:
        if isinstance(name, str) and not name.startswith("_"):
            return secret.part(name)
    except ValueError:
        pass
    raise Refused(f"the value of the secret {secret.name} is not known here, so it cannot be looked into")


def cut(where: Any, start: Any, stop: Any, step: Any) -> Any:
    """A slice of a text or list."""
    if tokens.is_held(where):
        raise Refused(
            f"a part of a text that holds {tokens.words(tokens.names(where))} cannot be taken, because its value is not known here"
        )
    if not isinstance(where, str | list | tuple):
        raise FilterError(f"{kind(demand(where))} cannot be sliced")
    for number in (start, stop, step):
        if number is not None and not isinstance(number, int):
            raise FilterError(f"a slice is made of numbers, not of {kind(demand(number))}")
    result = where[start:stop:step]
    return meter.text(result) if isinstance(result, str) else _paid(result)


def _paid(result: Any) -> Any:
    listed(len(result))
    return result


def plain(value: Any, depth: int = 0) -> Any:
    """A value as data that can be kept: own lists and mappings with texts as keys. Raises what an undefined part says."""
    if value is None:
        return value
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, int | float):
        return finite(bounded(value))
    value = demand(value)
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, Lazy):
        raise FilterError("all variables of a host cannot be a value: name one")
    _deeper(depth)
    if isinstance(value, dict):
        meter.spend(3 + 3 * len(value), 250 + 100 * len(value))
        return {whole(text_of(name)): plain(part_, depth + 1) for name, part_ in value.items()}
    listed(len(value))
    meter.spend(3 + 2 * len(value), 60)
    return [plain(part_, depth + 1) for part_ in value]


def whole(text: str) -> str:
    """`text`, which can be written to a file, given to the engine and shown. Raises FilterError for one that cannot."""
    if not encodable(text):
        raise FilterError("the result holds half a surrogate pair, which no file can hold")
    if "\0" in text:
        raise FilterError("the result holds U+0000, which no setting can hold")
    return text


def finite(number: Any) -> Any:
    """A number that can be written. Raises FilterError for infinity and what is no number."""
    if isinstance(number, float) and not math.isfinite(number):
        raise FilterError(f"the result is {number}, which is no number that can be written")
    return number


def texts(values: Iterable[Any]) -> Iterator[str]:
    """Every value as a text."""
    return (text_of(demand(value)) for value in values)
