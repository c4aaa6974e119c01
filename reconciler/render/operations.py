"""How filters and tests are declared: functions whose annotations say what they take.

A call checks and converts every argument before the function sees it: a wrong one is a FilterError that names the filter
and what it takes, an undefined one raises what is wrong with it, and one that holds a secret is refused by a filter that would
look at its characters. Every call and every argument is paid for (`meter`).
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import jinja2

from reconciler.render import meter, tokens, values
from reconciler.render.faults import FilterError, Refused, Said

Converter = Callable[[Any], Any]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, int | float):
        return values.text_of(value)
    raise FilterError("a text")


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise FilterError("a whole number")
    if abs(value) > values.MAX_ITEMS:
        raise Refused(f"is given {value if abs(value) < 10**20 else 'a number'}; the limit is {values.MAX_ITEMS}")
    return value


def _maybe_whole(value: Any) -> int | None:
    return None if value is None else _whole(value)


def _number(value: Any) -> int | float:
    if not isinstance(value, int | float):
        raise FilterError("a number")
    return value


def _flag(value: Any) -> bool:
    if not (value is None or isinstance(value, bool | int | str)):
        raise FilterError("true or false")
    return bool(value)


def _name(value: Any) -> str | int | None:
    if value is not None and not isinstance(value, str | int):
        raise FilterError("the name of an attribute")
    return value


def _items(value: Any) -> list[Any]:
    return values.items(value)


def _mapping(value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise FilterError("a mapping")
    return value


def _value(value: Any) -> Any:
    return values.demand(value)


def _anything(value: Any) -> Any:
    return value


Text = Annotated[str, _text]
Whole = Annotated[int, _whole]
MaybeWhole = Annotated[int | None, _maybe_whole]
Number = Annotated[int | float, _number]
Flag = Annotated[bool, _flag]
Name = Annotated[str | int | None, _name]
Items = Annotated[list[Any], _items]
Pairs = Annotated[Mapping[Any, Any], _mapping]
Value = Annotated[Any, _value]
Anything = Annotated[Any, _anything]  # also what is undefined, or no value


class Operation:
    """A filter or test as templates call it. `carries`: it hands a text on unseen, so that it may hold a secret."""

    def __init__(self, what: str, name: str, function: Callable[..., Any], carries: bool) -> None:
        self.name = name
        self._title = f"the {what} {name}"
        self._function = function
        self._carries = carries
        hints = get_type_hints(function, include_extras=True)
        self._positional: list[Converter] = []
        self._named: dict[str, Converter] = {}
        self._rest: Converter | None = None
        self._others: Converter | None = None
        for parameter in inspect.signature(function).parameters.values():
            converter = _converter(hints[parameter.name])
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._rest = converter
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._others = converter
            else:
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    self._positional.append(converter)
                if parameter.kind is not parameter.POSITIONAL_ONLY:
                    self._named[parameter.name] = converter

    def __call__(self, /, *arguments: Any, **named: Any) -> Any:
        meter.spend(3, 100)
        taken = []
        for index, value in enumerate(arguments):
            converter = self._positional[index] if index < len(self._positional) else self._rest
            if converter is None:
                raise FilterError(f"{self._title} takes at most {len(self._positional) - 1} arguments")
            taken.append(self._converted(converter, value))
        by_name = {}
        for name, value in named.items():
            converter = self._named.get(name, self._others)
            if converter is None:
                near = values.suggestion(name, self._named)
                raise FilterError(f"{self._title} takes no argument {name!r}{near}")
            by_name[name] = self._converted(converter, value)
        try:
            result = self._function(*taken, **by_name)
        except Said:
            raise
        except (FilterError, Refused) as error:
            if str(error).startswith("the "):
                raise
            raise type(error)(f"{self._title}: {error}") from None
        except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
            raise FilterError(f"{self._title}: {error}".replace(f"{self._function.__name__}() ", "")) from None
        if isinstance(result, str) and not isinstance(result, tokens.SecretRef):
            values.bound(len(result))
        return result

    def _converted(self, converter: Converter, value: Any) -> Any:
        if converter is _anything:
            return value
        if isinstance(value, jinja2.Undefined):
            value = values.demand(value)
        if isinstance(value, str):
            meter.spend(len(value) >> 9)
            if not self._carries and tokens.is_held(value):
                known = tokens.words(tokens.names(value))
                raise Refused(f"{self._title} cannot look at {known}, because its value is not known here")
        try:
            return converter(value)
        except FilterError as error:
            if not values.is_value(value) or str(error).startswith("a list is"):
                raise FilterError(f"{self._title}: {error}") from None
            raise FilterError(f"{self._title} takes {error}, not {values.kind(value)}") from None
        except Refused as error:
            raise Refused(f"{self._title} {error}") from None


def _converter(hint: Any) -> Converter:
    assert get_origin(hint) is Annotated, "every parameter of a filter says what it takes"
    found: Converter = get_args(hint)[1]
    return found


class Table(dict[str, Operation]):
    """Filters or tests by name. `what` is the word for one of them."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what: Final = what

    def add(self, *names: str, carries: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare the decorated function under its names."""

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            for name in names:
                assert name not in self, name
                self[name] = Operation(self.what, name, function, carries)
            return function

        return declare

    def find(self, name: Any) -> Operation:
        """The operation of that name. Raises FilterError with a neighbour."""
        if isinstance(name, str) and name in self:
            return self[name]
        shown = name[:60] if isinstance(name, str) else values.kind(name)
        raise FilterError(f"there is no {self.what} {shown!r}{values.suggestion(shown, self)}")


FILTERS: Final = Table("filter")
TESTS: Final = Table("test")
