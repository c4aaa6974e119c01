"""Lists in a YAML text that people keep: items put in and taken out where they stand, every other byte as it was. Pure.

A list is written as YAML's own, or as one text with commas. What comes of an edit is for the caller to read again: a spelling
that nobody foresaw must not pass for one that was understood.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise

import yaml

from reconciler.document.yaml import Path


class EditError(ValueError):
    """A text that cannot be edited without a loss."""


class EmptiedError(EditError):
    """A list that would have no item any more."""

    def __init__(self) -> None:
        super().__init__("would be empty")


def edit_list(content: bytes, path: Path, add: Mapping[str, str], drop: Callable[[str], bool]) -> bytes:
    """The text with the items `add` (item → a comment, or "") at the end of the list at `path`, and without those that `drop` names.

    Raises EditError when there is no such list, when comments stand within one in brackets, and EmptiedError when it would be empty.
    """
    text = content.decode()
    node, flow = _find(text, path)
    if isinstance(node, yaml.ScalarNode):
        return _with_scalar(text, node, [*_kept(node, drop), *add], flow).encode()
    if not isinstance(node, yaml.SequenceNode) or not all(isinstance(item, yaml.ScalarNode) for item in node.value):
        raise EditError("is no list of texts")
    kept = [_kept(item, drop) for item in node.value]
    if not add and not any(kept):
        raise EmptiedError
    if node.flow_style:
        return _with_brackets(text, node, [item for items in kept for item in items] + list(add)).encode()
    return _with_lines(text, node, kept, add).encode()


def _find(text: str, path: Path) -> tuple[yaml.Node, bool]:
    """The node at a path, and whether it stands within brackets."""
    node, flow = yaml.compose(text, Loader=yaml.SafeLoader), False
    for step in path:
        flow = flow or bool(getattr(node, "flow_style", False))
        if isinstance(node, yaml.MappingNode):
            found = next((value for key, value in node.value if key.value == step), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            found = node.value[step]
        else:
            found = None
        if found is None:
            raise EditError("is not there")
        node = found
    if node is None:
        raise EditError("is not there")
    return node, flow


def _kept(node: yaml.ScalarNode, drop: Callable[[str], bool]) -> list[str]:
    items = (item.strip() for item in str(node.value).split(","))
    return [item for item in items if item and not drop(item)]


def _with_scalar(text: str, node: yaml.ScalarNode, items: list[str], flow: bool) -> str:
    if not items:
        raise EmptiedError
    start, end = node.start_mark.index, node.end_mark.index
    raw = text[start:end]
    if node.style in ("|", ">"):
        head, _, body = raw.partition("\n")
        first = body.lstrip("\n")
        indent = first[: len(first) - len(first.lstrip(" "))]
        after = body[len(body.rstrip("\n ")) :] or "\n"  # what the scalar's end took along
        made = f"{head}\n" + ",\n".join(indent + item for item in items) + after
    else:
        quote = node.style or ('"' if flow and len(items) > 1 else "")
        made = quote + ",".join(items) + quote
    return text[:start] + made + text[end:]


def _with_brackets(text: str, node: yaml.SequenceNode, items: list[str]) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    if "#" in text[start:end]:
        raise EditError("has comments within its brackets")
    return text[:start] + "[" + ", ".join(f'"{item}"' for item in items) + "]" + text[end:]


def _with_lines(text: str, node: yaml.SequenceNode, kept: list[list[str]], add: Mapping[str, str]) -> str:
    """Of a list with an item on each line. What nobody takes out keeps its line, and the comments around it."""
    lines = text.splitlines(keepends=True)
    starts = [item.start_mark.line for item in node.value]
    if any(one == other for one, other in pairwise(starts)):
        raise EditError("has several items on one line")
    if lines[-1][-1:] != "\n":
        lines[-1] += "\n"
    last = node.value[-1]
    head = lines[starts[-1]][: last.start_mark.column]
    if head.strip() != "-":
        raise EditError("has its dashes on lines of their own")
    more = [f"{head}{item}{f'  # {note}' if note else ''}\n" for item, note in add.items()]
    at = last.end_mark.line + (last.end_mark.column > 0)
    lines[at:at] = more
    for item, items in reversed(list(zip(node.value, kept, strict=True))):
        if items == _kept(item, lambda _: False):
            continue
        first, end = item.start_mark.line, item.end_mark.line
        if not items:
            del lines[first : end + (item.end_mark.column > 0)]
        elif first == end:
            row, quote = lines[first], item.style or ""
            spelled = quote + ",".join(items) + quote
            lines[first] = row[: item.start_mark.column] + spelled + row[item.end_mark.column :]
        else:
            raise EditError("has an item of several lines")
    return "".join(lines)
