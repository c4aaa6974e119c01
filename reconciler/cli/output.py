"""How verbs print: rich on a terminal, plain text in a pipe or with NO_COLOR, JSON when asked for.

Everything that a verb says goes through here, and so through `printable`: much of it was written by others.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from reconciler.text import json_text, printable

STYLES = {"ok": "green", "warn": "yellow", "fail": "red", "error": "red"}


def fancy(stream: Any = None) -> bool:
    """Whether to use colours and boxes on `stream` (stdout)."""
    stream = stream or sys.stdout
    return bool(stream.isatty()) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def as_json(value: Any) -> None:
    """Print plain JSON values, indented, keys as they come."""
    click.echo(json_text(value, indent=2))


def document(text: str, *, nl: bool = True) -> None:
    """A whole document that its own writer made safe: XML, JSON, Markdown."""
    click.echo(text, nl=nl)


def line(text: str = "", style: str = "", *, err: bool = False) -> None:
    """Text with a line's end; `style` is a colour on a terminal."""
    shown = printable(text, keep_newlines=True)
    click.echo(click.style(shown, fg=STYLES.get(style, style)) if style and fancy() else shown, err=err)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their content; the last one may wrap on a terminal."""
    if fancy():
        from rich.console import Console
        from rich.table import Table

        drawn = Table(*headers, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            drawn.add_row(*(_safe(cell) for cell in row))
        Console().print(drawn)
        return
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [headers, *rows]) for column in range(len(headers))]
    for row in [headers, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """A sign of life on a terminal while something takes its time; nothing elsewhere."""
    if not fancy(sys.stderr):
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def diff(text: str) -> None:
    """Print a text that may hold unified diffs, coloured on a terminal."""
    text = printable(text, keep_newlines=True)
    if not fancy():
        click.echo(text)
        return
    for row in text.split("\n"):
        mark = row.lstrip()[:1]
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(mark) if row.startswith("    ") else None
        click.echo(click.style(row, fg=colour) if colour else row)


def _safe(text: str) -> Any:
    from rich.text import Text

    return Text(printable(text))


def ago(seconds: float) -> str:
    """A duration in one unit: `12 s`, `3 min`, `5 h`, `2 d`."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"
