"""Whether a container that was changed works: its health, what answered before, what it says itself, and what is remembered of it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from reconciler import errors, service_log
from reconciler.apply import blame
from reconciler.apply.ports import Basis, Engine, Gate, Health, Healthy, Progress, Store
from reconciler.apply.rollback import Rollback
from reconciler.foreign import said
from reconciler.model import Action, Applied, Container, Failure, Outcome
from reconciler.reasons import NO_VERDICT, Blame, Reason

_AT_ONCE = 2.0  # seconds in which checks are made that answer

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


class Proof:
    """Puts changed containers of one plan to the test. Safe to call from several threads.

    `who` says who has a port that a message about a container names.
    """

    def __init__(
        self,
        basis: Basis,
        *,
        engine: Engine,
        store: Store,
        rollback: Rollback,
        gate: Gate,
        progress: Progress,
        files_digest: Mapping[str, str],
        part_digest: Mapping[str, str],
        who: Callable[[str, Container], str],
    ) -> None:
        self._basis, self._engine, self._store, self._rollback = basis, engine, store, rollback
        self._gate, self._progress, self._who = gate, progress, who
        self._files_digest, self._part_digest = files_digest, part_digest
        self._shown = set(basis.shown)

    def attempt(self, change: Callable[[], None], container: Container, *, interrupts: bool = False) -> Healthy:
        """Make the change and wait for health; a refusal by the engine is bad health, so that it is undone as well. With
        `interrupts` it is remembered for how long what worked did not answer.

        Raises errors.Transient when what happened says nothing about the change: everything is left as it is, for the next
        cycle to look at and go on.
        """
        began = time.monotonic()
        try:
            change()
        except errors.Transient as error:
            if error.reason in NO_VERDICT:
                raise
            # What may go by itself is nothing that a commit asked for.
            reason = Reason.HostFailed if blame.of(error.reason) is Blame.CONFIGURATION else error.reason
            return Health(False, reason, str(error))
        except errors.ReconcilerError as error:
            return Health(False, error.reason, str(error))
        changed = time.monotonic() - began
        health = self.wait(container)
        if interrupts and health.ok:
            self._store.interrupted(container.name, changed + health.seconds)
        return health

    def wait(self, container: Container) -> Healthy:
        """Until it is healthy and answers, or is not going to be. Raises as `attempt`."""
        name, began = container.name, time.monotonic()
        usual = self._usual(container)
        # It looks like a failure all that time: say that it need not be one.
        slow = usual is None and container.may_start_slowly
        limit = f", for up to {container.start_timeout / 60:g} min" if slow else ""
        self._progress.at(name, f"waiting for {name} to become healthy{limit}")
        health = self._engine.wait_healthy(container, stop=self._progress.cut(name), usual=usual, patient=usual is None)
        if health.reason in NO_VERDICT:
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

    def passed(self, action: Action, container: Container) -> Outcome:
        """It works: from here on its present files and options are what worked."""
        self.remember(container)
        self._rollback.forget(container.name)
        return self.stays(action, container)

    def stays(self, action: Action, container: Container) -> Outcome:
        """It works, and was not started anew: it has the files that it had."""
        self._gate.settled(container.name)
        if container.name not in self._basis.quarantined:
            self._store.recovered(container.name)
        return Outcome(action, "done")

    def has_passed(self, container: Container) -> bool:
        """Whether what runs has proved itself with its present files, in this plan or before it: then its previous ones are gone."""
        return self._engine.identity(container.name)[0] in self._shown and container.name not in self._rollback.kept()

    def remember(self, container: Container) -> None:
        """With which files it was started last."""
        identity, started_at = self._engine.identity(container.name)
        # What the files hold that a rollback brought back is not known here: their times will tell.
        failed = container.name in self._basis.quarantined
        digest = "" if failed else self._files_digest.get(container.name, "")
        self._store.applied(container.name, Applied(identity, started_at, digest))
        self._shown.add(identity)

    def failed(self, action: Action, container: Container, health: Healthy) -> Outcome:
        """It does not, and nothing is put back."""
        return failure(action, container, self.explained(container, health))

    def explained(self, container: Container, health: Healthy) -> Health:
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

    def give_up(self, container: Container, health: Healthy, blames: Blame) -> None:
        """Do not try this configuration for now: until a commit changes it, or until what else is at fault is mended."""
        before = self._basis.failures.get(container.name)
        tries = before.tries + 1 if before and before.reason == health.reason else 1
        message = said(health.message).partition("\n")[0][:300]
        kept = Failure(health.reason or Reason.Unhealthy, message, blames, blame.again(tries, datetime.now(UTC)), tries)
        self._store.quarantine(container.name, self._part_digest.get(container.name, ""), kept)


def failure(action: Action, container: Container, health: Health) -> Outcome:
    """The outcome of an action whose container is not healthy."""
    return Outcome(action, "failed", health.reason, "\n".join((f"{container.name}: {health.message}", *health.log)))
