"""How text that a branch may have written gets into Markdown and HTML.

GitLab acts on notes: a line that starts with `/` is a command, `@name` notifies people, `#1` and `!1` leave cross references,
HTML is kept. None of it is done inside code, so what comes from a branch is only ever shown as code, and cannot end it.
"""

import html
import re

from reconciler.text import printable

MAX_LINE = 400

_RUN = re.compile(r"`+")


def clean(text: str, width: int = MAX_LINE) -> str:
    """`text` as one line of at most `width` characters: nothing that ends a line, steers a terminal or reorders letters."""
    return printable(text.replace("\t", " "), limit=width)


def code(text: str, width: int = 120) -> str:
    """Inline code in Markdown, inside table cells too."""
    line = clean(text, width).replace("|", "\N{BROKEN BAR}")  # a bar would end the cell, even in code
    if not line.strip():
        line = "\N{OPEN BOX}"
    run = max((len(found) for found in _RUN.findall(line)), default=0)
    mark = "`" * (run + 1)
    pad = " " if run else ""
    return f"{mark}{pad}{line}{pad}{mark}"


def fence(text: str, language: str = "text") -> list[str]:
    """Lines of a code block that nothing in `text` can end. `language` is ours."""
    lines = [clean(line) for line in text.split("\n")]
    run = max((len(found) for line in lines for found in _RUN.findall(line)), default=0)
    mark = "`" * max(3, run + 1)
    # Some versions of GitLab look for commands without knowing longer fences: no line starts with a slash.
    return [f"{mark}{language}", *(f" {line}" if line.startswith("/") else line for line in lines), mark]


def markup(text: str, width: int = 200) -> str:
    """Text for HTML, in content and in quoted attributes."""
    return html.escape(clean(text, width))


def markup_code(text: str, width: int = 120) -> str:
    """A `<code>` element, for places of a note where Markdown is not read (`<summary>`)."""
    return f"<code>{markup(text, width)}</code>"
