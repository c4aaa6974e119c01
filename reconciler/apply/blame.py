"""Who is to blame when a container does not take a change: its configuration, the host, or another service.

Only a configuration is quarantined, for only a commit can mend it. What the host or another service caused is tried again:
when that seems mended, and now and then. Reads, and changes nothing.
"""

import re
import shutil
import socket
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from reconciler import moments
from reconciler.model import Container, Failure
from reconciler.reasons import Blame, Reason
from reconciler.system.pacing import doubled

_FIRST, _LAST = 60.0, 3600.0  # seconds between two tries
_ENOUGH = 1 << 30  # bytes free
_PORT = re.compile(r":(\d{1,5})\b")
_PROGRAM = re.compile(r'exec: "([^"]+)": executable file not found')


def of(reason: Reason | None) -> Blame:
    """Whom a reason blames; one that says nothing of that, the host: nothing that worked is given up for what nobody knows."""
    return (reason.blames if reason else None) or Blame.HOST


def again(tries: int, now: datetime) -> datetime:
    """When to try once more after `tries` times in vain."""
    return now + _pause(tries)


def _pause(tries: int) -> timedelta:
    return timedelta(seconds=doubled(_FIRST, tries, _LAST))


def is_due(failure: Failure, container: Container, data_root: str, now: datetime) -> bool:
    """Whether to try once more what `failure` tells about: its cause seems mended, or it is time."""
    if failure.blames == Blame.CONFIGURATION:
        return False
    waits = moments.waits(failure.again, now, _pause(failure.tries))
    mended = _MENDED.get(failure.reason)
    return not waits or bool(mended and mended(failure, container, data_root))


def ports(message: str, container: Container) -> frozenset[int]:
    """The ports that a message about a container names, else those that the container publishes."""
    named = {int(found) for found in _PORT.findall(message)}
    published = {text.split("/")[0].split(":")[-2] for text in container.ports}
    found = named or {int(text) for text in published if text.isdigit()}
    return frozenset(port for port in found if 0 < port < 1 << 16)


def _port(failure: Failure, container: Container, data_root: str) -> bool:
    wanted = ports(failure.message, container)
    return bool(wanted) and all(_is_free(port) for port in wanted)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _space(failure: Failure, container: Container, data_root: str) -> bool:
    return Path(data_root).exists() and shutil.disk_usage(data_root).free > _ENOUGH


def _mounts(failure: Failure, container: Container, data_root: str) -> bool:
    return all(Path(mount.source).exists() for mount in container.mounts if mount.source.startswith("/"))


def _devices(failure: Failure, container: Container, data_root: str) -> bool:
    return all(Path(device.partition(":")[0]).exists() for device in container.devices)


def _program(failure: Failure, container: Container, data_root: str) -> bool:
    missing = _PROGRAM.search(failure.message)
    return bool(missing and shutil.which(missing[1]))


_MENDED: Mapping[Reason, Callable[[Failure, Container, str], bool]] = {
    Reason.PortInUse: _port,
    Reason.DiskFull: _space,
    Reason.MountMissing: _mounts,
    Reason.DeviceMissing: _devices,
    Reason.HostFailed: _program,
}
