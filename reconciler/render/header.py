"""The first line of a template that sets Jinja2's options for this file, as Ansible has it: `#jinja2: lstrip_blocks: True`.

The line itself is not delivered. What it may set are the delimiters and what happens to white space; `keep_trailing_newline` is
taken and changes nothing, since Ansible puts the last line end back.
"""

import ast
import re
from typing import Any, Final

from reconciler.document.words import suggest
from reconciler.render.faults import FilterError

_BEGIN: Final = "#jinja2:"
_MAX_HEADER: Final = 1000  # characters
_MAX_DELIMITER: Final = 20
_PAIR: Final = re.compile(
    r"""\s*([^\s:,]{1,60})\s*:\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s,'"]+)\s*(,|$)""",
)
_FLAGS: Final = ("trim_blocks", "lstrip_blocks", "keep_trailing_newline")
_DELIMITERS: Final = ("block_start_string", "block_end_string", "variable_start_string", "variable_end_string",
                      "comment_start_string", "comment_end_string")  # fmt: skip
_PREFIXES: Final = ("line_statement_prefix", "line_comment_prefix")  # None where there is none
_LINE_ENDS: Final = ("\n", "\r\n", "\r")
_KNOWN: Final = (*_FLAGS, *_DELIMITERS, *_PREFIXES, "newline_sequence")
_STARTS: Final = {"block_start_string": "{%", "variable_start_string": "{{", "comment_start_string": "{#"}

Options = tuple[tuple[str, Any], ...]


def split(text: str) -> tuple[Options, str]:
    """The options of a template, and the text below the line that gives them; none and the whole text without such a line.

    Raises FilterError for an option that does not exist or has a value that it cannot have.
    """
    if not text.startswith(_BEGIN):
        return (), text
    line, _, rest = text.partition("\n")
    if len(line) > _MAX_HEADER:
        raise FilterError(f"#jinja2: has at most {_MAX_HEADER} characters")
    options: dict[str, Any] = {}
    at = len(_BEGIN)
    while line[at:].strip():
        match = _PAIR.match(line, at)
        if match is None:
            shown = line[at:].strip()[:40]
            raise FilterError(f"#jinja2: {shown!r} is not `option: value`, with a comma before the next option")
        options[match[1]] = _value(match[1], match[2])
        at = match.end()
    starts = [options.get(name, default) for name, default in _STARTS.items()]
    if len(set(starts)) < len(starts):
        raise FilterError("#jinja2: expressions, statements and comments must begin in different ways")
    options.pop("keep_trailing_newline", None)
    return tuple(sorted(options.items())), rest


def _value(name: str, written: str) -> Any:
    if name not in _KNOWN:
        hint = suggest(name, _KNOWN) or f"one of {', '.join(_KNOWN)}"
        raise FilterError(f"#jinja2: there is no option {name!r} here ({hint})")
    try:
        value = ast.literal_eval(written)
    except (ValueError, SyntaxError):
        value = ...
    if name in _FLAGS:
        if not isinstance(value, bool):
            raise FilterError(f"#jinja2: {name} is True or False, not {written[:40]}")
    elif name == "newline_sequence":
        if value not in _LINE_ENDS:
            raise FilterError(f"#jinja2: {name} is '\\n', '\\r\\n' or '\\r', not {written[:40]}")
    elif not (name in _PREFIXES and value is None) and not (
        isinstance(value, str) and 0 < len(value) <= _MAX_DELIMITER and value.isprintable() and not value.isspace()
    ):
        raise FilterError(
            f"#jinja2: {name} is a text in quotes of 1 to {_MAX_DELIMITER} characters, not {written[:40]}"
        )
    return value
