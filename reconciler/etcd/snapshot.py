"""All keys of a site as one value, for people who look at a rollout. What it says is foreign text, and made printable here."""

from collections.abc import Mapping
from dataclasses import replace

from reconciler.etcd.client import Key
from reconciler.etcd.store import Store, decode, job, number, place, said, shown
from reconciler.foreign import line
from reconciler.rollout.overview import Snapshot
from reconciler.rollout.records import ROLL, Permit, Place, Roll, excuse_key


def snapshot(store: Store) -> Snapshot:
    """Everything as of one moment. Raises errors.Transient (EtcdUnavailable), also for a key that this program did not write."""
    keys = store.everything()
    roll = decode(Roll, keys[ROLL]) if ROLL in keys else None
    commit = roll.commit if roll else ""
    places: dict[str, dict[int, Place]] = {}
    proved = set()
    for name, key in keys.items():
        kind, *rest = name.split("/")
        which = number(rest[1]) if len(rest) > 1 else None
        if kind == "budget" and len(rest) == 2 and which is not None:
            places.setdefault(rest[0], {})[which] = place(key)
        elif kind == "proof" and len(rest) == 3 and rest[0] == commit and which is not None:
            proved.add((which, rest[2]))
    return Snapshot(
        _shown(roll) if roll else None,
        {name: _permit(key) for name, key in _below(keys, "permit/").items()},
        places,
        frozenset(proved),
        frozenset(_below(keys, "present/")),
        {name: said(key) for name, key in _below(keys, excuse_key(commit, "")).items()} if commit else {},
        {name: said(key) for name, key in _below(keys, "released/").items()},
        {line(name): job(key) for name, key in _below(keys, "job/").items()},
    )


def _below(keys: Mapping[str, Key], prefix: str) -> dict[str, Key]:
    return {name.removeprefix(prefix): key for name, key in keys.items() if name.startswith(prefix)}


def _shown(roll: Roll) -> Roll:
    commit, failed = line(roll.commit), tuple(map(line, roll.failed))
    return replace(shown(roll), commit=commit, failed=failed, resumed=line(roll.resumed))


def _permit(key: Key) -> Permit:
    found = decode(Permit, key)
    return Permit(line(found.commit), found.places, "", found.heals, line(found.lent))
