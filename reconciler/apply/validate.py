"""Runs an image's own checker on a new configuration: a one-shot container with the new files, and nothing else.

It has no network, no volume, no privilege and no device of the container that it speaks for.
"""

from reconciler import errors
from reconciler.apply import one_shot
from reconciler.apply.one_shot import OneShot, telling
from reconciler.apply.ports import Engine
from reconciler.model import VALIDATING
from reconciler.reasons import Reason

_MOST_DOUBLED = 3  # times that a checker's time is doubled


class Validator:
    """What a checker refused is remembered for the life of this object: the same
    configuration is not checked again in every pass. A checker that did not end in time has twice as long the next time: on a busy
    machine one that is ended again and again would never get through. Safe to use from several threads."""

    def __init__(self) -> None:
        self._refused: dict[str, tuple[str, str]] = {}  # container → (digest of its part, what was said)
        self._late: dict[str, int] = {}  # container → how often its checker did not end in time

    def run(self, engine: Engine, wanted: OneShot) -> str:
        """What the checker says against `wanted`; "" when nothing.

        An image without the checker says nothing. Raises errors of the engine and of the disk.
        """
        name, asked = wanted.container.name, wanted.container.validation
        assert asked is not None
        digest, said = self._refused.get(name, ("", ""))
        if digest and digest == wanted.part_digest:
            return said
        late = self._late.get(name, 0)
        timeout = asked.timeout * 2 ** min(late, _MOST_DOUBLED)
        try:
            code, output = wanted.run(engine, VALIDATING + name, asked.command, script=asked.script, timeout=timeout)
        except errors.Terminal as error:
            if error.reason is Reason.JobTimeout:
                self._late[name] = late + 1
            raise
        if code == 0 or code in one_shot.NO_PROGRAM:
            self._refused.pop(name, None)
            return ""
        said = telling(output) or f"exit code {code}"
        self._refused[name] = (wanted.part_digest, said)
        return said


def failure(container: str, said: str) -> errors.Terminal:
    """That the configuration is refused."""
    return errors.Terminal(
        f"{container}: its own checker refuses the new configuration, so nothing was touched: {said}",
        reason=Reason.ConfigInvalid,
    )
