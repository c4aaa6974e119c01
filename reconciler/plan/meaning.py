"""Whether two texts of a configuration file say the same, laid out and ordered as they may be. Pure.

ini    section and key → its values in order; JSON as its value (of Kolla's config.json the order of files does not count)
lines  anything else: each line without comments and spaces, in order
"""

import json
import posixpath
import re
from collections.abc import Iterator
from typing import Any

from reconciler.text import decoded

Meaning = dict[str, Any]
_SECTION = re.compile(r"\[([^\]]+)\]")
_COMMENTS = ("#", ";", "//")


def differing(path: str, one: bytes, other: bytes) -> tuple[str, ...]:
    """The keys in which two texts of a file differ, sorted; of what has no keys `(content)`. Empty when they say the same."""
    try:
        mine, theirs = _read(path, _text(one)), _read(path, _text(other))
    except (ValueError, RecursionError):
        return () if one == other else ("(content)",)
    found = {key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)}
    return tuple(sorted(found))


def _text(data: bytes) -> str:
    """Raises ValueError for what is none."""
    if (text := decoded(data)) is None:
        raise ValueError("binary")
    return text


def _read(path: str, text: str) -> Meaning:
    if path.endswith(".json"):
        return _json(path, json.loads(text))
    says = list(_lines(text))
    if says and not says[0].startswith("#!") and _SECTION.fullmatch(says[0]):
        return _ini(text)
    return {"(content)": says}


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        bare = " ".join(line.split())
        if bare and (bare.startswith("#!") or not bare.startswith(_COMMENTS)):
            yield bare


def _ini(text: str) -> Meaning:
    """As oslo.config reads it: a line that begins with a space goes on with the value before, `=` or `:` ends the name."""
    found: dict[str, list[str]] = {}
    section, values = "", [""]
    for line in text.splitlines():
        bare = " ".join(line.split())
        if not bare or bare.startswith(_COMMENTS[:2]):
            continue
        if header := _SECTION.fullmatch(bare):
            section, values = header[1], [""]
        elif line[0].isspace():
            values[-1] += f"\n{bare}"
        else:
            name, _, value = re.sub(r"\s*[=:]\s*", "=", bare, count=1).partition("=")
            values = found.setdefault(f"{section}/{name}", [])
            values.append(value.lower() if value.lower() in ("true", "false") else value)
    return dict(found)


def _json(path: str, content: Any) -> Meaning:
    if not isinstance(content, dict):
        return {"(content)": content}
    if path.endswith("/config.json"):
        content = {**content, "command": " ".join(str(content.get("command", "")).split())}
        for name in ("config_files", "permissions"):
            content[name] = sorted(map(_entry, content.get(name, ())))
    return dict(content)


def _entry(entry: Any) -> str:
    """kolla_set_configs takes a path with and without a slash too many for the same."""
    if isinstance(entry, dict):
        entry = {k: posixpath.normpath(v) if k in ("source", "dest", "path") else v for k, v in entry.items()}
    return json.dumps(entry, sort_keys=True)
