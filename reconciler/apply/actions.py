"""One method per verb: how an action of a plan is carried out, proved and, if need be, undone."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from reconciler import errors, service_log
from reconciler.apply import blame
from reconciler.apply.ports import Basis, Engine, Gate, Health, Healthy, Progress, Registrations, Store, Units
from reconciler.apply.rollback import Rollback
from reconciler.apply.validate import Validator, failure
from reconciler.apply.walk import Slots
from reconciler.foreign import said
from reconciler.model import (
    ASIDE,
    Action,
    Applied,
    Container,
    Desired,
    Failure,
    Job,
    JobResult,
    Outcome,
    Plan,
    Registration,
    Verb,
    aside,
)
from reconciler.reasons import Blame, Reason
from reconciler.system import files

DIRECTORY_MODE = 0o770  # kolla's
_AT_ONCE = 2.0  # seconds in which checks are made that answer
# Verbs after which a container has shown that it works with its present files.
_PROVING = frozenset({Verb.CREATE, Verb.REPLACE, Verb.RENAME, Verb.RESTART, Verb.RELOAD, Verb.START})
FILE_VERBS = frozenset({Verb.WRITE, Verb.DELETE, Verb.CHMOD})


class Actions:
    """Carries out the actions of one plan. Call it with an action; safe to call from several threads.

    `contents` are the final bytes of the files by path; `who` says who has a port that a message about a container names; `slots` are
    those of the walk. It may be killed at any point: each method takes its steps in such an order that the next plan can go on.
    A gate that `progress` cuts short leaves everything as a kill at that point would.
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
        store: Store,
        rollback: Rollback,
        units: Units,
        validator: Validator,
        gate: Gate,
        progress: Progress,
        slots: Slots | None = None,
        who: Callable[[str, Container], str] = lambda message, container: "",
    ) -> None:
        self._basis, self._containers = basis, basis.in_force
        self._owned = set(basis.owned)
        self._jobs = {job.name: job for job in desired.jobs}
        self._registrations = {registration.id: registration for registration in desired.registrations}
        self._files = {file.path: file for file in desired.files}
        self._root = Path(desired.config_root)
        self._contents, self._files_digest, self._part_digest = contents, files_digest, part_digest
        self._engine, self._registry, self._store, self._rollback = engine, registrations, store, rollback
        self._units, self._slots, self._validator = units, slots, validator
        self._gate, self._progress, self._who = gate, progress, who
        # Files of one container are kept together, as they were before the first of them changes; those of a container
        # that nothing of this plan puts to the test are not kept, because nothing would tell that they work.
        tested = {action.container for action in plan.actions if action.verb in _PROVING}
        self._changing: dict[str, list[str]] = {name: [] for name in tested if name in self._containers}
        for action in plan.actions:
            if action.verb in FILE_VERBS and action.container in self._changing:
                self._changing[action.container].append(action.target)
        self._verbs: Mapping[Verb, Callable[[Action], Outcome]] = {
            Verb.PULL: self._pull,
            Verb.VALIDATE: self._validate,
            Verb.WRITE: self._write,
            Verb.CHMOD: self._write,
            Verb.DELETE: self._delete,
            Verb.CREATE: self._create,
            Verb.REPLACE: self._replace,
            Verb.RENAME: self._rename,
            Verb.UPDATE: self._update,
            Verb.RESTART: self._restart,
            Verb.RELOAD: self._reload,
            Verb.START: self._start,
            Verb.STOP: self._stop,
            Verb.REMOVE: self._remove,
            Verb.ADOPT: self._adopt,
            Verb.RUN: self._run,
            Verb.REGISTER: self._register,
            Verb.UNREGISTER: self._unregister,
        }

    def __call__(self, action: Action) -> Outcome:
        """Carry out one action. Raises errors of the hierarchy when it could not even be begun."""
        started = time.monotonic()
        for name in self._touched(action):
            self._require_owned(name)
        if action.verb in _PROVING and action.target in self._basis.quarantined:
            self._rollback.restore(action.target)  # what a rollback that was interrupted may not have come to
        if action.verb in _GATED and not action.drift and action.target in self._containers:
            self._gate.before(self._containers[action.target])
        outcome = self._verbs[action.verb](action)
        return replace(outcome, action=action, seconds=time.monotonic() - started)

    def _touched(self, action: Action) -> tuple[str, ...]:
        """The containers that are there already and that an action may stop, change or remove."""
        name = action.target.removeprefix(ASIDE)
        if action.verb not in _TOUCHING:
            return ()
        both = action.verb in (Verb.REPLACE, Verb.RENAME) or (action.target != name and name in self._containers)
        return (name, aside(name)) if both else (action.target,)

    def _require_owned(self, name: str) -> None:
        """Raises errors.Terminal (NotOwned): a container that was not known to be ours is never touched."""
        if self._engine.exists(name) and self._engine.identity(name)[0] not in self._owned:
            raise errors.Terminal(
                f"{name} was made by somebody else, or since this cycle looked; it is left alone",
                reason=Reason.NotOwned,
            )

    def _make(self, container: Container) -> None:
        self._owned.add(self._engine.create(container))

    # --- images and files ------------------------------------------------------------------------------------------

    def _pull(self, action: Action) -> Outcome:
        self._engine.pull(action.target)
        return Outcome(action, "done")

    def _validate(self, action: Action) -> Outcome:
        container = self._containers[action.target]
        wanted = [file for file in self._files.values() if file.container == container.name]
        refused = self._validator.run(
            self._engine,
            container,
            wanted,
            self._contents,
            part_digest=self._part_digest.get(container.name, ""),
            config_root=self._root,
        )
        if refused:
            raise failure(container.name, refused)
        return Outcome(action, "done")

    def _write(self, action: Action) -> Outcome:
        file = self._files[action.target]
        self._keep(action)
        container = self._containers.get(action.container)
        untested = container is not None and action.container not in self._changing
        if action.verb is Verb.CHMOD and container and untested and self._engine.exists(container.name):
            # It has this content already, whoever started it: the new time of the file is not to say otherwise.
            self._remember(container)
        if any(d.actual == "symlink" for d in action.differences):
            files.remove(self._root, file.path)
        directory = file.path.rpartition("/")[0]
        if directory:
            files.make_dirs(self._root, directory, DIRECTORY_MODE, file.owner, file.group)
        content = self._contents[file.path]
        files.write_under(self._root, file.path, content, mode=file.mode, uid=file.owner, gid=file.group)
        return Outcome(action, "done")

    def _delete(self, action: Action) -> Outcome:
        self._keep(action)
        files.remove(self._root, action.target, only=self._basis.written.get(action.target, ()))
        if action.container not in self._containers and action.container not in self._jobs:
            with contextlib.suppress(errors.ReconcilerError):  # others may have files in the directory
                files.remove_dir(self._root, action.target.rpartition("/")[0])
        return Outcome(action, "done")

    def _keep(self, action: Action) -> None:
        if changing := self._changing.get(action.container):
            self._rollback.keep(action.container, changing)

    # --- containers --------------------------------------------------------------------------------------------------

    def _create(self, action: Action) -> Outcome:
        container = self._containers[action.target]
        self._make(container)
        self._engine.start(container.name)
        # Nothing of this name ran before, so nothing is at risk: others may be made while this one proves itself. Whatever
        # replaces or restarts what works keeps its place until it is healthy, so that few are down at the same time.
        with self._slots.lent() if self._slots else contextlib.nullcontext():
            health = self._wait(container)
        return self._proved(action, container) if health.ok else self._failed(action, container, health)

    def _start(self, action: Action) -> Outcome:
        container = self._containers[action.target]
        health = self._attempt(lambda: self._engine.start(container.name), container)
        if not health.ok and self._engine.exists(aside(container.name)):
            # A replace was interrupted while this container proved itself: what it replaced is still there.
            return self._succeed(action, container, health)
        if health.ok:
            return self._proved(action, container)
        if container.name not in self._rollback.kept():
            return self._failed(action, container, health)
        # An apply was interrupted before this container's new files were put to the test: this was the test.
        return self._put_back(action, container, health, lambda: self._engine.restart(container.name, 5))

    def _restart(self, action: Action) -> Outcome:
        container = self._containers[action.target]
        health = self._attempt(
            lambda: self._engine.restart(container.name, container.stop_timeout), container, interrupts=not action.drift
        )
        if health.ok:
            return self._proved(action, container)
        return self._put_back(action, container, health, lambda: self._engine.restart(container.name, 5))

    def _reload(self, action: Action) -> Outcome:
        container = self._containers[action.target]
        reload = container.reload
        if reload is None:
            raise errors.Terminal(f"{container.name} declares no reload", reason=Reason.ReloadFailed)
        health = self._attempt(lambda: self._do_reload(container), container)
        if health.ok:
            return self._proved(action, container)
        return self._put_back(action, container, health, lambda: self._engine.restart(container.name, 5))

    def _do_reload(self, container: Container) -> None:
        assert container.reload is not None
        if container.reload.signal:
            self._engine.signal(container.name, container.reload.signal)
            return
        code, output = self._engine.execute(container.name, container.reload.command or ())
        if code != 0:
            raise errors.Terminal(
                f"{container.name} refused its new configuration (exit {code}): {output.strip()[-800:]}",
                reason=Reason.ReloadFailed,
            )

    def _replace(self, action: Action) -> Outcome:
        """Rename away, create, stop the old, start the new, prove, remove the old; on failure all the way back."""
        container = self._containers[action.target]
        name, spare = container.name, aside(container.name)
        resumed = self._engine.exists(spare)
        if not resumed:
            if self._engine.exists(name):
                self._engine.rename(name, spare)
        elif self._engine.exists(name):
            self._engine.remove(name, self._owned)  # the half-made new one of an interrupted replace
        has_old = self._engine.exists(spare)

        def change() -> None:
            self._make(container)
            if has_old:
                self._engine.stop(spare, container.stop_timeout)
            self._engine.start(name)

        interrupts = has_old and not resumed and not action.drift  # how long one that is gone on with took nobody saw
        return self._succeed(action, container, self._attempt(change, container, interrupts=interrupts))

    def _succeed(self, action: Action, container: Container, health: Healthy) -> Outcome:
        """The end of a replace: the old one goes, or it comes back."""
        name, spare = container.name, aside(container.name)
        if health.ok:
            outcome = self._proved(action, container)
            self._engine.remove(spare, self._owned)
            return outcome

        def back() -> None:
            if not self._engine.exists(spare):
                return
            if self._engine.exists(name):
                self._engine.remove(name, self._owned)
            self._engine.rename(spare, name)
            self._engine.start(name)

        outcome = self._put_back(action, container, health, back)
        if name not in self._basis.proved:
            self._engine.remove(spare, self._owned)  # it never worked either
        return outcome

    def _rename(self, action: Action) -> Outcome:
        container = self._containers[action.target]
        if self._engine.exists(container.name):
            self._engine.remove(container.name, self._owned)
        self._engine.rename(aside(container.name), container.name)
        return self._start(action)

    def _update(self, action: Action) -> Outcome:
        self._engine.update(self._containers[action.target])
        return Outcome(action, "done")

    def _stop(self, action: Action) -> Outcome:
        self._engine.stop(action.target)
        return Outcome(action, "done")

    def _remove(self, action: Action) -> Outcome:
        container = self._containers.get(action.target.removeprefix(ASIDE))
        if action.target.startswith(ASIDE) and container:
            # A replace was interrupted after its new container was started: the old one is kept until that is healthy.
            return self._succeed(action, container, self._wait(container))
        if self._engine.exists(action.target):
            self._engine.stop(action.target)
            self._engine.remove(action.target, self._owned)
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
            self._units.disable(action.disables)
        self._store.applied(action.target, Applied(identity, started_at, ""))
        self._owned.add(identity)
        return Outcome(action, "done")

    # --- the health gate -------------------------------------------------------------------------------------------

    def _attempt(self, change: Callable[[], None], container: Container, *, interrupts: bool = False) -> Healthy:
        """Make the change and wait for health; a refusal by the engine is bad health, so that it is undone as well. With
        `interrupts` it is remembered for how long what worked did not answer.

        Raises errors.Transient when what happened says nothing about the change: everything is left as it is, for the next
        cycle to look at and go on.
        """
        began = time.monotonic()
        try:
            change()
        except errors.Transient as error:
            if error.reason in _NO_VERDICT:
                raise
            # What may go by itself is nothing that a commit asked for.
            reason = Reason.HostFailed if blame.of(error.reason) is Blame.CONFIGURATION else error.reason
            return Health(False, reason, str(error))
        except errors.ReconcilerError as error:
            return Health(False, error.reason, str(error))
        changed = time.monotonic() - began
        health = self._wait(container)
        if interrupts and health.ok:
            self._store.interrupted(container.name, changed + health.seconds)
        return health

    def _wait(self, container: Container) -> Healthy:
        name, began = container.name, time.monotonic()
        self._progress.at(name, f"waiting for {name} to become healthy")
        health = self._engine.wait_healthy(container, stop=self._progress.cut(name), usual=self._usual(container))
        if health.reason in _NO_VERDICT:
            raise errors.Transient(f"{name} {health.message}", reason=health.reason)
        if health.took is not None:
            self._store.took(name, health.took)
        if health.ok and self._gate.is_open(name):
            self._progress.at(name, f"waiting for what answered before {name} was changed to answer again")
            asked = time.monotonic()
            answer, now = self._gate.after(container), time.monotonic()
            # What does not answer at once did not while the container settled either, as far as anybody knows.
            return replace(answer, seconds=health.seconds if now - asked < _AT_ONCE else now - began)
        return health

    def _usual(self, container: Container) -> float | None:
        """Seconds that it takes to become healthy; None when there is nothing that could be put back sooner for knowing it."""
        name = container.name
        stays = container.rollback == "never" or container.service in self._basis.migrated
        return (
            None
            if stays or name in self._basis.worked or name not in self._basis.proved
            else self._basis.took.get(name)
        )

    def _proved(self, action: Action, container: Container) -> Outcome:
        self._remember(container)
        self._rollback.forget(container.name)
        self._gate.settled(container.name)
        if container.name not in self._basis.quarantined:
            self._store.recovered(container.name)
        return Outcome(action, "done")

    def _remember(self, container: Container) -> None:
        identity, started_at = self._engine.identity(container.name)
        # What the files hold that a rollback brought back is not known here: their times will tell.
        failed = container.name in self._basis.quarantined
        digest = "" if failed else self._files_digest.get(container.name, "")
        self._store.applied(container.name, Applied(identity, started_at, digest))

    def _failed(self, action: Action, container: Container, health: Healthy) -> Outcome:
        return _outcome(action, container, self._explained(container, health))

    def _explained(self, container: Container, health: Healthy) -> Health:
        """The same with the cause first: what the service itself says is wrong, and of a port that is taken, who has it."""
        log, message = tuple(health.log), health.message
        if not log and health.reason in _ASK_THE_SERVICE:
            log = tuple(self._engine.last_words(container).splitlines())
        if health.reason == Reason.PortInUse and (who := self._who(message, container)):
            message = f"{message}; {who}"
        headline = service_log.headline(log)[:_MOST_OF_A_LINE] if health.reason in _SILENT else ""
        if headline and headline not in message:
            message = f"{headline} ({message})"
        return Health(False, health.reason, message, log=log)

    def _put_back(self, action: Action, container: Container, health: Healthy, back: Callable[[], None]) -> Outcome:
        self._progress.at(container.name, f"putting {container.name} back")
        health = self._explained(container, health)
        failure = _outcome(action, container, health)
        migrated = container.service in self._basis.migrated
        if container.rollback == "never" or migrated:
            why = "a schema was migrated" if migrated else "its service says rollback: never"
            return Outcome(action, "failed", failure.reason, f"{failure.message}\nnot rolled back: {why}")
        if container.name not in self._basis.proved:
            # There is nothing to go back to: it is tried again as it is.
            self._rollback.forget(container.name)
            self._gate.settled(container.name)
            return failure
        # In this order: with the quarantine on the disk, the next cycle goes on from wherever this one was killed. What
        # worked before is not at fault and is tried again.
        if container.name not in self._basis.worked:
            self._give_up(container, health, blame.of(health.reason))
        self._rollback.restore(container.name)
        self._gate.settled(container.name)
        try:
            back()
        except errors.ReconcilerError as error:
            return Outcome(
                action, "failed", failure.reason, f"{failure.message}\nputting the old one back failed: {error}"
            )
        self._rollback.forget(container.name)
        cut = self._progress.cut(container.name)
        after = self._engine.wait_healthy(container, stop=cut) if self._engine.exists(container.name) else None
        if after and not after.ok and after.reason != Reason.Interrupted:
            if container.name not in self._basis.worked and blame.of(health.reason) is Blame.CONFIGURATION:
                # What worked before fails in the same way: something else changed.
                self._give_up(container, health, Blame.SERVICE)
            return Outcome(
                action, "rolled-back", failure.reason, f"{failure.message}\nthe old one is back and {after.message} too"
            )
        return Outcome(action, "rolled-back", failure.reason, failure.message)

    def _give_up(self, container: Container, health: Healthy, blames: Blame) -> None:
        """Do not try this configuration for now: until a commit changes it, or until what else is at fault is mended."""
        before = self._basis.failures.get(container.name)
        tries = before.tries + 1 if before and before.reason == health.reason else 1
        message = said(health.message).partition("\n")[0][:300]
        failure = Failure(
            health.reason or Reason.Unhealthy, message, blames, blame.again(tries, datetime.now(UTC)), tries
        )
        self._store.quarantine(container.name, self._part_digest.get(container.name, ""), failure)

    # --- jobs and registrations --------------------------------------------------------------------------------------

    def _run(self, action: Action) -> Outcome:
        job: Job = self._jobs[action.target]
        code, output = self._engine.run_once(job)
        message = "" if code == 0 else _job_failed(job.name, code, output)
        self._store.job_done(job.name, JobResult(job.inputs, code == 0, datetime.now(UTC), message[:300]))
        return Outcome(action, "done") if code == 0 else Outcome(action, "failed", Reason.JobFailed, message)

    def _register(self, action: Action) -> Outcome:
        registration: Registration = self._registrations[action.target]
        # Noted first: what is made and then forgotten would never be withdrawn, and withdrawing what is not there is nothing.
        self._store.registered(registration)
        self._registry.converge(registration)
        return Outcome(action, "done")

    def _unregister(self, action: Action) -> Outcome:
        self._registry.withdraw(self._basis.registered[action.target])
        self._store.unregistered(action.target)
        return Outcome(action, "done")


