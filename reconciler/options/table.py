"""The options of a container, one row each: everything that the program knows of an option is in its row.

A new option is a new row. From the rows come the grammar of service.yml (`schema.py`), how it is read (`render/containers.py`),
the create and update requests (`requests.py`), what `inspect` says (`inspected.py`), the comparison and the action that a
difference needs (`plan/differences.py`), who may ask for it (`node/policy.py`) and the reference for people.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from reconciler.options import spelling, wire
from reconciler.options.values import Healthcheck, Mount, Ulimit

LABEL_PREFIX: Final = "io.reconciler."

# The engine's own defaults, which mean the same spelt out.
_STOP_SECONDS: Final = 10
_CPU_SHARES: Final = 1024
CPU_PERIOD: Final = 100_000  # microseconds

_CLOCKS: Final = ("/etc/localtime", "/etc/timezone")  # what every container may read
_OWN_LOGS: Final = ("json-file", "local", "none")


class Kind(StrEnum):
    """What a value of service.yml is. OWN: something that only this option has, read by a function of its own."""

    TEXT = "text"
    FLAG = "true or false"
    INTEGER = "integer"
    SIZE = "size"
    TEXTS = "list of texts"
    SCALARS = "mapping"
    COMMAND = "command"
    OWN = ""


class Change(StrEnum):
    """What has to be done to a running container whose option differs."""

    UPDATE = "update"  # the engine changes it in the container that stays
    REPLACE = "replace"  # it needs a new container


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One row.

    `key` is its path in service.yml, `schema` what its grammar says beyond its kind, `form` how its values look where the kind
    does not tell. `at` is its place in the engine's JSON, where `write` puts it (None: not sent) and from where `read` takes it;
    `also` are further places. `spell` brings a value into its normal spelling; it sees the whole container. `inherits` names what
    an image says of it, `bare` is what counts where the image says nothing either.

    `change` is the action that a difference needs. `lift` is what an update sends for "no longer set", given the container and
    the engine's number of CPUs; without it, lifting needs a new container. `kernel` is the word of the engine's `/info` for whether its kernel
    can do it; `droppable`: an engine whose kernel cannot leaves it out without a word. `filled`: the engine fills it in where it is left open.

    `namespace`: its value may name another container, by its id in the engine's JSON.

    Either `granted_by` names the settings of the host policy that grant it, or `harmless` says why none has to. Of what is granted, `power`
    says what of a value a strict host's settings would have to grant, entry by entry, given the value and the container; without it that is
    the value, whatever it is (`options/powers.py`).
    `entries`: the value is compared entry by entry.
    """

    kind: Kind
    doc: str
    at: str
    name: str = ""  # of the field
    key: str = ""
    form: str = ""
    schema: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    of_jobs: bool = True  # whether a job may say it
    spell: Callable[[Any, Any], Any] | None = None
    write: Callable[[Any], Any] | None = None
    also: Mapping[str, Callable[[Any], Any]] = dataclasses.field(default_factory=dict)
    read: Callable[[Any], Any] | None = None
    inherits: str = ""
    bare: Any = None
    change: Change = Change.REPLACE
    lift: Callable[[Any, int], Any] | None = None
    kernel: str = ""
    droppable: bool = False
    filled: bool = False
    namespace: bool = False
    granted_by: tuple[str, ...] = ()
    harmless: str = ""
    power: Callable[[Any, Any], Iterable[str]] | None = None
    entries: Callable[[Any], Mapping[str, str]] | None = None
    default: Any = None


def _row(kind: Kind, at: str, doc: str, **more: Any) -> Any:
    return {"option": Option(kind=kind, at=at, doc=doc, **more)}


def _option(default: Any, kind: Kind, at: str, doc: str, **more: Any) -> Any:
    metadata = _row(kind, at, doc, **more)
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


def _limit(doc: str, at: str, kind: Kind = Kind.INTEGER, default: Any = 0, **more: Any) -> Any:
    """One of Kolla's `dimensions`; key is filled in from the field's name."""
    more = {"harmless": "takes away", "droppable": True, "key": "dimensions.", **more}
    return _option(default, kind, f"HostConfig.{at}", doc, **more)


