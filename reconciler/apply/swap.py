"""Puts a container in the place of what works, and goes all the way back when it does not prove itself.

Every method takes its steps in such an order that the next plan can go on from wherever it was killed.
"""

import contextlib
from collections.abc import Callable

from reconciler import errors
from reconciler.apply import blame
from reconciler.apply.drain import Drains
from reconciler.apply.ports import Basis, Engine, Gate, Healthy, Progress
from reconciler.apply.proof import Proof, failure
from reconciler.apply.rollback import Rollback
from reconciler.apply.walk import Slots
from reconciler.model import Action, Container, Outcome, Verb, aside
from reconciler.reasons import Blame, Reason


class Swap:
    """Containers of one plan. Safe to call from several threads. `owned` are the ids of containers that are ours."""

    def __init__(
        self,
        basis: Basis,
        proof: Proof,
        *,
        engine: Engine,
        rollback: Rollback,
        gate: Gate,
        progress: Progress,
        slots: Slots | None,
    ) -> None:
        self._basis, self._proof, self._engine, self._rollback = basis, proof, engine, rollback
        self._gate, self._progress, self._slots = gate, progress, slots
        self.owned = set(basis.owned)
        self._drains = Drains(engine, progress, self.owned, before=basis.before, wanted=basis.in_force)

    def require_owned(self, name: str) -> None:
        """Raises errors.Terminal (NotOwned): a container that was not known to be ours is never touched."""
        if self._engine.exists(name) and self._engine.identity(name)[0] not in self.owned:
            raise errors.Terminal(
                f"{name} was made by somebody else, or since this cycle looked; it is left alone",
                reason=Reason.NotOwned,
            )

    def create(self, action: Action, container: Container) -> Outcome:
        self._make(container)
        self._engine.start(container.name)
        # Nothing of this name ran before, so nothing is at risk: others may be made while this one proves itself. Whatever
        # replaces or restarts what works keeps its place until it is healthy, so that few are down at the same time.
        with self._slots.lent() if self._slots else contextlib.nullcontext():
            health = self._proof.wait(container)
        return self._proof.passed(action, container) if health.ok else self._proof.failed(action, container, health)

    def start(self, action: Action, container: Container) -> Outcome:
        health = self._proof.attempt(lambda: self._engine.start(container.name), container)
        if not health.ok and self._engine.exists(aside(container.name)):
            # A replace was interrupted while this container proved itself: what it replaced is still there.
            return self.finish(action, container, health)
        if health.ok:
            return self._proof.passed(action, container)
        if container.name not in self._rollback.kept():
            return self._proof.failed(action, container, health)
        # An apply was interrupted before this container's new files were put to the test: this was the test.
        return self._put_back(action, container, health, lambda: self._again(container))

    def restart(self, action: Action, container: Container) -> Outcome:
        self._drains.out(container, container.name)
        health = self._proof.attempt(
            lambda: self._engine.restart(container.name, container.stop_timeout), container, interrupts=not action.drift
        )
        if health.ok:
            self._drains.back(container)
            return self._proof.passed(action, container)
        return self._put_back(action, container, health, lambda: self._again(container))

    def reload(self, action: Action, container: Container) -> Outcome:
        reload = container.reload
        if reload is None:
            raise errors.Terminal(f"{container.name} declares no reload", reason=Reason.ReloadFailed)
        health = self._proof.attempt(lambda: self._do_reload(container), container)
        if health.ok:
            return self._proof.passed(action, container)
        return self._put_back(action, container, health, lambda: self._again(container))

    def update(self, action: Action, container: Container) -> Outcome:
        """Other limits for the one that stays: it may not work within them. One that does not run now says nothing about them."""
        if not self._engine.runs(container.name):
            self._engine.update(container)
            self._gate.settled(container.name)  # what answered without it
            return Outcome(action, "done")
        taken = False

        def change() -> None:
            nonlocal taken
            self._engine.update(container)
            taken = True

        health = self._proof.attempt(change, container)
        if health.ok:
            return self._proof.stays(action, container)
        return self._put_back(action, container, health, lambda: self._again(container, anew=taken))

    def _again(self, container: Container, *, anew: bool = True) -> None:
        """The same one, with the limits that it worked with: with others it may fail again. What the engine says no to the next plan has again."""
        if before := self._basis.limits.get(container.name):
            with contextlib.suppress(errors.ReconcilerError):
                self._engine.update(before)
        if anew:
            self._engine.restart(container.name, 5)

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

    def replace(self, action: Action, container: Container) -> Outcome:
        """Rename away, create, stop the old, start the new, prove, remove the old; on failure all the way back. One that takes over is started
        before the old is stopped."""
        name, spare = container.name, aside(container.name)
        resumed = self._engine.exists(spare)
        if not resumed:
            if self._engine.exists(name):
                self._engine.rename(name, spare)
        elif self._engine.exists(name):
            self._engine.remove(name, self.owned)  # the half-made new one of an interrupted replace
        has_old = self._engine.exists(spare)
        over = container.handover if self._engine.runs(spare) else None
        if over is None:
            self._drains.out(container, spare)

        def change() -> None:
            self._make(container)
            if over:
                self._engine.start(name)
                self._drains.over(container, over, spare)
            if has_old:
                self._engine.stop(spare, container.stop_timeout)
            self._engine.start(name)

        # How long one that is gone on with took nobody saw.
        interrupts = has_old and over is None and not resumed and not action.drift
        return self.finish(action, container, self._proof.attempt(change, container, interrupts=interrupts))

    def finish(self, action: Action, container: Container, health: Healthy) -> Outcome:
        """The end of a replace: the old one goes, or it comes back."""
        name, spare = container.name, aside(container.name)
        if health.ok:
            self._drains.back(container)
            outcome = self._proof.passed(action, container)
            self._engine.remove(spare, self.owned)
            return outcome

        def back() -> None:
            if not self._engine.exists(spare):
                return
            if self._engine.exists(name):
                self._engine.remove(name, self.owned)
            self._engine.rename(spare, name)
            kept = container.handover is not None and self._engine.runs(name)
            self._engine.start(name)
            if kept and container.reload:
                # It went on all the while. What the new one took from it, such as its control socket, it makes again.
                self._do_reload(container)

        outcome = self._put_back(action, container, health, back)
        if name not in self._basis.proved:
            self._engine.remove(spare, self.owned)  # it never worked either
        return outcome

    def rename(self, action: Action, container: Container) -> Outcome:
        if self._engine.exists(container.name):
            self._engine.remove(container.name, self.owned)
        self._engine.rename(aside(container.name), container.name)
        return self.start(action, container)

    def _put_back(self, action: Action, container: Container, health: Healthy, back: Callable[[], None]) -> Outcome:
        self._progress.at(container.name, f"putting {container.name} back")
        health = self._proof.explained(container, health)
        failed = failure(action, container, health)
        migrated = container.service in self._basis.migrated
        stays = container.rollback == "never" or migrated
        # Limits hold no data: they go back, and its files stay as they are.
        if stays and action.verb is not Verb.UPDATE:
            why = "a schema was migrated" if migrated else "its service says rollback: never"
            return Outcome(action, "failed", failed.reason, f"{failed.message}\nnot rolled back: {why}")
        if container.name not in self._basis.proved:
            # There is nothing to go back to: it is tried again as it is.
            self._rollback.forget(container.name)
            self._gate.settled(container.name)
            return failed
        # In this order: with the quarantine on the disk, the next cycle goes on from wherever this one was killed. What
        # worked before is not at fault and is tried again.
        if container.name not in self._basis.worked:
            self._proof.give_up(container, health, blame.of(health.reason))
        if not stays:
            self._rollback.restore(container.name)
        self._gate.settled(container.name)
        try:
            back()
        except errors.ReconcilerError as error:
            return Outcome(
                action, "failed", failed.reason, f"{failed.message}\nputting the old one back failed: {error}"
            )
        if not stays:
            self._rollback.forget(container.name)
        cut = self._progress.cut(container.name)
        after = self._engine.wait_healthy(container, stop=cut) if self._engine.exists(container.name) else None
        if after and not after.ok and after.reason != Reason.Interrupted:
            if container.name not in self._basis.worked and blame.of(health.reason) is Blame.CONFIGURATION:
                # What worked before fails in the same way: something else changed.
                self._proof.give_up(container, health, Blame.SERVICE)
            return Outcome(
                action, "rolled-back", failed.reason, f"{failed.message}\nthe old one is back and {after.message} too"
            )
        self._drains.back(container, before=True)
        return Outcome(action, "rolled-back", failed.reason, failed.message)

    def _make(self, container: Container) -> None:
        self.owned.add(self._engine.create(container))
