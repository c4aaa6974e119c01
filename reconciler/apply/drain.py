"""Takes a container out of use before it is stopped, while others of its kind go on, and puts it back."""

from collections.abc import Callable, Collection
from functools import partial

import structlog

from reconciler import errors
from reconciler.apply.ports import Engine, Progress
from reconciler.model import Container
from reconciler.reasons import Reason

log = structlog.get_logger()


class Drains:
    """For the containers of one plan. Nothing here is an obstacle: what cannot be drained is stopped all the same, because a change or a
    restart may be what mends it."""

    def __init__(self, engine: Engine, progress: Progress, owned: Collection[str]) -> None:
        self._engine, self._progress, self._owned = engine, progress, owned

    def out(self, container: Container, name: str) -> None:
        """Before the container called `name`, which is `container` or its predecessor, is stopped. Raises errors.Transient (Interrupted) when
        the program ends meanwhile: nothing was stopped that the next pass does not start."""
        drain = container.drain
        if drain is None or not self._engine.runs(name):
            return
        self._progress.at(container.name, f"waiting for {container.name} to be out of use")
        for other in filter(self._is_ours, drain.stop):
            self._engine.stop(other)
        if drain.command:
            self._try(name, partial(self._carry_out, drain.command, name, drain.timeout))
        if drain.wait and self._progress.cut(container.name).wait(drain.wait):
            raise errors.Transient(f"{container.name} was not waited for to the end", reason=Reason.Interrupted)
        if drain.signal:
            self._try(name, partial(self._engine.finish, name, drain.signal, drain.timeout))

    def back(self, container: Container) -> None:
        """It works again: so does what says so. What cannot be started now the next pass starts, as whatever else is down."""
        for other in container.drain.stop if container.drain else ():
            self._try(container.name, partial(self._start, other))

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
