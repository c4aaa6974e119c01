"""The program's log: one event per fact, text on a terminal, one JSON object per line elsewhere.

Event names are words with dots (`cycle.finished`, `revision.refused`) and stay the same between versions;
docs/operations.md lists them. Secrets do not get here: their type prints `***`, foreign text came through foreign.py, and what
both let pass is taken out of every event. Values are printable: many were written by others.
"""

import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from reconciler.secret import known
from reconciler.text import json_text, printable

if TYPE_CHECKING:
    from reconciler.settings import Log

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(settings: "Log", stream: TextIO | None = None) -> None:
    """Send all events of at least the level of the settings to `stream` (stderr)."""
    out = stream or sys.stderr
    as_text = settings.format == "text" or (settings.format == "auto" and out.isatty())
    colours = as_text and out.isatty() and "NO_COLOR" not in os.environ
    level = _LEVELS[settings.level]
    last: list[Any] = (
        [
            _drop_empty,
            _without_secrets,
            _printable,
            structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=22, exception_formatter=_trace),
        ]
        if as_text
        else [structlog.processors.format_exc_info, _without_secrets, structlog.processors.JSONRenderer(_json)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not as_text, key="at"),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    # Libraries may say what went wrong, in our format; what they chat about is nobody's business.
    logging.basicConfig(level=logging.WARNING, handlers=[_Bridge()], force=True)


def frames(error: BaseException) -> list[str]:
    """Where a defect showed, innermost last; neither its message nor any value, for nobody knows what those hold."""
    found = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in found[-8:]]


def _drop_empty(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: value for name, value in event.items() if value not in ("", (), None)}


def _without_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What libraries say, and what an event brings along, past every other door."""
    redact = known()
    return {name: value if name == "exc_info" else _clean(value, redact) for name, value in event.items()}


def _clean(value: object, redact: Callable[[str], str]) -> object:
    """The same shape, for lists stay lists in JSON; whatever is no plain value is its text."""
    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, list | tuple):
        return [_clean(item, redact) for item in value]
    if isinstance(value, Mapping):
        return {redact(str(key)): _clean(item, redact) for key, item in value.items()}
    return redact(str(value))


def _printable(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """One event is one line, whatever its values hold."""
    return {
        name: value if isinstance(value, (bool, int, float)) or name == "exc_info" else printable(str(value))
        for name, value in event.items()
    }


def _trace(stream: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    stream.write(printable(known()(text.getvalue()), keep_newlines=True))


def _json(value: Any, **_: Any) -> str:
    return json_text(value)


class _Bridge(logging.Handler):
    """Gives the records of other libraries to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        structlog.get_logger().log(
            record.levelno,
            "library.message",
            logger=record.name,
            message=record.getMessage(),
            error=type(error).__name__ if error else "",
        )
