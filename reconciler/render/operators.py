"""Operators and comparisons of expressions: what they take, how large a result may be, and what each step costs."""

from collections.abc import Mapping
from typing import Any, Final

from reconciler.render import formatting, meter, tokens, values
from reconciler.render.faults import FilterError, Refused
from reconciler.render.lists import add


def _numbers(operator: str, left: Any, right: Any) -> None:
    meter.spend(1, 32)
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        raise FilterError(f"{operator} takes numbers, not {values.kind(left)} and {values.kind(right)}")


def _calculated(operator: str, left: Any, right: Any) -> Any:
    try:
        if operator == "-":
            return values.bounded(left - right)
        if operator == "/":
            return left / right
        if operator == "//":
            return left // right
        if operator == "%":
            return left % right
        result = left**right
    except OverflowError:
        raise FilterError(f"{operator}: the result is too large") from None
    except ZeroDivisionError as error:
        raise FilterError(f"{operator}: {error}") from None
    if not isinstance(result, int | float):
        raise FilterError("**: the result is not a real number")
    return values.bounded(result)


def _times(left: Any, right: Any) -> Any:
    for sequence, count in ((left, right), (right, left)):
        if isinstance(sequence, str) and isinstance(count, int):
            values.bound(len(sequence) * max(count, 0))
            return values.limited(str.__mul__(sequence, count))
        if isinstance(sequence, list | tuple) and isinstance(count, int):
            values.listed(len(sequence) * max(count, 0))
            return sequence * count
    _numbers("*", left, right)
    if isinstance(left, int) and isinstance(right, int):
        values.bound(left.bit_length() + right.bit_length(), values.MAX_BITS + 1, "bits")
    return values.bounded(left * right)


def _power(left: Any, right: Any) -> Any:
    _numbers("**", left, right)
    if isinstance(left, int) and isinstance(right, int):
        values.bound(left.bit_length() * abs(right), values.MAX_BITS, "bits")
    return _calculated("**", left, right)


def _remainder(left: Any, right: Any) -> Any:
    if isinstance(left, str):
        return formatting.percent(left, right)
    _numbers("%", left, right)
    return _calculated("%", left, right)


def _plain_operator(operator: str) -> Any:
    def calculate(left: Any, right: Any) -> Any:
        _numbers(operator, left, right)
        return _calculated(operator, left, right)

    return calculate


OPERATORS: Final[Mapping[str, Any]] = {
    "+": add,
    "*": _times,
    "**": _power,
    "%": _remainder,
    **{operator: _plain_operator(operator) for operator in ("-", "/", "//")},
}


def _ordered(left: Any, right: Any) -> bool:
    for value in (left, right):
        if tokens.is_held(value):
            raise Refused(f"the order of {tokens.words(tokens.names(value))} is not known here")
    return values.less(left, right)


COMPARISONS: Final[Mapping[str, Any]] = {
    "eq": values.equal,
    "ne": lambda left, right: not values.equal(left, right),
    "lt": _ordered,
    "gt": lambda left, right: _ordered(right, left),
    "lteq": lambda left, right: values.equal(left, right) or _ordered(left, right),
    "gteq": lambda left, right: values.equal(left, right) or _ordered(right, left),
    "in": lambda left, right: values.contains(right, left),
    "notin": lambda left, right: not values.contains(right, left),
}
