"""What the engine would refuse, or make something else of, is refused here: with file and line, before anything is stopped.

One rule per option. What only a host can know (whether a device, a network or a CPU is there) is left to the engine.
"""

import ipaddress
import re
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from reconciler.options.spelling import security_options
from reconciler.options.table import LABEL_PREFIX, Options
from reconciler.options.values import Ulimit

Found = Iterator[tuple[str, str, str]]  # (key, what is wrong, what to do)

MOUNT_MODES: Final = frozenset(
    {"ro", "rw", "z", "Z", "nocopy", "consistent", "cached", "delegated"}
    | {"private", "rprivate", "shared", "rshared", "slave", "rslave"}
)
_PROPAGATION: Final = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
ULIMITS: Final = frozenset(
    ("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
     "rttime", "sigpending", "stack")
)  # fmt: skip
# capabilities(7)
CAPABILITIES: Final = frozenset(
    ("ALL", "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN",
     "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE",
     "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON",
     "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE",
     "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM")
)  # fmt: skip
# Of the namespaces that a container may have of its own: namespaces(7).
_IPC_SYSCTLS: Final = frozenset(
    ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
     "kernel.shm_rmid_forced")
)  # fmt: skip
_UTS_SYSCTLS: Final = frozenset(("kernel.domainname", "kernel.hostname"))
_SECURITY: Final = frozenset(("apparmor", "label", "no-new-privileges", "seccomp"))

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_CPUS: Final = re.compile(r"[0-9]{1,5}(?:-[0-9]{1,5})?(?:,[0-9]{1,5}(?:-[0-9]{1,5})?)*")
_POLICY: Final = re.compile(r"no|always|unless-stopped|on-failure(?::[0-9]{1,9})?")
_NETWORK: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_RESOLVER: Final = re.compile(r"[a-z][a-z0-9-]*(?::[0-9]{1,9})?")
_SYSCTL: Final = re.compile(r"[a-z0-9_-]+(?:\.[A-Za-z0-9_/-]+)+")
_REFERENCE: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/|\[[0-9a-fA-F:]+\](?::[0-9]+)?/)?"  # registry
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_PORT: Final = re.compile(
    r"(?:(?:(?P<v4>[0-9.]+)|\[(?P<v6>[0-9A-Fa-f:]+)\]):)?(?P<outside>[0-9]*):(?P<inside>[0-9]+)(?:/(?P<kind>tcp|udp|sctp))?"
)
_PLAIN_PORT: Final = re.compile(r"(?P<inside>[0-9]+)(?:/(?P<kind>tcp|udp|sctp))?")

_SMALLEST_MEMORY: Final = 6 << 20  # bytes; the engine's
_DAY: Final = 86_400.0  # seconds
_MOST_SHARES: Final = 262_144  # the kernel's


def check(made: Options) -> Found:
    """Everything in a container's options that could not be carried out as it stands."""
    for rule in RULES:
        yield from rule(made)


def _image(made: Options) -> Found:
    if made.image and not _REFERENCE.fullmatch(made.image):
        yield "image", f"{made.image!r} is not an image", "[registry/]name[:tag][@sha256:…], the name in lower case"


def _environment(made: Options) -> Found:
    for name, value in made.environment.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            yield (
                "environment",
                f"{name!r} cannot be the name of an environment variable",
                "leave out = and control characters",
            )


def _words(made: Options) -> Found:
    for key, words in (("command", made.command), ("entrypoint", made.entrypoint)):
        if any("\0" in word for word in words or ()):
            yield key, f"{key} holds a character that no command can hold", ""
    if made.entrypoint == () and not made.command:
        yield "entrypoint", "an empty entrypoint takes the image's command away as well", "say what it runs: command"


def _volumes(made: Options) -> Found:
    for mount in made.mounts:
        words = [word for word in mount.mode.split(",") if word]
        where = f"{mount.source}:{mount.target}"
        if unknown := sorted(set(words) - MOUNT_MODES):
            yield (
                "volumes",
                f"{where} has the unknown mode {unknown[0]!r}",
                f"one or more of {', '.join(sorted(MOUNT_MODES))}",
            )
        if {"ro", "rw"} <= set(words) or {"z", "Z"} <= set(words) or len(set(words) & _PROPAGATION) > 1:
            yield "volumes", f"{where} has modes that contradict each other: {mount.mode}", "keep one of them"
        if mount.source.startswith("/"):
            if "nocopy" in words:
                yield "volumes", f"{where} is no named volume, so nocopy means nothing", "leave it out"
        elif set(words) & _PROPAGATION:
            yield "volumes", f"{where} is a named volume, which has no propagation", "leave the mode out"
        if mount.target.strip("/") == "" or ".." in mount.target.split("/"):
            yield (
                "volumes",
                f"nothing can be mounted at {mount.target!r} in a container",
                "name a folder or file below /",
            )


