"""From what the engine's `inspect` says of a container to its options. What a container has from its image is None here."""

from collections.abc import Mapping
from typing import Any, Final

from reconciler.options import wire
from reconciler.options.table import CPU_PERIOD, TABLE, Kind, Option
from reconciler.options.values import NO_HEALTHCHECK

_NANO: Final = 1_000_000_000


def options(data: Mapping[str, Any], image: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Every option by its field's name, not yet in normal spelling. Raises KeyError or TypeError on JSON of another shape.

    `image` has what the container's image says, by the names of rows' `inherits`, and its labels; `names` maps ids to names.
    """
    found = {row.name: _value(row, data, names) for row in TABLE.values()}
    for row in TABLE.values():
        if row.inherits and row.kind is not Kind.OWN and found[row.name] == (image.get(row.inherits) or row.bare):
            found[row.name] = None
    if found["hostname"] == str(data["Id"])[:12]:
        found["hostname"] = None
    if nano := int(data["HostConfig"].get("NanoCpus") or 0):  # `docker update --cpus`: a quota of the default period
        found["cpu_quota"] = nano * CPU_PERIOD // _NANO
    inherited = image.get("labels") or {}
    found["labels"] = {name: text for name, text in found["labels"].items() if inherited.get(name) != text}
    return {**found, **_program(data, image), "healthcheck": _healthcheck(data, image)}


def _value(row: Option, data: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    at = row.at if "." in row.at or row.at == "HostConfig" else f"Config.{row.at}"
    value: Any = data
    for part in at.split("."):
        value = (value or {}).get(part)
    if row.read:
        return row.read(value)
    if row.namespace:
        return wire.read_namespace(value, names)
    if isinstance(row.default, tuple):
        return tuple(value or ())
    if isinstance(row.default, Mapping):
        return dict(value or {})
    if isinstance(row.default, bool):
        return bool(value)
    if isinstance(row.default, int):
        return int(value or 0)
    if row.kind is Kind.TEXT:
        return value or row.default
    return value


def _program(data: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any]:
    """An empty command where the image has one: the entrypoint was given, be it the image's own."""
    command, entrypoint = (wire.read_words(data["Config"].get(key)) for key in ("Cmd", "Entrypoint"))
    given = entrypoint != image.get("entrypoint") or (image.get("command") is not None and command is None)
    return {
        "command": None if command == image.get("command") else command,
        "entrypoint": (entrypoint or ()) if given else None,
    }


def _healthcheck(data: Mapping[str, Any], image: Mapping[str, Any]) -> Any:
    check = wire.read_healthcheck(data["Config"].get("Healthcheck"))
    return None if check == image.get("healthcheck") else check or NO_HEALTHCHECK
