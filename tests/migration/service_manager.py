"""A stand-in for systemd on a machine that was not booted with one: what kolla-ansible and this program ask of it, no more.

Run by the system's Python (`python3-dbus`, `python3-gi`). It answers as `org.freedesktop.systemd1` on the system bus and runs
the units below /etc/systemd/system as they say: `ExecStart` in a process of its own, `ExecStop` or else `KillSignal` to stop
it, `Restart=` with `RestartSec=` when it ended by itself. Drop-ins count, and an empty assignment takes back what stood before.
A unit that is loaded goes on as it was loaded until `Reload`, and goes on after its file is gone, as under the real one.

What `systemctl` would ask through a socket of systemd's own comes here as a program: `service_manager.py VERB UNIT …`.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import dbus
import dbus.mainloop.glib
import dbus.service
from gi.repository import GLib

NAME, PATH, FACE = "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
FOLDERS = (Path("/run/systemd/system"), Path("/etc/systemd/system"))
WANTS = FOLDERS[1] / "multi-user.target.wants"
STATES = Path("/run/systemd/units")  # a link for every unit that runs
STOP_SECONDS = 90


def loaded(unit: str) -> dict[str, list[str]]:
    """The settings of a unit with its drop-ins; raises FileNotFoundError when it has no file."""
    file = next((folder / unit for folder in FOLDERS if (folder / unit).exists()), None)
    if file is None:
        raise FileNotFoundError(unit)
    found: dict[str, list[str]] = {}
    extra = sorted((path for folder in FOLDERS for path in folder.glob(f"{unit}.d/*.conf")), key=lambda path: path.name)
    for path in (file, *extra):
        for line in path.read_text().splitlines():
            key, equals, value = line.strip().partition("=")
            if equals and not key.startswith(("#", ";")):
                found[key] = [*found.get(key, []), value] if value else []
    return found


def words(settings: dict[str, list[str]], key: str) -> list[str]:
    return shlex.split(settings[key][-1]) if settings.get(key) else []


def word(settings: dict[str, list[str]], key: str, default: str) -> str:
    return (settings.get(key) or [default])[-1] or default


class Unit:
    """One service and its process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.settings = loaded(name)
        self.process: subprocess.Popen[bytes] | None = None
        self.restart = 0

    @property
    def state(self) -> tuple[str, str]:
        if self.process is not None:
            return "active", "running"
        return ("activating", "auto-restart") if self.restart else ("inactive", "dead")

    def start(self) -> None:
        self.restart = 0
        if self.process is None:
            self.process = subprocess.Popen(words(self.settings, "ExecStart"), start_new_session=True)
            STATES.mkdir(parents=True, exist_ok=True)
            (STATES / f"invocation:{self.name}").unlink(missing_ok=True)
            (STATES / f"invocation:{self.name}").symlink_to(str(self.process.pid))
            GLib.child_watch_add(GLib.PRIORITY_DEFAULT, self.process.pid, self._ended)

    def stop(self) -> None:
        if self.restart:
            GLib.source_remove(self.restart)
            self.restart = 0
        process, self.process = self.process, None
        if process is None:
            return
        (STATES / f"invocation:{self.name}").unlink(missing_ok=True)
        if asked := words(self.settings, "ExecStop"):
            subprocess.run(asked, check=False)
        kind = getattr(signal, word(self.settings, "KillSignal", "SIGTERM"))
        deadline = time.monotonic() + STOP_SECONDS
        while process.poll() is None:
            os.kill(process.pid, kind if time.monotonic() < deadline else signal.SIGKILL)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue

    def _ended(self, _: int, code: int) -> None:
        if self.process is None:
            return  # stopped
        self.process = None
        (STATES / f"invocation:{self.name}").unlink(missing_ok=True)
        again = word(self.settings, "Restart", "no")
        if again == "always" or (again == "on-failure" and code):
            pause = int(1000 * float(re.sub(r"s$", "", word(self.settings, "RestartSec", "0.1"))))
            self.restart = GLib.timeout_add(max(pause, 1), lambda: bool(self.start()))


