"""Takes what a service has on this host out of use, and back: a one-shot container whose lines are shown as they come."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from reconciler import errors
from reconciler.apply.one_shot import NO_PROGRAM, OneShot, telling
from reconciler.apply.ports import Engine
from reconciler.model import MAINTAINING, Maintenance
from reconciler.reasons import Reason

_LOOKING: Final = 1.0  # seconds between two looks at what was written
_LINES: Final = 1000  # that are looked at
_ERROR: Final = "error: "  # begins a line that says why it failed
_ENDING: Final = 5  # seconds that one which is cut short has


def out(engine: Engine, step: Maintenance, wanted: OneShot, reason: str, say: Callable[[str], None]) -> None:
    """Take it out of use. One that runs already, of an earlier call that was cut short, is waited for.

    Raises errors.Terminal (DrainRefused, or JobTimeout) and as the engine and the disk do.
    """
    _run(engine, step, wanted, ("out", reason), say)


def back(engine: Engine, step: Maintenance, wanted: OneShot, say: Callable[[str], None]) -> None:
    """Undo it, where it was done. One that is still under way ends first. Raises as `out`."""
    if engine.exists(name := MAINTAINING + step.name) and engine.runs(name):
        engine.stop(name, _ENDING)
    _run(engine, step, wanted, ("back",), say)


def _run(
    engine: Engine, step: Maintenance, wanted: OneShot, words: Collection[str], say: Callable[[str], None]
) -> None:
    run = _Run()
    name = MAINTAINING + step.name

    def carry_out() -> None:
        try:
            run.code, run.output = wanted.run(
                engine,
                name,
                (*step.command, *words),
                script=step.script,
                timeout=step.timeout,
                network=wanted.container.network_mode,
                user=step.user,
                verbatim=True,
            )
        except BaseException as error:
            run.failure = error

    # An operator who ends the program ends waiting: the container goes on.
    thread = threading.Thread(target=carry_out, name=name, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOKING)
        run.tell(engine.output(name, _LINES), say)
    if run.failure:
        raise run.failure
    run.tell(run.output, say)
    if run.code == 0:
        return
    if run.code in NO_PROGRAM:
        why = f"there is no program for it: {' '.join(step.command)}"
    else:
        why = "\n".join(run.errors) or telling(run.output) or f"exit code {run.code}"
    raise errors.Terminal(f"{step.name}: {why}", reason=Reason.DrainRefused)


@dataclass(slots=True)
class _Run:
    """What came of it so far."""

    code: int = 0
    output: str = ""
    failure: BaseException | None = None
    errors: list[str] = field(default_factory=list)
    _told: int = 0

    def tell(self, text: str, say: Callable[[str], None]) -> None:
        """Say what was not said yet, of whole lines. Those that say why it failed are kept, for the end."""
        lines = text.splitlines()
        for line in lines[self._told :]:
            if line.startswith(_ERROR):
                self.errors.append(line.removeprefix(_ERROR))
            else:
                say(line)
        self._told = max(self._told, len(lines))
