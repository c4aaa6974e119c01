"""systemd, as far as adopting another tool's containers needs it."""

from reconciler import errors
from reconciler.reasons import Reason
from reconciler.system import run


class Systemd:
    """The host's service manager."""

    def disable(self, unit: str) -> None:
        """See that `unit` does not start at the next boot. It is not stopped: that would stop its container.

        Raises errors.Transient (UnitFailed). Without systemd nothing starts units, so there is nothing to do.
        """
        try:
            done = run.program(["systemctl", "disable", "--no-reload", unit], seconds=60)
        except errors.Terminal as error:
            if error.reason == Reason.ProgramMissing:
                return
            raise
        if done.code != 0:
            raise errors.Transient(f"cannot disable {unit}: {done.message}", reason=Reason.UnitFailed)
