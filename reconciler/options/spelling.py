"""One normal spelling for the value of each option, so that two that mean the same are equal.

Docker takes many spellings (`CAP_NET_ADMIN`, `a:/b/:ro,z`, `15` for SIGTERM) and reports others than it was given.
"""

import dataclasses
import posixpath
import signal
from collections.abc import Iterable, Mapping

from reconciler.options.values import NO_HEALTHCHECK, Healthcheck, Mount, Ulimit

_IGNORED_MODES = frozenset({"rprivate", "consistent", "cached", "delegated", ""})
# What the kernel calls no limit on memory, and what comes near it: the engine takes it where it does not take "none".
NO_MEMORY_LIMIT = (1 << 63) - (1 << 12)  # bytes
_ANY_MEMORY = 1 << 62


def mounts(given: Iterable[Mount]) -> tuple[Mount, ...]:
    """Sorted by target, paths without `.` and trailing `/`, modes sorted and with an explicit `ro` or `rw`."""
    result = [
        Mount(path(m.source) if m.source.startswith("/") else m.source, path(m.target), mode(m.mode)) for m in given
    ]
    return tuple(sorted(result, key=lambda mount: mount.target))


def mode(text: str) -> str:
    """Bind options: `""` is `rw`, `z,ro` is `ro,z`. What is the default anyway is left out."""
    words = set(text.split(",")) - _IGNORED_MODES
    return ",".join(sorted(words if words & {"ro", "rw"} else words | {"rw"}))


def network_mode(text: str) -> str:
    """`default` and `""` are `bridge`."""
    return "bridge" if text in ("", "default") else text


def capabilities(names: Iterable[str]) -> tuple[str, ...]:
    """Upper case, without `CAP_`, sorted, once each."""
    return tuple(sorted({name.upper().removeprefix("CAP_") for name in names}))


def security_options(given: Iterable[str], *, relaxed: bool) -> tuple[str, ...]:
    """`label:disable` is `label=disable`. `relaxed`: a privileged container or one in the host's pid or ipc
    namespace, to which the engine adds that label by itself."""
    result = set()
    for text in given:
        name, separator, value = text.partition("=") if "=" in text.partition(":")[0] else text.partition(":")
        if not separator:
            name, separator, value = text.partition("=")
        if name == "no-new-privileges":
            if value != "false":
                result.add(name)
        elif not (relaxed and (name, value) == ("label", "disable")):
            result.add(f"{name}={value}" if separator else name)
    return tuple(sorted(result))


def device(text: str) -> str:
    """`/dev/kvm` is `/dev/kvm:/dev/kvm:rwm`."""
    host, _, rest = text.partition(":")
    inside, _, permissions = rest.partition(":")
    if inside and not inside.startswith("/"):
        inside, permissions = "", inside
    return f"{host}:{inside or host}:{''.join(p for p in 'rwm' if p in (permissions or 'rwm'))}"


def port(text: str) -> str:
    """`8080:80` is `0.0.0.0:8080:80/tcp`; an IPv6 address stands in brackets."""
    rest, _, protocol = text.partition("/")
    rest, _, inside = rest.rpartition(":")
    address, _, outside = rest.rpartition(":")
    return f"{address or '0.0.0.0'}:{outside}:{inside}/{protocol or 'tcp'}"  # noqa: S104 - the engine's default


def restart_policy(text: str) -> str:
    """`""` is `no`, `on-failure:0` is `on-failure`, `on-failure:03` is `on-failure:3`."""
    name, _, count = text.partition(":")
    count = count.lstrip("0")
    return f"{name}:{count}" if count else name or "no"


def signal_name(text: str) -> str:
    """`15`, `TERM` and `SIGTERM` are `SIGTERM`; what the C library does not know stays as it is."""
    if text.isdigit():
        try:
            return signal.Signals(int(text)).name
        except ValueError:
            return text
    name = text.upper()
    return name if name.startswith("SIG") else f"SIG{name}"


def healthcheck(given: Healthcheck | None) -> Healthcheck | None:
    """A check that is switched off has no durations."""
    if given is None or not given.test:
        return None
    if given.test[0] == "NONE":
        return NO_HEALTHCHECK
    # The engine counts in nanoseconds.
    durations = {name: round(getattr(given, name), 9) for name in ("interval", "timeout", "start_period")}
    return dataclasses.replace(given, **durations)


def ulimits(given: Iterable[Ulimit]) -> tuple[Ulimit, ...]:
    """Sorted by name, in lower case."""
    return tuple(sorted((Ulimit(u.name.lower(), u.soft, u.hard) for u in given), key=lambda limit: limit.name))


def paths(given: Mapping[str, str]) -> dict[str, str]:
    """Targets of tmpfs, sorted."""
    return {path(target): options for target, options in sorted(given.items())}


def memory(given: int) -> int:
    """Bytes; 0 for what is no limit, however it is written."""
    return 0 if given >= _ANY_MEMORY else max(given, 0)


def all_cpus(count: int) -> str:
    """The set of all CPUs of an engine that has `count`, as it spells it; "" when it does not say."""
    return f"0-{count - 1}" if count > 1 else "0" if count else ""


def path(text: str) -> str:
    """Without `.`, `..`, doubled and trailing slashes."""
    found = posixpath.normpath(text)
    return "/" + found.lstrip("/") if found.startswith("/") else found
