"""What a commit may set on this host itself, outside of containers. As in `policy.py`, the answer comes from the node's own settings."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from reconciler.model import HostKind, HostSetting
from reconciler.node.policy import HostPolicy, below, granted, path_problem, refusal

_UDEV: Final = "/etc/udev/rules.d"
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_ASSIGNED: Final = re.compile(r"([A-Za-z_]+)(?:\{[^}]*\})?\s*(==|!=|\+=|-=|:=|=)")
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
    if not granted(name, policy.host_sysctls) and not name.startswith(
        tuple(p for p in policy.host_sysctls if p.endswith("."))
    ):
        yield refusal(f"the host's sysctl {name}", "host_sysctls")


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
    elif (
        below(setting.name, _UDEV)
        and setting.name not in policy.host_files
        and (key := _beyond_names(setting.fields["content"]))
    ):
        said = (
            f"the rule of udev {setting.name} says {key}, which does more than name a device and say whose it is, and"
        )
        yield f"{said} is not allowed on this host (policy.host_files in its settings would have to name the very file)"


def _beyond_names(rules: str) -> str:
    """What udev's rules do besides matching, and saying a device's names, owner and mode: run programs, write to the kernel, start units.
    "" when they do nothing of the kind."""
    lines = [line for line in rules.splitlines() if not line.lstrip().startswith("#")]
    text = _QUOTED.sub('""', "\n".join(lines).replace("\\\n", ""))
    for key, operator in _ASSIGNED.findall(text):
        if operator not in ("==", "!=") and key not in ("OWNER", "GROUP", "MODE", "SYMLINK"):
            return f"{key}{operator}"
        if key in ("PROGRAM", "IMPORT", "RUN", "TEST"):
            return f"{key}{operator}"
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
