"""The keywords of JSON Schema as this program checks them: counted, bounded, and with expressions in the place of values."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from reconciler.document import budget, pattern

_ERROR_COST: Final = 40  # of the budget: an error is an object that is kept for a while
_NO_EXPRESSION: Final = {"x-expects": "a plain name: a key cannot be an expression"}


def is_expression(value: Any) -> bool:
    """Whether a value is a text that holds a Jinja2 expression or statement."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def is_one_expression(value: Any) -> bool:
    """Whether a value is a text that is one expression as a whole, so that it keeps the type of what comes out."""
    text = value.strip() if isinstance(value, str) else ""
    return text.startswith("{{") and text.endswith("}}") and text.count("{{") == 1 and "{%" not in text


@functools.cache
def validator(expressions: bool) -> Any:
    """The validator class whose work is counted; with `expressions`, one of them satisfies every keyword but `propertyNames`."""
    keywords = {**Draft202012Validator.VALIDATORS, **_OWN}
    if expressions:
        # What `$ref` and `allOf` lead to decides for itself. Names of keys are never expressions.
        skipped = keywords.keys() - {"$ref", "allOf"}
        keywords = {name: _skipping(word) if name in skipped else word for name, word in keywords.items()}
        keywords["propertyNames"] = _plain_names
    counted = {name: _counted(word, name == "patternProperties") for name, word in keywords.items()}
    return extend(Draft202012Validator, counted)  # type: ignore[no-untyped-call]


def _counted(keyword: Any, product: bool) -> Any:
    """A keyword that pays for what it does before it does it, and for each error."""

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        spent = budget.current()
        sizes = [len(part) if isinstance(part, (list, dict)) else 0 for part in (value, instance)]
        spent.check(1 + (sizes[0] * sizes[1] if product else sum(sizes)))
        for error in keyword(validator, value, instance, schema) or ():
            spent.check(_ERROR_COST)
            yield error

    return check


def _skipping(keyword: Any) -> Any:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if not is_expression(instance) or schema.get("x-literal"):
            yield from keyword(validator, value, instance, schema) or ()

    return check


def _plain_names(validator: Any, value: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    for name in instance if isinstance(instance, dict) else ():
        if is_expression(name):
            yield ValidationError("", validator="propertyNames", instance=name, schema=_NO_EXPRESSION)
        else:
            yield from validator.descend(instance=name, schema=value)


def _unique_items(validator: Any, wanted: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    """In one walk, where the library compares every item with every other one."""
    if wanted and isinstance(instance, list):
        seen: set[Any] = set()
        for item in instance:
            identity = _identity(item)
            if identity in seen:
                yield ValidationError("")
                return
            seen.add(identity)


def _found(expression: str, text: str) -> bool:
    """Whether a text matches somewhere, in time linear in the text; not, when it is too long to be looked at."""
    try:
        return pattern.compile(expression).search(text) is not None
    except pattern.PatternError:
        return False


def _pattern(validator: Any, expression: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    """As JavaScript has it: `$` is the end, where Python takes the place before a last line's end for it too."""
    if isinstance(instance, str):
        short = instance.endswith("\n") and expression.endswith("$")
        if short or not _found(expression, instance):
            yield ValidationError(f"does not match {expression}")


def _pattern_properties(validator: Any, value: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    for expression, schema in value.items() if isinstance(instance, dict) else ():
        for key, item in instance.items():
            if _found(expression, key):
                yield from validator.descend(item, schema, path=key, schema_path=expression)


def _additional(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    extras = list(extras_of(instance, schema)) if isinstance(instance, dict) else []
    if isinstance(value, dict) and extras:
        below = validator.evolve(schema=value)  # once for all of them, where `descend` makes one for each
        for key in extras:
            for error in below.iter_errors(instance[key]):
                error.path.appendleft(key)
                yield error
    elif value is False and extras:
        yield ValidationError("has unknown keys")


def _property_names(validator: Any, value: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict) and instance:
        below = validator.evolve(schema=value)  # as above
        for name in instance:
            yield from below.iter_errors(name)


def extras_of(instance: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """The keys that a schema says nothing about, in the order of the document."""
    known, expressions = schema.get("properties", {}), schema.get("patternProperties", {})
    for key in instance:
        if key not in known and not any(_found(expression, key) for expression in expressions):
            yield key


def _enum(validator: Any, allowed: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    wanted = _identity(instance)
    if not any(_identity(value) == wanted for value in allowed):
        yield ValidationError("")


def _identity(value: Any) -> Any:
    """What is equal for values that JSON Schema calls equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, list):
        return ("list", tuple(map(_identity, value)))
    if isinstance(value, dict):
        return ("mapping", frozenset((key, _identity(item)) for key, item in value.items()))
    return value


_OWN: Final = {
    "uniqueItems": _unique_items,
    "enum": _enum,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "propertyNames": _property_names,
}
