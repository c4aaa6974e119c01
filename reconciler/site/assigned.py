"""globals.yml with other values of some variables, everything else byte for byte. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from reconciler.document import yaml
from reconciler.errors import SiteInvalid
from reconciler.site.layout import GLOBALS

_VALUE: Final = re.compile(r"""^([^:#]+:[ \t]*)("[^"\n]*"|'[^'\n]*'|[^#\s]+)""")


def assigned(content: bytes, values: Mapping[str, str]) -> str | None:
    """The text in which variables have these values, plain texts each; None where the file is not laid out so that it can be rewritten.
    Raises SiteInvalid for what cannot be read."""
    text = content.decode("utf-8-sig")
    before = yaml.load(content, GLOBALS).data or {}
    for variable, value in values.items():
        text = _with(text, variable, value, is_there=variable in before)
    try:
        now = yaml.load(text.encode(), GLOBALS).data
    except SiteInvalid:
        return None
    return text if now == {**before, **values} else None


def _with(text: str, variable: str, value: str, *, is_there: bool) -> str:
    shown = value if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", value) else f'"{value}"'
    if not is_there:
        end = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{end}{variable}: {shown}\n"
    lines = text.splitlines(keepends=True)
    own = f"{variable}:"
    return "".join(
        _VALUE.sub(lambda found: f"{found[1]}{shown}", line) if line.startswith(own) else line for line in lines
    )
