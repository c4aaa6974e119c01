"""What a commit may ask of this host. The policy comes from the node's own settings, never from Git."""

import posixpath
from dataclasses import dataclass

from reconciler.model import Container, Desired
from reconciler.normal import capabilities, device, normal

ANY = "*"


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """What containers may be given. The defaults let Kolla's services run and keep the host's own secrets apart.

    Paths are absolute; one stands for itself and for all below it. What `forbidden` names may be bound neither by itself
    nor through a folder above or below it, "/" only by itself. `exact` are single paths that may be bound all the same.
    "*" in `binds`, `devices` and `capabilities` allows any. `registries` are prefixes of image names; none: any registry.
    """

    privileged: bool = True
    host_pid: bool = True
    host_ipc: bool = True
    unconfined: bool = True  # security_opt that switches seccomp, AppArmor or labels off
    capabilities: tuple[str, ...] = (ANY,)
    devices: tuple[str, ...] = ("/dev",)
    registries: tuple[str, ...] = ()
    binds: tuple[str, ...] = (
        "/dev", "/run", "/lib/modules", "/usr/lib/docker", "/var/lib", "/var/log", "/srv", "/mnt", "/opt",
    )  # fmt: skip
    # Kolla's compute and network services share the whole of /run, and with it what listens there.
    exact: tuple[str, ...] = (
        "/run", "/etc/localtime", "/etc/timezone", "/sys/fs/cgroup", "/sys/kernel/config",
    )  # fmt: skip
    # The engine's socket and data, our own state and keys, the host's configuration. Exporters that want /, /proc or
    # /sys need the host's consent: an `exact` entry in its settings.
    forbidden: tuple[str, ...] = (
        "/", "/etc", "/proc", "/sys", "/root", "/home", "/boot", "/usr/bin", "/var/lib/docker", "/var/lib/containerd",
        "/var/lib/reconciler", "/run/reconciler", "/run/docker.sock", "/run/docker", "/run/containerd", "/run/systemd",
    )  # fmt: skip


def check(container: Container, policy: HostPolicy, *, config_root: str = "/etc/kolla") -> list[str]:
    """Why `container` may not run here, one text per reason; empty when it may.

    Paths are compared as they are written, links on the host are not followed. What lies below `config_root` came with the
    same commit and may always be bound.
    """
    asked = normal(container)
    denied = []
    if asked.privileged and not policy.privileged:
        denied.append("privileged is not allowed on this host")
    if asked.pid_mode == "host" and not policy.host_pid:
        denied.append("pid_mode host is not allowed on this host")
    if asked.ipc_mode == "host" and not policy.host_ipc:
        denied.append("ipc_mode host is not allowed on this host")
    if ANY not in policy.capabilities:
        allowed = set(capabilities(policy.capabilities))
        denied += [f"capability {name} is not allowed on this host" for name in asked.cap_add if name not in allowed]
    if not policy.unconfined:
        weak = [text for text in asked.security_opt if text.endswith(("=unconfined", "=disable"))]
        denied += [f"security_opt {text} is not allowed on this host" for text in weak]
    if policy.registries and not any(_of_registry(asked.image, name) for name in policy.registries):
        denied.append(f"image {asked.image} is not from an allowed registry ({', '.join(policy.registries)})")
    for text in asked.devices:
        path = _canonical(device(text).split(":")[0])
        if ANY not in policy.devices and not any(_below(path, allowed) for allowed in policy.devices):
            denied.append(f"device {path} is not allowed on this host")
    for mount in asked.mounts:
        if mount.source.startswith("/"):
            denied += _bind(mount.source, policy, config_root)
    return denied


def denied(desired: Desired, policy: HostPolicy) -> dict[str, str]:
    """The containers and jobs of `desired` that may not run here, each with every reason in one text."""
    parts = [(c.name, c) for c in desired.containers] + [(job.name, job.container) for job in desired.jobs]
    reasons = {name: check(part, policy, config_root=desired.config_root) for name, part in parts}
    return {name: "; ".join(found) for name, found in reasons.items() if found}


def _bind(source: str, policy: HostPolicy, config_root: str) -> list[str]:
    path = _canonical(source)
    if (_below(path, config_root) and path != config_root) or path in map(_canonical, policy.exact):
        return []
    hit = next((bad for bad in policy.forbidden if _exposes(path, _canonical(bad))), None)
    if hit is not None:
        return [f"bind {source} is not allowed on this host: it exposes {hit}"]
    if ANY in policy.binds or any(_below(path, _canonical(allowed)) for allowed in policy.binds):
        return []
    return [f"bind {source} is not below an allowed path ({', '.join(policy.binds)})"]


def _exposes(path: str, forbidden: str) -> bool:
    return path == forbidden or (forbidden != "/" and _below(path, forbidden)) or _below(forbidden, path)


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _canonical(path: str) -> str:
    """Debian's and Red Hat's links in the file hierarchy: /var/run is /run, /usr/lib/modules is /lib/modules."""
    path = "/" + posixpath.normpath(path).lstrip("/")
    for alias, target in (("/var/run", "/run"), ("/var/lock", "/run/lock"), ("/usr/lib/modules", "/lib/modules")):
        if _below(path, alias):
            return target + path.removeprefix(alias)
    return path


def _of_registry(image: str, prefix: str) -> bool:
    return image.startswith(prefix.rstrip("/") + "/") or image == prefix
