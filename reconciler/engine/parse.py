"""From what the engine reports of a container or an image to the model, in the normal form of `reconciler.options.normal`.

Pure. What a container has from its image is None (or left out) here, as desired state leaves it out.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, cast

from reconciler.engine import options
from reconciler.model import Container, Healthcheck, Image, Mount, Running, State, Ulimit, Volume
from reconciler.options import normal

_NANOSECONDS = 1_000_000_000
_NEVER = "0001-01-01"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the engine fills in by itself. `unsupported` are limits its kernel lacks: it drops them with a warning."""

    cgroupns_mode: str = "private"
    log_driver: str = "json-file"
    unsupported: frozenset[str] = frozenset()
    data_root: str = ""  # where it keeps images and volumes


_SUPPORT: Mapping[str, str] = {
    "mem_limit": "MemoryLimit",
    "mem_reservation": "MemoryLimit",
    "memswap_limit": "SwapLimit",
    "kernel_memory": "KernelMemory",
    "cpu_period": "CpuCfsPeriod",
    "cpu_quota": "CpuCfsQuota",
    "cpu_shares": "CPUShares",
    "cpuset_cpus": "CPUSet",
    "cpuset_mems": "CPUSet",
    "pids_limit": "PidsLimit",
}


def facts(info: Mapping[str, Any]) -> Facts:
    """From the engine's `/info`."""
    private = any("name=cgroupns" in text for text in info.get("SecurityOptions") or ())
    return Facts(
        cgroupns_mode="private" if private else "host",
        log_driver=str(info.get("LoggingDriver") or ""),
        data_root=str(info.get("DockerRootDir") or ""),
        unsupported=frozenset(name for name, key in _SUPPORT.items() if not info.get(key)),
    )


def image(data: Mapping[str, Any]) -> Image:
    """From an image's inspect JSON."""
    config = data.get("Config") or {}
    return Image(
        id=str(data["Id"]),
        digests=tuple(data.get("RepoDigests") or ()),
        environment=_environment(config.get("Env")),
        labels=dict(config.get("Labels") or {}),
        command=_words(config.get("Cmd")),
        entrypoint=_words(config.get("Entrypoint")),
        user=config.get("User") or "",
        working_dir=config.get("WorkingDir") or "",
        stop_signal=normal.signal_name(config["StopSignal"]) if config.get("StopSignal") else None,
        healthcheck=_healthcheck(config.get("Healthcheck")),
    )


def running(
    data: Mapping[str, Any],
    own_image: Image | None,
    *,
    owner: str,
    engine: Facts,
    also: Collection[str] = (),
    wanted: Container | None = None,
    names: Mapping[str, str] | None = None,
) -> Running:
    """From a container's inspect JSON. Raises KeyError or TypeError on JSON of another shape.

    `owner` is this installation's key, `also` are those it took over. `own_image` is what the container was made from, None when the engine has lost it. `wanted` is the desired container of
    that name: an option it leaves to the engine is reported as left to the engine, unless the container was made with it
    set. `names` maps ids to names, for namespaces shared with another container.
    """
    labels = dict(data["Config"].get("Labels") or {})
    base = own_image or Image(id="")
    environment = _environment(data["Config"].get("Env"))
    state = data["State"]
    return Running(
        spec=_open_options(_spec(data, base, names or {}), labels, wanted, engine),
        id=str(data["Id"]),
        image_id=str(data["Image"]),
        state=State(state["Status"]),
        started_at=moment(state.get("StartedAt")),
        finished_at=moment(state.get("FinishedAt")),
        health=_health(state),
        exit_code=int(state.get("ExitCode") or 0),
        error=str(state.get("Error") or ""),
        pid=int(state.get("Pid") or 0),
        restart_count=int(data.get("RestartCount") or 0),
        owned=is_ours(labels, owner, also),
        owner=labels.get(options.OWNER, ""),
        explicit=frozenset(name for name, value in environment.items() if base.environment.get(name) != value),
    )


def volume(data: Mapping[str, Any], *, owner: str, also: Collection[str] = ()) -> Volume:
    """From one entry of the engine's list of volumes."""
    labels = data.get("Labels") or {}
    return Volume(
        driver=str(data.get("Driver") or "local"),
        options=dict(data.get("Options") or {}),
        owned=is_ours(labels, owner, also),
        owner=labels.get(options.OWNER, ""),
    )


