"""One method per verb: how an action of a plan is carried out. What is put in the place of what works is in `swap.py`, how it is
proved in `proof.py`, files are in `writing.py`."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from reconciler import errors, service_log
from reconciler.apply import precheck
from reconciler.apply.one_shot import OneShot
from reconciler.apply.ports import Basis, Engine, Gate, Host, Progress, Registrations, Store, Units
from reconciler.apply.proof import Proof
from reconciler.apply.rollback import Rollback
from reconciler.apply.swap import Swap
from reconciler.apply.validate import Validator, failure
from reconciler.apply.walk import Slots
from reconciler.apply.writing import Writing
from reconciler.model import (
    ASIDE,
    Action,
    Applied,
    Asked,
    Container,
    Desired,
    Job,
    JobResult,
    Outcome,
    Plan,
    Precheck,
    Registration,
    Verb,
    aside,
)
from reconciler.reasons import Reason

# Verbs after which a container has shown that it works with its present files.
_PROVING = frozenset({Verb.CREATE, Verb.REPLACE, Verb.RENAME, Verb.RESTART, Verb.RELOAD, Verb.START})


class Actions:
    """Carries out the actions of one plan. Call it with an action; safe to call from several threads.

    `contents` are the final bytes of the files by path; `who` says who has a port that a message about a container names; `slots` are
    those of the walk, and `fitness` says what the host itself lacks that a check asks of it. It may be killed at any point: each method takes
    its steps in such an order that the next plan can go on. A gate that `progress` cuts short leaves everything as a kill at that point would.
    """

    def __init__(
        self,
        plan: Plan,
        desired: Desired,
        basis: Basis,
        *,
        contents: Mapping[str, bytes],
        files_digest: Mapping[str, str],
        part_digest: Mapping[str, str],
        engine: Engine,
        registrations: Registrations,
        host: Host,
        store: Store,
        rollback: Rollback,
        units: Units,
        validator: Validator,
        gate: Gate,
        progress: Progress,
        slots: Slots | None = None,
        who: Callable[[str, Container], str] = lambda message, container: "",
        fitness: Callable[[Precheck], str] = lambda check: "",
    ) -> None:
        self._basis, self._containers = basis, basis.in_force
        self._jobs = {job.name: job for job in desired.jobs}
        self._registrations = {registration.id: registration for registration in desired.registrations}
        self._settings = {setting.id: setting for setting in desired.host_settings}
        self._files = {file.path: file for file in desired.files}
        self._root, self._release, self._host_name = Path(desired.config_root), desired.release, desired.host
        self._revision = desired.revision
        self._prechecks = {check.name: check for check in desired.prechecks}
        self._wanted = {container.name: container for container in desired.containers}
        self._contents, self._part_digest = contents, part_digest
        self._engine, self._registry, self._store, self._rollback = engine, registrations, store, rollback
        self._units, self._validator, self._gate, self._host = units, validator, gate, host
        self._fitness = fitness
        self._tested = {action.container for action in plan.actions if action.verb in _PROVING}
        self._proof = Proof(
            basis,
            engine=engine,
            store=store,
            rollback=rollback,
            gate=gate,
            progress=progress,
            files_digest=files_digest,
            part_digest=part_digest,
            who=who,
        )
        self._swap = Swap(
            basis, self._proof, engine=engine, rollback=rollback, gate=gate, progress=progress, slots=slots
        )
        self._writing = Writing(
            plan,
            desired,
            basis,
            contents=contents,
            engine=engine,
            rollback=rollback,
            tested=self._tested,
            remember=self._proof.remember,
        )
        self._verbs: Mapping[Verb, Callable[[Action], Outcome]] = {
            Verb.PULL: self._pull,
            Verb.VALIDATE: self._validate,
            Verb.PRECHECK: self._precheck,
            Verb.WRITE: self._writing.write,
            Verb.CHMOD: self._writing.write,
            Verb.DELETE: self._writing.delete,
            Verb.UPDATE: self._update,
            Verb.STOP: self._stop,
            Verb.REMOVE: self._remove,
            Verb.ADOPT: self._adopt,
            Verb.RUN: self._run,
            Verb.REGISTER: self._register,
            Verb.UNREGISTER: self._unregister,
            Verb.SET: self._set,
            Verb.RESET: self._reset,
        }
        self._swaps: Mapping[Verb, Callable[[Action, Container], Outcome]] = {
            Verb.CREATE: self._swap.create,
            Verb.REPLACE: self._swap.replace,
            Verb.RENAME: self._swap.rename,
            Verb.RESTART: self._swap.restart,
            Verb.RELOAD: self._swap.reload,
            Verb.START: self._swap.start,
        }

    def __call__(self, action: Action) -> Outcome:
        """Carry out one action. Raises errors of the hierarchy when it could not even be begun."""
        started = time.monotonic()
        for name in self._touched(action):
            self._swap.require_owned(name)
        if action.verb in _PROVING and action.target in self._basis.quarantined:
            self._rollback.restore(action.target)  # what a rollback that was interrupted may not have come to
        if action.verb in _GATED and not action.drift and action.target in self._containers:
            self._gate.before(self._containers[action.target])
        if action.verb is Verb.REPLACE and self._containers[action.target].rollback == "never":
            self._store.migrating(self._release)  # its data may be nothing for a program of before any more
        if swap := self._swaps.get(action.verb):
            outcome = swap(action, self._containers[action.target])
        else:
            outcome = self._verbs[action.verb](action)
        return replace(outcome, seconds=time.monotonic() - started)

    def _touched(self, action: Action) -> tuple[str, ...]:
        """The containers that are there already and that an action may stop, change or remove."""
        name = action.target.removeprefix(ASIDE)
        if action.verb not in _TOUCHING:
            return ()
        both = action.verb in (Verb.REPLACE, Verb.RENAME) or (action.target != name and name in self._containers)
        return (name, aside(name)) if both else (action.target,)

    def _pull(self, action: Action) -> Outcome:
        self._engine.pull(action.target)
        return Outcome(action, "done")

    def _validate(self, action: Action) -> Outcome:
        refused = self._validator.run(self._engine, self._one_shot(self._containers[action.target]))
        if refused:
            raise failure(action.target, refused)
        return Outcome(action, "done")

    def _precheck(self, action: Action) -> Outcome:
        check = self._prechecks[action.target]
        if check.of_host:
            said = self._fitness(check)
        else:
            said = precheck.run(self._engine, check, self._one_shot(self._wanted[check.container]))
        message = precheck.message(check, self._host_name, self._release, said) if said else ""
        self._store.prechecked(check.name, Asked(self._release, self._revision, datetime.now(UTC), message))
        return Outcome(action, "failed", Reason.PrecheckFailed, message) if said else Outcome(action, "done")

    def _one_shot(self, container: Container) -> OneShot:
        own = [file for file in self._files.values() if file.container == container.name]
        digest = self._part_digest.get(container.name, "")
        return OneShot(container, own, self._contents, part_digest=digest, config_root=self._root)

    def _update(self, action: Action) -> Outcome:
        container = self._containers[action.target]
        if action.target not in self._tested:
            return self._swap.update(action, container)
        self._engine.update(container)  # what else the plan does with it is the test
        return Outcome(action, "done")

    def _stop(self, action: Action) -> Outcome:
        self._engine.stop(action.target)
        return Outcome(action, "done")

    def _remove(self, action: Action) -> Outcome:
        container = self._containers.get(action.target.removeprefix(ASIDE))
        if action.target.startswith(ASIDE) and container:
            # A replace was interrupted after its new container was started: the old one is kept until that is healthy. Then it is never
            # gone back to: its files are not kept any more.
            if self._proof.has_passed(container):
                self._engine.remove(action.target, self._swap.owned)
                return Outcome(action, "done")
            return self._swap.finish(action, container, self._proof.wait(container))
        if self._engine.exists(action.target):
            self._engine.stop(action.target)
            self._engine.remove(action.target, self._swap.owned)
        self._rollback.forget(action.target)
        return Outcome(action, "done")

    def _adopt(self, action: Action) -> Outcome:
        """From here on it is ours. With which files it was started is not known: their times will tell."""
        identity, started_at = self._engine.identity(action.target)
        if identity != self._basis.observed.get(action.target):
            raise errors.Transient(
                f"{action.target} was made anew by another tool while this cycle looked at it", reason=Reason.NotOwned
            )
        if action.disables:
            self._units.take_over(action.disables)
            if (identity, started_at) != self._engine.identity(action.target):
                raise errors.Transient(
                    f"{action.target} was stopped or made anew while {action.disables} was taken over",
                    reason=Reason.NotOwned,
                )
        if identity not in self._swap.owned:
            self._store.taken(action.target, action.disables)
            if made := self._basis.as_made.get(action.target):
                self._store.as_made(action.target, made)
            self._store.applied(action.target, Applied(identity, started_at, ""))
            self._swap.owned.add(identity)
        return Outcome(action, "done")

    # --- jobs and registrations --------------------------------------------------------------------------------------

    def _run(self, action: Action) -> Outcome:
        job: Job = self._jobs[action.target]
        if job.migration:
            self._store.migrating(self._release)  # first: what is begun may have changed the schema already
        code, output = self._inside(job) if job.inside else self._engine.run_once(job, action.claim)
        message = "" if code == 0 else _job_failed(job.name, code, output)
        self._store.job_done(job.name, JobResult(job.inputs, code == 0, datetime.now(UTC), message[:300], action.claim))
        return Outcome(action, "done") if code == 0 else Outcome(action, "failed", Reason.JobFailed, message)

    def _inside(self, job: Job) -> tuple[int, str]:
        """Run in a container that runs: what cannot be asked is not done."""
        if not self._engine.runs(job.inside):
            return 1, f"{job.inside} does not run"
        return self._engine.execute(job.inside, job.container.command or (), job.timeout)

    def _register(self, action: Action) -> Outcome:
        registration: Registration = self._registrations[action.target]
        # Noted first: what is made and then forgotten would never be withdrawn, and withdrawing what is not there is nothing.
        self._store.registered(registration)
        # So is that what filled it has to do so again: made and not filled, it would be taken for whole.
        if action.unmakes and (action.is_absent or not self._registry.is_there(registration)):
            message = f"the {registration.type} {registration.key} was made anew"
            for job in (self._jobs[name] for name in action.unmakes):
                self._store.job_done(job.name, JobResult(job.inputs, False, datetime.now(UTC), message, lost=True))
        if action.ends_former:
            self._registry.end_former(registration)
        else:
            # What drifted was nobody's to use: it ends at once.
            self._registry.converge(registration, overlap=not action.drift)
        return Outcome(action, "done")

    def _unregister(self, action: Action) -> Outcome:
        self._registry.withdraw(self._basis.registered[action.target])
        self._store.unregistered(action.target)
        return Outcome(action, "done")

    # --- the host itself ---------------------------------------------------------------------------------------------

    def _set(self, action: Action) -> Outcome:
        """What the host refuses is not a failure, which would be tried again for ever: the look afterwards says what it is."""
        setting = self._settings[action.target]
        kept = self._basis.host_settings.get(setting.id)
        before = kept.before if kept else self._host.before(setting)
        earlier = tuple(one for one in (*kept.earlier, kept.setting) if one != setting)[-_EARLIER:] if kept else ()
        # Noted first, with how it was before this program first came: what is set and then forgotten would never be put back. Until it is
        # set it is what this program set it to before: that is to be put back as well.
        self._store.host_set(setting, before, earlier)
        refused = self._host.put(setting)
        if earlier and not refused:
            self._store.host_set(setting, before)
        return Outcome(action, "done", message=refused)

    def _reset(self, action: Action) -> Outcome:
        """What the host does not let be put back is remembered for as long as it is still as this program made it."""
        refused = self._host.back(self._basis.host_settings[action.target])
        if not (refused and action.differences):
            self._store.host_reset(action.target)
        return Outcome(action, "done", message=refused)


# Verbs that put something new in the place of what works.
_GATED = frozenset({Verb.REPLACE, Verb.RESTART, Verb.RELOAD, Verb.UPDATE})

# Verbs that change a container which is there already; ADOPT is what makes one ours, jobs see to theirs.
_TOUCHING = (_PROVING - {Verb.CREATE}) | {Verb.UPDATE, Verb.STOP, Verb.REMOVE}


_MOST_OF_A_LINE = 200  # characters of what a job says that begin a message
_EARLIER = 8  # of one setting: what it was set to before changes that were cut short


def _job_failed(name: str, code: int, output: str) -> str:
    """The cause first, then the end of what the job wrote."""
    headline = service_log.headline(output.splitlines())[:_MOST_OF_A_LINE]
    said_first = f"{name}: {headline} (exit code {code})" if headline else f"{name} ended with exit code {code}"
    return f"{said_first}\n{output.strip()[-1500:]}" if output.strip() else said_first
