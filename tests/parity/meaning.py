"""What a generated file says, as keys and values: two texts that mean the same have the same. Pure.

ini      `section/key` → its values in order            json, yaml   `path/to/key` → the value; members of lists by their name
haproxy  `frontend NAME/directive` → arguments          blocks       keepalived's braces, `outer/inner/word` → arguments
tags     Apache's and fluentd's `<Tag arg>`, likewise   lines        anything else: each line without comment → how often
"""

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

Keys = dict[str, str]
PROGRAM = "(program)"
# A word in quotes that needs none.
_QUOTED = re.compile(r'(?<!\S)"([^"\s\\]*)"(?!\S)')

_HAPROXY = re.compile(r"^(global|defaults|frontend|backend|listen|userlist|peers|resolvers|program)\b", re.MULTILINE)
_TAG = re.compile(r"^\s*<(/?)([A-Za-z][\w.]*)\s*(.*)>\s*$")
_IDENTITY = (
    "dest",
    "schemaname",
    "name",
    "path",
    "user",
    "username",
    "job_name",
    "address",
    "rule_id",
    "alert",
    "record",
    "title",
    "vhost",
)
# What follows the last colon of an address is HAProxy's port, with brackets around the rest or without.
_BRACKETED = re.compile(r"(?<!\S)\[([0-9A-Fa-f:.]+)\](?=:\d+)")
# Two words say what a directive of HAProxy is about.
_PAIRS = ("option", "timeout", "stats", "server", "http-check", "tcp-check", "errorfile", "user", "group", "filter")


def read(path: str, text: str) -> Keys:
    """The keys of a file; of what cannot be read as what it seems to be, its lines."""
    kind = _kind(path, text)
    try:
        return KINDS[kind](text)
    except (ValueError, yaml.YAMLError, RecursionError):
        return _lines(text)


def _kind(path: str, text: str) -> str:
    name = path.rpartition("/")[2]
    first = next((line.strip() for line in text.splitlines() if line.strip() and line.strip()[0] not in "#;!"), "")
    if name.endswith(".json"):
        return "json"
    if name.endswith((".yaml", ".yml", ".rules")):
        return "yaml"
    if (name.endswith(".cfg") and "haproxy" in path) or name == "haproxy.cfg":
        return "haproxy"
    if text.startswith("#!") or name.endswith((".sh", ".rc")):
        return "program"
    if name == "advanced.config":
        return "erlang"
    if re.fullmatch(r"\[[^\]]+\]", first):
        return "ini"
    if first.startswith("<") or re.search(r"(?m)^\s*<(VirtualHost|source|match|filter)\b", text):
        return "tags"
    if re.search(r"(?m)^[^#{}]+\{\s*$", text) and name.startswith(("keepalived", "logrotate")):
        return "blocks"
    if name.endswith((".conf", ".env")) and re.fullmatch(r"[\w.]+\s*=.*", first):
        return "ini"
    return "lines"


# How oslo.config, and uWSGI, take a boolean.
_BOOLEANS = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}


