"""What a rollout reads and writes in etcd: one read a pass, one transaction for whatever was decided.

Whoever can write to etcd can delay a rollout, or let all of it go at once; what they say is read as foreign text, and a value of another
shape counts as no answer.
"""

import json
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import structlog

from reconciler.codec import UNREADABLE, from_json, to_json
from reconciler.etcd.client import Client, Found, Key, Range, UnavailableError
from reconciler.foreign import line
from reconciler.rollout.inheritance import Registered
from reconciler.rollout.jobs import Known
from reconciler.rollout.policy import WAVE, Rollout
from reconciler.rollout.records import (
    ACCEPTED,
    ROLL,
    Halt,
    JobRecord,
    Mark,
    Permit,
    Place,
    Roll,
    Said,
    Transaction,
    View,
    excuse_key,
    fact_key,
    job_key,
    permit_key,
    presence_key,
    proof_key,
    proof_prefix,
    registered_key,
    release_key,
)

log = structlog.get_logger()

T = TypeVar("T")
LEASE: Final = 600  # seconds after which a silent host counts as absent
_RENEW: Final = 390.0  # seconds after which the lease is kept alive again; the rest is for a long pass, or no answer
_SILENT: Final = 60.0  # seconds for which an etcd that did not answer between two passes is left alone
_LOOKERS: Final = 10  # of all hosts, how many look in one pass who is missing
_JOBS: Final = Range(job_key(""), below=True)
_PERMITS: Final = Range(permit_key(""), below=True, names=True)
_BY_NAME: Final = 16  # hosts that are asked for one by one; of more, all are read


@dataclass
class _Presence:
    lease: int = 0
    renewed: float = 0.0
    seen: bool = False  # whether its key was read since
    taken: bool = False  # whether it was gone by then, or under the lease of another process
    silent_until: float = 0.0  # etcd did not answer between two passes


@dataclass(frozen=True, slots=True)
class _Still:
    """What a host read that changes nothing and gives it nothing until something is heard: it need not be read again.

    `asked`: host, commit, and whether that changes something. `epoch` None: nothing that is heard would matter.
    """

    asked: tuple[str, str, bool]
    epoch: int | None
    view: View


