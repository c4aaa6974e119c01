"""The settings of one host, each by its kind."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from reconciler import errors
from reconciler.host import modules, names, sysctl
from reconciler.host.modules import Modules
from reconciler.host.names import Names
from reconciler.host.openvswitch import Execute, Switch
from reconciler.host.place import Place
from reconciler.host.protocol import Kind, Refused
from reconciler.host.sysctl import Sysctl
from reconciler.host.whole import Files
from reconciler.model import HostKept, HostKind, HostSetting
from reconciler.reasons import Reason

Found = Mapping[str, Mapping[str, str]]
_PATHS: Final[Mapping[HostKind, tuple[str, ...]]] = {
    "sysctl": (sysctl.BOOT,),
    "module": (modules.BOOT, modules.PARAMETERS),
    "hosts": (names.PATH,),
}


class Machine:
    """Safe to use from several threads. `root` is where the host's own file system begins; `execute` runs a command in a container, for
    what containers are asked for."""

    def __init__(self, root: Path = Path("/"), execute: Execute | None = None) -> None:
        place = self._place = Place(root)
        self._switch = Switch(execute or _nobody)
        self._kinds: Final[Mapping[HostKind, Kind]] = {
            "sysctl": Sysctl(place),
            "module": Modules(place),
            "hosts": Names(place),
            "file": Files(place),
            "bridge": self._switch,
            "port": self._switch,
            "ovs": self._switch,
        }

    def observe(self, settings: Iterable[HostSetting]) -> tuple[Found, Mapping[str, str]]:
        """Id → its fields as they are; and for what could not be looked at, why."""
        found: dict[str, Mapping[str, str]] = {}
        unknown: dict[str, str] = {}
        asked: dict[str, list[HostSetting]] = {}
        for setting in settings:
            if setting.inside:
                asked.setdefault(setting.inside, []).append(setting)
                continue
            try:
                found[setting.id] = self._kinds[setting.kind].observe(setting)
            except OSError as error:
                unknown[setting.id] = error.strerror or str(error)
            except errors.ReconcilerError as error:
                unknown[setting.id] = str(error)
        for container, those in asked.items():
            try:
                found |= self._switch.look(container, those)
            except (errors.ReconcilerError, Refused) as error:
                unknown |= dict.fromkeys((setting.id for setting in those), str(error))
        return found, unknown

    def tidy(self, settings: Iterable[HostSetting]) -> None:
        """Remove what writes that were cut short left beside the files of these settings, where the host lets it. Only while nothing is set or
        put back. Raises errors.ReconcilerError."""
        for path in sorted({path for setting in settings for path in _PATHS.get(setting.kind, _own(setting))}):
            with suppress(Refused):
                self._place.sweep(path, 0.0)

    def before(self, setting: HostSetting) -> Mapping[str, str]:
        """What has to be remembered before `put`. Raises errors.ReconcilerError."""
        with _told(setting):
            return self._kinds[setting.kind].before(setting)

    def put(self, setting: HostSetting) -> str:
        """Make it as it should be; returns what the host refuses of it. Raises errors.ReconcilerError."""
        with _told(setting):
            return self._asked(lambda: self._kinds[setting.kind].put(setting))

    def back(self, kept: HostKept) -> str:
        """Make it what it was; returns what the host refuses of it. Raises errors.ReconcilerError."""
        kind = self._kinds[kept.setting.kind]
        with _told(kept.setting):
            found = kept.as_found(kind.observe(kept.setting)) if kept.earlier else kept.setting
            return self._asked(lambda: kind.back(replace(kept, setting=found)))

    @staticmethod
    def _asked(do: Callable[[], None]) -> str:
        try:
            do()
        except Refused as refused:
            return f"the host refuses: {refused}"
        return ""


def _own(setting: HostSetting) -> tuple[str, ...]:
    """The file that a setting is, if it is one."""
    return (setting.name,) if setting.kind == "file" else ()


def _nobody(container: str, command: Sequence[str], seconds: float) -> tuple[int, str]:
    raise errors.Transient(f"{container} cannot be asked", reason=Reason.HostFailed)


@contextmanager
def _told(setting: HostSetting) -> Iterator[None]:
    """What the system says unasked becomes an error of ours, and so does what is refused where nothing is changed yet."""
    try:
        yield
    except (OSError, Refused) as error:
        said = (error.strerror if isinstance(error, OSError) else "") or error
        raise errors.Transient(f"cannot set {setting.id}: {said}", reason=Reason.HostFailed) from None
