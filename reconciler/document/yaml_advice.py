"""What to do about an error of syntax, which libyaml tells in the words of whoever writes a parser."""

from typing import Final

import yaml

_ALIGN: Final = "begin it in the column of the lines that it belongs to"
_BLOCKS: Final = ("while parsing a block mapping", "while parsing a block collection")


def advice(error: yaml.MarkedYAMLError, lines: list[str]) -> str:
    """What the one who wrote the text most likely has to change; the empty text when nothing is likely. `lines` are the text's."""
    what, where = error.problem or "", error.context or ""
    opened = f"line {error.context_mark.line + 1}" if error.context_mark else "a line above"
    mark = error.problem_mark or error.context_mark
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    before, after = line[: mark.column if mark else 0], line[mark.column if mark else 0 :]
    if "cannot start any token" in what:
        return (
            "indent with spaces"
            if not before.strip() and after[:1] == "\t"
            else f"quote a text that begins with {after[:1]}"
        )
    if "mapping values are not allowed" in what:
        # The first name of a line: it does not go with what stands above it.
        return "quote a text that holds ': '" if ": " in before else f"{_ALIGN}, or end the line above it with ':'"
    if where == "while scanning a simple key":
        return "write `name: value`, with a space behind the colon"
    if where in _BLOCKS:
        return "a text in quotes ends before this: use the other quotes inside it" if before.strip() else _ALIGN
    if where.startswith("while parsing a flow"):
        return f"close what {opened} opens with {'[' if 'sequence' in where else '{'}"
    if where == "while scanning a quoted scalar":
        return f"close the quote of {opened}"
    if "block sequence entries are not allowed" in what:
        return "begin a list on a line of its own"
    return ""
