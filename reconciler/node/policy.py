"""What a commit may ask of this host. The policy comes from the node's own settings, never from Git.

The table of options (`options/table.py`) says of each which settings grant it, or why none has to. What is granted by a setting
is judged by a rule of ROWS here; what the rule does not grant is denied.
"""

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from reconciler.model import (
    MAINTAINING,
    ONE_SHOTS,
    OURS,
    PRECHECKING,
    VALIDATING,
    Container,
    Desired,
    Mount,
    Volume,
    below,
    is_ours,
)
from reconciler.options.normal import normal
from reconciler.options.spelling import capabilities, device

ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """What containers may be given. The defaults let Kolla's services run and keep the host's own secrets apart.

    Paths are absolute; one stands for itself and for all below it. What `forbidden` names may be bound neither by itself
    nor through a folder above or below it, "/" only by itself. `exact` are single paths that may be bound all the same,
    `read_only` single paths that may be bound when the container cannot write there. "*" in a list allows any.
    `registries` are prefixes of image names. `config_roots` are the folders that this program writes in as root, and trusts: no container
    may change what lies directly in one, or put another in its place.
    """

    privileged: bool = True
    pid_host: bool = True
    ipc_host: bool = True
    cgroupns_host: bool = True
    ports: bool = True
    oom_score: bool = True  # the kernel may be told to kill others first when memory ends
    propagation: bool = True  # mounts made in the container show on the host
    shared_paths: bool = True  # a bind's way may lead through folders that containers or other users can write to
    networks: tuple[str, ...] = (ANY,)
    capabilities: tuple[str, ...] = (ANY,)
    security_opt: tuple[str, ...] = (ANY,)
    devices: tuple[str, ...] = ("/dev",)
    sysctls: tuple[str, ...] = (ANY,)
    ulimits: tuple[str, ...] = (ANY,)
    log_drivers: tuple[str, ...] = (ANY,)
    registries: tuple[str, ...] = (ANY,)
    volumes: tuple[str, ...] = (ANY,)
    binds: tuple[str, ...] = (
        "/dev", "/run", "/lib/modules", "/usr/lib/docker", "/var/lib", "/var/log", "/srv", "/mnt", "/opt",
    )  # fmt: skip
    # Kolla's compute and network services share the whole of /run, and with it what listens there.
    exact: tuple[str, ...] = (
        "/run", "/etc/localtime", "/etc/timezone", "/sys/fs/cgroup", "/sys/kernel/config",
    )  # fmt: skip
    read_only: tuple[str, ...] = ()
    # Of the host itself, outside of containers. A name that ends with a dot stands for all that begin with it.
    host_sysctls: tuple[str, ...] = (
        "net.", "vm.", "fs.aio-max-nr", "fs.file-max", "fs.inotify.", "kernel.pid_max",
    )  # fmt: skip
    host_modules: tuple[str, ...] = (
        "8021q", "bonding", "br_netfilter", "bridge", "configfs", "dm_multipath", "dm_snapshot", "dm_thin_pool", "ebtables", "geneve",
        "ip6_tables", "ip6table_nat", "ip_tables", "ip_vs", "ip_vs_rr", "ip_vs_sh", "ip_vs_wrr", "iptable_nat", "iscsi_tcp", "kvm",
        "kvm_amd", "kvm_intel", "macvtap", "nbd", "nf_conntrack", "nvme_fabrics", "nvme_rdma", "nvme_tcp", "openvswitch", "overlay",
        "rbd", "target_core_mod", "tap", "tun", "vfio_iommu_type1", "vfio_pci", "vhost_net", "vhost_vsock", "vxlan",
    )  # fmt: skip
    host_names: bool = True  # lines of /etc/hosts
    host_switches: bool = True  # bridges and ports of Open vSwitch
    host_files: tuple[str, ...] = (
        "/etc/udev/rules.d",
        "/usr/local/lib/kolla",
        "/etc/ceph/ceph.conf",
    )  # with what is below them
    config_roots: tuple[str, ...] = ("/etc/kolla",)
    # The engine's socket and data, our own state and keys, the host's configuration. Exporters that want /, /proc or
    # /sys need the host's consent: an `exact` entry in its settings.
    forbidden: tuple[str, ...] = (
        "/", "/etc", "/proc", "/sys", "/root", "/home", "/boot", "/usr/bin", "/var/lib/docker", "/var/lib/containerd",
        "/var/lib/reconciler", "/run/reconciler", "/run/docker.sock", "/run/docker", "/run/containerd", "/run/systemd",
    )  # fmt: skip