class Store:
    """The keys of one site. For one thread. Raises UnavailableError."""

    def __init__(self, client: Client, site: str) -> None:
        self.client = client
        self._prefix = f"/reconciler/{site}/"
        self._presence = _Presence()
        # Who looks for the missing: a few of many, or every pass of 1,000 hosts would read 1,000 names.
        self.chance = random.random
        # Another number after each change of the rollout; None: nobody would tell.
        self.epoch: Callable[[], int | None] = lambda: None
        self._still: _Still | None = None
        # How far this host has seen it; None: not yet, or nobody cares. `remember` is told of every change.
        self.mark: Mark | None = None
        self.remember: Callable[[Mark], None] | None = None

    def view(
        self,
        host: str,
        commit: str,
        rollout: Rollout,
        budgets: Iterable[str],
        waits_for: Iterable[str],
        *,
        changes: bool = True,
        heals: bool = False,
        jobs: Iterable[str] = (),
        held: bool = False,
    ) -> View:
        """What `host`, which has accepted `commit`, has to know. `waits_for`: hosts by name, see `View.proved_hosts`; `jobs` by name;
        `held`: it held places when it looked last, which somebody may have given back for it.

        A host that neither `changes` nor `heals` anything, or could not begin now, reads what concerns itself and no more
        (`View.partial`); a few of many look at everything all the same, and do what has to be done for all.
        """
        looks = self.chance() * len(rollout.hosts) <= _LOOKERS
        awaited = sorted(jobs)
        asked, epoch = (host, commit, changes), self.epoch()
        if not heals and not looks:
            if self._still and self._still.asked == asked and self._still.epoch in (None, epoch):
                return self._still.view
            view, room = self._short(host, commit, rollout, sorted({WAVE, *budgets}) if changes else [], awaited)
            view = self._with_release(view, host, held)
            if not changes or view.is_proved or not room or self._covers(view.permit, commit, budgets):
                self._still = _still(asked, epoch, view, rollout)
                return view
        names = sorted({WAVE, *budgets})
        others = sorted(waits_for)
        waves = range(len(rollout.waves))
        own = rollout.wave_of(host)
        wanted = [Range(ROLL), Range(permit_key(host)), Range(excuse_key(commit, ""), below=True)]
        wanted += [Range(proof_key(commit, own or 0, host))]
        wanted += [Range(f"budget/{name}/", below=True) for name in names]
        wanted += [Range(proof_key(commit, wave, ""), below=True, count=True) for wave in waves]
        wanted += self._about(others, commit, rollout)
        wanted += [_PERMITS] if looks else []
        found, records = self._read_for(host, wanted, awaited)
        roll, permit, excused, proof = found[:4]
        places, counts = found[4 : 4 + len(names)], found[4 + len(names) : 4 + len(names) + len(waves)]
        rest = [key.name for one in found[4 + len(names) + len(waves) :] for key in one.keys]
        rolled = _roll(roll, commit, rollout)
        is_ours = rolled is not None and rolled.commit == commit
        view = View(
            rolled,
            _revision(roll),
            _one(permit, Permit),
            _revision(permit),
            {name: _places(one) for name, one in zip(names, places, strict=True)},
            bool(proof.keys) and own is not None,
            left_over(proof.keys[0]) if proof.keys else frozenset(),
            counts[rolled.opened].count if is_ours and rolled else 0,
            present=_last(name for name in rest if name.startswith("present/")),
            proved_hosts=_last(name for name in rest if name.startswith("proof/")),
            holders=_last(name for name in rest if name.startswith("permit/")) if looks else None,
            jobs=records,
            excuses={_last_of(key.name): said(key) for key in excused.keys},
        )
        view = self._with_release(view, host, held)
        if not (is_ours and view.roll and looks):
            return view
        return self._with_gone(self._with_missing(view, rollout, view.roll.opened), rollout)

    @staticmethod
    def _covers(permit: Permit | None, commit: str, budgets: Iterable[str]) -> bool:
        """Whether a permit leaves nothing to be claimed."""
        return permit is not None and permit.commit == commit and set(budgets) <= permit.budgets

    def _short(
        self, host: str, commit: str, rollout: Rollout, claims: list[str], awaited: list[str]
    ) -> tuple[View, bool]:
        """Its own permit and proof, the roll, and the jobs `awaited`; of one that would claim places of the budgets `claims` also how far
        the waves are, and whether it could."""
        own = rollout.wave_of(host)
        wanted = [Range(ROLL), Range(permit_key(host)), Range(proof_key(commit, own or 0, host))]
        wanted += [Range(f"budget/{name}/", below=True, first=True) for name in claims]
        if claims:
            wanted += [Range(proof_key(commit, wave, ""), below=True, count=True) for wave in range(len(rollout.waves))]
        found, records = self._read_for(host, wanted, awaited)
        roll, permit, proof, *rest = found
        rolled = _roll(roll, commit, rollout)
        view = View(
            rolled,
            _revision(roll),
            _one(permit, Permit),
            _revision(permit),
            is_proved=bool(proof.keys) and own is not None,
            left=left_over(proof.keys[0]) if proof.keys else frozenset(),
            partial=True,
            jobs=records,
        )
        taken, proved = rest[: len(claims)], rest[len(claims) :]
        if rolled is None or rolled.commit != commit or not claims:
            return view, view.permit is not None
        is_turn = own is not None and own <= rolled.opened and not rolled.halt
        sizes = [rollout.size(name, rolled.opened) for name in claims]
        room = is_turn and all(one.count < size for one, size in zip(taken, sizes, strict=True))
        view = replace(
            view,
            proved=proved[rolled.opened].count,
            taken={
                name: (one.count, place(one.keys[0]).host if one.keys else "")
                for name, one in zip(claims, taken, strict=True)
            },
        )
        return view, room or view.permit is not None

    def _with_release(self, view: View, host: str, held: bool) -> View:
        """Who gave back what this host held, when that is gone. Asked for only then: there is hardly ever anything."""
        if not held or view.permit is not None:
            return view
        (found,) = self._read([Range(release_key(host))])
        return replace(view, released=said(found.keys[0])) if found.keys else view

    def _about(self, others: list[str], commit: str, rollout: Rollout) -> list[Range]:
        """Whether hosts are present and proved."""
        if len(others) > _BY_NAME:
            return [Range("present/", below=True, names=True), Range(proof_prefix(commit), below=True, names=True)]
        return [
            Range(name, names=True)
            for host in others
            for name in (presence_key(host), proof_key(commit, rollout.wave_of(host) or 0, host))
        ]

    def _with_missing(self, view: View, rollout: Rollout, opened: int) -> View:
        """Who is missing in the open wave, where that may decide something."""
        hosts = rollout.waves[opened].hosts
        left = len(hosts) - view.proved
        assert view.roll
        allowed = len(view.excused | set(view.roll.failed)) + (rollout.max_absent if opened else 0)
        if not 0 < left <= allowed:
            return view
        proved, present = self._read(
            [
                Range(proof_key(view.roll.commit, opened, ""), below=True, names=True),
                Range("present/", below=True, names=True),
            ]
        )
        missing = frozenset(hosts) - _last(key.name for key in proved.keys)
        return replace(view, missing=missing, present=view.present | _last(key.name for key in present.keys))

    def _with_gone(self, view: View, rollout: Rollout) -> View:
        """What hosts hold that the inventory no longer has, of a few of them."""
        gone = sorted((view.holders or frozenset()) - rollout.hosts)[:_BY_NAME]
        if not gone:
            return view
        found = zip(gone, self._read([Range(permit_key(host)) for host in gone]), strict=True)
        permits = {host: (decode(Permit, key), key.revision) for host, one in found for key in one.keys}
        return replace(view, gone=permits)

    def left(self, commit: str, hosts: Collection[str]) -> frozenset[str]:
        """Of these hosts, those that have not proved all of a commit and that are waited for."""
        proofs, excused = self._read(
            [Range(proof_prefix(commit), below=True), Range(excuse_key(commit, ""), below=True, names=True)]
        )
        whole = [key for key in proofs.keys if not left_over(key)]
        return frozenset(hosts) - {_last_of(key.name) for key in (*whole, *excused.keys)}

    def try_(self, wanted: Transaction) -> bool:
        """Whether a transaction was carried out, as far as that was answered: read again before judging."""
        self._still = None
        return self.client.transact(
            {self._prefix + key: revision for key, revision in wanted.compares.items()},
            {self._prefix + key: (json.dumps(to_json(value)).encode(), 0) for key, value in wanted.puts.items()},
            [
                *(Range(self._prefix + key) for key in wanted.deletes),
                *(Range(self._prefix + key, below=True) for key in wanted.delete_below),
            ],
        )

    def jobs(self, names: Iterable[str], facts: Iterable[str] = ()) -> tuple[View, dict[str, Known]]:
        """The rollout, and what is known of jobs that the cluster runs once; of those in `facts` also which hosts have what they would
        make."""
        asked, told = frozenset(names), sorted(facts)
        roll, records, *found = self._read(
            [Range(ROLL), _JOBS, *(Range(fact_key(name, ""), below=True) for name in told)]
        )
        said = {name: {_last_of(k.name): fact(k) for k in one.keys} for name, one in zip(told, found, strict=True)}
        revisions = {_last_of(key.name): key.revision for key in records.keys}
        kept = _records(asked, records)
        known = {name: Known(kept.get(name), revisions.get(name, 0), said.get(name, {})) for name in asked}
        rolled = _one(roll, Roll)
        return View(rolled and shown(rolled), _revision(roll), partial=True), known

    def proved(self, commit: str, hosts: Iterable[str], rollout: Rollout) -> dict[str, frozenset[str]]:
        """Which of these hosts are proved at a commit, each with what is left there."""
        names = sorted(hosts)
        if len(names) > _BY_NAME:
            wanted = [Range(proof_prefix(commit), below=True)]
        else:
            wanted = [Range(proof_key(commit, rollout.wave_of(host) or 0, host)) for host in names]
        keys = {_last_of(key.name): key for one in self._read(wanted) for key in one.keys}
        return {host: left_over(keys[host]) for host in names if host in keys}

    def registered(self) -> dict[str, Registered]:
        """What each host has registered, as it says itself."""
        (found,) = self._read([Range(registered_key(""), below=True)])
        return {_last_of(key.name): registered(key) for key in found.keys}

    @property
    def lease(self) -> int:
        """Of this host's presence; what is said under it goes with it."""
        return self._presence.lease

    def tell(self, job: str, host: str, *, has: bool) -> None:
        """Say whether `host` has what a job would make, for as long as the host is present."""
        told = json.dumps({"has": has}).encode()
        self.client.transact({}, {self._prefix + fact_key(job, host): (told, self.lease)}, [])

    def be_present(self, host: str, now: float) -> float:
        """Say that `host` is alive; `now` in seconds of a monotonic clock. Once in a while is enough: returns in how many seconds it has to
        be said again."""
        own = self._presence
        if own.lease and not own.taken and now - own.renewed < _RENEW:
            return own.renewed + _RENEW - now
        self._still = None  # now and then everybody looks, whatever is heard
        if own.lease and not own.seen:
            self._note_presence(*self.client.read([Range(self._prefix + presence_key(host), names=True)]))
        # Under a new lease what is said of this host's facts is said anew as well: another process may have said that, too.
        if own.taken or not (own.lease and self.client.keep_alive(own.lease)):
            own.lease = self.client.grant(LEASE)
            self.client.transact({}, {self._prefix + presence_key(host): (b"{}", own.lease)}, [])
        own.renewed, own.seen, own.taken = now, False, False
        return _RENEW

    def stay_present(self, host: str, now: float) -> float:
        """The same between passes; returns in how many seconds it is to be asked again. Raises nothing: the next pass says it."""
        own = self._presence
        try:
            return own.silent_until - now if now < own.silent_until else self.be_present(host, now)
        except UnavailableError as error:
            log.warning("fleet.unavailable", message=str(error))
            own.silent_until = now + _SILENT
            return _SILENT

    def _note_presence(self, found: Found) -> None:
        """A pass that was made by hand says it under a lease that nobody keeps alive, and with that it would go; a host that the inventory
        did not have for a while was forgotten by the others."""
        own = self._presence
        own.seen, own.taken = True, all(key.lease != own.lease for key in found.keys)

    def key(self, name: str) -> str:
        """A key of the site as etcd has it."""
        return self._prefix + name

    def everything(self) -> dict[str, Key]:
        """Every key of the site, for people."""
        (found,) = self._read([Range("", below=True)])
        return {key.name: key for key in found.keys}

    def _read_for(
        self, host: str, wanted: list[Range], jobs: Collection[str]
    ) -> tuple[list[Found], dict[str, JobRecord]]:
        """What is wanted, and the records of jobs as of the same moment: there are a few dozen at most, so all are read. Looks also
        whether the presence of `host` is as it said it."""
        present, *found = self._read([Range(presence_key(host), names=True), *wanted, *([_JOBS] if jobs else ())])
        self._note_presence(present)
        return (found[:-1], _records(jobs, found[-1])) if jobs else (found, {})

    def _require_same(self) -> None:
        """Raises UnavailableError: the store has gone back, or is another one, and no operator has accepted that. It may
        have forgotten who holds what."""
        cluster, revision = self.client.at
        if self.remember is None or not cluster:
            return
        before = self.mark
        lost = before.lost(cluster, revision) if before else ""
        accepted = before.accepted if before else ""
        if before is None or lost:
            (found,) = self.client.read([Range(self._prefix + ACCEPTED)])
            said = line(str(decode(dict[str, Any], found.keys[0]).get("id", ""))) if found.keys else ""
            if before is not None and said in ("", accepted):
                raise UnavailableError(
                    f"{lost}: it was restored from a backup, or made anew, and may have forgotten what hosts hold. See that every host is well "
                    "and at nothing (`reconciler status` on it), then run `reconciler fleet accept-restored --reason …` once, on any of them"
                )
            accepted = said
        self.mark = Mark(cluster, revision, accepted)
        if self.mark != before:
            self.remember(self.mark)

    def _read(self, wanted: list[Range]) -> list[Found]:
        found = self.client.read([replace(item, name=self._prefix + item.name) for item in wanted])
        self._require_same()
        cut = len(self._prefix)
        return [Found(tuple(replace(key, name=key.name[cut:]) for key in one.keys), one.count) for one in found]


