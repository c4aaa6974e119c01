"""The tests of templates (`is …`): Jinja's own, and Ansible's where Kolla sites use them."""

from collections.abc import Mapping
from typing import Any, cast

import jinja2
from jinja2.runtime import LoopContext, Macro
from jinja2.utils import Joiner

from reconciler.document import pattern
from reconciler.document.numbers import plain
from reconciler.render import lookups, meter, methods, releases, values
from reconciler.render.faults import UnheardError
from reconciler.render.operations import FILTERS, TESTS, Anything, Flag, Items, Number, Text, Value


def is_defined(value: Any) -> bool:
    """Whether a value is there. One that cannot be evaluated raises its own error."""
    if isinstance(value, jinja2.Undefined):
        if isinstance(value._undefined_hint, Exception):
            str(value)
        _heard_of(value)
        return False
    return True


def _heard_of(value: jinja2.Undefined) -> None:
    """Raise UnheardError for a variable of a host (`hostvars[…]`) that nothing defines anywhere."""
    name = value._undefined_name
    if isinstance(value._undefined_obj, values.Lazy) and isinstance(name, str):
        hint = cast(lookups.Sources, meter.current().names).unheard(name)
        if hint is not None:
            raise UnheardError(name, 1, hint)


@TESTS.add("defined", carries=True)
def _defined(value: Anything) -> bool:
    return is_defined(value)


@TESTS.add("undefined", carries=True)
def _undefined(value: Anything) -> bool:
    return not is_defined(value)


@TESTS.add("filter")
def _filter(name: Text) -> bool:
    return name in FILTERS


@TESTS.add("test")
def _test(name: Text) -> bool:
    return name in TESTS


@TESTS.add("release")
def _release(value: Text, specifier: Text) -> bool:
    return releases.is_within(value, specifier)


@TESTS.add("odd")
def _odd(value: Number) -> bool:
    return value % 2 == 1


@TESTS.add("even")
def _even(value: Number) -> bool:
    return value % 2 == 0


@TESTS.add("divisibleby")
def _divisible(value: Number, number: Number) -> bool:
    return value % number == 0


@TESTS.add("none", carries=True)
def _none(value: Value) -> bool:
    return value is None


@TESTS.add("boolean", carries=True)
def _boolean(value: Value) -> bool:
    return value is True or value is False


@TESTS.add("true", carries=True)
def _true(value: Value) -> bool:
    return value is True


@TESTS.add("false", carries=True)
def _false(value: Value) -> bool:
    return value is False


@TESTS.add("integer", carries=True)
def _integer(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@TESTS.add("float", carries=True)
def _float(value: Value) -> bool:
    return isinstance(value, float)


@TESTS.add("number", carries=True)
def _number(value: Value) -> bool:
    return isinstance(value, int | float)


@TESTS.add("string", carries=True)
def _string(value: Value) -> bool:
    return isinstance(value, str)


@TESTS.add("mapping", carries=True)
def _mapping(value: Value) -> bool:
    return isinstance(value, Mapping)


@TESTS.add("sequence", "iterable", carries=True)
def _sequence(value: Value) -> bool:
    return isinstance(value, str | list | tuple | Mapping)


@TESTS.add("callable", carries=True)
def _callable(value: Anything) -> bool:
    return isinstance(value, methods.Method | methods.Function | Macro | LoopContext | Joiner)


@TESTS.add("escaped", carries=True)
def _escaped(value: Value) -> bool:
    return False


@TESTS.add("sameas", carries=True)
def _same(value: Value, other: Value) -> bool:
    return type(plain(value)) is type(plain(other)) and values.equal(value, other)


@TESTS.add("lower")
def _lower(value: Text) -> bool:
    return value.islower()


@TESTS.add("upper")
def _upper(value: Text) -> bool:
    return value.isupper()


@TESTS.add("truthy", carries=True)
def _truthy(value: Value) -> bool:
    return bool(value)


@TESTS.add("falsy", carries=True)
def _falsy(value: Value) -> bool:
    return not value


@TESTS.add("in", carries=True)
def _in(item: Value, container: Value) -> bool:
    return values.contains(container, item)


@TESTS.add("contains", carries=True)
def _contains(container: Value, item: Value) -> bool:
    return values.contains(container, item)


@TESTS.add("==", "eq", "equalto", carries=True)
def _equal(value: Value, other: Value) -> bool:
    return values.equal(value, other)


@TESTS.add("!=", "ne", carries=True)
def _unequal(value: Value, other: Value) -> bool:
    return not values.equal(value, other)


@TESTS.add("<", "lt", "lessthan")
def _less(value: Value, other: Value) -> bool:
    return values.less(value, other)


@TESTS.add(">", "gt", "greaterthan")
def _greater(value: Value, other: Value) -> bool:
    return values.less(other, value)


@TESTS.add("<=", "le")
def _at_most(value: Value, other: Value) -> bool:
    return values.equal(value, other) or values.less(value, other)


@TESTS.add(">=", "ge")
def _at_least(value: Value, other: Value) -> bool:
    return values.equal(value, other) or values.less(other, value)


# --- Ansible's ---------------------------------------------------------------------------------------------------


def compiled(expression: str, ignorecase: bool = False, multiline: bool = False) -> pattern.Pattern:
    """An expression of a template. Raises pattern.PatternError."""
    flags = (pattern.IGNORECASE if ignorecase else 0) | (pattern.MULTILINE if multiline else 0)
    made = pattern.compile(expression, flags)
    meter.spend(20 + len(expression) + made.size // 2)
    return made


def spend_work(work: int) -> None:
    """Pay for the work of an expression."""
    meter.spend(1 + work // 150)


@TESTS.add("match")
def _match(value: Text, expression: Text, ignorecase: Flag = False, multiline: Flag = False) -> bool:
    return compiled(expression, ignorecase, multiline).match(value, spend_work) is not None


@TESTS.add("search", "regex")
def _search(value: Text, expression: Text, ignorecase: Flag = False, multiline: Flag = False) -> bool:
    return compiled(expression, ignorecase, multiline).search(value, spend_work) is not None


@TESTS.add("subset")
def _subset(value: Items, other: Items) -> bool:
    return values.distinct(value).keys() <= values.distinct(other).keys()


@TESTS.add("superset")
def _superset(value: Items, other: Items) -> bool:
    return values.distinct(value).keys() >= values.distinct(other).keys()