def _tmpfs(made: Options) -> Found:
    targets = {mount.target.rstrip("/") for mount in made.mounts}
    for path in made.tmpfs:
        if not path.startswith("/") or not path.strip("/"):
            yield "tmpfs", f"tmpfs {path!r} is not an absolute path below /", "write /path or /path:options"
        elif path.rstrip("/") in targets:
            yield "tmpfs", f"tmpfs {path} and a volume have the same target", "remove one of them"


def _network(made: Options) -> Found:
    mode = made.network_mode
    if mode.startswith("container:"):
        given = {
            "hostname": made.hostname, "domainname": made.domainname, "dns": made.dns, "dns_search": made.dns_search,
            "dns_opt": made.dns_opt, "extra_hosts": made.extra_hosts, "ports": made.ports,
        }  # fmt: skip
        for key in (key for key, value in given.items() if value):
            yield key, f"{key} cannot be set in the network namespace of another container", "set it on that container"
    elif mode and not _NETWORK.fullmatch(mode):
        yield (
            "network_mode",
            f"{mode!r} is not a network mode",
            "host, bridge, none, container:NAME or a network of the engine",
        )
    if mode == "host" and made.ports:
        yield "ports", "ports are not published in the host's network", "leave ports out, or set network_mode: bridge"


def _namespaces(made: Options) -> Found:
    for key, mode, known in (
        ("pid_mode", made.pid_mode, ("", "host")),
        ("ipc_mode", made.ipc_mode, ("", "none", "private", "shareable", "host")),
        ("cgroupns_mode", made.cgroupns_mode, ("", "host", "private")),
    ):
        shares = mode.startswith("container:") and key != "cgroupns_mode"
        if mode not in known and not shares:
            words = ", ".join(word for word in known if word)
            yield key, f"{key} {mode!r} is not known", words + (" or container:NAME" if key != "cgroupns_mode" else "")
    if made.shm_size is not None and (made.ipc_mode.startswith(("container:", "host"))):
        yield "shm_size", "shm_size means nothing in an IPC namespace that is not the container's own", "leave it out"


def _ports(made: Options) -> Found:
    seen = set()
    for text in made.ports:
        match = _PORT.fullmatch(text) or _PLAIN_PORT.fullmatch(text)
        found = match.groupdict() if match else {}
        numbers = [int(found[key]) for key in ("outside", "inside") if found.get(key)]
        if not match or any(not 0 < number < 65536 for number in numbers) or not _is_address(found):
            hint = "[address:]port:port[/tcp|udp|sctp], an IPv6 address in brackets; a range as one line per port"
            yield "ports", f"{text!r} is not a published port", hint
            continue
        key = (found.get("v4") or found.get("v6"), found.get("outside"), found.get("kind") or "tcp")
        if found.get("outside") and key in seen:
            yield "ports", f"{text!r} publishes a port that is published already", "remove one of them"
        seen.add(key)


def _is_address(found: Mapping[str, str | None]) -> bool:
    text = found.get("v4") or found.get("v6")
    return text is None or _address(text)


def _dns(made: Options) -> Found:
    for text in made.dns:
        if not _address(text):
            yield "dns", f"{text!r} is not an IP address", "name servers are given by address"
    for text in made.dns_search:
        if text != "." and not _HOST_NAME.fullmatch(text.rstrip(".")):
            yield "dns_search", f"{text!r} is not a domain", "a name such as example.org"
    for text in made.dns_opt:
        if not _RESOLVER.fullmatch(text):
            yield "dns_opt", f"{text!r} is not an option of the resolver", "see resolv.conf(5): ndots:2, rotate …"


def _extra_hosts(made: Options) -> Found:
    for name, address in made.extra_hosts.items():
        if not _HOST_NAME.fullmatch(name):
            yield "extra_hosts", f"{name!r} is not a host name", ""
        wrong = [text for text in address.split() if not _address(text) and text != "host-gateway"]
        if wrong or not address.split():
            yield "extra_hosts", f"{name}: {' '.join(wrong)!r} is not an IP address", "an address, or host-gateway"


def _host_name(made: Options) -> Found:
    for key, text, most in (("hostname", made.hostname, 63), ("domainname", made.domainname, 63)):
        if text and (len(text) > most or not _HOST_NAME.fullmatch(text)):
            yield key, f"{key} {text!r} is not a host name", f"at most {most} letters, digits, '-' and '.'"


