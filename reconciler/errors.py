"""The error hierarchy: one documented reason per failure, and two answers to it.

An error either waits for a new commit or an operator (`Terminal`), or is tried again at the next cycle
(`Transient`). `reason` is the machine-readable word shown in conditions, statuses and metrics: CamelCase, a closed set,
documented in docs/operations.md. The message is for humans: what is wrong, where, and what to do.
"""

import re
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from reconciler.foreign import line, said
from reconciler.reasons import Reason
from reconciler.text import printable

MAX_PROBLEMS: Final = 1000  # of one site: nobody reads more, and each costs time to explain
_LAST_WARNING: Final = MAX_PROBLEMS - 2  # which leaves a place for an error
_LONGEST: Final = {"file": 1000, "message": 2000, "hint": 2000}  # characters; what a site says may be quoted in them
_MESSAGE: Final = 100_000


class ReconcilerError(Exception):
    """Base of every error this program raises on purpose. `str(error)` never contains a secret, and is printable: it comes
    through foreign.py."""

    def __init__(self, message: str, *, reason: Reason) -> None:
        super().__init__(said(message, most=_MESSAGE))
        self.reason = reason


class Terminal(ReconcilerError):
    """Trying again cannot help: wait for a new commit or for an operator."""


class Transient(ReconcilerError):
    """May heal by itself: try again at the next cycle. `retry_after` is in seconds, None when unknown."""

    def __init__(self, message: str, *, reason: Reason, retry_after: float | None = None) -> None:
        super().__init__(message, reason=reason)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a site, at a place. `line` and `column` count from 1; 0 means the whole file,
    which is written as its first line: editors and CI jump there. Its texts are printable, and one line each."""

    file: str
    line: int
    column: int
    message: str
    hint: str = field(default="", compare=False)
    severity: Literal["error", "warning"] = field(default="error", compare=False)

    def __post_init__(self) -> None:
        for name, limit in _LONGEST.items():
            object.__setattr__(self, name, printable(getattr(self, name), limit=limit))

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


class TooManyError(Exception):
    """A site has as many problems as anybody will read: looking for more is a waste."""


class Problems(list[Problem]):
    """What is found wrong with a site. Raises TooManyError with the last one that has a place in it, if that is an error: no number of
    warnings refuses a site, and of very many the last one says so."""

    def append(self, problem: Problem) -> None:
        self += (problem,)

    def extend(self, problems: Iterable[Problem]) -> None:
        self += problems

    def __iadd__(self, problems: Iterable[Problem]) -> "Problems":  # type: ignore[override,misc]  # takes any, as list does
        for problem in problems:
            if problem.severity == "warning" and len(self) > _LAST_WARNING:
                continue
            if problem.severity == "warning" and len(self) == _LAST_WARNING:
                told = f"there is more to be said than these {len(self)}: correct these first"
                problem = replace(problem, message=told, hint="")
            super().append(problem)
            if len(self) >= MAX_PROBLEMS:
                raise TooManyError
        return self


class SiteInvalid(Terminal):
    """The site has problems; all of them are in `problems`, sorted by place: of very many the first, and a last one says so."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = _shown(problems)
        errors = [problem for problem in self.problems if problem.severity == "error"]
        first = errors[0] if errors else "no problem given"
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        super().__init__(f"{first}{more}", reason=Reason.SiteInvalid)


def _shown(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Sorted; errors go before warnings where not all can be shown."""
    if len(problems) < MAX_PROBLEMS:
        return tuple(sorted(problems))
    first = sorted(problems, key=lambda problem: (problem.severity != "error", problem))[: MAX_PROBLEMS - 1]
    last = max(first)
    rest = f"there are more problems than these {len(first)}: correct these first"
    return tuple(sorted([*first, Problem(last.file, last.line, last.column, rest)]))


def defect(error: BaseException, what: str) -> Terminal:
    """What nobody foresaw, as an error that says so: a defect of this program. `what` was being done, "validating the site".

    It names the place in the program and the kind of exception, not its message: nobody knows what that holds.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "reconciler" in Path(frame.filename).parts] or frames
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(own[-3:]))
    return Terminal(
        f"{what} met a defect of this program: {type(error).__name__} at {places or 'an unknown place'}. "
        "Report it with this line, and with the files that bring it about if they may be shown",
        reason=Reason.InternalError,
    )


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
