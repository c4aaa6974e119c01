"""Lines of /etc/hosts, in a block of our own between two markers at its top; what is around it is somebody else's and stays.

At its top, because of several lines with a name the first one counts: Debian's installer writes `127.0.1.1 NAME`, behind which a
cluster's members do not find each other. A container in the host's network has a copy of the file from when it was started.
"""

from collections.abc import Mapping
from threading import Lock
from typing import Final

from reconciler.host.place import Place
from reconciler.model import HostKept, HostSetting

PATH: Final = "/etc/hosts"
BEGIN: Final = "# --- reconciler: names that the site's `host:` sections ask for; what is between these two lines is written anew ---"
END: Final = "# --- reconciler: end ---"
_writing = Lock()


class Names:
    def __init__(self, place: Place) -> None:
        self._place = place

    def observe(self, setting: HostSetting) -> Mapping[str, str]:
        above, block, _ = self._parts()
        line = next((one for one in block if _first(one) == setting.name), None)
        if line is None:
            return {}
        return {"line": line + _shadow(above, line.split())}

    def before(self, setting: HostSetting) -> Mapping[str, str]:
        """Nothing: lines of others were never touched."""
        return {}

    def put(self, setting: HostSetting) -> None:
        self._write(setting.name, setting.fields["line"])

    def back(self, kept: HostKept) -> None:
        self._write(kept.setting.name, None)

    def _parts(self) -> tuple[list[str], list[str], list[str]]:
        """The lines above our block, in it and below it. A block whose end is missing ends where something else begins."""
        lines = (self._place.text(PATH) or "").splitlines()
        if BEGIN not in lines:
            return [], [], lines
        begin = lines.index(BEGIN)
        rest = lines[begin + 1 :]
        end = rest.index(END) if END in rest else 0
        return lines[:begin], rest[:end], rest[end + (END in rest) :]

    def _write(self, name: str, line: str | None) -> None:
        with _writing:
            above, block, below = self._parts()
            kept = [one for one in block if _first(one) != name]
            block = sorted([*kept, *([line] if line else [])])
            whole = [BEGIN, *block, END] if block else []
            text = "".join(f"{one}\n" for one in (*whole, *above, *below))
            if text != (self._place.text(PATH) or ""):
                self._place.write(PATH, text)
            elif not line:
                self._place.sweep(PATH)


def _first(line: str) -> str:
    """The first name of a line."""
    words = line.partition("#")[0].split()
    return words[1] if len(words) > 1 else ""


def _shadow(above: list[str], words: list[str]) -> str:
    """Whether a line above ours says otherwise of one of its names, for an observed value."""
    address, *names = words
    for number, line in enumerate(above, 1):
        found = line.partition("#")[0].split()
        if found and found[0] != address and not set(found[1:]).isdisjoint(names):
            return f" (but line {number} says {' '.join(found)})"
    return ""