def _normal(function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """A spelling that needs nothing but the value."""
    return lambda value, _: function(value)


def _but(*harmless: str) -> Callable[[Any, Any], Iterable[str]]:
    """The power of a word: any but these."""
    return lambda value, _: () if value in harmless else (value,)


def _reaches(mounts: tuple[Mount, ...], _: Any) -> Iterable[str]:
    """The host's paths, how they are reached where that is less than reading and writing, and what shows on the host."""
    for mount in mounts:
        modes = mount.mode.split(",")
        shared, read_only = bool({"shared", "rshared"} & {*modes}), mount.read_only
        path = mount.source.startswith("/")
        if shared or (path and not (read_only and mount.source in _CLOCKS)):
            yield mount.source + (":ro" if path and read_only else "") + (":shared" if shared else "")


def _logged_elsewhere(options: Mapping[str, str], container: Any) -> Iterable[str]:
    """What the driver opens; one that writes files of its own opens nothing else."""
    return () if container.log_driver in _OWN_LOGS else options


def _sorted(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def _at_least_0(value: int) -> int:
    return max(value, 0)


def _default_is(number: int, unset: int | None) -> Callable[[Any, Any], Any]:
    return lambda value, _: unset if value == number else value


def _swap(value: int, container: Any) -> int:
    """0 is the engine's default: as much swap as memory, or any where memory has no limit."""
    memory = spelling.memory(container.mem_limit)
    return 0 if value == (2 * memory or -1) else value


def _relaxed(container: Any) -> bool:
    """Whether the engine adds `label=disable` by itself."""
    return bool(container.privileged or container.pid_mode == "host" or container.ipc_mode == "host")


def _mount_entries(mounts: tuple[Mount, ...]) -> Mapping[str, str]:
    return {mount.target: f"{mount.source}:{mount.mode}" for mount in mounts}


def _ulimit_entries(limits: tuple[Ulimit, ...]) -> Mapping[str, str]:
    return {limit.name: f"{limit.soft}:{limit.hard}" for limit in limits}


@dataclass(frozen=True, slots=True)
class Options:
    """What the engine is asked for. `None` in what an image may say means: as the image has it.

    `name` is no option: it is what the container is called.
    """

    name: str
    image: str = field(
        metadata=_row(
            Kind.OWN, "Image", "Image with registry and tag.", form="text", granted_by=("registries",),
            power=lambda *_: (),  # of itself it has none; a review tells those from elsewhere
            schema={"type": "string", "minLength": 1},
        )
    )  # fmt: skip
    command: tuple[str, ...] | None = _option(
        None, Kind.OWN, "Cmd", "What it runs.", form="command", write=wire.command, inherits="command",
        schema={"$ref": "#/$defs/optional_command"}, spell=_normal(wire.if_set),
        harmless="runs inside, with what the other options give",
    )  # fmt: skip
    entrypoint: tuple[str, ...] | None = _option(
        None, Kind.OWN, "Entrypoint", "Instead of the image's.", form="command", write=wire.entrypoint, inherits="entrypoint",
        schema={"$ref": "#/$defs/optional_command"}, harmless="as command",
    )  # fmt: skip
    environment: Mapping[str, str] = _option(
        {}, Kind.OWN, "Env", "Environment variables; null stays set and empty.", form="mapping", write=wire.environment,
        read=wire.read_environment, schema={"$ref": "#/$defs/scalars"}, harmless="read inside",
    )  # fmt: skip
    user: str | None = _option(
        None, Kind.TEXT, "User", "User in the container.", inherits="user", bare="",
        harmless="root inside is the default, with what the other options give",
    )  # fmt: skip
    working_dir: str | None = _option(
        None, Kind.TEXT, "WorkingDir", "Working directory.", inherits="working_dir", bare="/",
        spell=lambda text, _: spelling.path(text) if text else None, harmless="inside",
    )  # fmt: skip
    hostname: str | None = _option(
        None, Kind.TEXT, "Hostname", "Host name in the container.", filled=True,
        harmless="of a namespace of its own, the host's stays",
    )  # fmt: skip
    domainname: str | None = _option(
        None, Kind.TEXT, "Domainname", "Domain name in the container.", filled=True, harmless="as hostname",
    )  # fmt: skip
    mounts: tuple[Mount, ...] = _option(
        (), Kind.OWN, "HostConfig", "source:target[:mode]; empty texts are dropped.", key="volumes", form="list of texts",
        schema={"$ref": "#/$defs/texts"}, spell=_normal(spelling.mounts), write=lambda _: None, read=wire.read_mounts,
        also={"HostConfig.Binds": wire.binds, "HostConfig.Mounts": wire.checked_mounts}, entries=_mount_entries,
        granted_by=("binds", "exact", "read_only", "volumes", "propagation", "shared_paths"), power=_reaches,
    )  # fmt: skip
    tmpfs: Mapping[str, str] = _option(
        {}, Kind.OWN, "HostConfig.Tmpfs", "path[:options]; empty texts are dropped.", form="list of texts",
        schema={"type": ["array", "object"], "items": {"type": "string"}}, spell=_normal(spelling.paths), entries=dict,
        harmless="memory that counts as the container's; devices in it stay closed to it",
    )  # fmt: skip
    network_mode: str = _option(
        "host", Kind.TEXT, "HostConfig.NetworkMode",
        "Docker's network mode: host (default), bridge, none, a network of the engine, or container:NAME to share that container's; "
        "then it follows that one's restarts.",
        spell=_normal(spelling.network_mode), namespace=True, granted_by=("networks",), power=_but("bridge", "none"),
    )  # fmt: skip
    ports: tuple[str, ...] = _option(
        (), Kind.TEXTS, "HostConfig.PortBindings", "Published ports: [address:]host:container[/protocol].",
        spell=_normal(lambda ports: tuple(sorted(map(spelling.port, ports)))), write=wire.port_bindings, read=wire.read_ports,
        also={"ExposedPorts": wire.exposed_ports}, granted_by=("ports",),
    )  # fmt: skip
    dns: tuple[str, ...] = _option(
        (), Kind.TEXTS, "HostConfig.Dns", "Name servers.", harmless="written into a file inside",
    )  # fmt: skip
    dns_search: tuple[str, ...] = _option(
        (), Kind.TEXTS, "HostConfig.DnsSearch", "Domains in which short names are looked for.",
        harmless="written into a file inside",
    )  # fmt: skip
    dns_opt: tuple[str, ...] = _option(
        (), Kind.TEXTS, "HostConfig.DnsOptions", "Options of the resolver, as in resolv.conf.",
        harmless="written into a file inside",
    )  # fmt: skip
    extra_hosts: Mapping[str, str] = _option(
        {}, Kind.OWN, "HostConfig.ExtraHosts",  # name → addresses with a space between them
        "Lines for /etc/hosts: name → address (or several with a space between them), or a list of name:address.",
        form="mapping", write=wire.extra_hosts, read=wire.read_extra_hosts, entries=dict, harmless="written into a file inside",
        schema={"type": ["object", "array"], "items": {"type": "string"}, "additionalProperties": {"type": "string"}},
        spell=_normal(lambda hosts: {name: " ".join(text.split()) for name, text in hosts.items()}),
    )  # fmt: skip
    privileged: bool = _option(
        False, Kind.FLAG, "HostConfig.Privileged", "All privileges; the node's own policy must allow it.",
        granted_by=("privileged",),
    )  # fmt: skip
    cap_add: tuple[str, ...] = _option(
        (), Kind.TEXTS, "HostConfig.CapAdd", "Capabilities beyond Docker's default.", spell=_normal(spelling.capabilities),
        granted_by=("capabilities",),
    )  # fmt: skip
    cap_drop: tuple[str, ...] = _option(
        (), Kind.TEXTS, "HostConfig.CapDrop", "Capabilities to take away.", spell=_normal(spelling.capabilities),
        harmless="takes away",
    )  # fmt: skip
    security_opt: tuple[str, ...] = _option(
        (), Kind.TEXTS, "HostConfig.SecurityOpt", "Docker's security options.", granted_by=("security_opt",),
        spell=lambda given, container: spelling.security_options(given, relaxed=_relaxed(container)),
        power=lambda given, _: (text for text in given if text != "no-new-privileges"),
    )  # fmt: skip
    devices: tuple[str, ...] = _option(
        (), Kind.TEXTS, "HostConfig.Devices", "host[:container[:rwm]].", write=wire.devices, read=wire.read_devices,
        spell=_normal(lambda given: tuple(sorted(map(spelling.device, given)))), granted_by=("devices",),
    )  # fmt: skip
    pid_mode: str = _option(
        "", Kind.TEXT, "HostConfig.PidMode", "host, container:NAME, or empty.", namespace=True, granted_by=("pid_host",), power=_but(""),
    )  # fmt: skip
    ipc_mode: str = _option(
        "", Kind.TEXT, "HostConfig.IpcMode", "host, private, shareable, none, container:NAME or empty.", write=wire.private,
        spell=_normal(lambda mode: "" if mode == "private" else mode), namespace=True, granted_by=("ipc_host",),
        power=_but("", "none", "private", "shareable"),
    )  # fmt: skip
    cgroupns_mode: str = _option(
        "", Kind.TEXT, "HostConfig.CgroupnsMode", "host, private or empty.", filled=True, granted_by=("cgroupns_host",),
        power=_but("", "private"),
    )  # fmt: skip
    init: bool = _option(
        False, Kind.FLAG, "HostConfig.Init", "An init process that reaps.", write=wire.if_set,
        harmless="the engine's own program, inside",
    )  # fmt: skip
    tty: bool = _option(
        False, Kind.FLAG, "Tty", "A terminal for the first process.", harmless="a terminal of its own, inside",
    )  # fmt: skip
    stdin_open: bool = _option(
        False, Kind.FLAG, "OpenStdin", "Keep the first process's standard input open.", harmless="nobody writes to it",
    )  # fmt: skip
    read_only: bool = _option(
        False, Kind.FLAG, "HostConfig.ReadonlyRootfs", "Root file system read-only.", harmless="takes away",
    )  # fmt: skip
    shm_size: int | None = _option(  # bytes
        None, Kind.SIZE, "HostConfig.ShmSize", "Size of /dev/shm.", filled=True, harmless="memory that counts as the container's",
    )  # fmt: skip
    sysctls: Mapping[str, str] = _option(
        {}, Kind.SCALARS, "HostConfig.Sysctls", "Kernel parameters of its namespaces.", entries=dict, granted_by=("sysctls",),
    )  # fmt: skip
    group_add: tuple[str, ...] = _option(
        (), Kind.TEXTS, "HostConfig.GroupAdd", "More groups for the user.", spell=_normal(_sorted),
        schema={"type": "array", "items": {"type": ["string", "integer"]}},
        harmless="groups inside; root inside has more already",
    )  # fmt: skip
    restart_policy: str = _option(
        "unless-stopped", Kind.TEXT, "HostConfig.RestartPolicy",
        "Docker's restart policy: no, always, unless-stopped (default), on-failure[:n].",
        schema={
            "type": "string", "pattern": "^(no|always|unless-stopped|on-failure(:[0-9]+)?)$",
            "x-expects": "no, always, unless-stopped or on-failure[:n]",
        },
        spell=_normal(spelling.restart_policy), write=wire.restart_policy, read=wire.read_restart_policy,
        change=Change.UPDATE, of_jobs=False, harmless="of the container itself",
    )  # fmt: skip
    stop_signal: str | None = _option(
        None, Kind.TEXT, "StopSignal", "Signal that ends it.", inherits="stop_signal", bare="SIGTERM", read=wire.read_signal,
        spell=lambda text, _: spelling.signal_name(text) if text else None, harmless="sent to the container itself",
    )  # fmt: skip
    stop_timeout: int | None = _option(  # seconds
        None, Kind.INTEGER, "StopTimeout", "Seconds until it is killed.", schema={"type": "integer", "minimum": 0},
        spell=_default_is(_STOP_SECONDS, None), harmless="of the container itself",
    )  # fmt: skip
    oom_score_adj: int = _option(
        0, Kind.INTEGER, "HostConfig.OomScoreAdj",
        "Whom the kernel kills first when memory ends: -1000 (never it) to 1000; below 0 the node's own policy must allow it.",
        schema={"type": "integer", "minimum": -1000, "maximum": 1000}, granted_by=("oom_score",),
        power=lambda score, _: ("below 0",) if score < 0 else (),
    )  # fmt: skip
    ulimits: tuple[Ulimit, ...] = _option(
        (), Kind.OWN, "HostConfig.Ulimits", "Resource limits by name.", key="dimensions.ulimits", form="mapping",
        spell=_normal(spelling.ulimits), write=wire.ulimits, read=wire.read_ulimits, entries=_ulimit_entries,
        granted_by=("ulimits",), power=lambda limits, _: (limit.name for limit in limits),
        schema={
            "type": "object",
            "additionalProperties": {
                "description": "Soft and hard limit; -1 is unlimited.", "type": "object", "additionalProperties": False,
                "required": ["soft", "hard"],
                "properties": {
                    "soft": {"description": "Soft limit.", "type": "integer"},
                    "hard": {"description": "Hard limit.", "type": "integer"},
                },
            },
        },
    )  # fmt: skip
    # Bytes; 0 is unlimited, as in all limits.
    mem_limit: int = _limit(
        "Most memory.", "Memory", Kind.SIZE, spell=_normal(spelling.memory), kernel="MemoryLimit", change=Change.UPDATE,
        lift=lambda _, __: spelling.NO_MEMORY_LIMIT,
    )  # fmt: skip
    # Not lifted: what takes a reservation away in the first version of cgroups reserves everything in the second.
    mem_reservation: int = _limit(
        "Memory that is kept for it.", "MemoryReservation", Kind.SIZE, spell=_normal(spelling.memory), kernel="MemoryLimit",
        change=Change.UPDATE,
    )  # fmt: skip
    memswap_limit: int = _limit(
        "Most memory and swap together.", "MemorySwap", Kind.SIZE, spell=_swap, kernel="SwapLimit", change=Change.UPDATE,
        lift=lambda container, _: 2 * spelling.memory(container.mem_limit) or -1,
    )  # fmt: skip
    cpu_period: int = _limit(
        "Length of a CPU period in microseconds.", "CpuPeriod", spell=_default_is(CPU_PERIOD, 0), kernel="CpuCfsPeriod",
        change=Change.UPDATE, lift=lambda _, __: CPU_PERIOD,
    )  # fmt: skip
    cpu_quota: int = _limit(
        "CPU time per period in microseconds.", "CpuQuota", spell=_normal(_at_least_0), kernel="CpuCfsQuota",
        change=Change.UPDATE, lift=lambda _, __: -1,
    )  # fmt: skip
    cpu_shares: int = _limit(
        "Weight among containers.", "CpuShares", spell=_default_is(_CPU_SHARES, 0), kernel="CPUShares", change=Change.UPDATE,
        lift=lambda _, __: _CPU_SHARES, harmless="a weight among containers",
    )  # fmt: skip
    cpuset_cpus: str = _limit(
        "CPUs it may use: 0-2,7.", "CpusetCpus", Kind.TEXT, "", kernel="CPUSet", change=Change.UPDATE, droppable=False,
        lift=lambda _, cpus: spelling.all_cpus(cpus),
    )  # fmt: skip
    cpuset_mems: str = _limit(
        "Memory nodes it may use.", "CpusetMems", Kind.TEXT, "", kernel="CPUSet", change=Change.UPDATE, droppable=False,
    )  # fmt: skip
    kernel_memory: int = _limit(
        "Most memory of the kernel.", "KernelMemory", Kind.SIZE, spell=_normal(_at_least_0), kernel="KernelMemory",
        write=wire.if_set,  # engines since 23 do not know it
    )  # fmt: skip
    blkio_weight: int = _limit(
        "Weight of its block I/O, 10 to 1000.", "BlkioWeight", change=Change.UPDATE, harmless="a weight among containers",
    )  # fmt: skip
    pids_limit: int = _option(
        0, Kind.INTEGER, "HostConfig.PidsLimit", "Most processes; 0: no limit.", spell=_normal(_at_least_0), kernel="PidsLimit",
        droppable=True, change=Change.UPDATE, lift=lambda _, __: -1, write=wire.if_set, harmless="takes away",
    )  # fmt: skip
    log_driver: str = _option(
        "", Kind.TEXT, "HostConfig.LogConfig.Type", "Docker's log driver; default the engine's.", filled=True,
        granted_by=("log_drivers",), power=_but("", *_OWN_LOGS),
    )  # fmt: skip
    log_opts: Mapping[str, str] = _option(
        {}, Kind.SCALARS, "HostConfig.LogConfig.Config", "Its options.", entries=dict, granted_by=("log_drivers",),
        power=_logged_elsewhere,
    )  # fmt: skip
    healthcheck: Healthcheck | None = _option(  # noqa: RUF009 - what it gives is a field
        None, Kind.OWN, "Healthcheck", "Docker's health check: test, interval, timeout, retries, start_period.", form="mapping",
        schema={"$ref": "#/$defs/healthcheck"}, spell=_normal(spelling.healthcheck), write=wire.healthcheck,
        inherits="healthcheck", of_jobs=False, harmless="runs inside",
    )  # fmt: skip
    labels: Mapping[str, str] = _option(
        {}, Kind.SCALARS, "Labels", "Labels beyond the program's own.",
        spell=_normal(lambda labels: {k: v for k, v in labels.items() if not k.startswith(LABEL_PREFIX)}),
        harmless="read by people; this program's own cannot be set",
    )  # fmt: skip


def _named(entry: "dataclasses.Field[Any]") -> Option:
    row: Option = entry.metadata["option"]
    key = f"{row.key}{entry.name}" if row.key.endswith(".") or not row.key else row.key
    if entry.default_factory is not dataclasses.MISSING:
        default = entry.default_factory()
    else:
        default = None if entry.default is dataclasses.MISSING else entry.default
    return dataclasses.replace(row, name=entry.name, key=key, default=default)


TABLE: Final[Mapping[str, Option]] = {
    entry.name: _named(entry) for entry in dataclasses.fields(Options) if "option" in entry.metadata
}

# Words of other tools that a container of service.yml does not have, and what to do instead.
REFUSED: Final[Mapping[str, str]] = {
    "volumes_from": "name the same volumes in both containers: what a container can reach is in its own words, where the host judges it",
    "links": "containers find each other by address: use network_mode and extra_hosts",
    "cpus": "as dimensions: cpu_quota, microseconds of each 100000 (half a CPU is 50000)",
    "gpus": "name the devices themselves under devices",
    "device_cgroup_rules": "name the devices themselves under devices: the host judges them by their paths",
    "runtime": "the engine's default-runtime in its daemon.json says it for a host",
    "userns_mode": "the engine's userns-remap in its daemon.json says it for a host; privileged containers leave it",
    "uts": "a container has its own host name: hostname",
    "cgroup_parent": "the engine's cgroup-parent in its daemon.json says it for a host",
    "oom_kill_disable": "a container that cannot be killed stops a host whose memory ended: use oom_score_adj",
    "state": "a container that is described runs; enabled: false takes it away",
    "detach": "every container is detached; what ends by itself is a job",
    "remove_on_exit": "what ends by itself is a job, and is removed",
    "graceful_timeout": "stop_timeout, in seconds",
    "restart_retries": "restart_policy: on-failure:n",
    "client_timeout": "how long the engine may take is the node's own affair: engine.timeout in its settings",
    "container_engine": "the engine is the node's own affair: engine.url in its settings",
}  # fmt: skip
