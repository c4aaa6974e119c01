"""The grammars as editors want them: complete, with this catalogue's variables, and with expressions wherever they may be."""

from collections.abc import Mapping
from typing import Any, Final

from reconciler import data
from reconciler.catalogue import Catalogue, Variable
from reconciler.site.variables import OWN_PREFIX

Schema = dict[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_EXPRESSION: Final = {"type": "string", "pattern": r"\{[{%]"}
_SPELLINGS: Final[Mapping[str, Schema]] = {
    "boolean": {"type": "string", "pattern": "^([Yy][Ee][Ss]|[Nn][Oo]|[Oo][Nn]|[Oo][Ff][Ff]|[Tt]rue|[Ff]alse)$"},
    "integer": {"type": "string", "pattern": "^[-+]?[0-9]+$"},
    "number": {"type": "string", "pattern": "^[-+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][-+]?[0-9]+)?$"},
}
_WORDS: Final[tuple[str, ...]] = (
    "description",
    "title",
    "examples",
    "default",
    "deprecated",
)  # what editors show, kept outermost
_CHILDREN: Final = ("properties", "patternProperties", "$defs")


def composed_schemas(catalogue: Catalogue) -> dict[str, Schema]:
    """A schema for every file of a site, by file name, each complete in itself. For yaml-language-server and its like.

    `globals.schema.json` is for globals.yml, groups/*.yml and hosts/*.yml alike.
    """
    variables = {name: variable_schema(variable) for name, variable in catalogue.variables.items()}
    own = {f"^{OWN_PREFIX}[a-z0-9_]+$": {"description": "A variable of the site's own."}}
    values: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": variables,
        "patternProperties": own,
    }
    inventory = _copy(data.schema("inventory"))
    inventory["$defs"]["host"]["properties"]["variables"] |= {key: values[key] for key in values if key != "type"}
    return {
        "globals.schema.json": {
            "$schema": _DIALECT,
            "$id": "https://reconciler.invalid/schemas/globals.schema.json",
            "title": "globals.yml, groups/*.yml, hosts/*.yml",
            "description": "Variables of the site.",
            **values,
        },
        "inventory.schema.json": inventory,
        "kolla_build.schema.json": _copy(data.schema("kolla_build")),
        "reconciler.schema.json": _copy(data.schema("reconciler")),
        "service.schema.json": with_expressions(data.schema("service")),
        "variables.schema.json": _copy(data.schema("variables")),
    }


def variable_schema(variable: Variable) -> Schema:
    """One variable's schema with Kolla's spellings and expressions as further ways to write it."""
    schema: Schema = {key: value for key, value in variable.schema.items() if key not in ("example", "x-expects")}
    if "example" in variable.schema:
        schema.setdefault("examples", [variable.schema["example"]])
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds or []
    others = [_SPELLINGS[kind] for kind in kinds if kind in _SPELLINGS and "string" not in kinds]
    result = _alternatives(_nested(schema), others)
    if not variable.required:
        result["default"] = variable.default
    return result


def with_expressions(schema: Mapping[str, Any]) -> Schema:
    """A schema in which every value below the outermost may be an expression, save where `x-literal` says otherwise."""
    return _nested(schema)


def _nested(schema: Mapping[str, Any]) -> Schema:
    result: Schema = {}
    for key, value in schema.items():
        if key in _CHILDREN:
            result[key] = {name: _value(part) for name, part in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, Mapping):
            result[key] = _value(value)
        elif key in ("anyOf", "oneOf", "allOf"):
            result[key] = [_nested(part) if isinstance(part, Mapping) else part for part in value]
        else:
            result[key] = value
    return result


def _value(schema: Any) -> Any:
    if not isinstance(schema, Mapping) or not schema.keys() - set(_WORDS) - {"$ref"}:
        return schema  # anything, or what it refers to
    nested = _nested(schema)
    return nested if schema.get("x-literal") else _alternatives(nested, [])


def _alternatives(schema: Schema, others: list[Schema]) -> Schema:
    """The schema, or one of the others, or an expression; unless it takes every text anyway."""
    if schema.get("type") == "string" and not schema.keys() & {"enum", "const", "pattern", "format", "maxLength"}:
        return schema
    outer: Schema = {key: schema[key] for key in _WORDS if key in schema}
    inner = {key: value for key, value in schema.items() if key not in _WORDS}
    return {**outer, "anyOf": [inner, *others, _EXPRESSION]} if inner else outer


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
