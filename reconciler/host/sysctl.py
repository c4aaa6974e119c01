"""Kernel settings: `live` in /proc/sys, `boot` in /etc/sysctl.d. Spelt as sysctl.conf has them, a dot in a name as a slash."""

import errno
from collections.abc import Mapping
from typing import Final

from reconciler.host.place import LASTING, Lines, Place, asked, cannot_write
from reconciler.host.protocol import Refused
from reconciler.model import HostKept, HostSetting

BOOT: Final = "/etc/sysctl.d/zz-reconciler.conf"  # after everybody else's: what is read last counts


class Sysctl:
    """Values are compared with the white space in them as one blank."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._boot = Lines(place, BOOT, _key)

    def observe(self, setting: HostSetting) -> Mapping[str, str]:
        found = dict(self._persistent(setting.name))
        wanted = setting.fields.get("live")
        try:
            live = self._live(setting.name)
        except FileNotFoundError:
            return {**found, "live": "absent (this kernel, or this network namespace, does not have it)"}
        except PermissionError:
            return {**found, "live": "unknown (it cannot be read here)"}
        why = "" if live == wanted else cannot_write(self._place, path_of(setting.name))
        return {**found, "live": live + why}

    def before(self, setting: HostSetting) -> Mapping[str, str]:
        """Of the file nothing: lines of others are never touched, and what is ours in it is no "before", when this node's memory is lost."""
        try:
            return {"live": self._live(setting.name)}
        except (FileNotFoundError, PermissionError):
            return {}

    def put(self, setting: HostSetting) -> None:
        """The value at boot first: a kernel that is about to go down keeps nothing."""
        self._boot.put(setting.name, _line(setting.name, setting.fields["boot"]))
        self._write(setting.name, setting.fields["live"])

    def back(self, kept: HostKept) -> None:
        """A value that somebody else has put there since is theirs."""
        setting = kept.setting
        boot, live = kept.before.get("boot"), kept.before.get("live")
        if boot is None:
            self._boot.drop(setting.name, _line(setting.name, setting.fields["boot"]))
        else:  # of a memory that an earlier version wrote
            self._boot.put(setting.name, _line(setting.name, boot))
        try:
            ours = self._live(setting.name) == setting.fields.get("live")
        except (FileNotFoundError, PermissionError):
            return
        if live is not None and ours:
            self._write(setting.name, live)

    def _live(self, name: str) -> str:
        return " ".join(self._place.at(path_of(name)).read_text(encoding="utf-8", errors="replace").split())

    def _persistent(self, name: str) -> dict[str, str]:
        line = self._boot.find(name)
        return {} if line is None else {"boot": " ".join(line.partition("=")[2].split())}

    def _write(self, name: str, value: str) -> None:
        path = self._place.at(path_of(name))
        try:
            if path.read_text(encoding="utf-8", errors="replace").split() != value.split():
                with path.open("r+", encoding="utf-8") as file:  # never makes one
                    file.write(f"{value}\n")
        except OSError as error:
            if error.errno not in LASTING:
                raise
            if error.errno == errno.EROFS and self._place.has_manager:
                asked(self._place, ["sh", "-c", 'printf "%s\\n" "$1" > "$2"', "sh", value, path_of(name)])
                return
            raise Refused(f"cannot set {name} to {value}: {error.strerror}") from None


def _line(name: str, value: str) -> str:
    return f"{name} = {value}"


def path_of(name: str) -> str:
    """/proc/sys/… of a name: `net.ipv4.conf.eth0/100.rp_filter` is about the interface eth0.100."""
    return "/proc/sys/" + "/".join(part.replace("/", ".") for part in name.split("."))


def _key(line: str) -> str:
    name, equals, _ = line.partition("=")
    return name.strip().lstrip("-") if equals and not line.lstrip().startswith(("#", ";")) else ""
