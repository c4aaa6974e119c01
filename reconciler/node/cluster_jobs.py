"""What the hosts of a cluster do one after the other, as this node sees it: jobs that run once, and what goes after other hosts'
containers. What it says of its own jobs, what it waits for, which it may run now.

`rollout/jobs.py` decides. Without etcd nobody asks: each job is its owner's, as Git's order gives it.
"""

import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import structlog

from reconciler.etcd import Store
from reconciler.model import Action, Actual, Job, JobResult, Order, Plan, Verb
from reconciler.node.target import Target
from reconciler.plan import release_step, withheld
from reconciler.reasons import Reason
from reconciler.rollout import jobs
from reconciler.rollout.jobs import Done, Once, Result, Self
from reconciler.rollout.policy import Rollout
from reconciler.rollout.records import JobRecord
from reconciler.rollout.steps import Go, Wait
from reconciler.state import StateDirectory

log = structlog.get_logger()

_TRIES: Final = 4  # transactions about one job in a pass


class ClusterJobs:
    """For the passes' thread. Whatever asks the store raises etcd.UnavailableError."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._told: set[tuple[str, str, Result]] = set()  # what was said: commit, job, what became of it
        self._done: set[tuple[str, str]] = set()  # of others: commit, job
        self.late: frozenset[str] = frozenset()  # what the last plan held back for containers of other hosts
        self._facts: dict[str, tuple[bool, int]] = {}  # what was said of this host, and the lease it was said under

    # --- what the commit has -----------------------------------------------------------------------------------------

    def unsettled(self, target: Target) -> tuple[str, ...]:
        """Jobs of this host that the commit asks for, as far as it remembers; without those that go after other hosts' containers."""
        late = {order.name for order in self._orders(target) if order.hosts}
        mine = [job for job in _mine(target) if job.name not in late]
        return tuple(job.name for job in mine if not (found := self._result(job)) or not found.done)

    def awaited(self, target: Target, touched: Collection[str] | None) -> tuple[Once, ...]:
        """Jobs of other hosts that the commit changes, and that containers and jobs in `touched` wait for; None: any of this host's.

        What a job makes in a volume of its owner's the others come by themselves.
        """
        carried = self._state.carried
        before = {job.name: job.inputs for job in carried.desired.jobs} if carried else {}
        desired = target.desired
        here = {job.name: job for job in desired.jobs}
        found = {
            job.name: self._once(job)
            for job in here.values()
            if not job.creates and (touched is None or _waiting(job, target) & set(touched))
        }
        for order in desired.orders:
            if touched is None or order.name in touched:
                for name, owner in order.jobs.items():
                    found[name] = self._once(here[name]) if name in here else Once(name, "", owner)
        return tuple(
            one
            for name, one in sorted(found.items())
            if one.owner != desired.host and (name not in here or here[name].once == "cluster")
            if (name not in here or before.get(name) != one.inputs) and (desired.revision, name) not in self._done
        )

    # --- before a plan -----------------------------------------------------------------------------------------------

    def settle(self, store: Store, own: Self, target: Target) -> None:
        """Say what became of this host's jobs, once a commit, and learn which of them other hosts have run."""
        mine = {job.name: job for job in _mine(target)}
        results = {name: found for name, job in mine.items() if (found := self._result(job))}
        news = {name: one for name, one in results.items() if one.lost or (own.commit, name, one) not in self._told}
        open_ = [name for name in mine if name not in results or not results[name].done]
        if not news and not open_:
            return
        view, known = store.jobs({*news, *open_})
        own = replace(own, view=view)
        for name in open_:
            record = known[name].record
            if name in results and results[name].lost:
                continue  # the record is of what was there before
            if record and record.state == "done" and self._once(mine[name]).is_met_by(record, own.commit):
                self._note_done(mine[name], f"{record.host} has run it")
                news.pop(name, None)
        wanted = jobs.told(own, [(once(mine[name]), one) for name, one in news.items()], known)
        if wanted is None or store.try_(wanted):
            self._told |= {(own.commit, name, one) for name, one in news.items()}

    # --- with a plan -------------------------------------------------------------------------------------------------

    def admit(self, store: Store, own: Self, target: Target, rollout: Rollout, planned: Plan, actual: Actual) -> Plan:
        """The plan with the claims of its jobs, without those that may not run now and what waits for others' jobs."""
        self._tell_facts(store, target, rollout, actual)
        planned = self._without_late(store, own, target, rollout, planned)
        mine = {job.name: job for job in _mine(target)}
        for action in [one for one in planned.actions if one.verb is Verb.RUN and one.target in mine]:
            if action not in planned.actions:
                continue  # it needs one that waits
            job = self._once(mine[action.target], rollout, target)
            step, nonce = self._claim(store, own, job)
            if isinstance(step, Wait):
                planned = withheld.withhold(planned, {job.name}, step.why, step.message)
                continue
            claimed = tuple(replace(one, claim=nonce) if one is action else one for one in planned.actions)
            planned = replace(planned, actions=claimed)
        return self._without_awaited(store, own, target, planned)

    def without_store(self, target: Target, planned: Plan, message: str) -> Plan:
        """The plan without jobs of the cluster and what waits for others': nobody can tell whether they were run."""
        touched = _touched(planned)
        names = {job.name for job in _mine(target)} & touched
        for other in self.awaited(target, touched):
            names |= _waiting_for(other.name, target) & touched
        names |= {order.name for order in self._orders(target) if order.hosts} & touched
        return withheld.withhold(planned, names, Reason.EtcdUnavailable, message)

    def _claim(self, store: Store, own: Self, job: Once) -> tuple[Go | Wait, str]:
        for _ in range(_TRIES):
            view, found = store.jobs([job.name], [job.name] if job.members else [])
            known = found[job.name]
            step = jobs.run(replace(own, view=view), job, known, secrets.token_hex(8))
            if isinstance(step, Go):
                assert known.record is not None
                return step, known.record.nonce
            if isinstance(step, Wait):
                return step, ""
            if isinstance(step, Done):
                self._note_done(job, f"{step.host} has run it")
                return Wait(Reason.WaitsForOthers, f"{step.host} has run {job.name}: the next pass goes on"), ""
            done = store.try_(step.transaction)
            log.info("fleet.wrote" if done else "fleet.lost", what=step.what)
        return Wait(Reason.WaitsForOthers, "other hosts were faster; the next pass tries again"), ""

    def _without_awaited(self, store: Store, own: Self, target: Target, planned: Plan) -> Plan:
        touched = _touched(planned)
        wanted = self.awaited(target, touched)
        if not wanted:
            return planned
        _, known = store.jobs(one.name for one in wanted)
        records: dict[str, JobRecord] = {name: one.record for name, one in known.items() if one.record}
        left = jobs.awaited(wanted, own.commit, records)
        self._done |= {(own.commit, one.name) for one in wanted if one.name not in left}
        changed = _changed(planned)
        for name, why in left.items():
            names = _waiting_for(name, target) & changed
            planned = withheld.withhold(planned, names, Reason.WaitsForOthers, why)
        return planned

    def _without_late(self, store: Store, own: Self, target: Target, rollout: Rollout, planned: Plan) -> Plan:
        """The plan without what goes after containers that other hosts, or this one, are not proved with at this commit. Notes what
        that is."""
        self.late = frozenset()
        asked = _changed(planned)
        orders = [order for order in self._orders(target) if order.hosts and order.name in asked]
        if not orders:
            return planned
        proved = store.proved(own.commit, {host for order in orders for host in order.hosts}, rollout)
        before = planned.held
        for order in orders:
            if why := jobs.unfinished(order.after, order.hosts, proved):
                planned = withheld.withhold(planned, {order.name}, Reason.WaitsForOthers, why)
        self.late = frozenset(held.target for held in planned.held[len(before) :])
        return planned

    def _tell_facts(self, store: Store, target: Target, rollout: Rollout, actual: Actual) -> None:
        """Say of what exists once in the cluster whether it is here, until it is known to be made. What its owner has was made, whoever
        did that."""
        desired = target.desired
        for job in _mine(target):
            found = self._result(job)
            if job.name in actual.created and not (found and found.done):
                self._note_done(job, "it was there already")
        asked = [
            job.name
            for job in desired.jobs
            if job.once == "cluster" and job.owner != desired.host and (desired.revision, job.name) not in self._done
            if desired.host in once(job, rollout, target).members and f"job:{job.name}" not in actual.unknown
        ]
        if not asked:
            return
        _, known = store.jobs(asked)
        for name in asked:
            record = known[name].record
            if record is not None and record.state == "done":
                self._done.add((desired.revision, name))
                continue
            said = name in actual.created, store.lease
            if self._facts.get(name) != said:
                store.tell(name, desired.host, has=said[0])
                self._facts[name] = said

    # --- what this host remembers --------------------------------------------------------------------------------------

    def _orders(self, target: Target) -> tuple[Order, ...]:
        return release_step.orders(self._state.memory(), target.desired)

    def _result(self, job: Job) -> Result | None:
        """What became of a job here; None: it was not run with these inputs."""
        last, carried = self._state.memory().jobs.get(job.name), self._state.carried
        if last and last.inputs == job.inputs:
            return Result(last.succeeded, last.claim, "" if last.succeeded else last.message, last.lost)
        # What the tool before had run, or what was there already, is not remembered as a run.
        was = any(_same(one, job) for one in carried.desired.jobs) if carried else False
        return Result(True) if was else None

    def _once(self, job: Job, rollout: Rollout | None = None, target: Target | None = None) -> Once:
        """As `once`, with whether this host had it before."""
        found, carried = once(job, rollout, target), self._state.carried
        if carried is None or any(one.name == job.name for one in carried.desired.jobs):
            return found
        return replace(found, without=carried.desired.revision)

    def _note_done(self, job: Job | Once, how: str) -> None:
        """Remember a job as done that was not run here, or not by this program."""
        log.info("job.needless", job=job.name, message=how)
        self._state.job_done(job.name, JobResult(job.inputs, True, datetime.now(UTC), how))


