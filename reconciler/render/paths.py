"""From the override patterns of service.yml to the files of a site's config/ folder that they mean."""

import posixpath
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

WILDCARD: Final = "*"
DEEP: Final = "**"


def expand(pattern: str, *, host: str, containers: Iterable[str], service: str) -> list[str]:
    """The paths (or wildcard patterns) that a pattern means on one host, in the order in which they apply.

    `{container}` stands for each of `containers`, in kolla's spelling with `-` first, then with `_`.
    """
    text = pattern.replace("{host}", host).replace("{service}", service)
    if "{container}" not in text:
        return [text]
    names = dict.fromkeys(name for container in containers for name in (container.replace("_", "-"), container))
    return [text.replace("{container}", name) for name in names]


def find(patterns: Iterable[str], files: Mapping[str, bytes]) -> list[str]:
    """The paths among `files` that the patterns mean, in the order of the patterns; a wildcard's in their own order.

    `*` stands for any part of a name within one folder, `**` for anything.
    """
    result: dict[str, None] = {}
    for pattern in patterns:
        if WILDCARD in pattern:
            result.update(dict.fromkeys(path for path in sorted(files) if _matches(path, pattern)))
        elif pattern in files:
            result[pattern] = None
    return list(result)


def target(name: str, path: str, patterns: Iterable[str] = ()) -> str:
    """Where the file at `path`, found by a wildcard, lies below a container's folder: in the folder that `name` names.

    Below the folder in which a pattern's `**` stands, its folders are kept.
    """
    folder = posixpath.dirname(name) if WILDCARD in name else name
    pattern = next((pattern for pattern in patterns if _matches(path, pattern)), "")
    top, deep, _ = pattern.partition(DEEP)
    kept = path[top.rfind("/") + 1 :] if deep else posixpath.basename(path)
    return posixpath.join(folder, kept)


def _matches(path: str, pattern: str) -> bool:
    if DEEP not in pattern and path.count("/") != pattern.count("/"):
        return False
    return fnmatchcase(path, pattern.replace("[", "[[]"))
