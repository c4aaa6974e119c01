"""What the cycles of a node did, one line each, in `history.jsonl`."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from reconciler.system import files

NAME = "history.jsonl"
KEPT = 2_000  # lines


class History:
    """The history in `folder`. `alone` keeps others out while it is written, and raises when it may not be."""

    def __init__(self, folder: Path, alone: Callable[[], AbstractContextManager[None]]) -> None:
        self._folder, self._alone = folder, alone

    def record(
        self,
        entry: dict[str, Any],
        is_repetition: Callable[[Mapping[str, Any], Mapping[str, Any]], bool] = lambda entry, before: False,
    ) -> None:
        """Append one line; now and then the oldest go. What only repeats the newest line is counted there, with the
        time of the last one, instead: `again`, `last`."""
        with self._alone():
            lines = self._lines()
            before = json.loads(lines[-1]) if lines else None
            if before is not None and is_repetition(entry, before):
                entry = {**before, "again": before.get("again", 0) + 1, "last": entry["at"]}
                lines.pop()
            lines.append(json.dumps(entry, separators=(",", ":")))
            if len(lines) > KEPT * 5 // 4:
                lines = lines[-KEPT:]
            files.write_atomic(self._folder / NAME, ("\n".join(lines) + "\n").encode(), mode=0o600)

    def newest(self, limit: int = 50) -> list[dict[str, Any]]:
        """The newest entries, newest first. Raises errors.Transient (FileReadFailed)."""
        return [json.loads(line) for line in reversed(self._lines()[-limit:])]

    def _lines(self) -> list[str]:
        """Raises errors.Transient (FileReadFailed)."""
        try:
            content, _ = files.read_nofollow(self._folder, NAME)
        except FileNotFoundError:
            return []
        return content.decode(errors="replace").splitlines()