def _still(asked: tuple[str, str, bool], epoch: int | None, view: View, rollout: Rollout) -> _Still | None:
    """What need not be read again: of a host that has proved what it keeps up, or whose wave is not open. None: everything."""
    host, commit, changes = asked
    if view.permit is not None or view.roll is None or view.roll.commit != commit:
        return None
    if not changes:
        return _Still(asked, None, view) if view.is_proved else None
    own = rollout.wave_of(host)
    waits = own is not None and (own > view.roll.opened or view.roll.halt is not None)
    return _Still(asked, epoch, view) if waits and epoch is not None and not view.is_proved else None


def decode(kind: type[T], key: Key) -> T:
    """A record. Raises UnavailableError: it has another shape."""
    try:
        return from_json(kind, json.loads(key.value))
    except UNREADABLE:
        raise foreign(key) from None


def foreign(key: Key) -> UnavailableError:
    """What to say of a record that has another shape, or speaks of something else than its key does."""
    return UnavailableError(
        f"etcd's key {line(key.name)} holds something that this program did not write: remove it, or look who writes there"
    )


def _one(found: Found, kind: type[T]) -> T | None:
    return decode(kind, found.keys[0]) if found.keys else None


def _revision(found: Found) -> int:
    return found.keys[0].revision if found.keys else 0


