"""The error hierarchy: one documented reason per failure, and two answers to it.

An error either waits for a new commit or an operator (`Terminal`), or is tried again at the next cycle
(`Transient`). `reason` is the machine-readable word shown in conditions, statuses and metrics: CamelCase, a closed set,
documented in docs/operations.md. The message is for humans: what is wrong, where, and what to do.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from reconciler.foreign import line, said


class ReconcilerError(Exception):
    """Base of every error this program raises on purpose. `str(error)` never contains a secret: it comes through foreign.py."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(said(message))
        self.reason = reason


class Terminal(ReconcilerError):
    """Trying again cannot help: wait for a new commit or for an operator."""


class Transient(ReconcilerError):
    """May heal by itself: try again at the next cycle. `retry_after` is in seconds, None when unknown."""

    def __init__(self, message: str, *, reason: str, retry_after: float | None = None) -> None:
        super().__init__(message, reason=reason)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a site, at a place. `line` and `column` count from 1; 0 means the whole file,
    which is written as its first line: editors and CI jump there."""

    file: str
    line: int
    column: int
    message: str
    hint: str = field(default="", compare=False)
    severity: Literal["error", "warning"] = field(default="error", compare=False)

    @property
    def place(self) -> str:
        """`file:line:column`, "" when it is of no file."""
        return f"{self.file}:{self.line or 1}:{self.column or 1}" if self.file else ""

    @property
    def text(self) -> str:
        """What is wrong and what to do."""
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.file else self.text


class SiteInvalid(Terminal):
    """The site has problems; all of them are in `problems`, sorted by place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        errors = [problem for problem in self.problems if problem.severity == "error"]
        first = errors[0] if errors else "no problem given"
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        super().__init__(f"{first}{more}", reason="SiteInvalid")


_WRAPPING: Final = re.compile(
    r"<[^>]*>:? ?|^\w+\(host=[^)]*\): |Failed to establish a new connection: |\[Errno -?\d+\] |^HTTPS?Connection(Pool)?\(.*?\): "
)


def root_cause(error: BaseException) -> str:
    """What lies at the bottom of a stack of wrapped errors, in a few words: HTTP libraries repeat addresses and objects."""
    while True:
        wrapped = (getattr(error, "reason", None), *error.args, error.__cause__)
        inner = next((part for part in wrapped if isinstance(part, BaseException)), None)
        if inner is None:
            break
        error = inner
    system = error.strerror if isinstance(error, OSError) else None
    return line(_WRAPPING.sub("", str(system or (error.args[-1] if error.args else error)))) or type(error).__name__
