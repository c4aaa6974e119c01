"""One spelling for every container option, so that two specs that mean the same are equal field by field.

Docker takes many spellings (`CAP_NET_ADMIN`, `a:/b/:ro,z`, a stop timeout of 10 that is also the default) and reports
others than it was given. Desired state and what the engine reports both pass through `normal` before they are compared.
"""

import dataclasses
import hashlib
import json
import posixpath
import signal
from collections.abc import Iterable, Mapping

from reconciler.model import Container, Healthcheck, Mount, Ulimit, to_json

LABEL_PREFIX = "io.reconciler."
NO_HEALTHCHECK = Healthcheck(test=("NONE",))

# The engine's own defaults, which mean the same spelt out.
_STOP_SECONDS = 10
_CPU_SHARES = 1024
_CPU_PERIOD = 100_000
_IGNORED_MODES = frozenset({"rprivate", "consistent", "cached", "delegated", ""})

# What the engine has to be asked for: everything else in a Container steers planning and applying.
OPTIONS: tuple[str, ...] = tuple(
    field.name
    for field in dataclasses.fields(Container)
    if field.name
    not in {
        "name", "service", "kolla", "config_directory", "depends_on", "reload", "validation", "rollback", "stability", "start_timeout",
        "data_plane", "stateful", "log_files",
    }
)  # fmt: skip


# What the engine changes, both ways, in a container that stays: everything else asks for a new one.
MUTABLE = frozenset({"restart_policy", "memswap_limit", "cpu_period", "cpu_quota", "cpu_shares", "pids_limit"})
# These it changes too, but it does not lift them.
ADJUSTABLE = frozenset({"mem_limit", "mem_reservation", "cpuset_cpus", "cpuset_mems", "blkio_weight"})


def normal(container: Container) -> Container:
    """The same container with every option in its normal spelling; `normal(normal(c)) == normal(c)`."""
    relaxed = container.privileged or container.pid_mode == "host" or container.ipc_mode == "host"
    swap = container.memswap_limit
    memory = max(container.mem_limit, 0)
    return dataclasses.replace(
        container,
        command=container.command or None,
        user=container.user or None,
        working_dir=_path(container.working_dir) if container.working_dir else None,
        hostname=container.hostname or None,
        domainname=container.domainname or None,
        mounts=mounts(container.mounts),
        tmpfs={_path(target): options for target, options in sorted(container.tmpfs.items())},
        extra_hosts={name: " ".join(text.split()) for name, text in container.extra_hosts.items()},
        network_mode=network_mode(container.network_mode),
        ports=tuple(sorted(port(text) for text in container.ports)),
        cap_add=capabilities(container.cap_add),
        cap_drop=capabilities(container.cap_drop),
        security_opt=security_options(container.security_opt, relaxed=relaxed),
        devices=tuple(sorted(device(text) for text in container.devices)),
        ipc_mode="" if container.ipc_mode == "private" else container.ipc_mode,
        group_add=tuple(sorted(set(container.group_add))),
        restart_policy=restart_policy(container.restart_policy),
        stop_signal=signal_name(container.stop_signal) if container.stop_signal else None,
        stop_timeout=None if container.stop_timeout == _STOP_SECONDS else container.stop_timeout,
        ulimits=tuple(
            sorted((Ulimit(u.name.lower(), u.soft, u.hard) for u in container.ulimits), key=lambda u: u.name)
        ),
        mem_limit=memory,
        mem_reservation=max(container.mem_reservation, 0),
        memswap_limit=0 if swap == (2 * memory or -1) else swap,  # the engine's default for swap
        cpu_period=0 if container.cpu_period == _CPU_PERIOD else container.cpu_period,
        cpu_quota=max(container.cpu_quota, 0),
        cpu_shares=0 if container.cpu_shares == _CPU_SHARES else container.cpu_shares,
        kernel_memory=max(container.kernel_memory, 0),
        pids_limit=max(container.pids_limit, 0),
        healthcheck=healthcheck(container.healthcheck),
        labels={name: text for name, text in container.labels.items() if not name.startswith(LABEL_PREFIX)},
    )


def digest(container: Container) -> str:
    """SHA-256 of the options in normal form, 64 hex digits. Options at their default do not enter it."""
    options = to_json(normal(container))
    kept = {name: options[name] for name in OPTIONS if name in options}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def mounts(given: Iterable[Mount]) -> tuple[Mount, ...]:
    """Sorted by target, paths without `.` and trailing `/`, modes sorted and with an explicit `ro` or `rw`."""
    result = [
        Mount(_path(m.source) if m.source.startswith("/") else m.source, _path(m.target), mode(m.mode)) for m in given
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


def engine_filled(container: Container) -> Mapping[str, str]:
    """The options a container leaves to the engine, which reports them all the same, that this one does set.

    Their names, kept in a label, let a later look tell what was asked for from what the engine filled in.
    """
    found = {
        name: ""
        for name in ("hostname", "domainname", "cgroupns_mode", "shm_size", "log_driver")
        if getattr(container, name)
    }
    limits = {f"ulimits.{limit.name}": "" for limit in container.ulimits}
    return {**found, **{f"log_opts.{name}": "" for name in container.log_opts}, **limits}


def _path(text: str) -> str:
    path = posixpath.normpath(text)
    return "/" + path.lstrip("/") if path.startswith("/") else path
