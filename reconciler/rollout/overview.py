"""The whole of a rollout for people: how far its waves are, who holds which places, what waits for whom. Pure.

It rests on what the hosts keep in the store, and on the waves and budgets of one host's commit. Why a single host waits that host knows
best: what it says goes before what is concluded here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from reconciler.phrases import few
from reconciler.rollout.policy import WAVE, Rollout, Wave
from reconciler.rollout.records import Halt, JobRecord, Permit, Place, Roll, Said

VERSION = 1
State = Literal["failed", "holds", "absent", "waits", "excused", "proved"]
STATES: Final[tuple[State, ...]] = ("failed", "holds", "absent", "waits", "excused", "proved")  # what wants eyes first


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the hosts of a site keep, as of one moment. `proved`: (wave, host) at the commit being rolled; `excused` there, too."""

    roll: Roll | None = None
    permits: Mapping[str, Permit] = field(default_factory=dict)
    places: Mapping[str, Mapping[int, Place]] = field(default_factory=dict)
    proved: frozenset[tuple[int, str]] = frozenset()
    present: frozenset[str] = frozenset()
    excused: Mapping[str, Said] = field(default_factory=dict)
    released: Mapping[str, Said] = field(default_factory=dict)
    jobs: Mapping[str, JobRecord] = field(default_factory=dict)


def overview(found: Snapshot, rollout: Rollout, commit: str, said: Mapping[str, str] | None = None) -> dict[str, Any]:
    """JSON-able values. `commit` is the one that `rollout` is of; `said`: what hosts tell themselves of why they wait."""
    roll = found.roll
    return {
        "kind": "rollout",
        "version": VERSION,
        "rolling": roll.commit if roll else "",
        "accepted": commit,
        "halt": _said(roll.halt) if roll and roll.halt else None,
        "resumed": roll.resumed if roll else "",
        "failed": list(roll.failed) if roll else [],
        "waves": [_wave(found, wave, number) for number, wave in enumerate(rollout.waves)],
        "budgets": [_budget(found, rollout, name) for name in sorted({*found.places, *rollout.budgets, WAVE})],
        "jobs": [_job(name, one) for name, one in sorted(found.jobs.items()) if one.state != "done"],
        "hosts": _Hosts(found, rollout, said or {}).rows(),
        "excused": {host: _said(one) for host, one in sorted(found.excused.items())},
        "released": {host: _said(one) for host, one in sorted(found.released.items())},
    }


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """An overview for the terminal."""
    if not told["rolling"]:
        yield "no commit was ever rolled out through this etcd"
    else:
        yield f"rolling out {told['rolling'][:12]}"
    if told["rolling"] and told["accepted"] != told["rolling"]:
        yield f"this host has accepted {told['accepted'][:12]}: the waves are shown as that commit has them"
    if halt := told["halt"]:
        yield f"HALTED by {halt['by']}: {halt['why']}" + (f" ({halt['at']})" if halt["at"] else "")
    elif told["failed"]:
        yield f"failed on {', '.join(told['failed'])}, which is tolerated"
    if told["resumed"]:
        yield f"resumed by {told['resumed']}"
    for one in told["waves"]:
        size = f"{one['at_once']} at once" + (", in order" if one["in_order"] else "")
        yield f"  {one['name']:<20} {one['state']:<6} {one['proved']} of {one['hosts']} hosts, {size}"
    for row in told["hosts"]:
        if row["holds"]:
            yield f"  {row['host']} holds {few(row['holds'])} ({row['text']})"
    for job in told["jobs"]:
        what = f"failed on {job['host']}: {job['message']}" if job["state"] == "failed" else f"runs on {job['host']}"
        yield f"  {job['name']} {what}"
    yield from _gathered(told["hosts"])
    for host, one in told["excused"].items():
        yield f"  {host} is excused by {one['by']}: {one['why']}"
    for host, one in told["released"].items():
        yield f"  {host}: given back by {one['by']} at {one['at']}: {one['why']}"


