"""The releases of OpenStack in their order, for what differs between them: `openstack_release is release('>=2026.1')`.

A specifier is spelt as `requires:` in reconciler.yml is, with the five comparisons that make sense here, several with commas between them.
"""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from reconciler import releases
from reconciler.render.faults import Refused

_PART: Final = re.compile(r"\s*(>=|<=|==|>|<)\s*(20\d\d\.[1-9])\s*")
_COMPARED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}


def is_within(release: str, specifier: str) -> bool:
    """Whether a release (`2026.1`) is one that the specifier (`>=2025.2,<2026.2`) names. Raises Refused where either is spelt wrongly."""
    order = _order(release)
    parts = [_PART.fullmatch(part) for part in specifier.split(",")]
    if not all(parts):
        raise Refused(f"is given {specifier!r}; write for example '>=2026.1', or '>=2025.1,<2026.1'")
    return all(_COMPARED[part[1]](order, _order(part[2])) for part in parts if part)


def _order(release: str) -> tuple[int, int]:
    found = releases.order(release)
    if found is None:
        raise Refused(f"takes a release of OpenStack such as 2026.1, not {release!r}")
    return found
