"""What a commit may set on this host itself, outside of containers. As in `policy.py`, the answer comes from the node's own settings."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from reconciler.document.words import show
from reconciler.model import HostKind, HostSetting, below, is_ours
from reconciler.node.policy import HostPolicy, granted, path_problem, refusal

# Beginnings of kernel settings that run a program, or without which what runs here gets at the kernel, at other processes or at root's files
# more easily: no beginning of a name grants them. Linux, Documentation/admin-guide/sysctl/.
GUARDS: Final = (
    "vm.legacy_va_layout", "vm.memfd_noexec", "vm.mmap_min_addr", "vm.mmap_rnd_", "vm.unprivileged_userfaultfd", "net.core.bpf_jit_",
    "fs.protected_", "fs.suid_dumpable", "fs.binfmt_misc.", "kernel.apparmor_", "kernel.core_", "kernel.dmesg_restrict", "kernel.hotplug",
    "kernel.io_uring_", "kernel.kexec_load_", "kernel.kptr_restrict", "kernel.modprobe", "kernel.modules_disabled", "kernel.perf_event_paranoid",
    "kernel.poweroff_cmd", "kernel.randomize_va_space", "kernel.sysrq", "kernel.unprivileged_", "kernel.usermodehelper.", "kernel.yama.",
)  # fmt: skip
_UDEV: Final = "/etc/udev/rules.d"
# Escapes in values udev reads otherwise from release to release.
_PAIR: Final = re.compile(
    r'(?P<key>[A-Z_]+)(?:\{[^{}"\\]*\})?[ \t]*(?P<operator>==|!=|\+=|-=|:=|=)[ \t]*"(?P<value>[^"\\]*)"'
)
_LONGEST: Final = 4096  # characters of a line of it; udev has a limit, behind which some releases begin another line
# Each has a kind of its own.
OWN: Final = frozenset(
    {
        "/etc/hosts",
        "/etc/sysctl.d/zz-reconciler.conf",
        "/etc/modules-load.d/reconciler.conf",
        "/etc/modprobe.d/reconciler.conf",
    }
)


def denied(setting: HostSetting, policy: HostPolicy) -> list[str]:
    """Why something may not be set on this host; empty when it may."""
    return list(ROWS[setting.kind](setting, policy))


def _sysctl(setting: HostSetting, policy: HostPolicy) -> Iterator[str]:
    name = setting.name
    if granted(name, policy.host_sysctls):
        return
    if not name.startswith(tuple(prefix for prefix in policy.host_sysctls if prefix.endswith("."))):
        yield refusal(f"the host's sysctl {name}", "host_sysctls")
    elif name.startswith(GUARDS):
        yield (
            f"the host's sysctl {name} guards the kernel, and is not allowed on this host (policy.host_sysctls in its settings would have to name "
            "it itself)"
        )


def _module(setting: HostSetting, policy: HostPolicy) -> Iterator[str]:
    if not granted(setting.name, tuple(name.replace("-", "_") for name in policy.host_modules)):
        yield refusal(f"the kernel module {setting.name}", "host_modules")


def _name(setting: HostSetting, policy: HostPolicy) -> Iterator[str]:
    if not policy.host_names:
        yield refusal(f"a line of /etc/hosts for {setting.name}", "host_names")


def _file(setting: HostSetting, policy: HostPolicy) -> Iterator[str]:
    if problem := path_problem(setting.name):
        yield f"the file {setting.name!r} of the host {problem}"
    elif setting.name in OWN or not any(below(setting.name, allowed) for allowed in policy.host_files):
        yield refusal(f"the file {setting.name} of the host", "host_files")
    elif apart := _kept_apart(setting.name, policy):
        yield f"the file {setting.name} of the host is not allowed on this host: it lies in {apart}, which is kept apart"
    elif setting.name not in policy.host_files and (does := _rule_does(setting)):
        yield (
            f"the rule of udev {setting.name} {does}, and is not allowed on this host (policy.host_files in its settings would have to name "
            "the very file)"
        )


def _kept_apart(path: str, policy: HostPolicy) -> str:
    """The folder kept apart that a file lies in, unless an entry of `host_files` names that one or a part of it; "" when there is none. What is
    this program's own in a config root no entry gives."""
    granted_by = [allowed for allowed in policy.host_files if below(path, allowed)]
    for apart in (*policy.forbidden, *policy.config_roots):
        if below(path, apart) and not any(below(allowed, apart) for allowed in granted_by):
            return apart
    return next((root for root in policy.config_roots if is_ours(path, root)), "")


def _rule_does(setting: HostSetting) -> str:
    return _beyond_names(setting.fields["content"]) if below(setting.name, _UDEV) else ""


def _beyond_names(rules: str) -> str:
    """What udev's rules do besides matching, and saying a device's names, owner and mode: run programs, write to the kernel, start units. A
    clause; "" when they do nothing of the kind. What is not plainly such a rule counts as one that does more."""
    if not all(char.isprintable() or char in "\n\t" for char in rules):
        return "has characters that cannot be printed"
    if any(len(line) > _LONGEST for line in rules.split("\n")):
        return f"has a line of more than {_LONGEST} characters"
    # As udev does: a comment ends nothing, a line that is continued goes on in the next that is none.
    lines = [line.lstrip(" \t") for line in rules.split("\n")]
    whole = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", "")
    for line in whole.split("\n"):
        if _PAIR.sub("", line).strip(" \t,"):
            return f'has {show(line)}, which is more than KEY OPERATOR "VALUE" several times, without escapes,'
        for pair in _PAIR.finditer(line):
            key, operator = pair["key"], pair["operator"]
            matches = operator in ("==", "!=") and key not in ("PROGRAM", "IMPORT", "RUN", "TEST")
            if not matches and key not in ("OWNER", "GROUP", "MODE", "SYMLINK"):
                return f"says {key}{operator}, which does more than name a device and say whose it is"
            if key == "SYMLINK" and ".." in pair["value"]:
                return "says SYMLINK with '..', which leads out of /dev"
    return ""


def _switch(setting: HostSetting, policy: HostPolicy) -> Iterator[str]:
    if not policy.host_switches:
        yield refusal(f"{setting.kind} {setting.name} of Open vSwitch", "host_switches")


ROWS: Final[Mapping[HostKind, Callable[[HostSetting, HostPolicy], Iterator[str]]]] = {
    "sysctl": _sysctl,
    "module": _module,
    "hosts": _name,
    "file": _file,
    "bridge": _switch,
    "port": _switch,
    "ovs": _switch,
}
