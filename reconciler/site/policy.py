"""reconciler.yml → the site's policy, with defaults filled in."""

from typing import Any

from reconciler import data
from reconciler.catalogue import Catalogue
from reconciler.document.grammar import Grammar, defaults, suggest
from reconciler.document.yaml import Document
from reconciler.errors import Problem


def load(document: Document | None, catalogue: Catalogue, problems: list[Problem]) -> dict[str, Any]:
    """The whole policy: every key is there, durations are seconds. `{}` and problems when it is wrong."""
    schema = data.schema("reconciler")
    document = document or Document("reconciler.yml", {})
    found = Grammar(schema).check(document)
    if not found:
        for name in (document.data.get("drift") or {}).get("services", {}):
            if name not in catalogue.services:
                place = document.place(("drift", "services", name), key=True)
                found.append(place.problem(f"unknown service {name!r}", suggest(name, catalogue.services)))
    problems += found
    if found:
        return {}
    result: dict[str, Any] = defaults(document.data, schema)
    return result