def _capabilities(made: Options) -> Found:
    for name in (*made.cap_add, *made.cap_drop):
        if name.upper().removeprefix("CAP_") not in CAPABILITIES:
            yield "cap_add", f"there is no capability {name!r}", "see capabilities(7)"


def _security(made: Options) -> Found:
    for text in security_options(made.security_opt, relaxed=False):
        name, _, value = text.partition("=")
        if name not in _SECURITY or (name != "no-new-privileges" and not value):
            yield (
                "security_opt",
                f"{text!r} is not a security option",
                "one of apparmor=, label=, no-new-privileges, seccomp=",
            )
        elif name == "seccomp" and value not in ("unconfined", "builtin") and not value.startswith("{"):
            yield (
                "security_opt",
                f"seccomp profile {value!r} cannot be read by the engine from here",
                "unconfined, builtin or the JSON itself",
            )


def _devices(made: Options) -> Found:
    for text in made.devices:
        parts = text.split(":")
        permissions = parts[-1] if len(parts) > 1 and not parts[-1].startswith("/") else "rwm"
        paths = [part for part in parts if part.startswith("/")]
        sound = 0 < len(paths) <= 2 and len(parts) <= 3 and parts[0].startswith("/")
        if (
            not sound
            or not permissions
            or set(permissions) - set("rwm")
            or len(paths) + (permissions in parts) != len(parts)
        ):
            yield "devices", f"{text!r} is not a device", "host[:container[:rwm]] with absolute paths"


def _restart(made: Options) -> Found:
    if made.restart_policy and not _POLICY.fullmatch(made.restart_policy):
        yield (
            "restart_policy",
            f"restart_policy {made.restart_policy!r} is not known",
            "no, always, unless-stopped or on-failure[:n]",
        )


def _stop(made: Options) -> Found:
    if made.stop_signal and not is_signal(made.stop_signal):
        yield "stop_signal", f"{made.stop_signal!r} is not a signal", "a name such as SIGTERM, or its number"
    if made.stop_timeout is not None and not 0 <= made.stop_timeout <= 1_000_000:
        yield "stop_timeout", f"stop_timeout {made.stop_timeout} is out of range", "seconds, 0 or more"


def is_signal(text: str) -> bool:
    """Whether Linux has a signal of this number or name, SIGRTMIN+n included."""
    if text.isascii() and text.isdigit():
        return 1 <= int(text[:4]) <= 64
    name = text.upper().removeprefix("SIG")
    if match := re.fullmatch(r"RT(MIN\+|MAX-)([0-9]{1,2})", name):
        return 0 < int(match[2]) <= 15 if match[1] == "MIN+" else 0 < int(match[2]) <= 14
    return f"SIG{name}" in signal.Signals.__members__


def _memory(made: Options) -> Found:
    for key in ("mem_limit", "mem_reservation"):
        value = getattr(made, key)
        if 0 < value < _SMALLEST_MEMORY:
            yield (
                "dimensions",
                f"{key} {value} is less than the 6 MiB that the engine allows",
                "6m or more; 0: no limit",
            )
    if 0 < made.mem_limit < made.mem_reservation:
        yield "dimensions", "mem_reservation is more than mem_limit", "make it smaller"
    if made.memswap_limit not in (0, -1):
        if made.mem_limit <= 0:
            yield "dimensions", "memswap_limit needs a mem_limit", "it counts memory and swap together"
        elif made.memswap_limit < made.mem_limit:
            yield (
                "dimensions",
                "memswap_limit is less than mem_limit",
                "it counts memory and swap together; -1: any amount of swap",
            )
    if made.shm_size is not None and made.shm_size <= 0:
        yield (
            "shm_size",
            f"shm_size {made.shm_size} would be taken for the engine's default",
            "a size of more than 0, or leave it out",
        )


def _killer(made: Options) -> Found:
    if not -1000 <= made.oom_score_adj <= 1000:
        yield (
            "oom_score_adj",
            f"oom_score_adj {made.oom_score_adj} is out of range",
            "-1000 to 1000; 0: as every process",
        )


def _processor(made: Options) -> Found:
    for key, low, high in (
        ("cpu_shares", 2, _MOST_SHARES),
        ("cpu_period", 1000, 1_000_000),
        ("cpu_quota", 1000, 1 << 53),
        ("blkio_weight", 10, 1000),
    ):
        value = getattr(made, key)
        if value > 0 and not low <= value <= high:
            yield "dimensions", f"{key} {value} is out of range", f"{low} to {high}; 0: the default"
        if value < (-1 if key == "cpu_quota" else 0):
            yield "dimensions", f"{key} {value} is out of range", "0: the default"
    for key in ("cpuset_cpus", "cpuset_mems"):
        text = getattr(made, key)
        if text and not (_CPUS.fullmatch(text) and all(map(_rises, text.split(",")))):
            yield "dimensions", f"{key} {text!r} is not a set", "numbers and ranges such as 0-2,7"
    if made.pids_limit < -1:
        yield "pids_limit", f"pids_limit {made.pids_limit} is out of range", "a number of processes; 0: no limit"


