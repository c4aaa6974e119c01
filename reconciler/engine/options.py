"""From a container of the desired state to the body of the engine's create request.

An allow-list: an option that is not named here cannot reach the engine, whatever a site says.
"""

from collections.abc import Collection, Mapping
from typing import Any

from reconciler.model import Container, Healthcheck, Mount
from reconciler.options.normal import LABEL_PREFIX, digest, engine_filled, normal

OWNER = LABEL_PREFIX + "owner"  # the key of the installation that made it: nothing else says whose it is
SITE = LABEL_PREFIX + "site"  # <site>/<host>, for people
SERVICE = LABEL_PREFIX + "service"
SPEC = LABEL_PREFIX + "spec"  # digest of the options it was made with
EXPLICIT = LABEL_PREFIX + "explicit"  # which options were set that the engine would have filled in
JOB = LABEL_PREFIX + "job"  # the job's name, on one-shot containers

_NANOSECONDS = 1_000_000_000
_PROPAGATIONS = frozenset({"private", "shared", "rshared", "slave", "rslave"})
# Folders that are empty after a boot: the engine makes the source of such a bind when the container starts.
_VOLATILE = ("/run/", "/var/run/", "/tmp/", "/var/lock/")  # noqa: S108 - compared with, not written to


def create(container: Container, *, owner: str, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The request's body. `owner` is the installation's key; `labels` are further labels of ours (the site's, a job's)."""
    spec = normal(container)
    body: dict[str, Any] = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in sorted(spec.environment.items())],
        "Labels": {**spec.labels, **ownership(container, owner), **(labels or {})},
        "HostConfig": _host(spec),
        "ExposedPorts": {_inside(text): {} for text in spec.ports},
        "Cmd": list(spec.command) if spec.command is not None else None,
        # An empty list would leave the image's in place; one empty word takes it away.
        "Entrypoint": (list(spec.entrypoint) or [""]) if spec.entrypoint is not None else None,
        "User": spec.user,
        "WorkingDir": spec.working_dir,
        "Hostname": spec.hostname,
        "Domainname": spec.domainname,
        "StopSignal": spec.stop_signal,
        "StopTimeout": spec.stop_timeout,
        "Healthcheck": _healthcheck(spec.healthcheck) if spec.healthcheck else None,
    }
    return {name: value for name, value in body.items() if value is not None}


def ownership(container: Container, owner: str) -> dict[str, str]:
    """The labels that say whose the container is and what it was made from."""
    found = {OWNER: owner, SERVICE: container.service, SPEC: digest(container)}
    explicit = ",".join(sorted(engine_filled(normal(container))))
    return {**found, EXPLICIT: explicit} if explicit else found


def update(container: Container, fields: Collection[str]) -> dict[str, Any]:
    """The body of an update request that brings `fields` (of normal's MUTABLE and ADJUSTABLE) to what `container` says.

    The engine takes 0 for "as it is", so that a limit is lifted by -1 where it has one, and by its default elsewhere.
    """
    spec = normal(container)
    values: dict[str, tuple[str, Any]] = {
        "restart_policy": ("RestartPolicy", _restart_policy(spec.restart_policy)),
        "mem_limit": ("Memory", spec.mem_limit),
        "mem_reservation": ("MemoryReservation", spec.mem_reservation),
        "memswap_limit": ("MemorySwap", spec.memswap_limit or 2 * spec.mem_limit or -1),
        "cpu_period": ("CpuPeriod", spec.cpu_period or 100_000),
        "cpu_quota": ("CpuQuota", spec.cpu_quota or -1),
        "cpu_shares": ("CpuShares", spec.cpu_shares or 1024),
        "pids_limit": ("PidsLimit", spec.pids_limit or -1),
        "cpuset_cpus": ("CpusetCpus", spec.cpuset_cpus),
        "cpuset_mems": ("CpusetMems", spec.cpuset_mems),
        "blkio_weight": ("BlkioWeight", spec.blkio_weight),
    }
    # The engine checks the two against each other, so they travel together.
    asked = {*fields, "memswap_limit"} if "mem_limit" in fields else set(fields)
    return {key: value for name, (key, value) in values.items() if name in asked}


def _host(spec: Container) -> dict[str, Any]:
    binds = [mount for mount in spec.mounts if not _checked(mount)]
    host: dict[str, Any] = {
        "Binds": [f"{m.source}:{m.target}:{m.mode}" for m in binds],
        "Mounts": [_mount(m) for m in spec.mounts if _checked(m)],
        "Tmpfs": dict(spec.tmpfs),
        "NetworkMode": spec.network_mode,
        "PortBindings": _ports(spec.ports),
        "Dns": list(spec.dns),
        "ExtraHosts": [f"{name}:{one}" for name, every in sorted(spec.extra_hosts.items()) for one in every.split()],
        "Privileged": spec.privileged,
        "CapAdd": list(spec.cap_add),
        "CapDrop": list(spec.cap_drop),
        "SecurityOpt": list(spec.security_opt),
        "Devices": [_device(text) for text in spec.devices],
        "PidMode": spec.pid_mode,
        "IpcMode": spec.ipc_mode or "private",
        "CgroupnsMode": spec.cgroupns_mode,
        "ReadonlyRootfs": spec.read_only,
        "Sysctls": dict(spec.sysctls),
        "GroupAdd": list(spec.group_add),
        "RestartPolicy": _restart_policy(spec.restart_policy),
        "Ulimits": [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in spec.ulimits],
        "Memory": spec.mem_limit,
        "MemoryReservation": spec.mem_reservation,
        "MemorySwap": spec.memswap_limit,
        "CpuPeriod": spec.cpu_period,
        "CpuQuota": spec.cpu_quota,
        "CpuShares": spec.cpu_shares,
        "CpusetCpus": spec.cpuset_cpus,
        "CpusetMems": spec.cpuset_mems,
        "BlkioWeight": spec.blkio_weight,
        "LogConfig": {"Type": spec.log_driver, "Config": dict(spec.log_opts)},
    }
    if spec.init:
        host["Init"] = True  # else the engine's own default
    if spec.shm_size is not None:
        host["ShmSize"] = spec.shm_size
    if spec.kernel_memory:
        host["KernelMemory"] = spec.kernel_memory  # engines since 23 do not know it
    if spec.pids_limit:
        host["PidsLimit"] = spec.pids_limit
    return host


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


def _ports(ports: tuple[str, ...]) -> dict[str, list[dict[str, str]]]:
    result: dict[str, list[dict[str, str]]] = {}
    for text in ports:
        address, outside = text.rpartition(":")[0].rpartition(":")[::2]
        result.setdefault(_inside(text), []).append({"HostIp": address.strip("[]"), "HostPort": outside})
    return result


def _inside(text: str) -> str:
    return text.rpartition(":")[2]


def _device(text: str) -> dict[str, str]:
    host, inside, permissions = text.split(":")
    return {"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": permissions}


def _restart_policy(text: str) -> dict[str, Any]:
    name, _, count = text.partition(":")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    if check.test[0] == "NONE":
        return {"Test": ["NONE"]}
    return {
        "Test": list(check.test),
        "Interval": round(check.interval * _NANOSECONDS),
        "Timeout": round(check.timeout * _NANOSECONDS),
        "StartPeriod": round(check.start_period * _NANOSECONDS),
        "Retries": check.retries,
    }