class Manager(dbus.service.Object):
    """The methods of the bus, spelled as systemd spells them."""

    def __init__(self) -> None:
        super().__init__(dbus.service.BusName(NAME, dbus.SystemBus()), PATH)
        self.units: dict[str, Unit] = {}

    def _unit(self, name: str) -> Unit:
        if name not in self.units:
            try:
                self.units[name] = Unit(name)
            except FileNotFoundError:
                raise dbus.DBusException(f"Unit {name} not found.", name=f"{NAME}.NoSuchUnit") from None
        return self.units[name]

    @dbus.service.method(FACE, in_signature="ss", out_signature="o")
    def StartUnit(self, name: str, mode: str) -> str:
        self._unit(name).start()
        return PATH

    @dbus.service.method(FACE, in_signature="ss", out_signature="o")
    def StopUnit(self, name: str, mode: str) -> str:
        self._unit(name).stop()
        return PATH

    @dbus.service.method(FACE, in_signature="ss", out_signature="o")
    def RestartUnit(self, name: str, mode: str) -> str:
        self._unit(name).stop()
        self._unit(name).start()
        return PATH

    @dbus.service.method(FACE)
    def Reload(self) -> None:
        for name, unit in list(self.units.items()):
            try:
                unit.settings = loaded(name)
            except FileNotFoundError:
                if unit.state[1] == "dead":
                    del self.units[name]

    @dbus.service.method(FACE, in_signature="asbb", out_signature="ba(sss)")
    def EnableUnitFiles(self, names: list[str], runtime: bool, force: bool) -> tuple[bool, list[tuple[str, str, str]]]:
        WANTS.mkdir(exist_ok=True)
        changes = []
        for name in names:
            link = WANTS / name
            if not link.is_symlink():
                link.symlink_to(FOLDERS[1] / name)
                changes.append(("symlink", str(link), str(FOLDERS[1] / name)))
        return True, changes

    @dbus.service.method(FACE, in_signature="asb", out_signature="a(sss)")
    def DisableUnitFiles(self, names: list[str], runtime: bool) -> list[tuple[str, str, str]]:
        for name in names:
            (WANTS / name).unlink(missing_ok=True)
        return []

    @dbus.service.method(FACE, out_signature="a(ssssssouso)")
    def ListUnits(self) -> list[tuple[object, ...]]:
        return [
            (name, name, "loaded", unit.state[0], unit.state[1], "", PATH, 0, "", PATH)
            for name, unit in self.units.items()
        ]

    @dbus.service.method(FACE, in_signature="s", out_signature="a{ss}")
    def Shown(self, name: str) -> dict[str, str]:
        """Not systemd's own: the properties that `systemctl show` would ask for one by one."""
        settings = self._unit(name).settings
        number = str(int(getattr(signal, word(settings, "KillSignal", "SIGTERM"))))
        stop = {key: " ; ".join(settings.get(key, [])) for key in ("ExecStop", "ExecStopPost")}
        return {"KillSignal": number, **{key: f"{{ {value} }}" for key, value in stop.items() if value}}


def systemctl(arguments: list[str]) -> int:
    """The words of `systemctl` that this program uses."""
    verb, *rest = [argument for argument in arguments if not argument.startswith("-")]
    manager = dbus.Interface(dbus.SystemBus().get_object(NAME, PATH), FACE)
    try:
        if verb == "daemon-reload":
            manager.Reload()
        elif verb in ("enable", "disable"):
            missing = [name for name in rest if not (FOLDERS[1] / name).exists()]
            if missing:
                print(f"Failed to {verb} unit: Unit file {missing[0]} does not exist.", file=sys.stderr)
                return 1
            manager.EnableUnitFiles(rest, False, True) if verb == "enable" else manager.DisableUnitFiles(rest, False)
            if "--now" in arguments:
                for name in rest:
                    getattr(manager, "StartUnit" if verb == "enable" else "StopUnit")(name, "replace")
        elif verb in ("start", "stop", "restart"):
            for name in rest:
                getattr(manager, f"{verb.capitalize()}Unit")(name, "replace", timeout=300)
        elif verb == "show":
            for name in rest:
                print("\n".join(f"{key}={value}" for key, value in manager.Shown(name).items()))
        elif verb == "is-active":
            active = {str(unit[0]): str(unit[3]) for unit in manager.ListUnits()}
            print("\n".join(active.get(name, "inactive") for name in rest))
            return 0 if all(active.get(name) == "active" for name in rest) else 3
        else:
            print(f"Unknown command verb {verb}.", file=sys.stderr)
            return 1
    except dbus.DBusException as error:
        print(error.get_dbus_message(), file=sys.stderr)
        return 5 if "not found" in error.get_dbus_message() else 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(systemctl(sys.argv[1:]))
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    manager = Manager()
    Path("/run/service-manager-ready").touch()
    GLib.MainLoop().run()
