"""Ansible's inventories, INI and YAML: hosts with ranges, groups within groups, variables of both."""

import ast
import itertools
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Any, Final

import yaml

from reconciler.document.yaml import Place
from reconciler.importer.ansible import Reader, place_of, wrong
from reconciler.importer.types import Assigned, Tree
from reconciler.importer.vault import Vault

_SECTION: Final = re.compile(r"\[([^:\]]+)(?::(\w+))?\]\s*(?:[#;].*)?")
_RANGE: Final = re.compile(r"\[([^\[\]:]*):([^\[\]:]+)(?::(\d+))?\]")
_PORT: Final = re.compile(r"(.+?):(\d+)")
MAX_HOSTS: Final = 10_000


def read(content: bytes, name: str, tree: Tree, vault: Vault) -> None:
    """Add an inventory to a tree. Raises errors.SiteInvalid with the place of what is wrong."""
    text = content.decode(errors="replace")
    if text.startswith("#!"):
        hint = "run `ansible-inventory --list --yaml --output inventory.yml`, and import that"
        raise wrong(Place(name, 1, 1), "is a program", hint)
    lines = (line for line in text.splitlines() if line.strip() and line.strip()[0] not in "#;")
    first = next(lines, "")
    if first.startswith(("---", "{", "%")) or (
        re.match(r"plugin:\s|[\w.-]+:\s*($|#|\{)", first) and not first.startswith("[")
    ):
        _Yaml(content, name, tree, vault).read()
    else:
        _ini(text, name, tree)
    if len(tree.hosts) > MAX_HOSTS:
        raise wrong(Place(name), f"names more than {MAX_HOSTS} hosts")


def names(pattern: str, place: Place) -> Iterator[str]:
    """The hosts of a pattern: `ctl[01:03]`, `rack[a:c]-[1:9:2]`."""
    match = _RANGE.search(pattern)
    if match is None:
        yield pattern
        return
    before, after = pattern[: match.start()], pattern[match.end() :]
    for part in _range(match[1] or "0", match[2], int(match[3] or 1), place):
        for rest in names(after, place):
            yield f"{before}{part}{rest}"


def _range(start: str, end: str, step: int, place: Place) -> Iterable[str]:
    if start.isdigit() and end.isdigit() and step:
        if len(start) > 1 and start[0] == "0" and len(start) != len(end):
            raise wrong(place, f"[{start}:{end}]: both ends of a range need the same number of digits")
        width = len(start) if start[0] == "0" else 0
        numbers = range(int(start), int(end) + 1, step)
        if len(numbers) > MAX_HOSTS:
            raise wrong(place, f"[{start}:{end}] is more than {MAX_HOSTS} hosts")
        return (str(number).zfill(width) for number in numbers)
    if _is_letter(start) and _is_letter(end) and step:
        # Ansible's order: small letters, then capitals.
        first, last = ((letter.isupper(), letter) for letter in (start, end))
        letters = [*map(chr, range(ord("a"), ord("z") + 1)), *map(chr, range(ord("A"), ord("Z") + 1))]
        return [letter for letter in letters if first <= (letter.isupper(), letter) <= last][::step]
    raise wrong(place, f"[{start}:{end}] is not a range", "write [01:20] or [a:f]")


def _is_letter(text: str) -> bool:
    return len(text) == 1 and text.isascii() and text.isalpha()


# --- INI -------------------------------------------------------------------------------------------------------------


def _ini(text: str, name: str, tree: Tree) -> None:
    section, kind = "ungrouped", ""
    for number, raw in enumerate(text.splitlines(), 1):
        line, place = raw.strip(), Place(name, number, 1)
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and (match := _SECTION.fullmatch(line)):
            section, kind = match[1].strip(), match[2] or ""
            if kind not in ("", "vars", "children"):
                raise wrong(place, f"[{section}:{kind}] is no section", "[group], [group:children] or [group:vars]")
            tree.group(section, place)
        elif kind == "vars":
            key, found, value = line.partition("=")
            if not found:
                raise wrong(place, "is no variable", "write name=value")
            tree.group(section, place).variables.append(
                Assigned(key.strip(), _value(_uncommented(value)), place, gap="")
            )
        elif kind == "children":
            child = _uncommented(line).strip()
            tree.group(child, place)
            tree.group(section, place).children[child] = None
        else:
            _host_line(line, place, section, tree)


def _host_line(line: str, place: Place, section: str, tree: Tree) -> None:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        raise wrong(place, "has a quote that is not closed") from None
    if not words:
        return
    pattern, port = words[0], ""
    if (match := _PORT.fullmatch(pattern)) and "[" not in match[2] and pattern.count(":") == 1:
        pattern, port = match[1], match[2]
    assigned = []
    for word in [*words[1:], *([f"ansible_port={port}"] if port else [])]:
        key, found, value = word.partition("=")
        if not found:
            raise wrong(place, f"{key[:40]!r} is no variable", "write name=value, without spaces around =")
        assigned.append(Assigned(key, _value(value), place))
    for host in names(pattern, place):
        tree.host(host, place).variables += assigned
        tree.group(section, place).hosts[host] = None


def _uncommented(text: str) -> str:
    return re.split(r"\s#", text, maxsplit=1)[0]


def _value(text: str) -> Any:
    """A value as Ansible's INI reads it: a literal of Python, else the text."""
    text = text.strip()
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
    return found if isinstance(found, (str, int, float, bool, list, dict)) else text


# --- YAML ------------------------------------------------------------------------------------------------------------


class _Yaml:
    def __init__(self, content: bytes, name: str, tree: Tree, vault: Vault) -> None:
        self._reader = Reader(content, name, vault)
        self._tree = tree

    def read(self) -> None:
        pairs = list(self._reader.pairs(self._reader.root))
        if any(key == "plugin" for key, _, _ in pairs):
            hint = "run `ansible-inventory --list --yaml --output inventory.yml`, and import that"
            raise wrong(Place(self._reader.name, 1, 1), "is the configuration of an inventory plugin", hint)
        for key, node, value in pairs:
            self._group(key, node, value, 0)

    def _group(self, name: str, node: yaml.Node, content: yaml.Node, depth: int) -> None:
        place = self._place(node)
        if depth > 60:
            raise wrong(place, "groups are nested too deeply")
        group = self._tree.group(name, place)
        for key, _, value in self._reader.pairs(content):
            if key == "hosts":
                self._hosts(name, value)
            elif key == "vars":
                group.variables += self._variables(value)
            elif key == "children":
                for child, child_node, below in self._reader.pairs(value):
                    group.children[child] = None
                    self._group(child, child_node, below, depth + 1)
            else:
                raise wrong(self._place(value), f"a group has no {key[:40]!r}", "hosts, children and vars")

    def _hosts(self, group: str, content: yaml.Node) -> None:
        for pattern, node, value in self._reader.pairs(content):
            place = self._place(node)
            variables = list(self._variables(value))
            for host in itertools.islice(names(pattern, place), MAX_HOSTS + 1):
                self._tree.host(host, place).variables += variables
                self._tree.group(group, place).hosts[host] = None

    def _variables(self, content: yaml.Node) -> Iterator[Assigned]:
        for key, node, value in self._reader.pairs(content):
            yield Assigned(key, self._reader.value(value), self._place(node), encrypted=self._reader.encrypted)

    def _place(self, node: yaml.Node) -> Place:
        return place_of(self._reader.name, node)
