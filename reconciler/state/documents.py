"""The JSON files of the state directory: each is replaced whole, and says which version wrote it, in which form.

What an older program does not know of a newer one's file it leaves out and names (`lost`); what it would misunderstand it refuses.
A value that the same version cannot read is damage: nothing is done without what it said.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar, cast

import structlog

from reconciler import __version__, errors
from reconciler.codec import UNREADABLE, Lost, from_json
from reconciler.phrases import few
from reconciler.reasons import Reason
from reconciler.system import files

log = structlog.get_logger()

T = TypeVar("T")
Older = Callable[[dict[str, Any]], dict[str, Any]]
# The form of the files: one more whenever a field changes its meaning, and the oldest form whose programs understand what is
# written now. A field more needs neither: who does not know it leaves it out and says so.
FORMAT, READS = 1, 1
_WRITER = "written_by"


class Documents:
    """The files of `folder`. `guard` keeps other threads out while one is written, `require` raises when nothing may be."""

    def __init__(self, folder: Path, guard: RLock, require: Callable[[], None]) -> None:
        self._folder, self._guard, self._require = folder, guard, require
        # File → (which file it was, what it held): a file is only ever replaced whole, so it is not parsed twice.
        self._parsed: dict[str, tuple[files.Identity, Any]] = {}
        self.lost: dict[str, str] = {}  # file → what of it, as another version wrote it, could not be read

    def json(self, name: str) -> dict[str, Any] | None:
        """What a file holds, None when there is none. Raises as `raw`, and when a newer version says that this one cannot understand it."""
        data = self.raw(name)
        if data is not None:
            self._require_readable(name, data)
        return data

    def raw(self, name: str) -> dict[str, Any] | None:
        """The same, whoever wrote it. Raises errors.Terminal (StateCorrupt), errors.Transient (FileReadFailed)."""
        try:
            content, _ = files.read_nofollow(self._folder, name)
            data = json.loads(content)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise errors.Terminal(
                f"{self._folder / name} is not readable as JSON ({error}); nothing is done without it. Restore it from a backup, "
                f"or remove it if you know what it held (docs/operations.md, State)",
                reason=Reason.StateCorrupt,
            ) from None
        if not isinstance(data, dict):
            raise errors.Terminal(f"{self._folder / name} holds no JSON object", reason=Reason.StateCorrupt)
        return data

    def read(self, name: str, kind: type[T], older: Older = lambda data: data) -> T | None:
        """The same as a `kind`; `older` gives what an earlier version wrote the present shape. Raises as `json`."""
        before = files.identity(self._folder / name)
        kept = self._parsed.get(name)
        if kept is not None and before is not None and kept[0] == before:
            return cast(T, kept[1])
        value = self._parse(name, kind, older)
        # Kept only if it is certain that this very file was read, and not its successor.
        if before is not None and before == files.identity(self._folder / name):
            self._parsed[name] = (before, value)
        return value

    def _parse(self, name: str, kind: type[T], older: Older) -> T | None:
        data = self.raw(name)
        if data is None:
            return None
        writer = self._require_readable(name, data)
        lost = Lost()
        try:
            value = from_json(kind, older(data), lost)
        except UNREADABLE as error:
            raise errors.Terminal(
                f"{self._folder / name} was written by another version or altered ({error})", reason=Reason.StateCorrupt
            ) from None
        if lost.unread and writer.get("program") == __version__:
            raise errors.Terminal(
                f"{self._folder / name} was altered: this version wrote it, and cannot read {few(lost.unread)}. Nothing is done without it. "
                "Restore it from a backup (docs/operations.md, State)",
                reason=Reason.StateCorrupt,
            )
        self._note_lost(name, lost.places, writer)
        return value

    def _require_readable(self, name: str, data: dict[str, Any]) -> Mapping[str, Any]:
        """Takes out of a file who wrote it. Raises errors.Terminal (StateCorrupt): that one says that this program cannot understand it."""
        writer = data.pop(_WRITER, None)
        writer = writer if isinstance(writer, dict) else {}
        if isinstance(oldest := writer.get("reads"), int) and oldest > FORMAT:
            raise errors.Terminal(
                f"{self._folder / name} was written by reconciler {writer.get('program')}, in a form that {__version__} does not know: install "
                "that version again, or a newer one",
                reason=Reason.StateCorrupt,
            )
        return writer

    def _note_lost(self, name: str, lost: Sequence[str], writer: Mapping[str, Any]) -> None:
        if lost:
            by = writer.get("program", "another version")
            self.lost[name] = f"{name}, written by reconciler {by}, has what {__version__} does not know: {few(lost)}"
            log.warning("state.lost", file=name, program=by, lost=list(lost)[:20])
        else:
            self.lost.pop(name, None)

    def write(self, name: str, data: dict[str, Any]) -> None:
        """Replace a file whole, with who wrote it. Raises as `files.write_atomic`, and whatever `require` raises."""
        with self._guard:
            self._require()
            stamped = {_WRITER: {"format": FORMAT, "reads": READS, "program": __version__}, **data}
            files.write_atomic(self._folder / name, json.dumps(stamped, indent=1).encode(), mode=0o600)