# Verbs that put something new in the place of what works.
_GATED = frozenset({Verb.REPLACE, Verb.RESTART, Verb.RELOAD})

# Verbs that change a container which is there already; ADOPT is what makes one ours, jobs see to theirs.
_TOUCHING = (_PROVING - {Verb.CREATE}) | {Verb.UPDATE, Verb.STOP, Verb.REMOVE}

# Somebody removed the container meanwhile, nobody can tell what became of it, or nobody needs to know any more.
_NO_VERDICT = frozenset({Reason.ContainerMissing, Reason.EngineTimeout, Reason.EngineUnreachable, Reason.Interrupted})

_MOST_OF_A_LINE = 200  # characters of what a service says that begin a message
# Failures of which only the service's own log can tell the cause.
_SILENT = frozenset({Reason.Unhealthy, Reason.ExitedEarly, Reason.RestartLoop, Reason.StartTimeout})

# Failures of the service itself, whose own log says more than the engine does.
_ASK_THE_SERVICE = frozenset(
    {
        Reason.Unhealthy,
        Reason.ExitedEarly,
        Reason.RestartLoop,
        Reason.StartTimeout,
        Reason.PortInUse,
        Reason.DiskFull,
        Reason.NotAnswering,
    }
)


def _job_failed(name: str, code: int, output: str) -> str:
    """The cause first, then the end of what the job wrote."""
    headline = service_log.headline(output.splitlines())[:_MOST_OF_A_LINE]
    said_first = f"{name}: {headline} (exit code {code})" if headline else f"{name} ended with exit code {code}"
    return f"{said_first}\n{output.strip()[-1500:]}" if output.strip() else said_first


def _outcome(action: Action, container: Container, health: Health) -> Outcome:
    return Outcome(action, "failed", health.reason, "\n".join((f"{container.name}: {health.message}", *health.log)))
