"""The pieces of JSON Schema that the grammars of all kinds are made of. Pure."""

from typing import Any

Schema = dict[str, Any]


def text(description: str) -> Schema:
    return {"description": description, "type": "string"}


def flag(description: str) -> Schema:
    return {"description": description, "type": "boolean"}


def whole(description: str, least: int = 0) -> Schema:
    """A whole number."""
    return {"description": description, "type": "integer", "minimum": least}


def texts(description: str) -> Schema:
    """A list of texts."""
    return {"description": description, "$ref": "#/$defs/texts"}


def mapping(description: str, properties: Schema, *, required: tuple[str, ...] = ()) -> Schema:
    """An object with these keys and no others."""
    needed: Schema = {"required": list(required)} if required else {}
    return {
        "description": description,
        "type": "object",
        "additionalProperties": False,
        **needed,
        "properties": properties,
    }


def entries(description: str, entry: str, properties: Schema, *, required: tuple[str, ...] = ("name",)) -> Schema:
    """A list of objects, each with these keys and no others. `entry` describes one, or one for every item of its `each`."""
    one = mapping(entry, {**properties, "each": EACH}, required=required)
    return {"description": description, "type": "array", "items": one}


def section(description: str, properties: Schema) -> Schema:
    """What a service says below `registrations: KIND`."""
    switch = flag("Whether these are registered; default true.")
    where = text(
        "The container whose first host registers them, in each of its clusters. Default: the first that anybody has, of the service's."
    )
    return {**mapping(description, {"enabled": switch, "container": where, **properties}), "x-literal": True}


# Of one entry.
ENABLED = flag("Default true.")
EACH: Schema = {
    "description": "A list: this entry is there once for every item of it, which its expressions see as `item`.",
    "type": "array",
}
