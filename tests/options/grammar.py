"""The part of schemas/service.schema.json that follows from the table of options. `make docs` writes it."""

import json
from typing import Any

from reconciler import data
from reconciler.options import schema
from reconciler.options.table import TABLE


def wanted(grammar: dict[str, Any]) -> dict[str, Any]:
    """`grammar` with its containers, jobs and dimensions as the table has them; what steers stays as it is."""
    result = json.loads(json.dumps(grammar))
    parts = result["$defs"]
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
    return result


def main() -> None:
    """Write the grammar anew."""
    path = data.path("schemas") / "service.schema.json"
    text = json.dumps(wanted(json.loads(path.read_bytes())), indent=2, ensure_ascii=False)
    path.write_text(text + "\n")


if __name__ == "__main__":
    main()
