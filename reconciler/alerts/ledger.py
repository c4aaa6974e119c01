"""What is wrong on this host, since when, and what each target was told of it. Pure; time is an argument.

Level-based like everything else: an observation says what is wrong now, and what is due follows from the difference to what
was told. Nothing is queued, so nothing can pile up, and a target that was away for a day hears how things are, not how
they were.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from reconciler.alerts.items import LEAP, Alert, Coverage

Status = Literal["firing", "resolved"]
_RANK = {"critical": 0, "high": 1, "medium": 2, "low": 3, "info": 4}
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Told:
    """What one target was told last. `sure` False: about to be told when the program ended, or it did not answer."""

    status: Status
    at: datetime
    times: int = 1
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """One item that is, or until a moment ago was, wrong."""

    alert: Alert
    fingerprint: str
    since: datetime
    gone: datetime | None = None
    deep_only: bool = False  # no shallow pass ever saw it: none can say that it is gone
    told: Mapping[str, Told] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a target hears from us: `repeat` and `settle` in seconds."""

    repeat: float = 14_400.0
    settle: float = 120.0
    per_hour: int = 60


@dataclass(frozen=True, slots=True)
class Delivery:
    """Something to tell a target. `times` counts how often it was told that the item is wrong, this time included."""

    entry: Entry
    status: Status
    times: int

    @property
    def item(self) -> str:
        return self.entry.alert.item


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything that is remembered: entries by item, and per target when messages went out in the last hour."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    sent: Mapping[str, tuple[datetime, ...]] = field(default_factory=dict)


def fingerprint(identity: str, item: str) -> str:
    """What makes two alerts the same one: the host (`identity`) and the item, whatever is wrong with it."""
    return hashlib.sha256(f"{identity}\0{item}".encode()).hexdigest()[:40]


def observe(
    ledger: Ledger, alerts: Collection[Alert], seen: Coverage, now: datetime, *, identity: str, deep: bool
) -> Ledger:
    """Take in what a report says. `deep`: whether that pass was a deep one. The same object when nothing is new."""
    entries = {}
    for alert in alerts:
        entries[alert.item] = _seen(ledger.entries.get(alert.item), alert, now, identity, deep)
    for item, entry in ledger.entries.items():
        if item not in entries:
            well = entry.gone is None and seen.covers(item, deep_only=entry.deep_only)
            entries[item] = replace(entry, gone=now) if well else entry
    return ledger if entries == ledger.entries else replace(ledger, entries=entries)


def _seen(entry: Entry | None, alert: Alert, now: datetime, identity: str, deep: bool) -> Entry:
    if entry is None or (entry.gone and any(told.status == "resolved" for told in entry.told.values())):
        told = entry.told if entry else {}
        return Entry(alert, fingerprint(identity, alert.item), alert.since or now, None, deep, told)
    # Who did it is known to the process that heard it; a restart must not forget it.
    alert = replace(alert, cause=alert.cause or entry.alert.cause, site=alert.site or entry.alert.site)
    return replace(entry, alert=alert, gone=None, deep_only=entry.deep_only and deep)


def due(ledger: Ledger, target: str, now: datetime, pace: Pace) -> tuple[Delivery, ...]:
    """What `target` should hear now, the most severe first; what its hour has no room for is left out only by `room`."""
    found = [
        (delivery.entry.alert, delivery)
        for entry in ledger.entries.values()
        if (delivery := _delivery(entry, target, pace)) and _when(entry, target, now, pace) <= now
    ]
    order = sorted(found, key=lambda pair: (_RANK[pair[0].severity], pair[1].entry.since, pair[0].item))
    return tuple(delivery for _, delivery in order)


def room(ledger: Ledger, target: str, now: datetime, pace: Pace) -> int:
    """How many messages `target` may still get in this hour."""
    return max(0, pace.per_hour - sum(1 for at in ledger.sent.get(target, ()) if now - _HOUR < at <= now))


def next_due(ledger: Ledger, targets: Iterable[str], now: datetime, pace: Pace) -> datetime | None:
    """When something has to be told next, should nothing change until then; None: never."""
    return min(_moments(ledger, targets, now, pace), default=None)


def _moments(ledger: Ledger, targets: Iterable[str], now: datetime, pace: Pace) -> Iterator[datetime]:
    for target in targets:
        moments = [_when(e, target, now, pace) for e in ledger.entries.values() if _delivery(e, target, pace)]
        if not moments:
            continue
        first = min(moments)
        if not room(ledger, target, first, pace):
            times = sorted(at for at in ledger.sent[target] if at <= first)
            first = max(first, times[-pace.per_hour] + _HOUR)
        yield first


def _delivery(entry: Entry, target: str, pace: Pace) -> Delivery | None:
    """What is to be said to `target` next, now or later; None: nothing. First match wins."""
    told = entry.told.get(target)
    if entry.gone is None:
        times = told.times + told.sure if told and told.status == "firing" else 1
        return Delivery(entry, "firing", times)
    if told is None or (told.status == "resolved" and told.sure):
        return None
    return Delivery(entry, "resolved", told.times)


def _when(entry: Entry, target: str, now: datetime, pace: Pace) -> datetime:
    """When that is due."""
    told = entry.told.get(target)
    if entry.gone is not None:
        return _after(entry.gone, pace.settle, now)
    if told is None or told.status == "resolved":
        return _after(entry.since, entry.alert.patience, now)
    return _after(told.at, pace.repeat if told.sure else 0, now)


def _after(moment: datetime, seconds: float, now: datetime) -> datetime:
    """`seconds` after `moment`; a clock that was set back must not make us silent until it has caught up."""
    return now if moment > now + LEAP else moment + timedelta(seconds=seconds)


def told(
    ledger: Ledger, target: str, deliveries: Collection[Delivery], now: datetime, *, sure: bool, messages: int = 0
) -> Ledger:
    """Note that `target` was told, or with `sure` False: is about to be. `messages` count against its hour."""
    entries = dict(ledger.entries)
    for delivery in deliveries:
        entry = entries[delivery.item]
        entries[delivery.item] = replace(
            entry, told={**entry.told, target: Told(delivery.status, now, delivery.times, sure)}
        )
    sent = ledger.sent
    if messages:
        recent = [at for at in sent.get(target, ()) if now - _HOUR < at <= now]
        sent = {**sent, target: (*recent, *[now] * messages)}
    return Ledger(entries, sent)


def restored(ledger: Ledger, target: str, deliveries: Collection[Delivery]) -> Ledger:
    """Take back the announcement of deliveries that were not tried after all."""
    entries = dict(ledger.entries)
    for delivery in deliveries:
        before = delivery.entry.told.get(target)
        others = {name: told for name, told in entries[delivery.item].told.items() if name != target}
        entries[delivery.item] = replace(entries[delivery.item], told={**others, target: before} if before else others)
    return replace(ledger, entries=entries)


def tidied(ledger: Ledger, targets: Collection[str], now: datetime, pace: Pace) -> Ledger:
    """Without what is over and known to all, and without targets that are no more."""
    entries = {}
    for item, entry in ledger.entries.items():
        entry = replace(entry, told={name: told for name, told in entry.told.items() if name in targets})
        over = entry.gone is not None and not any(_delivery(entry, target, pace) for target in targets)
        if not over or now - min(entry.gone or now, now) < timedelta(seconds=pace.settle):
            entries[item] = entry
    recent = {name: tuple(at for at in times if now - _HOUR < at <= now) for name, times in ledger.sent.items()}
    sent = {name: times for name, times in recent.items() if times and name in targets}
    return Ledger(entries, sent)
