"""Takes a container out of use before it is stopped, while others of its kind go on, and puts it back."""

import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

import structlog

from reconciler import errors
from reconciler.apply.ports import Engine, Progress
from reconciler.model import Container, Drain, Handover
from reconciler.reasons import Reason

log = structlog.get_logger()

_TAKING_OVER: Final = 30.0  # seconds
_LOOKING: Final = 0.2


class Drains:
    """For the containers of one plan. Nothing here is an obstacle: what cannot be drained is stopped all the same, because a change or a
    restart may be what mends it."""

    def __init__(
        self,
        engine: Engine,
        progress: Progress,
        owned: Collection[str],
        *,
        before: Mapping[str, Container],
        wanted: Collection[str],
    ) -> None:
        self._engine, self._progress, self._owned = engine, progress, owned
        self._before, self._wanted = before, wanted
        self._stopped: dict[str, tuple[str, ...]] = {}  # container → what was stopped for it

    def out(self, container: Container, name: str) -> None:
        """Before the container called `name`, which is `container` or its predecessor, is stopped. Raises errors.Transient (Interrupted) when
        the program ends meanwhile: nothing was stopped that the next pass does not start."""
        drain = self._drain(container)
        if drain is None or not self._engine.runs(name):
            return
        self._progress.at(container.name, f"waiting for {container.name} to be out of use")
        for other in filter(self._is_ours, drain.stop):
            # Noted before: what was stopped although nobody heard of it is started again, too.
            self._stopped[container.name] = (*self._stopped.get(container.name, ()), other)
            self._try(name, partial(self._engine.stop, other))
        if drain.command:
            self._try(name, partial(self._carry_out, drain.command, name, drain.timeout))
        if drain.wait and self._progress.cut(container.name).wait(drain.wait):
            raise errors.Transient(f"{container.name} was not waited for to the end", reason=Reason.Interrupted)
        if drain.signal:
            self._try(name, partial(self._engine.finish, name, drain.signal, drain.timeout))

    def over(self, container: Container, handover: Handover, name: str) -> None:
        """Once a container that was started beside its predecessor `name` has taken over, that one ends. Raises errors.Terminal when it has
        not, or does not run any more: then the predecessor has what it had."""
        self._progress.at(container.name, f"waiting for {container.name} to take over from the one before")
        deadline = time.monotonic() + _TAKING_OVER
        while (said := self._engine.execute(container.name, handover.ready, _TAKING_OVER))[0] != 0:
            if time.monotonic() > deadline or not self._engine.runs(container.name):
                raise errors.Terminal(
                    f"{container.name} did not take over from the one before: {said[1].strip()[-300:] or f'exit code {said[0]}'}",
                    reason=Reason.StartTimeout,
                )
            if self._progress.cut(container.name).wait(_LOOKING):
                raise errors.Transient(f"{container.name} was not waited for to the end", reason=Reason.Interrupted)
        self._try(name, partial(self._engine.finish, name, handover.signal, handover.timeout))

    def back(self, container: Container, *, before: bool = False) -> None:
        """It works again, with `before` as it was before: so does what says so. What cannot be started now the next pass starts, as whatever
        else is down."""
        stopped = self._stopped.pop(container.name, ())
        for other in dict.fromkeys((*stopped, *(container.drain.stop if container.drain else ()))):
            if before or other in self._wanted:
                self._try(container.name, partial(self._start, other))

    def _drain(self, container: Container) -> Drain | None:
        """Of what runs: a program of another release may end otherwise than the one that comes, and be known to be well by other means."""
        before = self._before.get(container.name)
        return (before.drain if before else None) or container.drain

    def _start(self, name: str) -> None:
        if self._is_ours(name):
            self._engine.start(name)

    def _is_ours(self, name: str) -> bool:
        return self._engine.exists(name) and self._engine.identity(name)[0] in self._owned

    def _carry_out(self, command: tuple[str, ...], name: str, timeout: float) -> None:
        code, output = self._engine.execute(name, command, timeout)
        if code != 0:
            log.warning("drain.failed", container=name, message=output.strip()[-300:])

    def _try(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except errors.ReconcilerError as error:
            log.warning("drain.failed", container=name, message=str(error))