def is_ours(labels: Mapping[str, str] | None, owner: str, also: Collection[str] = ()) -> bool:
    """Whether something with these labels was made by this installation, or by one that it took over."""
    found = (labels or {}).get(options.OWNER)
    return bool(found) and (found == owner or found in also)


def moment(text: str | None) -> datetime | None:
    """The engine's timestamps have nanoseconds, which are cut; its zero time is None."""
    return None if not text or text.startswith(_NEVER) else datetime.fromisoformat(text)


def _spec(data: Mapping[str, Any], base: Image, names: Mapping[str, str]) -> Container:
    config, host = data["Config"], data["HostConfig"]
    labels = dict(config.get("Labels") or {})
    command, entrypoint = _words(config.get("Cmd")), _words(config.get("Entrypoint"))
    # An empty command where the image has one: the entrypoint was given, be it the image's own.
    given = entrypoint != base.entrypoint or (base.command is not None and command is None)
    check = _healthcheck(config.get("Healthcheck"))
    log = host.get("LogConfig") or {}
    limits = [Ulimit(u["Name"], int(u["Soft"]), int(u["Hard"])) for u in host.get("Ulimits") or ()]
    stop_signal = normal.signal_name(config["StopSignal"]) if config.get("StopSignal") else None
    return normal.normal(
        Container(
            name=str(data["Name"]).lstrip("/"),
            image=str(config["Image"]),
            command=None if command == base.command else command,
            entrypoint=(entrypoint or ()) if given else None,
            environment=_environment(config.get("Env")),
            user=_unless(config.get("User"), base.user),
            working_dir=_unless(config.get("WorkingDir"), base.working_dir or "/"),
            hostname=_unless(config.get("Hostname"), str(data["Id"])[:12]),
            domainname=config.get("Domainname") or None,
            mounts=_mounts(host),
            tmpfs=dict(host.get("Tmpfs") or {}),
            network_mode=_shared(host.get("NetworkMode"), names),
            ports=_ports(host.get("PortBindings")),
            dns=tuple(host.get("Dns") or ()),
            extra_hosts=_extra_hosts(host.get("ExtraHosts")),
            privileged=bool(host.get("Privileged")),
            cap_add=tuple(host.get("CapAdd") or ()),
            cap_drop=tuple(host.get("CapDrop") or ()),
            security_opt=tuple(host.get("SecurityOpt") or ()),
            devices=tuple(
                f"{d['PathOnHost']}:{d['PathInContainer']}:{d['CgroupPermissions']}" for d in host.get("Devices") or ()
            ),
            pid_mode=_shared(host.get("PidMode"), names),
            ipc_mode=_shared(host.get("IpcMode"), names),
            cgroupns_mode=host.get("CgroupnsMode") or "",
            init=bool(host.get("Init")),
            read_only=bool(host.get("ReadonlyRootfs")),
            shm_size=host.get("ShmSize"),
            sysctls=dict(host.get("Sysctls") or {}),
            group_add=tuple(host.get("GroupAdd") or ()),
            restart_policy=_restart_policy(host.get("RestartPolicy")),
            stop_signal=_unless(stop_signal, base.stop_signal or "SIGTERM"),
            stop_timeout=config.get("StopTimeout"),
            ulimits=tuple(limits),
            mem_limit=int(host.get("Memory") or 0),
            mem_reservation=int(host.get("MemoryReservation") or 0),
            memswap_limit=int(host.get("MemorySwap") or 0),
            cpu_period=int(host.get("CpuPeriod") or 0),
            cpu_quota=int(host.get("CpuQuota") or 0),
            cpu_shares=int(host.get("CpuShares") or 0),
            cpuset_cpus=host.get("CpusetCpus") or "",
            cpuset_mems=host.get("CpusetMems") or "",
            kernel_memory=int(host.get("KernelMemory") or 0),
            blkio_weight=int(host.get("BlkioWeight") or 0),
            pids_limit=int(host.get("PidsLimit") or 0),
            log_driver=log.get("Type") or "",
            log_opts=dict(log.get("Config") or {}),
            healthcheck=None if check == base.healthcheck else check or normal.NO_HEALTHCHECK,
            labels={name: text for name, text in labels.items() if base.labels.get(name) != text},
            service=labels.get(options.SERVICE, ""),
        )
    )