def _gathered(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Who waits, and who is not heard of: hosts with the same answer together, most of them first."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["state"] in ("waits", "absent"):
            found.setdefault((row["state"], row["text"]), []).append(row["host"])
    for (state, text), names in sorted(found.items(), key=lambda one: -len(one[1])):
        verb = {"waits": ("waits", "wait"), "absent": ("is absent", "are absent")}[state][len(names) > 1]
        yield f"  {few(names)} {verb}: {text}"


def _job(name: str, one: JobRecord) -> dict[str, str]:
    """One that others wait for, or that failed."""
    return {"name": name, "host": one.host, "state": one.state, "commit": one.commit, "message": one.message}


def _said(one: Said | Halt) -> dict[str, str]:
    return {"by": one.by, "why": one.why, "at": one.at}


def _wave(found: Snapshot, wave: Wave, number: int) -> dict[str, Any]:
    left = [host for host in wave.hosts if (number, host) not in found.proved]
    failed = {host for host in left if found.roll and host in found.roll.failed}
    opened = found.roll is not None and number <= found.roll.opened
    return {
        "name": wave.name,
        "hosts": len(wave.hosts),
        "proved": len(wave.hosts) - len(left),
        "failed": len(failed),
        "at_it": sum(
            host in found.permits and WAVE in found.permits[host].budgets for host in left if host not in failed
        ),
        "at_once": wave.at_once,
        "in_order": wave.in_order,
        "state": "done" if not left else "open" if opened else "waits",
    }


def _budget(found: Snapshot, rollout: Rollout, name: str) -> dict[str, Any]:
    """`at_once` is None for one that the host which looks has no member of."""
    opened = found.roll.opened if found.roll else 0
    is_known = name in rollout.budgets or (name == WAVE and opened < len(rollout.waves))
    return {
        "name": name,
        "at_once": rollout.size(name, opened) if is_known else None,
        "holders": sorted({place.host for place in found.places.get(name, {}).values()}),
    }


class _Hosts:
    """What each host of the inventory is at, and for what it waits."""

    def __init__(self, found: Snapshot, rollout: Rollout, said: Mapping[str, str]) -> None:
        self.found, self.rollout, self.said = found, rollout, said
        self.failed = frozenset(found.roll.failed) if found.roll else frozenset[str]()
        self.opened = min(found.roll.opened, len(rollout.waves) - 1) if found.roll else 0
        self.proved = frozenset(host for _, host in found.proved)
        self.current = rollout.waves[self.opened] if rollout.waves else Wave("", (), 1)
        self.left = [host for host in self.current.hosts if host not in self.proved and host not in found.excused]
        self.full = {name: holders for name in (WAVE, *rollout.budgets) if (holders := self._holders(name))}

    def rows(self) -> list[dict[str, Any]]:
        rows = [self._row(host, wave, number) for number, wave in enumerate(self.rollout.waves) for host in wave.hosts]
        rows += [
            {**self._row(host, Wave("", (host,), 1), -1), "text": "holds places, and is in no inventory"}
            for host in sorted(self.found.permits.keys() - self.rollout.hosts)
        ]
        return sorted(rows, key=lambda row: STATES.index(row["state"]))

    def _row(self, host: str, wave: Wave, number: int) -> dict[str, Any]:
        permit = self.found.permits.get(host)
        state = self._state(host, number)
        return {
            "host": host,
            "wave": wave.name,
            "state": state,
            "holds": sorted(permit.budgets) if permit else [],
            "commit": permit.commit if permit else "",
            "text": self._text(host, state, permit, wave, number),
        }

    def _state(self, host: str, number: int) -> State:
        if (number, host) in self.found.proved and host not in self.found.permits:
            return "proved"
        if host in self.failed:
            return "failed"
        if host in self.found.permits:
            return "holds"
        if host in self.found.excused:
            return "excused"
        return "waits" if host in self.found.present else "absent"

    def _text(self, host: str, state: State, permit: Permit | None, wave: Wave, number: int) -> str:
        if permit is not None:
            if permit.lent:
                return f"lent: {permit.lent}"
            return "puts right what drifted" if permit.heals else f"carries out {permit.commit[:12]}"
        if state == "excused":
            one = self.found.excused[host]
            return f"excused by {one.by}: {one.why}"
        if state == "absent":
            return "not heard of for ten minutes"
        return self.said.get(host) or (self._waits(host, wave, number) if state == "waits" else "")

    def _waits(self, host: str, wave: Wave, number: int) -> str:
        """For what a host waits that neither holds anything nor is proved. First match wins, as when it decides itself."""
        roll = self.found.roll
        if roll is None:
            return "no commit is being rolled out"
        if roll.halt:
            return "the rollout is halted"
        if number > self.opened:
            return f"the wave {self.current.name} comes first" + (f": {few(self.left)}" if self.left else "")
        if holders := self.full.get(WAVE):
            return f"{few(holders)} {_hold(holders)} the places of the wave"
        before = [
            other for other in self.rollout.before(host) if other in self.found.present and other not in self.proved
        ]
        if first := [other for other in before if other not in self.found.permits and other not in self.found.excused]:
            return f"{few(first)} first"
        taken = [
            f"{name} ({few(holders)})" for name, holders in self.full.items() if host in self.rollout.members(name)
        ]
        return f"its turn, unless it needs {', '.join(taken)}" if taken else "its turn"

    def _holders(self, name: str) -> list[str]:
        """Who holds a budget that has no place left."""
        places = self.found.places.get(name, {})
        if not self.rollout.waves or len(places) < self.rollout.size(name, self.opened):
            return []
        return sorted({place.host for place in places.values()})


def _hold(holders: list[str]) -> str:
    return "holds" if len(holders) == 1 else "hold"