def _rises(text: str) -> bool:
    low, _, high = text.partition("-")
    return not high or int(low) <= int(high)


def _ulimits(made: Options) -> Found:
    for limit in made.ulimits:
        if limit.name.lower() not in ULIMITS:
            yield "dimensions", f"there is no limit {limit.name!r}", f"one of {', '.join(sorted(ULIMITS))}"
        elif limit.soft < -1 or limit.hard < -1 or _above(limit):
            yield "dimensions", f"the soft limit {limit.name} is above the hard one, or below -1", "-1 is unlimited"


def _above(limit: Ulimit) -> bool:
    return limit.hard != -1 and (limit.soft == -1 or limit.soft > limit.hard)


def _sysctls(made: Options) -> Found:
    for name in made.sysctls:
        if not _SYSCTL.fullmatch(name):
            yield "sysctls", f"{name!r} is not a kernel parameter", "written with dots: net.core.somaxconn"
        elif name.startswith("net."):
            if made.network_mode == "host" or made.network_mode.startswith("container:"):
                yield (
                    "sysctls",
                    f"{name} belongs to a network namespace that is not the container's own",
                    "set it on the host",
                )
        elif name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
            if made.ipc_mode == "host" or made.ipc_mode.startswith("container:"):
                yield (
                    "sysctls",
                    f"{name} belongs to an IPC namespace that is not the container's own",
                    "set it on the host",
                )
        elif name not in _UTS_SYSCTLS or name == "kernel.hostname":
            yield "sysctls", f"{name} is the whole host's, no container has one of its own", "set it on the host"


def _healthcheck(made: Options) -> Found:
    check = made.healthcheck
    if check is None or check.test[:1] == ("NONE",):
        return
    if len(check.test) < 2 or (check.test[0] == "CMD-SHELL" and len(check.test) != 2):
        yield (
            "healthcheck",
            "the test of a health check needs a command",
            "CMD and its words, or CMD-SHELL and one text",
        )
    for key in ("interval", "timeout"):
        if not 0.001 <= getattr(check, key) <= _DAY:
            yield (
                "healthcheck",
                f"{key} of a health check must be between 1 ms and a day",
                "leave it out for the engine's 30 s",
            )
    if not (check.start_period == 0 or 0.001 <= check.start_period <= _DAY):
        yield "healthcheck", "start_period of a health check must be 0, or between 1 ms and a day", ""
    if not 1 <= check.retries <= 1_000_000:
        yield "healthcheck", "retries of a health check must be 1 or more", "leave it out for the engine's 3"


def _labels(made: Options) -> Found:
    for name in made.labels:
        if not name or name.startswith(LABEL_PREFIX):
            yield "labels", f"{name!r} cannot be a label of a site", f"labels of the program begin with {LABEL_PREFIX}"


def _user(made: Options) -> Found:
    if made.user and not re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*(?::[A-Za-z0-9_.][A-Za-z0-9_.-]*)?", made.user):
        yield "user", f"{made.user!r} is not a user", "name or number, [:group]"
    if any(not group.strip() or ":" in group for group in made.group_add):
        yield "group_add", "group_add names groups or their numbers", ""


def _working_dir(made: Options) -> Found:
    if made.working_dir and not made.working_dir.startswith("/"):
        yield "working_dir", f"working_dir {made.working_dir!r} is not absolute", "begin with /"


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def guests(hosts: Collection[str], made: Options, shared: tuple[str, ...]) -> Found:
    """What is wrong with sharing the namespaces of the containers `shared`, where `hosts` are on this host."""
    for name in shared:
        if name == made.name:
            yield "network_mode", "a container cannot share a namespace with itself", ""
        elif name not in hosts:
            yield (
                "network_mode",
                f"there is no container {name!r} on this host whose namespace it could share",
                "name one of this site",
            )


RULES: Final[tuple[Callable[[Options], Found], ...]] = (
    _image,
    _environment,
    _words,
    _volumes,
    _tmpfs,
    _network,
    _namespaces,
    _ports,
    _dns,
    _extra_hosts,
    _host_name,
    _capabilities,
    _security,
    _devices,
    _restart,
    _stop,
    _memory,
    _killer,
    _processor,
    _ulimits,
    _sysctls,
    _healthcheck,
    _labels,
    _user,
    _working_dir,
)
