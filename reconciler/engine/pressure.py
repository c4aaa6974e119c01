"""For how long this machine kept somebody waiting for a processor or for a disk: Linux's pressure stall information."""

import re
from pathlib import Path

_FILES = ("/proc/pressure/cpu", "/proc/pressure/io")
_TOTAL = re.compile(r"^some .*\btotal=(\d+)", re.MULTILINE)


def stalled() -> float:
    """Seconds since the machine began; 0 where the kernel does not count them."""
    most = 0
    for name in _FILES:
        try:
            found = _TOTAL.search(Path(name).read_text())
        except OSError:
            continue
        most = max(most, int(found[1]) if found else 0)
    return most / 1e6
