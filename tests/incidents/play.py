"""One incident, with a clock: what is said first and when, what is done, when all is well again."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.incidents.bed import Watched
from tests.incidents.mishaps import Mishap

_SECOND = 2.1  # the history tells times to the second
_HANGS = 10.0  # seconds after which `reconciler status` no longer believes the last pass
_PAUSE = 0.2  # seconds between two looks at the page
_STEADY = 12.0  # seconds for which what is said is followed before somebody mends it


@dataclass(frozen=True, slots=True)
class Played:
    """Seconds since it happened (`well_after`: since it was mended, where it was). `by` is what the pass was for that said it first.
    `later` is what the headline became, when that was something else. `well_after` None: not within the time."""

    name: str
    text: str
    first: str = ""
    after: float | None = None
    by: str = ""
    later: str = ""
    did: tuple[str, ...] = ()
    alone: bool = False
    well_after: float | None = None
    expected: bool = False
    error: str = ""


def play(bed: Watched, mishap: Mishap) -> Played:
    """Never raises for what the program does: that is what the result says."""
    _wait(lambda: _is_well(bed.shown()), 180)
    time.sleep(_SECOND)
    watch = _Watch(bed, mishap.engine)
    well: float | None = None
    try:
        ends, ended = watch.since, watch.began
        with mishap.happens(bed):
            _wait(watch.look, mishap.seconds)
            until = time.monotonic() + (0 if mishap.alone else _STEADY)
            while time.monotonic() < until:
                watch.look()
                time.sleep(_PAUSE)
        if not mishap.alone:
            ends, ended = datetime.now(UTC), time.monotonic()
        if watch.said is not None and _wait(lambda: watch.look() and watch.is_well_since(ends), mishap.seconds):
            well = time.monotonic() - ended
    except Exception as error:  # one that cannot be played does not end the others
        return watch.result(mishap, well, error=f"{type(error).__name__}: {error}")
    return watch.result(mishap, well)


class _Watch:
    """Follows the page from now on."""

    def __init__(self, bed: Watched, hangs: bool) -> None:
        self.bed, self.hangs = bed, hangs
        self.began, self.since = time.monotonic(), datetime.now(UTC)
        self.said: tuple[str, float, str] | None = None
        self.later = ""
        self.did: dict[str, None] = {}
        self._last: dict[str, Any] = {}

    def look(self) -> bool:
        """Whether anything was said so far."""
        self._last = shown = self.bed.shown()
        moment = time.monotonic() - self.began
        reason, message = _headline(shown)
        if not reason and self.hangs and (hangs := _hangs(shown)) > _HANGS:
            # As `reconciler status` says it (docs/operations.md).
            reason, message = (
                "Unknown",
                f"a pass is under way for {hangs:.0f} s, so what the one before said no longer counts",
            )
        news = [entry for entry in shown["history"] if self._is_new(entry["last"] or entry["at"], entry["seconds"])]
        lines = [_line(action) for entry in news for action in entry["actions"]]
        happened = [row["text"] for entry in news for row in entry["happened"] if self._is_new(row["at"])]
        for line in lines:
            self.did.setdefault(line)
        found = (f"{reason}: {message}" if reason else "") or next(iter((*lines, *happened)), "")
        if found and self.said is None:
            self.said = (found, moment, _why(shown))
        if reason and self.said and self.said[0] != f"{reason}: {message}":
            self.later = f"{reason}: {message}"
        return self.said is not None

    def is_well_since(self, moment: datetime) -> bool:
        """Whether a pass that began after that moment found everything well."""
        return _is_well(self._last) and datetime.fromisoformat(self._last["at"]) > moment

    def _is_new(self, at: str, seconds: float = 0.0) -> bool:
        """Of what began then and took so long: a pass may have been under way when it happened."""
        return bool(at) and datetime.fromisoformat(at) + timedelta(seconds=seconds) >= self.since

    def result(self, mishap: Mishap, well: float | None, error: str = "") -> Played:
        """What was seen."""
        first, after, by = self.said or ("", None, "")
        everything = "\n".join((first, self.later, *self.did))
        expected = not error and well is not None and bool(re.search(mishap.says, everything))
        return Played(
            mishap.name, mishap.text, first, after, by, self.later, tuple(self.did), mishap.alone, well, expected, error
        )


def _headline(shown: dict[str, Any]) -> tuple[str, str]:
    """Reason and message of what is wrong; nothing when all is well."""
    for kind in ("Ready", "SourceReady"):
        for condition in shown.get("conditions", ()):
            if condition["type"] == kind and condition["status"] is not True and condition["reason"] != "Progressing":
                return condition["reason"], condition["message"]
    if shown.get("source") and not shown["source"]["ok"]:
        return shown["source"]["reason"], shown["source"]["message"]
    if shown.get("refusal"):
        return shown["refusal"]["reason"], shown["refusal"]["message"]
    return "", ""


def _hangs(shown: dict[str, Any]) -> float:
    """Seconds for which a pass is under way that does nothing yet."""
    since = shown.get("working_since")
    return (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds() if since else 0.0


def _is_well(shown: dict[str, Any]) -> bool:
    ready = next((c for c in shown.get("conditions", ()) if c["type"] == "Ready"), None)
    return bool(ready and ready["status"] is True) and _headline(shown) == ("", "")


def _line(action: dict[str, Any]) -> str:
    line = re.sub(r" +", " ", action["line"])
    return line if action["result"] == "done" else f"{line}: {action['result']} ({action['reason']})"


def _why(shown: dict[str, Any]) -> str:
    return "look" if shown["deep"] and shown["trigger"] == "interval" else str(shown["trigger"])


def _wait(ready: Callable[[], object], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE)
    return True
