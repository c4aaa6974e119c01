"""systemd, as far as adopting another tool's containers needs it."""

from pathlib import Path

from reconciler import errors
from reconciler.reasons import Reason
from reconciler.system import files, run

# A unit that is stopped with this on top ends the client that waits for the container, and leaves the container alone.
_LETS_GO = (
    b"[Service]\nExecStop=\nExecStopPost=\nKillSignal=SIGKILL\nSuccessExitStatus=SIGKILL\nSendSIGHUP=no\nRestart=no\n"
)
_DROP_IN = "zz-reconciler.conf"


class Systemd:
    """The host's service manager. `runtime` is its folder for what does not outlive a boot."""

    def __init__(self, runtime: Path = Path("/run/systemd/system")) -> None:
        self._runtime = runtime

    def take_over(self, unit: str) -> None:
        """See that `unit` neither runs nor starts at the next boot, without stopping what it started. Its file stays.

        The unit's own way of stopping is `docker stop`. So it is stopped with that taken away, and not before systemd says that
        it is. Raises errors.Transient (UnitFailed). Without systemd nothing starts units, so there is nothing to do.
        """
        if not self._runtime.is_dir():
            return
        folder = self._runtime / f"{unit}.d"
        try:
            folder.mkdir(exist_ok=True)
            files.write_atomic(folder / _DROP_IN, _LETS_GO, mode=0o644)
        except OSError as error:
            raise _failed(unit, f"{folder} cannot be written: {error.strerror}") from None
        try:
            _ask(unit, "daemon-reload")
            if (left := _stops_with(unit)) is not None:
                raise _failed(unit, f"it would still be stopped with {left}, so it is left as it is")
            _ask(unit, "stop", unit)
            _ask(unit, "disable", "--no-reload", unit)
        finally:
            (folder / _DROP_IN).unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()
            _ask(unit, "daemon-reload")

    def give_back(self, unit: str) -> None:
        """See that `unit` starts at boot, and runs: it waits for the container that runs already. Raises errors.Transient
        (UnitFailed)."""
        _ask(unit, "enable", unit)
        _ask(unit, "start", unit)


def _stops_with(unit: str) -> str | None:
    """What systemd would still do to the container to stop the unit; None: nothing."""
    shown = _ask(unit, "show", "--property=ExecStop", "--property=ExecStopPost", "--property=KillSignal", unit)
    values = dict(line.partition("=")[::2] for line in shown.splitlines())
    if values.get("KillSignal") != "9":
        return f"signal {values.get('KillSignal', 'unknown')}"
    return next((values[name] for name in ("ExecStop", "ExecStopPost") if values.get(name)), None)


def _ask(unit: str, *words: str) -> str:
    done = run.program(["systemctl", *words], seconds=120)
    if done.code != 0:
        raise _failed(unit, f"systemctl {words[0]}: {done.message}")
    return done.stdout.decode(errors="replace")


def _failed(unit: str, why: str) -> errors.Transient:
    return errors.Transient(f"cannot take over {unit}: {why}", reason=Reason.UnitFailed)
