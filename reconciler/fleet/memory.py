"""What a reporter remembers over a restart: the newest report of each host that counted, and what was said about a commit.

One JSON file, replaced whole. A file that cannot be read is an error: without it an old report could be played back.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from reconciler import errors
from reconciler.codec import UNREADABLE, Lost, from_json, to_json
from reconciler.model import Interruption
from reconciler.reasons import Reason
from reconciler.system import files


@dataclass(frozen=True, slots=True)
class Said:
    """The newest thing said under one name. `results`: how many results were said there about this commit; `flips`: how many
    of them were another state than the one before."""

    commit: str
    state: str
    key: str
    at: float  # seconds since the epoch
    results: int = 0
    flips: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """`seen`: host → time of its newest report that counted. `said`: name of an announcement → what was said. `deployed`: environment →
    commit and state. `interruptions`: host → container → how long restarts of it were felt, as its newest report says."""

    seen: dict[str, datetime] = field(default_factory=dict)
    said: dict[str, Said] = field(default_factory=dict)
    deployed: dict[str, tuple[str, str]] = field(default_factory=dict)
    interruptions: dict[str, dict[str, Interruption]] = field(default_factory=dict)


class Store:
    """The file. Raises errors.Terminal (StateCorrupt), errors.Transient (DiskFull, FileWriteFailed, FileReadFailed)."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._name = folder, "fleet.json"
        self.memory = self._load()
        self._written = self.memory

    def save(self) -> None:
        """Write what is remembered, when it is not what the file holds."""
        if self.memory != self._written:
            data = json.dumps(to_json(self.memory), separators=(",", ":")).encode()
            files.write_atomic(self._folder / self._name, data, mode=0o600)
            self._written = self.memory

    def _load(self) -> Memory:
        try:
            content, _ = files.read_nofollow(self._folder, self._name)
            lost = Lost()
            memory = from_json(Memory, json.loads(content), lost)
            # What was said may be said again; which reports counted may not be forgotten.
            if unread := [name for name in lost.unread if name.startswith("seen")]:
                raise ValueError(f"{unread[0]} is no time")
            return memory
        except FileNotFoundError:
            return Memory()
        except UNREADABLE as error:
            raise errors.Terminal(
                f"{self._folder / self._name} cannot be read ({error}): without it an old report could be played back. Restore "
                "it, or remove it if you accept that (docs/operations.md, Reporter)",
                reason=Reason.StateCorrupt,
            ) from None
