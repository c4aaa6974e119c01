"""The parts of schemas/service.schema.json that follow from the table of options and the kinds of registrar. `make docs` writes them."""

import json
from typing import Any

from reconciler import data
from reconciler.options import schema
from reconciler.options.table import TABLE
from reconciler.registrations.kinds import KINDS, NAMED


def wanted(grammar: dict[str, Any]) -> dict[str, Any]:
    """`grammar` with its options as the table has them, and its registrations as the kinds do; the rest stays as it is."""
    result: dict[str, Any] = json.loads(json.dumps(grammar))
    _options(result["$defs"])
    _registrations(result)
    return result


def _registrations(grammar: dict[str, Any]) -> None:
    for kind in KINDS.values():
        grammar["$defs"][kind.name] = json.loads(json.dumps(kind.grammar))
    for section, of in (("registrations", "{}"), ("provides", "provider")):
        part = grammar["properties"][section]
        part["properties"] = {name: {"$ref": f"#/$defs/{of.format(name)}"} for name in KINDS}
        named = {f"^{name}{NAMED}[a-z0-9][a-z0-9_-]*$": content for name, content in part["properties"].items()}
        part["patternProperties"] = named


def _options(parts: dict[str, Any]) -> None:
    options = {row.key for row in TABLE.values()}
    for name, found in (("container", schema.container()), ("job", schema.job()), ("dimensions", schema.dimensions())):
        properties = parts[name]["properties"]
        kept = {key: content for key, content in properties.items() if key not in options}
        # In place where it is known, new ones after the last option.
        order = [key for key in properties if key in found or key in kept]
        last = max((order.index(key) for key in order if key in found), default=-1)
        order[last + 1 : last + 1] = [key for key in found if key not in properties]
        parts[name]["properties"] = {key: found.get(key, kept.get(key)) for key in order}
    for name in ("container", "job"):
        parts[name]["x-instead"] = schema.instead()


def main() -> None:
    """Write the grammar anew."""
    path = data.path("schemas") / "service.schema.json"
    text = json.dumps(wanted(json.loads(path.read_bytes())), indent=2, ensure_ascii=False)
    path.write_text(text + "\n")


if __name__ == "__main__":
    main()
