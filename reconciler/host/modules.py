"""Kernel modules: `live` whether it is loaded, or part of the kernel, and `boot` in /etc/modules-load.d.

What this program loaded is not taken out again: the kernel does not tell who counts on a module that nobody holds. It is gone after
the next boot.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from reconciler.host.place import Lines, Place, asked
from reconciler.host.protocol import Refused
from reconciler.model import HostKept, HostSetting

BOOT: Final = "/etc/modules-load.d/reconciler.conf"
LOADED: Final = "loaded"


class Modules:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._boot = Lines(place, BOOT, _key)

    def observe(self, setting: HostSetting) -> Mapping[str, str]:
        boot = {"boot": LOADED} if self._boot.find(setting.name) is not None else {}
        return {**boot, "live": LOADED if self._is_loaded(setting.name) else f"not loaded{self._why_not(setting.name)}"}

    def before(self, setting: HostSetting) -> Mapping[str, str]:
        return {"boot": LOADED} if self._boot.find(setting.name) is not None else {}

    def put(self, setting: HostSetting) -> None:
        self._boot.put(setting.name, setting.name)
        if not self._is_loaded(setting.name):
            self._load(setting.name)

    def back(self, kept: HostKept) -> None:
        if "boot" not in kept.before:
            self._boot.drop(kept.setting.name)

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

    def _why_not(self, name: str) -> str:
        if not self._place.at("/proc/modules").exists():
            return " (this kernel takes no modules)"
        if not self._tree().is_dir():
            return (
                f" (there is no /lib/modules/{os.uname().release}: the modules of the running kernel are not installed)"
            )
        return ""

    def _load(self, name: str) -> None:
        """Raises Refused, errors.Transient (DeadlineExceeded)."""
        elsewhere = [] if self._place.root == Path("/") else ["--dirname", str(self._place.root)]
        try:
            asked(self._place, ["modprobe", *elsewhere, name])
        except Refused as refused:
            raise Refused(f"cannot load {name}: {refused}") from None


def _key(line: str) -> str:
    return "" if line.lstrip().startswith(("#", ";")) else line.strip().replace("-", "_")
