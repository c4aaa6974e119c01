"""A store and hosts for tests: the store is as strict as etcd, hosts run the real decisions and lose what a killed process loses.

Beside the store it is kept what each host really did: whom it has stopped and not seen well since. Budgets are held against that.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.rollout import decide, jobs, together
from reconciler.rollout.decide import Go, Kin, Own, Write
from reconciler.rollout.jobs import Known, Once, Result, Self
from reconciler.rollout.policy import WAVE, Rollout
from reconciler.rollout.records import (
    ROLL,
    Permit,
    Place,
    Roll,
    Said,
    Transaction,
    View,
    excuse_key,
    job_key,
    permit_key,
    presence_key,
    proof_key,
)

JOB = "sync"  # what the first host of `Fleet.syncs` runs for all of them


class Store:
    """Keys with revisions; a transaction is atomic. `down`: nobody is answered."""

    def __init__(self) -> None:
        self.revision = 0
        self.keys: dict[str, tuple[Any, int]] = {}
        self.down = False

    def try_(self, wanted: Transaction) -> bool:
        """Carry it out when everything compares equal. Raises ConnectionError."""
        if self.down:
            raise ConnectionError
        if any(self.keys.get(key, (None, 0))[1] != revision for key, revision in wanted.compares.items()):
            return False
        self.revision += 1
        for key, value in wanted.puts.items():
            self.keys[key] = (value, self.revision)
        below = [key for prefix in wanted.delete_below for key in self.keys if key.startswith(prefix)]
        for key in (*wanted.deletes, *below):
            self.keys.pop(key, None)
        return True

    def put(self, key: str, value: Any) -> None:
        self.try_(Transaction({}, {key: value}))

    def names(self, below: str) -> list[str]:
        return [key.removeprefix(below) for key in self.keys if key.startswith(below)]

    def view(self, host: str, rollout: Rollout, budgets: Iterable[str]) -> View:
        """What a host reads in one pass. Raises ConnectionError."""
        if self.down:
            raise ConnectionError
        roll, roll_revision = self.keys.get(ROLL, (None, 0))
        permit, permit_revision = self.keys.get(permit_key(host), (None, 0))
        found = View(roll, roll_revision, permit, permit_revision, present=frozenset(self.names("present/")))
        holders = frozenset(self.names(permit_key("")))
        gone = {other: self.keys[permit_key(other)] for other in holders - rollout.hosts}
        found = replace(found, places={budget: self._places(budget) for budget in budgets}, holders=holders, gone=gone)
        if roll is None:
            return found
        own_wave = rollout.wave_of(host)
        here = frozenset(self.names(f"proof/{roll.commit}/{roll.opened}/"))
        waves = range(len(rollout.waves))
        return replace(
            found,
            is_proved=own_wave is not None and proof_key(roll.commit, own_wave, host) in self.keys,
            proved=len(here),
            missing=frozenset(rollout.waves[roll.opened].hosts) - here if roll.opened in waves else None,
            excuses=dict.fromkeys(self.names(excuse_key(roll.commit, "")), Said()),
            proved_hosts=frozenset(name.partition("/")[2] for name in self.names(f"proof/{roll.commit}/")),
            jobs={name: self.keys[job_key(name)][0] for name in self.names(job_key(""))},
        )

    def _places(self, budget: str) -> dict[int, Place]:
        found = {int(number): self.keys[f"budget/{budget}/{number}"] for number in self.names(f"budget/{budget}/")}
        return {n: Place(value["host"], revision, value.get("lent", False)) for n, (value, revision) in found.items()}


@dataclass
class Host:
    """One host of a modelled fleet. `running`: the commit it converged to; `begun`: one that it is changing to.

    What a killed process forgets is set back in `kill`; what is on its disk (`accepted`, `running`, `begun`, `remembered`) stays.
    `stopped`: budgets whose member it has stopped and not seen well since. `baking`: passes until it is proved to stay well. `deaf`: it
    fetches no newer commit, or refuses it.
    """

    name: str
    accepted: str = ""
    running: str = ""
    begun: str = ""
    broken: bool = False  # the last apply failed
    sick: str = ""  # the budget whose member has to be restarted to be well
    baking: int = 0
    up: bool = True
    deaf: bool = False
    installation: str = "first"
    stopped: frozenset[str] = frozenset()
    remembered: Permit | None = None
    seen: together.Seen = field(default_factory=dict)
    synced: str = ""  # the inputs that it ran the job with
    nonce: str = ""  # of the claim it ran it with

    def kill(self) -> None:
        self.seen = {}
        self.baking = min(self.baking, 1)

    @property
    def is_well(self) -> bool:
        """Whether it is at nothing, and what it did has proved itself."""
        return not (self.broken or self.sick or self.begun or self.baking)


class Fleet:
    """Commits are numbers in order; `bad` ones become healthy nowhere. `rollouts`: each one's waves and hosts. `touches`: of each, the budgets whose members it stops; None: it
    changes nothing anywhere. Those in `with_job` ask the first of `syncs` for a job that the others of them wait for."""

    def __init__(self, rollout: Rollout, syncs: tuple[str, ...] = ()) -> None:
        self.rollout, self.syncs = rollout, syncs  # of the newest commit
        self.rollouts: dict[str, Rollout] = {}
        self.with_job: set[str] = set()
        self.ran: list[str] = []  # the inputs of every run of the job
        self.store = Store()
        self.hosts = {name: Host(name) for wave in rollout.waves for name in wave.hosts}
        self.commits: list[str] = []
        self.bad: set[str] = set()
        self.touches: dict[str, frozenset[str] | None] = {}
        self.not_ready: set[str] = set()  # budgets
        self.now = 0.0
        self.started: list[tuple[str, str]] = []  # (commit, host), when a host begins a change
        self.healed: list[str] = []

    def push(
        self,
        *,
        bad: bool = False,
        touches: Iterable[str] | None = (),
        job: bool = False,
        rollout: Rollout | None = None,
    ) -> str:
        commit = f"{len(self.commits):040x}"
        self.commits.append(commit)
        self.rollout = self.rollouts[commit] = rollout or self.rollout
        if job and touches is not None:
            self.with_job.add(commit)
        self.touches[commit] = None if touches is None else frozenset(touches)
        if bad and touches is not None:
            self.bad.add(commit)
        return commit

    def kin(self, rolled: str | None, accepted: str) -> Kin:
        if rolled == accepted:
            return Kin.SAME
        order = self.commits
        return Kin.ANCESTOR if rolled is None or order.index(rolled) < order.index(accepted) else Kin.NEWER

    def budgets(self, host: Host) -> frozenset[str]:
        rollout = self.rollouts.get(host.accepted, self.rollout)
        return frozenset(name for name, budget in rollout.budgets.items() if host.name in budget.members)

    def touched(self, host: Host) -> frozenset[str]:
        """The budgets of the members that its plan stops."""
        touched = frozenset[str]().union(*self.between(host)) & self.budgets(host)
        return touched | host.stopped if host.begun else touched

    def between(self, host: Host) -> list[frozenset[str]]:
        """What the commits between what runs and what is accepted stop; a commit that changes nothing is left out."""
        if not host.running:
            return [frozenset(self.rollout.budgets)]
        first, second = sorted((self.commits.index(host.running), self.commits.index(host.accepted)))
        found = [self.touches[commit] for commit in self.commits[first + 1 : second + 1]]
        return [touched for touched in found if touched is not None]

    def own(self, host: Host) -> Own:
        """What a host knows of itself when it asks about its commit."""
        touched = self.touched(host)
        changes = bool(self.between(host)) or bool(host.begun)
        failed = host.broken and host.begun == host.accepted
        asked = touched | (host.remembered.budgets - {WAVE} if host.remembered else frozenset())
        job = self.job(host.accepted)
        is_due = job is not None and host.name in self.syncs and job != self.job(host.running)
        return Own(
            host.name,
            host.accepted,
            host.installation,
            changes=changes,
            budgets=touched if host.running else frozenset(),
            ready={name: name not in self.not_ready for name in asked},
            begun=host.begun,
            failed="it did not become healthy" if failed else "",
            baked=host.is_well,
            settled=host.is_well and not asked & self.not_ready,
            held=host.remembered,
            is_new=not host.running,
            awaits=(job,) if job and is_due and host.name != job.owner else (),
            jobs=(JOB,) if job and host.name == job.owner and host.synced != job.inputs else (),
        )

    def job(self, commit: str) -> Once | None:
        """The job as a commit has it."""
        if not commit or not self.syncs:
            return None
        asked = [one for one in self.commits[: self.commits.index(commit) + 1] if one in self.with_job]
        return Once(JOB, asked[-1], self.syncs[0]) if asked else None

    def run_job(self, host: Host, *, cut: bool = False) -> bool:
        """Run the job where that may be, and say so. `cut`: it is killed right after a claim. Returns whether it is done."""
        job = self.job(host.accepted)
        assert job
        for _ in range(3):
            record, revision = self.store.keys.get(job_key(JOB), (None, 0))
            roll, roll_revision = self.store.keys.get(ROLL, (None, 0))
            own = Self(host.name, host.accepted, host.installation, View(roll, roll_revision))
            if host.synced == job.inputs:
                told = jobs.told(own, [(job, Result(True, host.nonce))], {JOB: Known(record, revision)})
                return told is None or self.store.try_(told)
            step = jobs.run(own, job, Known(record, revision), f"{host.name} {self.store.revision}")
            if isinstance(step, Write):
                done = self.store.try_(step.transaction)
                if done and cut:
                    return False
            elif isinstance(step, Go):
                assert roll and not roll.halt
                self.ran.append(job.inputs)
                host.synced, host.nonce = job.inputs, record.nonce
            else:
                return isinstance(step, jobs.Done)
        return False

    def pass_(self, host: Host, *, lose: bool = False, cut: bool = False) -> object:
        """One pass: fetch, read, decide, and do it. `lose`: the answer to what it writes is lost; `cut` as in `run_job`. Returns the step."""
        if not host.up:
            return None
        step, view, own = self.look(host)
        self.do(host, step, view, own, lose=lose, cut=cut)
        return step

    def look(self, host: Host) -> tuple[decide.Step, View | None, Own]:
        """Fetch, read and decide: about the commit, and where that waits or changes nothing, about what is sick."""
        if not host.deaf or not host.accepted:
            host.accepted = self.commits[-1]
        rollout = self.rollouts[host.accepted]
        host.baking = max(0, host.baking - 1)
        if host.is_well:
            host.stopped = frozenset()
        view: View | None
        try:
            self.store.put(presence_key(host.name), {})
            # As a node: what its plan stops and what it holds, of which it may have no member by now.
            held = host.remembered.budgets if host.remembered else frozenset()
            view = self.store.view(host.name, rollout, {WAVE, *self.touched(host), *held} | {host.sick} - {""})
            host.remembered = view.permit
        except ConnectionError:
            view = None
        own = self.own(host)
        rolled = view.roll.commit if view and view.roll else None
        step = decide.step(own, view, self.kin(rolled, host.accepted), rollout)
        may_heal = host.sick and not host.begun and not (isinstance(step, Go) and own.changes)
        if may_heal and not isinstance(step, Write):
            own = replace(own, changes=False, budgets=frozenset({host.sick}), settled=False)
            own = replace(own, ready={name: name not in self.not_ready for name in own.budgets})
            step = decide.heal(own, view, rollout)
        return step, view, own

    def do(
        self, host: Host, step: decide.Step, view: View | None, own: Own, *, lose: bool = False, cut: bool = False
    ) -> None:
        """Carry out what was decided, however long ago that was."""
        with suppress(ConnectionError):
            if isinstance(step, Write):
                self.store.try_(step.transaction)
            elif isinstance(step, Go):
                if not own.changes or self.may_change(host, own, view, cut=cut):
                    self.act(host, own, view)
            elif own.jobs and decide.goes_ahead(own, view, step):
                self.run_job(host, cut=cut)
            if view and not lose:
                self.for_all(host, view)

    def may_change(self, host: Host, own: Own, view: View | None, *, cut: bool) -> bool:
        """Whether nothing of the job, its own or another's, holds back what waits for it."""
        if own.jobs:
            return view is not None and self.run_job(host, cut=cut)
        return not own.awaits or (view is not None and not jobs.awaited(own.awaits, own.commit, view.jobs))

    def for_all(self, host: Host, view: View) -> None:
        host.seen = together.note(view, host.seen, self.now, self.rollouts[host.accepted])
        if view.roll and view.roll.commit == host.accepted:
            wanted = together.chore(view, host.seen, self.now, self.rollouts[host.accepted])
            if wanted:
                self.store.try_(wanted)

    def act(self, host: Host, own: Own, view: View | None) -> None:
        """Carry the plan out: what it stops is stopped now."""
        if own.changes and host.begun != host.accepted:
            if host.running:
                assert view is None or view.roll is None or not view.roll.halt, f"{host.name} begins after a halt"
                assert view is not None or host.begun, f"{host.name} begins what nobody granted"
            self.started.append((host.accepted, host.name))
        if own.changes and not (host.broken and host.begun == host.accepted):
            self._change(host, own)
        elif host.sick and host.sick in own.budgets:
            host.stopped |= {host.sick}
            self.healed.append(host.name)
            host.sick, host.baking = "", 2

    def _change(self, host: Host, own: Own) -> None:
        job = self.job(host.accepted)
        assert job is None or host.name not in self.syncs or job.inputs in self.ran, (
            f"{host.name} changes before the job ran"
        )
        host.stopped |= own.budgets
        host.begun, host.broken = host.accepted, host.accepted in self.bad
        if not host.broken:
            host.running, host.begun, host.baking = host.accepted, "", 2
            host.sick = "" if host.sick in own.budgets else host.sick

    def stopped(self, budget: str) -> list[str]:
        """Hosts that have stopped their member and not seen it well since."""
        return [host.name for host in self.hosts.values() if budget in host.stopped]

    def unpaired(self) -> set[str]:
        """Places that their host's permit does not name, and permits that name a place which is not that host's."""
        named = {
            (place, key.removeprefix("permit/"))
            for key, (permit, _) in self.store.keys.items()
            if key.startswith("permit/")
            for place in permit.places
        }
        held = {(key, value["host"]) for key, (value, _) in self.store.keys.items() if key.startswith("budget/")}
        return {f"{place} of {host}" for place, host in named ^ held}

    def taken(self, budget: str) -> int:
        """Places of a budget that are taken in the store."""
        return len(self.store.names(f"budget/{budget}/"))

    def proved(self) -> set[str]:
        assert self.roll
        return {name.partition("/")[2] for name in self.store.names(f"proof/{self.roll.commit}/")}

    @property
    def roll(self) -> Roll | None:
        found = self.store.keys.get(ROLL)
        return found[0] if found else None