class _Keys:
    """Keys with their values in order; a key that comes again gets another value."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, key: str, value: str) -> None:
        self._found.setdefault(key, []).append(" ".join(value.split()))

    def result(self) -> Keys:
        return {key: "\n".join(values) for key, values in self._found.items()}


def _ini(text: str) -> Keys:
    found = _Keys()
    section, key, value = "", "", ""

    def end() -> None:
        if key:
            found.add(f"{section}/{key}", _BOOLEANS.get(value.lower(), value))

    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare[0] in "#;":
            continue
        if line[0].isspace() and key:
            value += " " + bare
        elif header := re.fullmatch(r"\[([^\]]+)\]", bare):
            end()
            section, key, value = header[1], "", ""
        else:
            end()
            name, _, value = bare.partition(_separator(bare))
            key, value = name.strip(), value.strip()
    end()
    return found.result()


def _separator(line: str) -> str:
    """oslo.config takes `=` and `:`, whichever comes first."""
    at = [line.find(mark) for mark in "=:"]
    return ":" if at[1] != -1 and (at[0] == -1 or at[1] < at[0]) else "="


def _json(text: str) -> Keys:
    content = json.loads(text)
    if isinstance(content, dict) and "config_files" in content:
        # kolla_set_configs takes a path with and without a slash too many for the same.
        content["command"] = " ".join(str(content.get("command", "")).split())
        content["config_files"] = [
            {key: value for key, value in entry.items() if (key, value) != ("optional", False)}
            for entry in content["config_files"]
        ]
        for entry in (*content["config_files"], *content.get("permissions", ())):
            entry.update({key: posixpath.normpath(entry[key]) for key in ("source", "dest", "path") if key in entry})
    return dict(_flat(content, ""))


def _yaml(text: str) -> Keys:
    return dict(_flat(yaml.safe_load(text), ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The leaves of a tree. A member of a list of mappings is called by what tells it apart."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path}/{key}" if path else str(key))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        names = _names(value)
        for name, item in zip(names, value, strict=True):
            yield from _flat(item, f"{path}[{name}]")
    elif isinstance(value, list) and any(isinstance(item, list | Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{path}[{index}]")
    else:
        yield path, json.dumps(value, sort_keys=True, default=str) if not isinstance(value, str) else value


def _names(items: list[Mapping[str, Any]]) -> list[str]:
    for key in _IDENTITY:
        names = [str(item[key]) for item in items if key in item]
        if len(set(names)) == len(items):
            return names
    return [str(index) for index in range(len(items))]


def _haproxy(text: str) -> Keys:
    found = _Keys()
    section = ""
    for line in text.splitlines():
        bare = re.sub(r"(^|\s)#.*", "", line).strip()
        if not bare:
            continue
        if _HAPROXY.match(bare):
            section = " ".join(bare.split())
            found.add(section, "")
            continue
        words = bare.split(None, 2)
        own = 2 if words[0] in _PAIRS and len(words) > 1 else 1
        found.add(f"{section}/{' '.join(words[:own])}", _BRACKETED.sub(r"\1", " ".join(words[own:])))
    return found.result()


def _blocks(text: str) -> Keys:
    found = _Keys()
    outer: list[str] = []
    for line in re.sub(r"\s*\n\s*\{", " {", text).splitlines():
        bare = re.sub(r"(^|\s)[#!].*", "", line).strip()
        if bare == "}":
            outer = outer[:-1]
        elif bare.endswith("{"):
            outer.append(" ".join(bare[:-1].split()))
            found.add("/".join(outer), "")
        elif bare:
            word, _, rest = bare.partition(" ")
            found.add("/".join((*outer, word)), rest)
    return found.result()


def _tags(text: str) -> Keys:
    """Sections that look alike are told apart by what they are about, and only then by their order."""
    root: list[Any] = []
    stack: list[tuple[str, list[Any]]] = [("", root)]
    for line in re.sub(r"\\\n|(?<=,)\s*\n", " ", text).splitlines():  # a line that goes on is one
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        tag = _TAG.match(line)
        if tag and not tag[1]:
            header = " ".join(f"{tag[2]} {tag[3]}".split())
            members: list[Any] = []
            stack[-1][1].append((header, members))
            stack.append((header, members))
        elif tag:
            if len(stack) == 1:
                raise ValueError("a section ends that did not begin")
            stack.pop()
        else:
            word, _, rest = bare.partition(" ")
            stack[-1][1].append((word, rest))
    found = _Keys()
    _walk(root, "", found)
    return found.result()


def _walk(members: list[Any], path: str, found: _Keys) -> None:
    seen: dict[str, int] = {}
    for word, rest in members:
        if isinstance(rest, str):
            found.add(f"{path}{word}", rest.lower() if rest.lower() in ("on", "off") else _QUOTED.sub(r"\1", rest))
            continue
        direct = {key: value for key, value in rest if isinstance(value, str)}
        about = next((direct[key] for key in ("@id", "tag", "path", "@label", "ServerName") if key in direct), "")
        name = f"{word}({about})" if about else word
        seen[name] = seen.get(name, 0) + 1
        name += f"#{seen[name]}" if seen[name] > 1 else ""
        found.add(f"{path}{name}", "")
        _walk(rest, f"{path}{name}/", found)


def _bare(text: str) -> Iterator[str]:
    """The lines that say something, without what only lays them out."""
    for line in text.splitlines():
        bare = " ".join(line.split())
        if bare and not (bare.startswith("#") and not bare.startswith("#!")):
            yield bare


def _lines(text: str) -> Keys:
    found: dict[str, int] = {}
    for line in _bare(text):
        found[line] = found.get(line, 0) + 1
    return {line: str(count) for line, count in found.items()}


def _program(text: str) -> Keys:
    joined = re.sub(r"\\\n\s*", "", text)  # a line that goes on is one
    return {PROGRAM: "\n".join(_bare(re.sub(r"(?m)(\d?>>?) +(?=/)", r"\1", joined)))}


def _erlang(text: str) -> Keys:
    return _lines(re.sub(r"\s*([,\[\]{}])[ \t]*", r"\1", re.sub(r"%.*", "", text)))


KINDS: Mapping[str, Callable[[str], Keys]] = {
    "ini": _ini,
    "json": _json,
    "yaml": _yaml,
    "haproxy": _haproxy,
    "blocks": _blocks,
    "tags": _tags,
    "program": _program,
    "erlang": _erlang,
    "lines": _lines,
}