def _places(found: Found) -> Mapping[int, Place]:
    numbered = ((number(_last_of(key.name)), key) for key in found.keys)
    return {which: place(key) for which, key in numbered if which is not None}


def number(text: str) -> int | None:
    """A part of a key that is to be a number; None: it is none, or larger than any that this program counts to."""
    return int(text) if len(text) < 10 and text.isascii() and text.isdigit() else None


def place(key: Key) -> Place:
    """Who holds a place. Raises as `decode`."""
    value = decode(dict[str, Any], key)
    return Place(line(str(value.get("host", ""))), key.revision, value.get("lent") is True)


def said(key: Key) -> Said:
    """What an operator said, as it may be shown. Raises as `decode`."""
    value = decode(dict[str, Any], key)
    return Said(*(line(str(value.get(name, ""))) for name in ("by", "why", "at")))


def fact(key: Key) -> bool:
    """Whether a host has what a job would make. Raises as `decode`."""
    return decode(dict[str, Any], key).get("has") is not False


def left_over(key: Key) -> frozenset[str]:
    """What is left of a commit on a host that is proved. Raises as `decode`."""
    names = decode(dict[str, Any], key).get("left", [])
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise foreign(key)
    return frozenset(names)


def registered(key: Key) -> Registered:
    """What a host has registered. Raises as `decode`."""
    ids = decode(dict[str, Any], key).get("ids")
    if not isinstance(ids, list) or not all(isinstance(one, str) and one.count(":") > 1 for one in ids):
        raise foreign(key)
    return Registered(frozenset(ids), key.revision)


