"""One method per verb: how an action of a plan is carried out, proved and, if need be, undone."""

import contextlib
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from reconciler import errors, files
from reconciler.apply.ports import Engine, Health, Healthy, Registrations, Store
from reconciler.apply.rollback import Rollback
from reconciler.apply.walk import Slots
from reconciler.model import (
    Action,
    Applied,
    Container,
    Desired,
    Job,
    JobResult,
    Outcome,
    Plan,
    Registration,
    Verb,
    aside,
)

DIRECTORY_MODE = 0o770  # kolla's


class Actions:
    """Carries out the actions of one plan. Call it with an action; safe to call from several threads.

    `contents` are the final bytes of the files by path; `redact` removes secrets from texts that services wrote; `slots` are
    those of the walk.
    """

    def __init__(
        self,
        plan: Plan,
        desired: Desired,
        *,
        contents: Mapping[str, bytes],
        files_digest: Mapping[str, str],
        part_digest: Mapping[str, str],
        engine: Engine,
        registrations: Registrations,
        store: Store,
        rollback: Rollback,
        redact: Callable[[str], str],
        slots: Slots | None = None,
    ) -> None:
        self._containers = {container.name: container for container in desired.containers}
        self._jobs = {job.name: job for job in desired.jobs}
        self._registrations = {registration.id: registration for registration in desired.registrations}
        self._files = {file.path: file for file in desired.files}
        self._root = Path(desired.config_root)
        self._contents, self._files_digest, self._part_digest = contents, files_digest, part_digest
        self._engine, self._registry, self._store, self._rollback = engine, registrations, store, rollback
        self._redact = redact
        self._slots = slots
        # Files of one container are kept together, as they were before the first of them changes.
        self._changing: dict[str, list[str]] = {}
        for action in plan.actions:
            if action.verb in (Verb.WRITE, Verb.DELETE, Verb.CHMOD):
                self._changing.setdefault(action.container, []).append(action.target)
        self._migrating = {action.service for action in plan.actions if "migration" in action.risks}
        self._verbs: Mapping[Verb, Callable[[Action], Outcome]] = {
            Verb.PULL: self._pull,
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
        outcome = self._verbs[action.verb](action)
        return Outcome(
            action, outcome.result, outcome.reason, self._redact(outcome.message), time.monotonic() - started
        )

    # --- images and files ------------------------------------------------------------------------------------------

    def _pull(self, action: Action) -> Outcome:
        self._engine.pull(action.target)
        return Outcome(action, "done")

    def _write(self, action: Action) -> Outcome:
        file = self._files[action.target]
        self._rollback.keep(action.container, self._changing[action.container])
        if any(d.actual == "symlink" for d in action.differences):
            files.remove(self._root, file.path)
        directory = file.path.rpartition("/")[0]
        if directory:
            files.make_dirs(self._root, directory, DIRECTORY_MODE, file.owner, file.group)
        content = self._contents[file.path]
        files.write_under(self._root, file.path, content, mode=file.mode, uid=file.owner, gid=file.group)
        return Outcome(action, "done")

    def _delete(self, action: Action) -> Outcome:
        if action.container in self._containers:
            self._rollback.keep(action.container, self._changing[action.container])
        files.remove(self._root, action.target)
        return Outcome(action, "done")

    # --- containers --------------------------------------------------------------------------------------------------

    def _create(self, action: Action) -> Outcome:
        container = self._containers[action.target]
        self._engine.create(container)
        self._engine.start(container.name)
        # Nothing of this name ran before, so nothing is at risk: others may be made while this one proves itself. Whatever
        # replaces or restarts what works keeps its place until it is healthy, so that few are down at the same time.
        with self._slots.lent() if self._slots else contextlib.nullcontext():
            health = self._engine.wait_healthy(container)
        return self._proved(action, container) if health.ok else self._failed(action, container, health)

    def _start(self, action: Action) -> Outcome:
        container = self._containers[action.target]
        self._engine.start(container.name)
        health = self._engine.wait_healthy(container)
        return self._proved(action, container) if health.ok else self._failed(action, container, health)

    def _restart(self, action: Action) -> Outcome:
        container = self._containers[action.target]
        health = self._attempt(lambda: self._engine.restart(container.name, container.stop_timeout), container)
        if health.ok:
            return self._proved(action, container)
        return self._put_back(action, container, health, lambda: self._engine.restart(container.name, 5))

    def _reload(self, action: Action) -> Outcome:
        container = self._containers[action.target]
        reload = container.reload
        if reload is None:
            raise errors.Terminal(f"{container.name} declares no reload", reason="ReloadFailed")
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
                reason="ReloadFailed",
            )

    def _replace(self, action: Action) -> Outcome:
        """Rename away, create, stop the old, start the new, prove, remove the old; on failure all the way back."""
        container = self._containers[action.target]
        name, spare = container.name, aside(container.name)
        if not self._engine.exists(spare):
            if self._engine.exists(name):
                self._engine.rename(name, spare)
        elif self._engine.exists(name):
            self._engine.remove(name)  # the half-made new one of an interrupted replace
        has_old = self._engine.exists(spare)

        def change() -> None:
            self._engine.create(container)
            if has_old:
                self._engine.stop(spare, container.stop_timeout)
            self._engine.start(name)

        health = self._attempt(change, container)
        if health.ok:
            if has_old:
                self._engine.remove(spare)
            return self._proved(action, container)

        def back() -> None:
            if not has_old:
                return
            if self._engine.exists(name):
                self._engine.remove(name)
            self._engine.rename(spare, name)
            self._engine.start(name)

        return self._put_back(action, container, health, back)

    def _rename(self, action: Action) -> Outcome:
        container = self._containers[action.target]
        if self._engine.exists(container.name):
            self._engine.remove(container.name)
        self._engine.rename(aside(container.name), container.name)
        return self._start(action)

    def _update(self, action: Action) -> Outcome:
        self._engine.update(self._containers[action.target])
        return Outcome(action, "done")

    def _stop(self, action: Action) -> Outcome:
        self._engine.stop(action.target)
        return Outcome(action, "done")

    def _remove(self, action: Action) -> Outcome:
        if self._engine.exists(action.target):
            self._engine.stop(action.target)
            self._engine.remove(action.target)
        return Outcome(action, "done")

    def _adopt(self, action: Action) -> Outcome:
        self._remember(self._containers[action.target])
        return Outcome(action, "done")

    # --- the health gate -------------------------------------------------------------------------------------------

    def _attempt(self, change: Callable[[], None], container: Container) -> Healthy:
        """Make the change and wait for health; a refusal by the engine is bad health, so that it is undone as well."""
        try:
            change()
        except errors.ReconcilerError as error:
            return Health(False, error.reason, str(error))
        return self._engine.wait_healthy(container)

    def _proved(self, action: Action, container: Container) -> Outcome:
        self._remember(container)
        self._rollback.forget(container.name)
        return Outcome(action, "done")

    def _remember(self, container: Container) -> None:
        identity, started_at = self._engine.identity(container.name)
        digest = self._files_digest.get(container.name, "")
        self._store.applied(container.name, Applied(identity, started_at, digest))

    def _failed(self, action: Action, container: Container, health: Healthy) -> Outcome:
        words = self._engine.last_words(container) if health.reason in _ASK_THE_SERVICE else ""
        message = f"{container.name}: {health.message}" + (f"\n{words}" if words else "")
        return Outcome(action, "failed", health.reason, message)

    def _put_back(self, action: Action, container: Container, health: Healthy, back: Callable[[], None]) -> Outcome:
        failure = self._failed(action, container, health)
        if container.rollback == "never" or container.service in self._migrating:
            why = (
                "a schema was migrated" if container.service in self._migrating else "its service says rollback: never"
            )
            return Outcome(action, "failed", failure.reason, f"{failure.message}\nnot rolled back: {why}")
        self._rollback.restore(container.name)
        self._store.quarantine(container.name, self._part_digest.get(container.name, ""))
        try:
            back()
        except errors.ReconcilerError as error:
            return Outcome(
                action, "failed", failure.reason, f"{failure.message}\nputting the old one back failed: {error}"
            )
        after = self._engine.wait_healthy(container) if self._engine.exists(container.name) else None
        if after and not after.ok:
            return Outcome(
                action, "rolled-back", failure.reason, f"{failure.message}\nthe old one is back and {after.message} too"
            )
        return Outcome(action, "rolled-back", failure.reason, failure.message)

    # --- jobs and registrations --------------------------------------------------------------------------------------

    def _run(self, action: Action) -> Outcome:
        job: Job = self._jobs[action.target]
        code, output = self._engine.run_once(job)
        message = "" if code == 0 else f"{job.name} ended with exit code {code}: {output.strip()[-1500:]}"
        self._store.job_done(job.name, JobResult(job.inputs, code == 0, datetime.now(UTC), self._redact(message)[:300]))
        self._rollback.forget(action.container)
        return Outcome(action, "done") if code == 0 else Outcome(action, "failed", "JobFailed", message)

    def _register(self, action: Action) -> Outcome:
        registration: Registration = self._registrations[action.target]
        self._registry.converge(registration)
        self._store.registered(registration)
        return Outcome(action, "done")

    def _unregister(self, action: Action) -> Outcome:
        kind, type_, key = action.target.split(":", 2)
        self._registry.withdraw(Registration(kind, type_, key))
        self._store.unregistered(action.target)
        return Outcome(action, "done")


# Failures of the service itself, whose own log says more than the engine does.
_ASK_THE_SERVICE = frozenset({"Unhealthy", "ExitedEarly", "RestartLoop", "StartTimeout", "PortInUse"})