KOLLA: Final = HostPolicy()
# What a tightened host starts from: each further grant is a line in its settings.
STRICT: Final = HostPolicy(
    privileged=False, pid_host=False, ipc_host=False, cgroupns_host=False, ports=False, propagation=False,
    oom_score=False, shared_paths=False, networks=("bridge", "none"), capabilities=(), security_opt=("no-new-privileges",), devices=(),
    sysctls=(), ulimits=(), log_drivers=("json-file", "local", "none"), volumes=(), binds=(), exact=(),
    read_only=("/etc/localtime", "/etc/timezone"), host_sysctls=(), host_modules=(), host_names=False, host_switches=False,
    host_files=(),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Context:
    """What judging one container needs to know besides it.

    `config_root`: what lies below it came with the same commit and may be bound, but for this program's own names. `containers` are the site's own on
    this host, whose namespaces others of the site may share, `others` containers that somebody else made. `volumes` are the engine's,
    by name, as far as they are known. `writable` maps a path to the container that can write there and has no power over the host
    otherwise.
    """

    config_root: str = "/etc/kolla"
    containers: Collection[str] = ()
    others: Collection[str] = ()
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    writable: Mapping[str, str] = field(default_factory=dict)


Rule = Callable[[Container, HostPolicy, Context], Iterator[str]]


def check(
    container: Container,
    policy: HostPolicy,
    *,
    config_root: str = "/etc/kolla",
    context: Context | None = None,
    paths_only: bool = False,
) -> list[str]:
    """Why `container` may not run here, one text per reason; empty when it may. `paths_only`: judges PATHS alone.

    Paths are compared as they are written: `admission` compares them once more as the host resolves them.
    """
    asked = normal(container)
    context = context or Context(config_root)
    rules = [ROWS[options] for options in (PATHS if paths_only else ROWS)]
    return [reason for rule in rules for reason in rule(asked, policy, context)]


def context_of(desired: Desired, volumes: Mapping[str, Volume] | None = None, others: Collection[str] = ()) -> Context:
    """The context in which the containers and jobs of `desired` are judged; `others`: containers of this host that somebody else made."""
    parts = (*desired.containers, *(job.container for job in desired.jobs))
    writable = {
        canonical(mount.source): part.name
        for part in parts
        if not part.privileged  # who is root on the host anyway need not exchange a folder
        for mount in part.mounts
        if mount.source.startswith("/") and not mount.read_only
    }
    names = {c.name for c in desired.containers}
    return Context(desired.config_root, names, frozenset(others), volumes or {}, writable)


def root_denied(root: str, allowed: Iterable[str], kept_apart: Iterable[str]) -> str:
    """Why files may not be written below `root`, a folder that a commit chose; "" when they may.

    It has to be one of `allowed`, or directly in one, and neither hold nor lie in one of `kept_apart`. What lies deeper has a folder on
    the way that a container may have been given, which could put a link in its place while files are written.
    """
    problem = path_problem(root)
    if problem:
        return f"the site wants its files below {root!r}, which {problem}"
    allowed = tuple(path.rstrip("/") or "/" for path in allowed)
    if not any(below(root, path) for path in allowed):
        return (
            f"the site wants its files below {root}, and this host allows {', '.join(allowed)} (policy.config_roots in its "
            "settings)"
        )
    if any(is_ours(root, path) for path in allowed):
        return f"the site wants its files below {root}, and names there that begin with {OURS} are this program's own"
    if root not in allowed and posixpath.dirname(root) not in allowed:
        return (
            f"the site wants its files below {root}, which lies deeper than directly in {', '.join(allowed)}: containers may have "
            "folders on the way (name it in policy.config_roots in this host's settings)"
        )
    for path in kept_apart:
        if below(root, path) or below(path, root):
            return f"the site wants its files below {root}, and {path} is this program's own"
    return ""


def path_problem(path: str) -> str:
    """What is wrong with an absolute path of a folder for files, as a clause; "" when it is spelt in the one normal way."""
    if not path.startswith("/") or path.startswith("//"):
        return "is not an absolute path"
    if ".." in path.split("/"):
        return "leads upwards with '..'"
    if path == "/":
        return "is the root of the file system"
    if not path.isprintable():
        return "has characters that cannot be printed"
    if posixpath.normpath(path) != path:
        return f"is spelt otherwise than {posixpath.normpath(path)}"
    return ""


# --- the rows -----------------------------------------------------------------------------------------------------


def _privileged(asked: Container, policy: HostPolicy, _: Context) -> Iterator[str]:
    if asked.privileged and not policy.privileged:
        yield refusal("privileged", "privileged")


def _namespaces(asked: Container, policy: HostPolicy, context: Context) -> Iterator[str]:
    """Docker's modes for the pid, ipc and cgroup namespaces; what is not known here is denied."""
    modes = (
        ("pid_mode", asked.pid_mode, ("",), policy.pid_host),
        ("ipc_mode", asked.ipc_mode, ("", "none", "private", "shareable"), policy.ipc_host),
        ("cgroupns_mode", asked.cgroupns_mode, ("", "private"), policy.cgroupns_host),
    )
    for option, mode, harmless, host in modes:
        if mode == "host":
            if not host:
                yield refusal(f"{option} host", f"{option.removesuffix('_mode')}_host")
        elif mode not in harmless:
            yield from _shared(option, mode, context)


def _network(asked: Container, policy: HostPolicy, context: Context) -> Iterator[str]:
    mode = asked.network_mode
    if mode.startswith("container:"):
        yield from _shared("network_mode", mode, context)
    elif not granted(mode, policy.networks):
        yield refusal(f"network_mode {mode}", "networks")


def _shared(option: str, mode: str, context: Context) -> Iterator[str]:
    """Another container's namespace: only of one that the same commit describes, and that is judged itself, by what was made of it."""
    kind, _, name = mode.partition(":")
    if kind != "container" or name not in context.containers:
        yield f"{option} {mode} is not allowed on this host: only containers of the site may be named there"
    elif name in context.others:
        yield f"{option} {mode} is not allowed on this host: {name} was made by somebody else"


def _ports(asked: Container, policy: HostPolicy, _: Context) -> Iterator[str]:
    if asked.ports and not policy.ports:
        yield refusal(f"publishing ports ({', '.join(asked.ports)})", "ports")


def _capabilities(asked: Container, policy: HostPolicy, _: Context) -> Iterator[str]:
    allowed = policy.capabilities if ANY in policy.capabilities else capabilities(policy.capabilities)
    yield from (refusal(f"capability {name}", "capabilities") for name in asked.cap_add if not granted(name, allowed))


def _security(asked: Container, policy: HostPolicy, _: Context) -> Iterator[str]:
    """An allow-list: a seccomp profile that allows everything is as good as none, whatever it is called."""
    for text in asked.security_opt:
        if not granted(text, policy.security_opt):
            yield refusal(f"security_opt {text[:60]}", "security_opt")


def _devices(asked: Container, policy: HostPolicy, _: Context) -> Iterator[str]:
    for text in asked.devices:
        path = canonical(device(text).split(":")[0])
        if ANY not in policy.devices and not any(below(path, canonical(allowed)) for allowed in policy.devices):
            yield refusal(f"device {path}", "devices")


def _sysctls(asked: Container, policy: HostPolicy, _: Context) -> Iterator[str]:
    yield from (refusal(f"sysctl {name}", "sysctls") for name in asked.sysctls if not granted(name, policy.sysctls))


def _ulimits(asked: Container, policy: HostPolicy, _: Context) -> Iterator[str]:
    for limit in asked.ulimits:
        if not granted(limit.name, policy.ulimits):
            yield refusal(f"ulimit {limit.name}", "ulimits")


def _oom_score(asked: Container, policy: HostPolicy, _: Context) -> Iterator[str]:
    """Above 0 a container only offers itself."""
    if asked.oom_score_adj < 0 and not policy.oom_score:
        yield refusal(f"oom_score_adj {asked.oom_score_adj}", "oom_score")


def _logging(asked: Container, policy: HostPolicy, _: Context) -> Iterator[str]:
    """The engine itself opens what a log driver's options name: sockets, files, addresses."""
    if asked.log_driver and not granted(asked.log_driver, policy.log_drivers):
        yield refusal(f"log_driver {asked.log_driver}", "log_drivers")
    if asked.log_opts and not asked.log_driver and ANY not in policy.log_drivers:
        yield "log_opts without log_driver are not allowed on this host: name a driver of policy.log_drivers"


def _images(asked: Container, policy: HostPolicy, _: Context) -> Iterator[str]:
    if ANY not in policy.registries and not any(_of_registry(asked.image, name) for name in policy.registries):
        yield f"image {asked.image} is not from an allowed registry ({', '.join(policy.registries) or 'none is'})"


def _mounts(asked: Container, policy: HostPolicy, context: Context) -> Iterator[str]:
    for mount in asked.mounts:
        modes = set(mount.mode.split(","))
        if unknown := modes - _MODES - _HOSTWARD:
            yield f"mount {mount.source}: {', '.join(sorted(unknown))} is no mode that is known here"
        if modes & _HOSTWARD and not policy.propagation:
            yield refusal(f"mount {mount.source} with {', '.join(sorted(modes & _HOSTWARD))}", "propagation")
        if mount.source.startswith("/"):
            yield from _bind(mount.source, asked.name if "ro" in modes else None, policy, context)
        else:
            yield from _volume(mount, policy, context)


def _bind(source: str, reader: str | None, policy: HostPolicy, context: Context) -> Iterator[str]:
    """`reader`: the container that can only read there; None: it can write."""
    path, read_only = canonical(source), reader is not None
    roots = (context.config_root, *map(canonical, policy.config_roots))
    # A one-shot container reads the files that were laid out for it; no container of a commit may have such a name.
    one_shot = reader is not None and reader.startswith((VALIDATING, PRECHECKING, MAINTAINING))
    laid_out = one_shot and path.startswith(f"{context.config_root}/{ONE_SHOTS}/{reader}/")
    if any(is_ours(path, root) for root in roots) and not laid_out:
        yield (
            f"bind {source} is not allowed on this host: names at the top of a config root that begin with {OURS} are this program's own"
        )
        return
    if not policy.shared_paths:
        for folder, name in context.writable.items():
            if path != folder and below(path, folder):
                yield f"bind {source} is not allowed on this host: {name} can write to {folder}, and so exchange it"
    # Whoever can write where a config root lies, or directly in one, can put a link in the place of what is written there as root.
    held = () if read_only else tuple(root for root in roots if below(root, path))
    if below(path, context.config_root) and path != context.config_root and not held:
        return
    if path in map(canonical, policy.exact) or (read_only and path in map(canonical, policy.read_only)):
        return
    hit = next((bad for bad in (*policy.forbidden, *held, context.config_root) if _exposes(path, canonical(bad))), None)
    if hit is not None:
        yield f"bind {source} is not allowed on this host: it exposes {hit}"
    elif ANY not in policy.binds and not any(below(path, canonical(allowed)) for allowed in policy.binds):
        yield f"bind {source} is not below an allowed path ({', '.join(policy.binds) or 'none is'})"


def _volume(mount: Mount, policy: HostPolicy, context: Context) -> Iterator[str]:
    """A volume that is there already may be a bind, a device or a network share under a harmless name."""
    name = mount.source
    if not _VOLUME.fullmatch(name):
        yield f"volume {name!r} is no name of a volume and no absolute path"
        return
    found = context.volumes.get(name)
    if found is None or granted(name, tuple(n for n in policy.volumes if n != ANY)):
        return
    if found.driver != "local":
        if ANY not in policy.volumes:
            yield refusal(f"volume {name} of the driver {found.driver}", "volumes")
    elif where := found.options.get("device", ""):
        if where.startswith("/") and not where.startswith("//"):
            asked = Container("", "", devices=(where,)) if below(canonical(where), "/dev") else None
            yield from _devices(asked, policy, context) if asked else _bind(where, None, policy, context)
        elif ANY not in policy.volumes:
            yield refusal(f"volume {name}, which is {where} elsewhere,", "volumes")
    elif not found.owned and ANY not in policy.volumes:
        yield refusal(f"volume {name}, which was made by somebody else,", "volumes")


# Options that a setting has to grant → what judges them. The table says of each other option why it needs no grant.
ROWS: Final[Mapping[tuple[str, ...], Rule]] = {
    ("privileged",): _privileged,
    ("pid_mode", "ipc_mode", "cgroupns_mode"): _namespaces,
    ("network_mode",): _network,
    ("ports",): _ports,
    ("cap_add",): _capabilities,
    ("security_opt",): _security,
    ("devices",): _devices,
    ("sysctls",): _sysctls,
    ("ulimits",): _ulimits,
    ("oom_score_adj",): _oom_score,
    ("log_driver", "log_opts"): _logging,
    ("image",): _images,
    ("mounts",): _mounts,
}  # fmt: skip
PATHS: Final = (("devices",), ("mounts",))  # rows whose answer changes with what lies on the disk
_MODES: Final = frozenset({"ro", "rw", "z", "Z", "nocopy", "private", "slave", "rslave"})
_HOSTWARD: Final = frozenset({"shared", "rshared"})
_VOLUME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_ALIASES: Final = (("/var/run", "/run"), ("/var/lock", "/run/lock"), ("/usr/lib/modules", "/lib/modules"))


@lru_cache(4096)
def canonical(path: str) -> str:
    """Debian's and Red Hat's links in the file hierarchy: /var/run is /run, /usr/lib/modules is /lib/modules."""
    path = "/" + posixpath.normpath(path).lstrip("/")
    for alias, target in _ALIASES:
        if below(path, alias):
            return target + path.removeprefix(alias)
    return path


def granted(name: str, allowed: Collection[str]) -> bool:
    """Whether a list of the settings has a name."""
    return ANY in allowed or name in allowed


def refusal(what: str, setting: str) -> str:
    """The one wording of what a setting would have to grant."""
    return f"{what} is not allowed on this host (policy.{setting} in its settings)"


def _exposes(path: str, forbidden: str) -> bool:
    return path == forbidden or (forbidden != "/" and below(path, forbidden)) or below(forbidden, path)


def _of_registry(image: str, prefix: str) -> bool:
    return image.startswith(prefix.rstrip("/") + "/") or image == prefix
