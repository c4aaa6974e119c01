"""Jobs that a cluster runs once: whether this host may run one, and what the others wait for. Pure.

The owner is the host that Git's order gives, and the record says what became of it. Nothing is taken over by time: who claimed a job and
is gone is released by an operator, who knows whether it still runs.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.phrases import few
from reconciler.reasons import Reason
from reconciler.rollout.records import ROLL, JobRecord, Transaction, View, job_key
from reconciler.rollout.steps import Go, Wait, Write, halted


@dataclass(frozen=True, slots=True)
class Once:
    """A job as a host's commit has it. `inputs` as in `JobRecord`, "" where this host cannot tell. `owner`: who runs it. `creates`: it
    makes something that exists once, whatever its inputs become. `members`: the hosts that may have that already; each has to say that it has not.
    `without`: the commit that the host has carried out last, where that has no such job; "" otherwise."""

    name: str
    inputs: str
    owner: str
    creates: bool = False
    members: tuple[str, ...] = ()
    without: str = ""

    def is_met_by(self, done: JobRecord, commit: str) -> bool:
        """Whether what a record says to be done is what `commit` asks for.

        Where the job was not asked for meanwhile, what it had done may be gone, a database that was dropped, for one: then it counts only as
        said of this commit, or of the one before, which has the job for other hosts.
        """
        is_recent = not self.without or done.commit in (commit, self.without)
        return self.creates or (done.inputs == self.inputs and is_recent)


@dataclass(frozen=True, slots=True)
class Self:
    """Who asks: a host, the commit it has accepted, its installation, and the rollout as it was read with the jobs."""

    host: str
    commit: str
    installation: str
    view: View = field(default_factory=View)


@dataclass(frozen=True, slots=True)
class Known:
    """What the store has about a job. Revision 0: no record. `facts`: host → whether it has what the job would make."""

    record: JobRecord | None = None
    revision: int = 0
    facts: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What a host knows of a job that it owns: that it is done for `inputs`, or failed as the run with that nonce; `lost`: what it had done
    is gone."""

    done: bool
    nonce: str = ""
    message: str = ""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to run: another host did, or has what it makes."""

    host: str


def run(own: Self, job: Once, known: Known, nonce: str) -> Go | Wait | Write | Done:
    """Whether the owner may run a job now. `nonce`: of the claim that it would make; of one that counts already it is the record's.

    A job stops nothing, so it waits for no wave and no budget; a halt and a newer commit hold it all the same.
    """
    record = known.record
    roll = own.view.roll
    if roll is None or roll.commit != own.commit:
        return Wait(Reason.WaitsForOthers, "another commit is being rolled out")
    if roll.halt is not None:
        return halted(roll.halt)
    claim = JobRecord(job.inputs, own.host, "running", nonce, own.installation, own.commit)
    if record is None:
        return _first(own, job, known, claim)
    if record.state == "done":
        return Done(record.host) if job.is_met_by(record, own.commit) else _put(own, job, known, claim, "claims")
    if record.state == "failed":
        # What failed left nothing that looks finished; but another host may have made it since.
        return _first(own, job, known, claim) if job.creates else _put(own, job, known, claim, "claims again")
    if (record.host, record.installation) != (own.host, own.installation):
        who = record.host if record.host != own.host else f"another installation of {own.host}"
        return Wait(
            Reason.WaitsForOthers,
            f"{who} has begun {job.name}, and has not said what became of it; if that is gone for good: "
            f"`reconciler fleet release {job.name} --reason …`",
        )
    return Go() if record.inputs == job.inputs else _put(own, job, known, claim, "claims for other inputs")


def _first(own: Self, job: Once, known: Known, claim: JobRecord) -> Wait | Write:
    """What exists once is made only where nobody has it, and everybody said so: silence is not "empty"."""
    others = [host for host in job.members if host != own.host]
    if having := [host for host in others if known.facts.get(host)]:
        found = replace(claim, host=having[0], state="done", nonce="", message="it was there already")
        return _put(own, job, known, found, f"{having[0]} has what it makes")
    if silent := [host for host in others if host not in known.facts]:
        verb = "has" if len(silent) == 1 else "have"
        return Wait(
            Reason.WaitsForOthers,
            f"{few(silent)} {verb} not said to be without what {job.name} makes: start the node there, or take it out of the inventory",
        )
    return _put(own, job, known, claim, "claims")


def _put(own: Self, job: Once, known: Known, record: JobRecord, what: str) -> Write:
    compares = {ROLL: own.view.roll_revision, job_key(job.name): known.revision}
    return Write(Transaction(compares, {job_key(job.name): record}), f"{job.name}: {what}")


def told(own: Self, results: Iterable[tuple[Once, Result]], known: Mapping[str, Known]) -> Transaction | None:
    """What the owner says of its jobs; None: all of it is said, or its commit is not the one being rolled out."""
    puts = {}
    if own.view.roll is None or own.view.roll.commit != own.commit:
        return None  # a host that is behind must not write over what its successor said
    for job, result in results:
        found = known[job.name]
        record = found.record
        ours = record is None or (record.host, record.installation) == (own.host, own.installation)
        said = JobRecord(job.inputs, own.host, "done", result.nonce, own.installation, own.commit)
        if not result.done:
            said = replace(said, state="failed", message=result.message)
            lost = result.lost and record is not None and record.state == "done"
            if not lost and (record is None or record.state != "running" or record.nonce != result.nonce):
                continue  # told already, or of a claim that counts no more
        if record is not None and record.state == "running" and not ours:
            continue
        if record != said:
            puts[job_key(job.name)] = (said, found.revision)
    if not puts:
        return None
    compares = {ROLL: own.view.roll_revision, **{key: revision for key, (_, revision) in puts.items()}}
    return Transaction(compares, {key: said for key, (said, _) in puts.items()})


def awaited(jobs: Iterable[Once], commit: str, records: Mapping[str, JobRecord]) -> dict[str, str]:
    """Of the jobs of others, those that are not done yet: name → what is waited for.

    Hosts may render a job's inputs differently, so that what its owner says of the commit counts as well.
    """
    found = {}
    for job in jobs:
        record = records.get(job.name)
        # What exists once is there, whatever it would be made with now.
        counts = record is not None and (record.commit == commit or job.is_met_by(record, commit))
        if record is not None and record.state == "done" and counts:
            continue
        if record is not None and record.state == "running":
            found[job.name] = f"{record.host} runs {job.name}"
        elif record is not None and record.state == "failed":
            found[job.name] = f"{job.name} failed on {record.host}: {record.message}"
        else:
            found[job.name] = f"{job.name} has to run on {job.owner} first"
    return found


def waits(jobs: Iterable[Once], commit: str, view: View) -> Wait | None:
    """The same as a reason to wait, with the records that a host read."""
    found = awaited(jobs, commit, view.jobs)
    return Wait(Reason.WaitsForOthers, "; ".join(found.values())) if found else None


def unfinished(after: Iterable[str], hosts: Iterable[str], proved: Mapping[str, Collection[str]]) -> str:
    """For whom what goes after other hosts' containers waits; "" when all of them are proved. `proved`: host → what is left there, because it
    goes after other hosts itself."""
    names = frozenset(after)
    left = [host for host in hosts if host not in proved or not names.isdisjoint(proved[host])]
    return (
        f"goes after {few(list(after))}, which {few(left)} {'has' if len(left) == 1 else 'have'} not finished with"
        if left
        else ""
    )