def once(job: Job, rollout: Rollout | None = None, target: Target | None = None) -> Once:
    """A job as the cluster sees it. With the rollout and its target also who may have what it makes already: the members of a budget
    that its containers share."""
    members: tuple[str, ...] = ()
    if job.creates and rollout and target:
        budgets = {order.budget for order in target.desired.orders if order.at_once and order.name in job.before}
        members = tuple(dict.fromkeys(host for name in sorted(budgets) for host in rollout.budgets[name].members))
    return Once(job.name, job.inputs, job.owner, bool(job.creates), members)


def without_migrations(
    target: Target, rollout: Rollout, planned: Plan, lacking: Callable[[Collection[str]], Mapping[str, str]]
) -> Plan:
    """The plan without changes of a schema while a member of the database is not well: one that copies the data meanwhile would get a part
    of the change without what it rests on, and leave the cluster. `lacking` says of budgets what is wrong with them; "": nothing."""
    runs = {action.target for action in planned.actions if action.verb is Verb.RUN}
    migrations = [job for job in _mine(target) if job.migration and job.name in runs]
    rests = {job.name: _rests_on(job, target, rollout) for job in migrations}
    wanted = frozenset[str]().union(*rests.values())
    why = lacking(wanted) if wanted else {}
    for name, on in rests.items():
        for budget in sorted(one for one in on if why[one]):
            message = f"no schema changes before every member of {budget} is well: {why[budget]}"
            planned = withheld.withhold(planned, {name}, Reason.WaitsForOthers, message)
    return planned


