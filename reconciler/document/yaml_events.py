"""libyaml's events of one text, with a bound of our own on how deep it nests.

Whatever makes values or nodes of a text walks these first. Some releases of PyYAML have no bound, and building nodes of a
text of 100,000 brackets then ends the process; others have one, that differs and speaks in its own words.
"""

from collections.abc import Iterator
from typing import Any, Final

import yaml

# A prefix is read again when libyaml stops before we do; what is left after a second cut holds nothing unfinished.
_CUTS: Final = 3


class TooDeep(yaml.YAMLError):
    """The text nests deeper than allowed; `problem_mark` is the place of the first list or mapping that is too much."""

    def __init__(self, mark: Any, levels: int) -> None:
        self.problem_mark = mark
        self.problem = f"is nested deeper than {levels} levels"
        super().__init__(self.problem)


def events(text: str, levels: int) -> Iterator[Any]:
    """The events of `text`, whose values stand at most `levels` deep, the outermost one at level 1.

    Raises TooDeep before the event that nests deeper, yaml.YAMLError for what is not YAML.
    """
    try:
        yield from _bounded(text, levels)
    except yaml.scanner.ScannerError as error:
        # libyaml looks ahead of the events it has given, so what it met there may lie behind the place where we stop.
        _look_before(text, error, levels)
        raise


def _bounded(text: str, levels: int) -> Iterator[Any]:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth >= levels:  # what stands in it would be a level deeper
                raise TooDeep(event.start_mark, levels)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        yield event


def _look_before(text: str, error: yaml.MarkedYAMLError, levels: int) -> None:
    """Read again what lies before `error`, for the depth alone. Raises TooDeep."""
    for _ in range(_CUTS):
        marks = [mark.index for mark in (error.context_mark, error.problem_mark) if mark]
        text = text[: min(marks, default=0)]
        try:
            for _ in _bounded(text, levels):
                pass
        except yaml.scanner.ScannerError as again:
            error = again
        except TooDeep:
            raise
        except yaml.YAMLError:
            return
        else:
            return
