"""Dataclasses to JSON and back: what children answer, what is kept on the disk, what is served. Pure."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final, TypeVar, cast

from reconciler.reasons import Reason, read

T = TypeVar("T")
_PLAIN: Final = frozenset((str, int, float, bool, types.NoneType))


def to_json(value: Any) -> Any:
    """A dataclass (or container of such) as plain JSON values; fields at their default are left out."""
    kind = type(value)
    if kind in _PLAIN:  # most of all that there is
        return value
    if dataclasses.is_dataclass(kind):
        result = {}
        for item in dataclasses.fields(kind):
            content = getattr(value, item.name)
            if not _is_default(item, content):
                result[item.name] = to_json(content)
        return result
    if isinstance(value, Mapping):
        return {str(key): to_json(content) for key, content in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(content) for content in value]
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return value


@dataclasses.dataclass
class Lost:
    """What of another version's data could not be taken, by its place (`desired.containers[3].image`)."""

    unknown: list[str] = dataclasses.field(default_factory=list)  # fields that nobody knows
    unread: list[str] = dataclasses.field(default_factory=list)  # values of another shape

    @property
    def places(self) -> tuple[str, ...]:
        return (*self.unread, *self.unknown)


def from_json(kind: type[T], data: Any, lost: Lost | None = None) -> T:
    """The inverse of `to_json`. Raises KeyError, TypeError or ValueError on data of another shape.

    With `lost`, for what another version of this program may have written: fields that nobody knows are left out, values that cannot
    be read become the field's default or leave their list or mapping, and each is named there. What nothing can stand in for raises as
    above.
    """
    return cast(T, _build(kind, data, lost, ""))


def _is_default(item: "dataclasses.Field[Any]", content: Any) -> bool:
    if item.default is not dataclasses.MISSING:
        return bool(content == item.default)
    if item.default_factory is not dataclasses.MISSING:
        return bool(content == item.default_factory())
    return False


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


# What reading data that somebody else wrote may raise, as JSON and as a dataclass: all of it says that it has another shape. ArithmeticError
# is that of a whole number with hundreds of digits where one with a point is expected, and of dates that no calendar has.
UNREADABLE: Final = (KeyError, TypeError, ValueError, AttributeError, RecursionError, ArithmeticError)
_ABSENT = object()
_AS_IT_IS: Final = (str, int, bool)


@cache
def _shape(kind: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """Origin and arguments of a type, and whether it is a dataclass."""
    return typing.get_origin(kind), typing.get_args(kind), dataclasses.is_dataclass(kind)


def _build(kind: Any, data: Any, lost: Lost | None, where: str) -> Any:
    origin, arguments, has_fields = _shape(kind)
    if has_fields:
        return _build_fields(cast(type, kind), _a(dict, data), lost, where)
    if origin in (types.UnionType, typing.Union):
        return _build_one(arguments, data, lost, where)
    if origin is tuple and arguments[-1] is not Ellipsis:
        parts = zip(arguments, _a(list, data), strict=True)
        return tuple(_build(part, content, lost, f"{where}[{n}]") for n, (part, content) in enumerate(parts))
    if origin in (tuple, list, frozenset):
        found = (_part(arguments[0], content, lost, f"{where}[{n}]") for n, content in enumerate(_a(list, data)))
        return origin(item for item in found if item is not _ABSENT)
    if origin in (Mapping, dict):
        pairs = ((key, _part(arguments[1], value, lost, f"{where}.{key}")) for key, value in _a(dict, data).items())
        return {key: value for key, value in pairs if value is not _ABSENT}
    if origin is typing.Literal:
        if data not in arguments:
            raise ValueError(f"{data!r:.60} is none of {arguments}")
        return data
    if kind is datetime:
        return datetime.fromisoformat(_a(str, data))
    if kind is Reason:
        return read(_a(str, data))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(data)
    return _a(kind, data) if kind in (str, int, bool, float, dict, list) else data


def _build_fields(kind: type, data: dict[str, Any], lost: Lost | None, where: str) -> Any:
    hints, built = _hints(kind), {}
    optional = {f.name for f in dataclasses.fields(kind) if not _is_required(f)} if lost is not None else ()
    for name, content in data.items():
        place = f"{where}.{name}" if where else name
        if name not in hints and lost is not None:
            lost.unknown.append(place)
            continue
        value = _part(hints[name], content, lost if name in optional else None, place, nested=lost)
        if value is not _ABSENT:
            built[name] = value
    return kind(**built)


def _part(kind: Any, data: Any, lost: Lost | None, where: str, *, nested: Lost | None = None) -> Any:
    """A value that can be done without when there is a `lost`: then it is named there, and absent. `nested` is that of its parts."""
    if type(data) is kind and kind in _AS_IT_IS:  # most of all that there is
        return data
    try:
        return _build(kind, data, lost if lost is not None else nested, where)
    except UNREADABLE:
        if lost is None:
            raise
        lost.unread.append(where)
        return _ABSENT


def _is_required(item: "dataclasses.Field[Any]") -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _build_one(kinds: tuple[Any, ...], data: Any, lost: Lost | None, where: str) -> Any:
    """`data` as the first of several types that fits."""
    if data is None and types.NoneType in kinds:
        return None
    found = [kind for kind in kinds if kind is not types.NoneType]
    for kind in found[:-1]:
        try:
            return _build(kind, data, None, where)
        except UNREADABLE:
            continue
    return _build(found[-1], data, lost, where)


def _a(kind: type[T], data: Any) -> T:
    """`data` when JSON has it as a `kind`: a whole number is also a float, `true` is no number, and tuples count as lists."""
    allowed: tuple[type, ...] = (int, float) if kind is float else (list, tuple) if kind is list else (kind,)
    if not isinstance(data, allowed) or (isinstance(data, bool) and kind is not bool):
        raise TypeError(f"{type(data).__name__} where {kind.__name__} is expected")
    if kind is float and not math.isfinite(cast(float, data)):
        raise ValueError(f"{data} is no number")
    return cast(T, data)
