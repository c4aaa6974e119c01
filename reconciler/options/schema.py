"""What the grammar of service.yml says of a container's options, out of the table."""

from typing import Any, Final

from reconciler.options.table import REFUSED, TABLE, Kind, Option

_KINDS: Final = {
    Kind.TEXT: {"type": "string"},
    Kind.FLAG: {"type": "boolean"},
    Kind.INTEGER: {"type": "integer"},
    Kind.SIZE: {"$ref": "#/$defs/size"},
    Kind.TEXTS: {"$ref": "#/$defs/texts"},
    Kind.SCALARS: {"$ref": "#/$defs/scalars"},
}
_DIMENSIONS: Final = "dimensions"


def container() -> dict[str, Any]:
    """The properties of a container, key → schema."""
    return {row.key: _schema(row) for row in TABLE.values() if "." not in row.key} | _rest()


def job() -> dict[str, Any]:
    """The properties of a job."""
    found = {row.key: _schema(row) for row in TABLE.values() if "." not in row.key and row.of_jobs} | _rest()
    found["image"] = {**found["image"], "description": "Another image than the container's."}
    return found


def dimensions() -> dict[str, Any]:
    """The properties of `dimensions`."""
    rows = (row for row in TABLE.values() if row.key.startswith(f"{_DIMENSIONS}."))
    return {row.key.partition(".")[2]: _schema(row) for row in rows}


def instead() -> dict[str, str]:
    """What to do instead of words that other tools have: for the grammar's `x-instead`."""
    return dict(REFUSED)


def _rest() -> dict[str, Any]:
    return {_DIMENSIONS: {"$ref": f"#/$defs/{_DIMENSIONS}"}}


def _schema(row: Option) -> dict[str, Any]:
    if row.name == "healthcheck":  # its definition describes itself
        return dict(row.schema)
    return {"description": row.doc, **(row.schema or _KINDS[row.kind])}
