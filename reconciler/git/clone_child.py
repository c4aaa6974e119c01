"""The child's side of `clone`: libgit2 reads before the child is sealed, and nothing is made of the bytes."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.git import content, objects, tree


def gather(argument: Mapping[str, Any]) -> dict[str, Any]:
    """{"repository", "asked": one or two commits} → their bytes, and whether the last descends from the first."""
    repository, asked = Path(argument["repository"]), argument["asked"]
    with objects.store(content.store(repository)) as repo:
        descends = tree.descends(repo, asked[0], asked[-1], repository)
        found = [objects.read_object(repo, oid, "commit", limit=objects.MAX_COMMIT_BYTES) for oid in asked]
    return {"commits": found, "descends": descends}


def look(_: Mapping[str, Any], gathered: Mapping[str, Any]) -> dict[str, Any]:
    """What was gathered, as a `clone.Look`."""
    encoded = [base64.b64encode(data).decode() for data in gathered["commits"]]
    return {"commits": encoded, "descends": gathered["descends"]}
