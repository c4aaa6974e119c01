"""Another name for a user whose server knows one password for it: with a new name both the former and the new one are let in. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.catalogue import Catalogue
from reconciler.document.keywords import is_expression
from reconciler.site.assigned import assigned
from reconciler.site.layout import GLOBALS
from reconciler.site.upgrade import said

_NAME: Final = re.compile(r"(?P<base>[A-Za-z][A-Za-z0-9.-]*?)(?:_(?P<number>[0-9]+))?")


@dataclass(frozen=True, slots=True)
class Renamed:
    """globals.yml with another name in the place of `before`; `refused`: why that is left to whoever rotates."""

    text: str = ""
    before: str = ""
    after: str = ""
    refused: str = ""


def renamed(files: Mapping[str, bytes], catalogue: Catalogue, variable: str) -> Renamed:
    """Give the user that `variable` names another name, in globals.yml. Raises SiteInvalid for what cannot be read."""
    found = [(name, path, value) for name, path, value in said(files) if path[-1] == variable]
    if elsewhere := sorted({name for name, path, _ in found if (name, path) != (GLOBALS, (variable,))}):
        return Renamed(refused=f"{variable} is set in {', '.join(elsewhere)}")
    value = found[0][2] if found else catalogue.variables[variable].default
    match = _NAME.fullmatch(str(value))
    if is_expression(value) or match is None:
        return Renamed(refused=f"{variable} is {value!s:.60}, which is no plain name")
    after = f"{match['base']}_{int(match['number'] or 1) + 1}"
    text = assigned(files.get(GLOBALS, b""), {variable: after})
    if text is None:
        return Renamed(refused=f"{GLOBALS} is not laid out so that it can be rewritten")
    return Renamed(text, str(value), after)
