"""Takes a container out of use before it is stopped, while others of its kind go on, and puts it back."""

import structlog

from reconciler import errors
from reconciler.apply.ports import Engine, Progress
from reconciler.model import Container
from reconciler.reasons import Reason

log = structlog.get_logger()


class Drains:
    """For the containers of one plan. Nothing here is an obstacle: what cannot be drained is stopped all the same, because a change or a
    restart may be what mends it."""

    def __init__(self, engine: Engine, progress: Progress) -> None:
        self._engine, self._progress = engine, progress

    def out(self, container: Container, name: str) -> None:
        """Before the container called `name`, which is `container` or its predecessor, is stopped. Raises errors.Transient (Interrupted) when
        the program ends meanwhile: nothing was stopped that the next pass does not start."""
        drain = container.drain
        if drain is None or not self._engine.runs(name):
            return
        self._progress.at(container.name, f"waiting for {container.name} to be out of use")
        for other in drain.stop:
            self._engine.stop(other)
        if drain.command:
            self._carry_out(drain.command, name, drain.timeout)
        if drain.wait and self._progress.cut(container.name).wait(drain.wait):
            raise errors.Transient(f"{container.name} was not waited for to the end", reason=Reason.Interrupted)
        if drain.signal:
            self._engine.finish(name, drain.signal, drain.timeout)

    def back(self, container: Container) -> None:
        """It works again: so does what says so."""
        for other in container.drain.stop if container.drain else ():
            if self._engine.exists(other):
                self._engine.start(other)

    def _carry_out(self, command: tuple[str, ...], name: str, timeout: float) -> None:
        try:
            code, output = self._engine.execute(name, command, timeout)
            said = output.strip()[-300:]
        except errors.ReconcilerError as error:
            code, said = -1, str(error)
        if code != 0:
            log.warning("drain.failed", container=name, message=said)
