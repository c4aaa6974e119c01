"""YAML as Ansible reads it (YAML 1.1, `!vault`, the last of a repeated key counts), with the lines of every variable."""

import datetime
from collections.abc import Iterator
from typing import Any, Final

import yaml

from reconciler import errors
from reconciler.document.yaml import Place
from reconciler.importer.types import Assigned, File
from reconciler.importer.vault import HEADER, Vault
from reconciler.secret import Secret, conceal

MAX_BYTES: Final = 8 * 1024 * 1024


class _Loader(yaml.SafeLoader):
    """Values of YAML 1.1, with Ansible's tags."""

    file = ""
    vault = Vault()


def _vaulted(loader: _Loader, node: yaml.Node) -> Secret:
    return loader.vault.open(str(loader.construct_scalar(node)).encode(), place_of(loader.file, node))  # type: ignore[arg-type]


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    """JSON writes a character beyond the first plane as two escapes, and YAML 1.1 takes each for a character of its own."""
    text = str(loader.construct_scalar(node))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unsafe(loader: _Loader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    return loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else loader.construct_mapping(node)  # type: ignore[arg-type]


for _tag in ("!vault", "!vault-encrypted"):
    _Loader.add_constructor(_tag, _vaulted)
_Loader.add_constructor("!unsafe", _unsafe)
_Loader.add_constructor("tag:yaml.org,2002:str", _text)


class Reader:
    """One text: its root node, and the values of its nodes. Raises errors.SiteInvalid with the place of what is wrong."""

    def __init__(self, content: bytes, name: str, vault: Vault) -> None:
        self.name = name
        self.encrypted = content.startswith(HEADER)
        if self.encrypted:
            content = vault.open(content, Place(name, 1, 1)).reveal().encode()
        if len(content) > MAX_BYTES:
            raise wrong(Place(name), f"is larger than {MAX_BYTES >> 20} MiB")
        try:
            self.text = content.decode("utf-8-sig")
            self._loader = _Loader(self.text)
            self._loader.file, self._loader.vault = name, vault
            self.root = self._loader.get_single_node()
        except UnicodeDecodeError:
            raise wrong(Place(name), "is not UTF-8") from None
        except (yaml.YAMLError, RecursionError) as error:
            raise self._wrong(error) from None

    def value(self, node: yaml.Node) -> Any:
        """A node's value as plain data; of an encrypted file with Secret leaves."""
        try:
            found = plain(self._loader.construct_object(node, deep=True))
        except (yaml.YAMLError, RecursionError) as error:
            raise self._wrong(error) from None
        except (ValueError, TypeError, OverflowError):
            raise wrong(place_of(self.name, node), "cannot be read as a value") from None
        return conceal(found) if self.encrypted else found

    def pairs(self, node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Key, key node and value node of a mapping; nothing of what is empty."""
        if node is None or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
            return
        if not isinstance(node, yaml.MappingNode):
            raise wrong(place_of(self.name, node), "must be a mapping")
        for key, value in node.value:
            yield str(self.value(key)) if not self.encrypted else str(key.value), key, value

    def _wrong(self, error: Exception) -> errors.SiteInvalid:
        mark = getattr(error, "problem_mark", None)
        place = Place(self.name, mark.line + 1, mark.column + 1) if mark else Place(self.name)
        return wrong(place, str(getattr(error, "problem", None) or "is nested too deeply"))


def variables(content: bytes, name: str, vault: Vault) -> File:
    """The variables of a file, repeated ones each time they are said."""
    reader = Reader(content, name, vault)
    pairs = list(reader.pairs(reader.root))
    lines = reader.text.splitlines(keepends=True)
    block = isinstance(reader.root, yaml.MappingNode) and not reader.root.flow_style and not reader.encrypted
    starts = [key.start_mark.line for _, key, _ in pairs]
    block = block and len(set(starts)) == len(starts)
    found = []
    end = 0
    for (key, node, value), after in zip(pairs, [*starts[1:], len(lines)], strict=False):
        first, last = node.start_mark.line, after
        while last > first + 1 and _between(lines[last - 1]):
            last -= 1
        text = "".join(lines[first:last]) if block else ""
        gap = "".join(lines[end:first]) if block else ""
        end = last
        found.append(Assigned(key, reader.value(value), place_of(name, node), text, gap, reader.encrypted))
    tail = "".join(lines[end:]) if block or not (pairs or reader.encrypted) else ""
    return File(name, tuple(found), tail)


def _between(line: str) -> bool:
    """Whether a line at the end of a value belongs to what follows: it is empty, a comment, or the end of the document."""
    return not line.strip() or line.startswith("#") or line.rstrip() in ("...", "---")


def plain(value: Any) -> Any:
    """Data as JSON has it; dates as Python, and so Ansible, spells them. Secrets stay."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set):
        return [plain(item) for item in sorted(value, key=str)]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime.date):  # datetime too
        return str(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def place_of(name: str, node: yaml.Node) -> Place:
    """Where a node begins."""
    return Place(name, node.start_mark.line + 1, node.start_mark.column + 1)


def wrong(place: Place, message: str, hint: str = "") -> errors.SiteInvalid:
    """The error for an input that cannot be read."""
    return errors.SiteInvalid([place.problem(message, hint)])
