"""Removals that a commit acknowledges: above `prune.max`, exactly the containers that it names, and once.

An entry of `acknowledge:` counts on a host from the commit that brings it until a commit with it has been carried out there. It may
stay in the file after that, and counts no more: `base` tells the next acknowledgement of the same containers from it.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any

from reconciler.text import json_text

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
Acknowledged = tuple[str, frozenset[str]]  # base, containers


def entries(policy: Mapping[str, Any], host: str) -> frozenset[Acknowledged]:
    """The acknowledgements of a reconciler.yml that are for a host."""
    return frozenset(
        (entry["base"], frozenset(entry["remove"]))
        for entry in policy.get("acknowledge", ())
        if not entry.get("hosts") or host in entry["hosts"]
    )


def covered(
    new: Collection[Acknowledged], used: Collection[Acknowledged], doomed: Collection[str], gone: Collection[str]
) -> bool:
    """Whether one of the entries that are new names exactly the containers to be removed; of what it names some may be `gone`
    already, by an apply that was interrupted."""
    wanted = frozenset(doomed)
    return any(wanted <= names <= wanted | frozenset(gone) for _, names in set(new) - set(used))


def line(base: str, remove: Collection[str], hosts: Collection[str]) -> str:
    """The entry to write under `acknowledge:`, in one line of YAML. Where `base` is no commit, a work tree for example, a digest of
    the names stands for it: that tells the entry from others as well."""
    if not _COMMIT.fullmatch(base):
        base = hashlib.sha256("\n".join(sorted(remove)).encode()).hexdigest()
    return f"- {{base: {json_text(base[:12])}, hosts: {json_text(list(hosts))}, remove: {json_text(sorted(remove))}}}"