def _open_options(spec: Container, labels: Mapping[str, str], wanted: Container | None, engine: Facts) -> Container:
    """Take out of `spec` what the engine filled in where `wanted` leaves it open, and put in what it dropped."""
    if wanted is None:
        return spec
    want = normal.normal(wanted)
    explicit = set(labels.get(options.EXPLICIT, "").split(","))
    changes: dict[str, Any] = {}
    for name, unset in (("hostname", None), ("domainname", None), ("cgroupns_mode", ""), ("shm_size", None)):
        if not getattr(want, name) and name not in explicit:
            changes[name] = unset
    if not want.log_driver and "log_driver" not in explicit and spec.log_driver == engine.log_driver:
        changes["log_driver"] = ""
    if spec.log_driver == engine.log_driver:
        kept = {n for n in spec.log_opts if n in want.log_opts or f"log_opts.{n}" in explicit}
        changes["log_opts"] = {name: spec.log_opts[name] for name in kept}
    # The engine gives its `default-ulimits` to every container, and shows them as if they had been asked for.
    asked = {limit.name for limit in want.ulimits}
    changes["ulimits"] = tuple(u for u in spec.ulimits if u.name in asked or f"ulimits.{u.name}" in explicit)
    same = labels.get(options.SPEC) == normal.digest(wanted)
    for name in (*_SUPPORT, "blkio_weight"):
        dropped = same and not getattr(spec, name) and name not in ("cpuset_cpus", "cpuset_mems")
        if name in engine.unsupported or dropped:
            changes[name] = getattr(want, name)
    return replace(spec, **changes)


def _environment(lines: list[str] | None) -> dict[str, str]:
    return dict(_pair(line, "=") for line in lines or ())


def _pair(text: str, separator: str) -> tuple[str, str]:
    name, _, value = text.partition(separator)
    return name, value


def _extra_hosts(lines: list[str] | None) -> dict[str, str]:
    """A name may have several addresses, each in a line of its own."""
    found: dict[str, list[str]] = {}
    for name, address in (_pair(line, ":") for line in lines or ()):
        found.setdefault(name, []).append(address)
    return {name: " ".join(addresses) for name, addresses in found.items()}


def _words(words: list[str] | None) -> tuple[str, ...] | None:
    return tuple(words) if words else None


def _unless(value: str | None, inherited: str) -> str | None:
    return None if not value or value == inherited else value


def _mounts(host: Mapping[str, Any]) -> tuple[Mount, ...]:
    found = [_bind(text) for text in host.get("Binds") or ()]
    for mount in host.get("Mounts") or ():
        if mount["Type"] in ("bind", "volume"):
            modes = ["ro" if mount.get("ReadOnly") else "rw", (mount.get("BindOptions") or {}).get("Propagation", "")]
            found.append(Mount(mount.get("Source", ""), mount["Target"], ",".join(modes)))
    return tuple(found)


def _bind(text: str) -> Mount:
    source, target, mode = (*text.split(":"), "", "")[:3]
    return Mount(source, target, mode)


def _shared(mode: str | None, names: Mapping[str, str]) -> str:
    kind, _, identity = (mode or "").partition(":")
    return f"{kind}:{names.get(identity, identity)}" if identity else kind


def _ports(bindings: Mapping[str, list[dict[str, str]] | None] | None) -> tuple[str, ...]:
    found = []
    for inside, outsides in (bindings or {}).items():
        for outside in outsides or ():
            address = outside.get("HostIp") or ""
            found.append(f"{f'[{address}]' if ':' in address else address}:{outside.get('HostPort', '')}:{inside}")
    return tuple(found)


def _restart_policy(policy: Mapping[str, Any] | None) -> str:
    name, count = (policy or {}).get("Name") or "no", (policy or {}).get("MaximumRetryCount") or 0
    return f"{name}:{count}" if count else name


def _healthcheck(check: Mapping[str, Any] | None) -> Healthcheck | None:
    if not check or not check.get("Test"):
        return None
    return normal.healthcheck(
        Healthcheck(
            test=tuple(check["Test"]),
            interval=(check.get("Interval") or 30 * _NANOSECONDS) / _NANOSECONDS,
            timeout=(check.get("Timeout") or 30 * _NANOSECONDS) / _NANOSECONDS,
            retries=check.get("Retries") or 3,
            start_period=(check.get("StartPeriod") or 0) / _NANOSECONDS,
        )
    )


def _health(state: Mapping[str, Any]) -> Literal["none", "starting", "healthy", "unhealthy"]:
    status = (state.get("Health") or {}).get("Status") or "none"
    return cast(Literal["none", "starting", "healthy", "unhealthy"], status)
