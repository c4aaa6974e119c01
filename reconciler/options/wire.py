"""Single values as the engine's JSON has them: what a create request is made of, and what `inspect` reports.

Values that are sent are in their normal spelling; values that are read need not be.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.options import spelling
from reconciler.options.values import Healthcheck, Mount, Ulimit

_NANOSECONDS = 1_000_000_000
_PROPAGATIONS = frozenset({"private", "shared", "rshared", "slave", "rslave"})
# Folders that are empty after a boot: the engine makes the source of such a bind when the container starts.
_VOLATILE = ("/run/", "/var/run/", "/tmp/", "/var/lock/")  # noqa: S108 - compared with, not written to


# --- to the engine ------------------------------------------------------------------------------------------------


def environment(given: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in sorted(given.items())]


def command(words: tuple[str, ...] | None) -> list[str] | None:
    return None if words is None else list(words)


def entrypoint(words: tuple[str, ...] | None) -> list[str] | None:
    """An empty list would leave the image's in place; one empty word takes it away."""
    return None if words is None else list(words) or [""]


def binds(mounts: Iterable[Mount]) -> list[str]:
    return [f"{m.source}:{m.target}:{m.mode}" for m in mounts if not _checked(m)]


def checked_mounts(mounts: Iterable[Mount]) -> list[dict[str, Any]]:
    return [_mount(mount) for mount in mounts if _checked(mount)]


def _checked(mount: Mount) -> bool:
    """Whether the engine refuses the mount when its source does not exist, instead of making an empty folder of it."""
    plain = set(mount.mode.split(",")) <= {"ro", "rw", *_PROPAGATIONS}
    return mount.source.startswith("/") and plain and not f"{mount.source}/".startswith(_VOLATILE)


def _mount(mount: Mount) -> dict[str, Any]:
    modes = set(mount.mode.split(","))
    body: dict[str, Any] = {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": "ro" in modes}
    if propagation := modes & _PROPAGATIONS:
        body["BindOptions"] = {"Propagation": propagation.pop()}
    return body


def port_bindings(ports: Iterable[str]) -> dict[str, list[dict[str, str]]]:
    result: dict[str, list[dict[str, str]]] = {}
    for text in ports:
        address, outside = text.rpartition(":")[0].rpartition(":")[::2]
        result.setdefault(_inside(text), []).append({"HostIp": address.strip("[]"), "HostPort": outside})
    return result


def exposed_ports(ports: Iterable[str]) -> dict[str, dict[str, str]]:
    return {_inside(text): {} for text in ports}


def _inside(text: str) -> str:
    return text.rpartition(":")[2]


def extra_hosts(given: Mapping[str, str]) -> list[str]:
    return [f"{name}:{one}" for name, every in sorted(given.items()) for one in every.split()]


def devices(given: Iterable[str]) -> list[dict[str, str]]:
    return [
        dict(zip(("PathOnHost", "PathInContainer", "CgroupPermissions"), text.split(":"), strict=True))
        for text in given
    ]


def ulimits(given: Iterable[Ulimit]) -> list[dict[str, Any]]:
    return [{"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard} for limit in given]


def restart_policy(text: str) -> dict[str, Any]:
    name, _, count = text.partition(":")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def healthcheck(check: Healthcheck | None) -> dict[str, Any] | None:
    if check is None:
        return None
    if check.test[0] == "NONE":
        return {"Test": ["NONE"]}
    return {
        "Test": list(check.test),
        "Interval": round(check.interval * _NANOSECONDS),
        "Timeout": round(check.timeout * _NANOSECONDS),
        "StartPeriod": round(check.start_period * _NANOSECONDS),
        "Retries": check.retries,
    }


def private(mode: str) -> str:
    """The default has to be said: the engine's own may be set to something else."""
    return mode or "private"


def if_set(value: Any) -> Any:
    """Nothing where the engine's own default is wanted."""
    return value or None


# --- from the engine ----------------------------------------------------------------------------------------------


def read_environment(lines: list[str] | None) -> dict[str, str]:
    return dict(_pair(line, "=") for line in lines or ())


def read_extra_hosts(lines: list[str] | None) -> dict[str, str]:
    """A name may have several addresses, each in a line of its own."""
    found: dict[str, list[str]] = {}
    for name, address in (_pair(line, ":") for line in lines or ()):
        found.setdefault(name, []).append(address)
    return {name: " ".join(addresses) for name, addresses in found.items()}


def _pair(text: str, separator: str) -> tuple[str, str]:
    name, _, value = text.partition(separator)
    return name, value


def read_words(words: list[str] | None) -> tuple[str, ...] | None:
    return tuple(words) if words else None


def read_mounts(host: Mapping[str, Any]) -> tuple[Mount, ...]:
    """From the whole HostConfig: binds are in two places."""
    found = []
    for text in host.get("Binds") or ():
        source, target, mode = (*text.split(":"), "", "")[:3]
        found.append(Mount(source, target, mode))
    for mount in host.get("Mounts") or ():
        if mount["Type"] in ("bind", "volume"):
            modes = ["ro" if mount.get("ReadOnly") else "rw", (mount.get("BindOptions") or {}).get("Propagation", "")]
            found.append(Mount(mount.get("Source", ""), mount["Target"], ",".join(modes)))
    return tuple(found)


def read_ports(bindings: Mapping[str, list[dict[str, str]] | None] | None) -> tuple[str, ...]:
    found = []
    for inside, outsides in (bindings or {}).items():
        for outside in outsides or ():
            address = outside.get("HostIp") or ""
            found.append(f"{f'[{address}]' if ':' in address else address}:{outside.get('HostPort', '')}:{inside}")
    return tuple(found)


def read_devices(found: list[dict[str, str]] | None) -> tuple[str, ...]:
    return tuple(f"{d['PathOnHost']}:{d['PathInContainer']}:{d['CgroupPermissions']}" for d in found or ())


def read_ulimits(found: list[dict[str, Any]] | None) -> tuple[Ulimit, ...]:
    return tuple(Ulimit(limit["Name"], int(limit["Soft"]), int(limit["Hard"])) for limit in found or ())


def read_restart_policy(policy: Mapping[str, Any] | None) -> str:
    name, count = (policy or {}).get("Name") or "no", (policy or {}).get("MaximumRetryCount") or 0
    return f"{name}:{count}" if count else name


def read_signal(text: str | None) -> str | None:
    return spelling.signal_name(text) if text else None


def read_healthcheck(check: Mapping[str, Any] | None) -> Healthcheck | None:
    if not check or not check.get("Test"):
        return None
    return spelling.healthcheck(
        Healthcheck(
            test=tuple(check["Test"]),
            interval=(check.get("Interval") or 30 * _NANOSECONDS) / _NANOSECONDS,
            timeout=(check.get("Timeout") or 30 * _NANOSECONDS) / _NANOSECONDS,
            retries=check.get("Retries") or 3,
            start_period=(check.get("StartPeriod") or 0) / _NANOSECONDS,
        )
    )


def read_namespace(mode: str | None, names: Mapping[str, str]) -> str:
    """`container:ID` as `container:NAME`."""
    kind, _, identity = (mode or "").partition(":")
    return f"{kind}:{names.get(identity, identity)}" if identity else kind