def _records(names: Collection[str], found: Found) -> dict[str, JobRecord]:
    """The records of jobs that there are, as they may be shown. Raises as `decode`."""
    keys = {name: key for key in found.keys if (name := _last_of(key.name)) in names}
    return {name: job(key) for name, key in keys.items()}


def job(key: Key) -> JobRecord:
    """The record of a job, as it may be shown. Raises as `decode`."""
    one = decode(JobRecord, key)
    return replace(one, host=line(one.host), message=line(one.message), nonce=line(one.nonce))


def _roll(found: Found, commit: str, rollout: Rollout) -> Roll | None:
    """What is being rolled, as it may be shown. Raises as `decode`, also for a wave that `rollout`, which is that of `commit`, has not."""
    roll = _one(found, Roll)
    if roll is None:
        return None
    if roll.commit == commit and roll.opened >= len(rollout.waves):
        raise foreign(found.keys[0])
    return shown(roll)


def shown(roll: Roll) -> Roll:
    """With its halt as it may be shown; the rest is compared, and written again."""
    halt = roll.halt and Halt(line(roll.halt.by), line(roll.halt.why), line(roll.halt.at))
    return replace(roll, halt=halt)


def _last(names: Iterable[str]) -> frozenset[str]:
    return frozenset(map(_last_of, names))


def _last_of(name: str) -> str:
    return name.rpartition("/")[2]