def _rests_on(job: Job, target: Target, rollout: Rollout) -> frozenset[str]:
    """The budgets of what exists once in the cluster, has several members here, and comes before a job: a database's, for one."""
    desired = target.desired
    named = {one.name: one for one in desired.jobs}
    before, left = set[str](), [job]
    while left:
        new = set(left.pop().after) - before
        before |= new
        left += [named[name] for name in new if name in named]
    shared = {name for one in desired.jobs if one.creates and one.once == "cluster" for name in one.before}
    found = {
        order.budget for order in desired.orders if order.at_once and order.ready and order.name in before & shared
    }
    return frozenset(name for name in found if len(rollout.budgets[name].members) > 1)


def _mine(target: Target) -> list[Job]:
    return [job for job in target.desired.jobs if job.once == "cluster" and job.owner == target.desired.host]


def _same(one: Job, other: Job) -> bool:
    """Whether what was carried out of a job counts for another: of what exists once whatever its inputs are now."""
    is_same = one.inputs == other.inputs or (bool(other.creates) and one.creates == other.creates)
    return is_same and (one.name, one.owner) == (other.name, other.owner)


def _waiting(job: Job, target: Target) -> set[str]:
    """The containers and jobs of this host that wait for a job."""
    return {*job.before, *(other.name for other in target.desired.jobs if job.name in other.after)}


def _waiting_for(job: str, target: Target) -> set[str]:
    """The same by the job's name, which this host need not have; and what goes after it by its order."""
    found = {order.name for order in target.desired.orders if job in order.jobs}
    return found.union(*(_waiting(one, target) for one in target.desired.jobs if one.name == job))


def _touched(planned: Plan) -> set[str]:
    """What the commit asks something for, by its own name and by its container's."""
    return {name for one in _asked(planned) for name in (one.target, one.container) if name}


def _changed(planned: Plan) -> set[str]:
    """The same once each: by the container's name where it has one."""
    return {one.container or one.target for one in _asked(planned)}


def _asked(planned: Plan) -> list[Action]:
    """What the commit asks for, but the checks before it: these wait for nobody, and may have the name of a job."""
    return [one for one in planned.actions if not one.drift and one.verb is not Verb.PRECHECK]
