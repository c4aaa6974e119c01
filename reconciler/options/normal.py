"""A container in its normal spelling, so that two that mean the same are equal field by field.

Desired state and what the engine reports both pass through `normal` before they are compared.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from reconciler.options.table import TABLE, Kind, Options

_Container = TypeVar("_Container", bound=Options)
_SPELT = tuple(row for row in TABLE.values() if row.spell)
_EMPTY = tuple(row for row in TABLE.values() if row.kind is Kind.TEXT and row.default is None and not row.spell)


def normal(container: _Container) -> _Container:
    """The same container with every option in its normal spelling; `normal(normal(c)) == normal(c)`."""
    spelt: dict[str, Any] = {
        row.name: row.spell(getattr(container, row.name), container) for row in _SPELT if row.spell
    }
    # An empty text is one that is not there.
    spelt |= {row.name: None for row in _EMPTY if getattr(container, row.name) == ""}
    return dataclasses.replace(container, **spelt)


def digest(container: Options) -> str:
    """SHA-256 of the options in normal form, 64 hex digits. Options at their default do not enter it.

    It is on the labels of containers that run: it stays the same whatever becomes of the options of others, and of how state is
    written.
    """
    spec = normal(container)
    kept = {row.name: _plain(value) for row in TABLE.values() if (value := getattr(spec, row.name)) != row.default}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        parts = ((part, getattr(value, part.name)) for part in dataclasses.fields(value))
        return {part.name: _plain(content) for part, content in parts if content != part.default}
    if isinstance(value, Mapping):
        return {str(name): _plain(content) for name, content in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def engine_filled(container: Options) -> Mapping[str, str]:
    """The options a container leaves to the engine, which reports them all the same, that this one does set.

    Their names, kept in a label, let a later look tell what was asked for from what the engine filled in.
    """
    found = {row.name: "" for row in TABLE.values() if row.filled and getattr(container, row.name)}
    limits = {f"ulimits.{limit.name}": "" for limit in container.ulimits}
    return {**found, **{f"log_opts.{name}": "" for name in container.log_opts}, **limits}
