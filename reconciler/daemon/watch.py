"""Looks at the configuration files of our containers: who changes one by hand wakes the daemon."""

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from watchdog import events
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

log = structlog.get_logger()

# Only what changes something: our own looking at a file must not wake us.
_NAMES = (
    "FileModifiedEvent",
    "FileAttribEvent",
    "FileCreatedEvent",
    "FileDeletedEvent",
    "FileMovedEvent",
    "DirDeletedEvent",
    "DirMovedEvent",
    "DirAttribEvent",
)
_EVENTS = [getattr(events, name) for name in _NAMES if hasattr(events, name)]


class FileWatch(events.FileSystemEventHandler):
    """Calls `changed(path)` with the path below the root, from a thread of its own, for the files it follows."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._observer: BaseObserver | None = None
        self._watch: ObservedWatch | None = None
        self._root = Path("/nonexistent")
        self._identity: tuple[int, int] | None = None
        self._wanted: frozenset[str] = frozenset()

    def follow(self, root: Path, paths: Iterable[str]) -> None:
        """Look at these files below `root`, and at the folders they are in, from now on. Does nothing when it already does."""
        files = frozenset(paths)
        folders = {folder.as_posix() for path in files for folder in Path(path).parents} - {"."}
        self._wanted = files | folders
        identity = _identity(root)
        if identity == self._identity and root == self._root:
            return
        self._stop_watching()
        if identity is None:
            return  # made with the first file; the pass that makes it comes here again
        if self._observer is None:
            self._observer = Observer()
            self._observer.daemon = True
            self._observer.start()
        try:
            self._watch = self._observer.schedule(self, str(root), recursive=True, event_filter=_EVENTS)
        except OSError as error:
            log.warning("watch.failed", path=str(root), message=error.strerror or str(error))
            return
        self._root, self._identity = root, identity

    def close(self) -> None:
        """End the threads."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(5.0)
            self._observer = None

    def on_any_event(self, event: events.FileSystemEvent) -> None:
        """Called by watchdog."""
        for path in (event.src_path, event.dest_path):
            relative = os.path.relpath(os.fsdecode(path), self._root) if path else ""
            if relative in self._wanted:
                self._changed(relative)
                return

    def _stop_watching(self) -> None:
        if self._observer is not None and self._watch is not None:
            with contextlib.suppress(KeyError, OSError):
                self._observer.unschedule(self._watch)
        self._watch, self._identity = None, None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
