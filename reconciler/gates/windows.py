"""When a site's changes may be carried out: maintenance windows and freezes. Pure: policy and time are arguments.

A window is open while the wall clock of its time zone shows a time in it. So on the night when clocks are put forward a
window may be shorter, or not be at all; when they are put back, a time that comes twice is in the window twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# A weekly window comes again within eight days; twice that, should clocks have skipped it once.
_HORIZON: Final = 16


@dataclass(frozen=True, slots=True)
class Closed:
    """Changes wait. `until`: when they may go on, in the time zone of what opens then; None: nobody has said."""

    until: datetime | None
    why: str
    drift: bool  # whether healing drift waits as well

    def __str__(self) -> str:
        """`until 2026-11-23 22:00 CET (window nights)`."""
        if self.until is None:
            return f"until further notice ({self.why})"
        return f"until {self.until:%Y-%m-%d %H:%M %Z} ({self.why})"


@dataclass(frozen=True, slots=True)
class _Window:
    name: str
    zone: ZoneInfo
    days: frozenset[int]  # Monday is 0
    begin: time
    end: time

    def holds(self, now: datetime) -> bool:
        local = now.astimezone(self.zone)
        clock, day = local.time(), local.weekday()
        if self.begin < self.end:
            return day in self.days and self.begin <= clock < self.end
        return (day in self.days and clock >= self.begin) or ((day - 1) % 7 in self.days and clock < self.end)


@dataclass(frozen=True, slots=True)
class _Freeze:
    name: str
    zone: ZoneInfo
    first: date
    last: date

    def holds(self, now: datetime) -> bool:
        return self.first <= now.astimezone(self.zone).date() <= self.last

    @property
    def over(self) -> datetime:
        return _instant(self.last + timedelta(days=1), time(), self.zone, 0)


def closed(policy: Mapping[str, Any], now: datetime) -> Closed | None:
    """Whether changes have to wait at `now` (with a time zone), and until when; None: they may be carried out.

    `policy` is a site's reconciler.yml with its defaults: `freeze`, `freezes`, `windows`, `windows_apply_to`. Raises
    zoneinfo.ZoneInfoNotFoundError for a time zone that a valid site does not name.
    """
    if policy.get("freeze"):
        return Closed(None, "freeze: true in reconciler.yml", True)
    windows = [_window(entry) for entry in policy.get("windows", ())]
    freezes = [_freeze(entry) for entry in policy.get("freezes", ())]
    frozen = next((freeze for freeze in freezes if freeze.holds(now)), None)
    if frozen is None and (not windows or any(window.holds(now) for window in windows)):
        return None
    drift = policy.get("windows_apply_to") == "everything"
    opening = _opening(windows, freezes, now)
    if opening is None:  # windows that never come, which only a time zone's future could explain
        return Closed(None, f"freeze {frozen.name}" if frozen else f"window {windows[0].name}", drift)
    until, window = opening
    reasons = [f"freeze {frozen.name}"] if frozen else []
    if window:
        reasons.append(f"window {window.name}")
    zone = window.zone if window else frozen.zone if frozen else UTC
    return Closed(until.astimezone(zone), ", then ".join(reasons), drift)


def _opening(
    windows: Sequence[_Window], freezes: Sequence[_Freeze], now: datetime
) -> tuple[datetime, _Window | None] | None:
    """The first moment after `now` at which changes may be carried out, and the window that is open then."""
    starts = [now, *(freeze.over for freeze in freezes if freeze.over > now)]
    moments = {moment for start in starts for moment in (start, *_beginnings(windows, start))}
    for moment in sorted(moment for moment in moments if moment >= now):
        if any(freeze.holds(moment) for freeze in freezes):
            continue
        if not windows:
            return moment, None
        if window := next((window for window in windows if window.holds(moment)), None):
            return moment, window
    return None


def _beginnings(windows: Sequence[_Window], start: datetime) -> Iterator[datetime]:
    """Every moment within the horizon at which a window may begin: at its time, or when clocks jump into it."""
    for window in windows:
        first = start.astimezone(window.zone).date()
        for days in range(-1, _HORIZON):
            day = first + timedelta(days=days)
            for fold in (0, 1):
                yield _instant(day, window.begin, window.zone, fold)
            midnight = _instant(day, time(), window.zone, 0)
            following = _instant(day + timedelta(days=1), time(), window.zone, 0)
            if midnight.astimezone(window.zone).utcoffset() != following.astimezone(window.zone).utcoffset():
                yield _jump(midnight, following, window.zone)


def _jump(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """When, to the second, the offset of a zone changes between two moments."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after


def _instant(day: date, clock: time, zone: ZoneInfo, fold: int) -> datetime:
    return datetime.combine(day, clock.replace(fold=fold), zone).astimezone(UTC)


def _window(entry: Mapping[str, Any]) -> _Window:
    days = frozenset(DAYS.index(day) for day in entry.get("days", DAYS))
    zone = ZoneInfo(entry.get("time_zone", "UTC"))
    return _Window(entry["name"], zone, days, time.fromisoformat(entry["from"]), time.fromisoformat(entry["to"]))


def _freeze(entry: Mapping[str, Any]) -> _Freeze:
    zone = ZoneInfo(entry.get("time_zone", "UTC"))
    return _Freeze(entry["name"], zone, date.fromisoformat(entry["from"]), date.fromisoformat(entry["to"]))
