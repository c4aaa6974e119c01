"""What the demo prints: coloured on a terminal, plain elsewhere, never wider than the terminal or 100 columns."""

import contextlib
import textwrap
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

_WIDEST = 100
_DIFF = {"+": "green", "-": "red", "@": "cyan"}


class Show:
    """Where everything goes."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        # A pipe has no width; 80 columns fit everywhere.
        self.width = min(self.console.width, _WIDEST) if self.console.is_terminal else 80

    def headline(self, number: int, text: str) -> None:
        """The title of a step."""
        self.line()
        self.line(f"━━ {number}. {text} ".ljust(self.width, "━"), "bold cyan")

    def say(self, text: str) -> None:
        """A sentence for the reader."""
        self.line(textwrap.fill(" ".join(text.split()), self.width))

    def command(self, text: str) -> None:
        """A command that is run now, as somebody would type it: one line, however long the paths in it are."""
        self.line(f"$ {text}", "bold")

    def output(self, text: str, *, limit: int | None = None) -> None:
        """What a program printed; long lines are folded, and after `limit` lines the rest is only counted."""
        rows = text.rstrip().splitlines()
        for row in rows[:limit]:
            mark = row.lstrip()[:1]
            style = _DIFF.get(mark, "") if row.startswith("    ") else ""
            for part in self.folded(row):
                self.line(part, style)
        if limit is not None and len(rows) > limit:
            self.line(f"  … {len(rows) - limit} more lines", "dim")

    def folded(self, row: str, indent: str = "  ") -> list[str]:
        """A line in as many as it needs."""
        text = indent + row
        if len(text) <= self.width:
            return [text]
        lead = text[: len(text) - len(text.lstrip())] + "    "
        return textwrap.wrap(text, self.width, subsequent_indent=lead, drop_whitespace=True) or [text]

    def fact(self, text: str) -> None:
        """Something that was checked and is so."""
        mark, *rest = textwrap.wrap(text, self.width - 4)
        self.line(f"✓ {mark}", "green")
        for row in rest:
            self.line(f"  {row}", "green")

    def failure(self, text: str) -> None:
        """Something that is not so."""
        for number, row in enumerate(text.splitlines()):
            for part in self.folded(row, "✗ " if number == 0 else "  "):
                self.line(part, "red")

    def line(self, text: str = "", style: str = "") -> None:
        """One line as it is."""
        self.console.print(Text(text, style))

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A sign of life on a terminal."""
        if not self.console.is_terminal:
            yield
            return
        with self.console.status(Text(text, "dim")):
            yield


def short(path: Path) -> str:
    """A path as people write it."""
    with contextlib.suppress(ValueError):
        return f"~/{path.relative_to(Path.home())}"
    return str(path)
