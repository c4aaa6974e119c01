"""Kernel modules: `live` whether it is loaded, or part of the kernel, `boot` in /etc/modules-load.d, `parameters` in /etc/modprobe.d.

What this program loaded is not taken out again: the kernel does not tell who counts on a module that nobody holds. It is gone after
the next boot. For the same reason one that is loaded keeps the parameters it was loaded with.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from reconciler.host.place import Lines, Place, asked
from reconciler.host.protocol import Refused
from reconciler.model import HostKept, HostSetting

BOOT: Final = "/etc/modules-load.d/reconciler.conf"
PARAMETERS: Final = "/etc/modprobe.d/reconciler.conf"
LOADED: Final = "loaded"


class Modules:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._boot = Lines(place, BOOT, _key)
        self._parameters = Lines(place, PARAMETERS, _options)

    def observe(self, setting: HostSetting) -> Mapping[str, str]:
        live = LOADED if self._is_loaded(setting.name) else f"not loaded{self._why_not()}"
        return {**self._at_boot(setting), "live": live}

    def before(self, setting: HostSetting) -> Mapping[str, str]:
        """Nothing: lines of others were never touched."""
        return {}

    def _at_boot(self, setting: HostSetting) -> Mapping[str, str]:
        boot = {"boot": LOADED} if self._boot.find(setting.name) is not None else {}
        line = self._parameters.find(setting.name)
        return {**boot, **({} if line is None else {"parameters": " ".join(line.split()[2:])})}

    def put(self, setting: HostSetting) -> None:
        """What counts when it is loaded first."""
        self._keep(setting.name, setting.fields.get("parameters"))
        self._boot.put(setting.name, setting.name)
        if not self._is_loaded(setting.name):
            self._load(setting.name, setting.fields.get("parameters", ""))

    def back(self, kept: HostKept) -> None:
        name, before = kept.setting.name, kept.before  # which is not empty in a memory that an earlier version wrote
        self._keep(name, before.get("parameters"), kept.setting.fields.get("parameters", ""))
        if "boot" not in before:
            self._boot.drop(name, name)

    def _keep(self, name: str, parameters: str | None, written: str = "") -> None:
        if parameters is None:
            self._parameters.drop(name, f"options {name} {written}")
        else:
            self._parameters.put(name, f"options {name} {parameters}")

    def _is_loaded(self, name: str) -> bool:
        if self._place.at(f"/sys/module/{name}").is_dir():
            return True
        # One that is part of the kernel and has no parameters shows nowhere else.
        try:
            built_in = (self._tree() / "modules.builtin").read_text(encoding="utf-8").split()
        except OSError:
            return False
        return any(path.rpartition("/")[2].removesuffix(".ko").replace("-", "_") == name for path in built_in)

    def _tree(self) -> Path:
        return self._place.at(f"/lib/modules/{os.uname().release}")

    def _why_not(self) -> str:
        if not self._place.at("/proc/modules").exists():
            return " (this kernel takes no modules)"
        if not self._tree().is_dir():
            return (
                f" (there is no /lib/modules/{os.uname().release}: the modules of the running kernel are not installed)"
            )
        return ""

    def _load(self, name: str, parameters: str) -> None:
        """Raises Refused, errors.Transient (DeadlineExceeded)."""
        elsewhere = [] if self._place.root == Path("/") else ["--dirname", str(self._place.root)]
        try:
            asked(self._place, ["modprobe", *elsewhere, "--", name, *parameters.split()])
        except Refused as refused:
            raise Refused(f"cannot load {name}: {refused}") from None


def _key(line: str) -> str:
    return "" if line.lstrip().startswith(("#", ";")) else line.strip().replace("-", "_")


def _options(line: str) -> str:
    words = line.split()
    return words[1].replace("-", "_") if len(words) > 2 and words[0] == "options" else ""
