"""What a host is, in the names that Ansible gives its facts: what an import of kolla-ansible's configuration asks of hosts."""

import json
import os
import platform
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler import errors
from reconciler.reasons import Reason
from reconciler.system import run

# ID of os-release → distribution and its family, as Ansible spells them.
_DISTRIBUTIONS = {
    "debian": ("Debian", "Debian"), "ubuntu": ("Ubuntu", "Debian"), "centos": ("CentOS", "RedHat"), "rocky": ("Rocky", "RedHat"),
    "almalinux": ("AlmaLinux", "RedHat"), "rhel": ("RedHat", "RedHat"), "openEuler": ("openEuler", "RedHat"),
}  # fmt: skip


def gather(root: Path = Path("/")) -> dict[str, Any]:
    """The facts, each with the prefix `ansible_`. Raises errors.Transient (AddressesUnknown), errors.Terminal (ProgramMissing)."""
    facts: dict[str, Any] = {
        **names(),
        "architecture": platform.machine(),
        "processor_vcpus": os.cpu_count() or 1,
        "memtotal_mb": _memory(root),
        "service_mgr": "systemd" if (root / "run/systemd/system").is_dir() else "other",
        **distribution(root),
    }
    interfaces = _interfaces()
    facts["interfaces"] = list(interfaces)
    facts |= {re.sub(r"[-:]", "_", name): found for name, found in interfaces.items()}
    return {f"ansible_{name}": value for name, value in facts.items() if value not in ("", None)}


def names() -> dict[str, str]:
    """What the machine calls itself: `hostname`, the short name, `nodename`, as uname -n, and `fqdn`."""
    return {"hostname": platform.node().partition(".")[0], "nodename": platform.node(), "fqdn": socket.getfqdn()}


def _memory(root: Path) -> int:
    found = re.search(r"^MemTotal:\s+(\d+) kB", (root / "proc/meminfo").read_text(), re.MULTILINE)
    return int(found[1]) // 1024 if found else 0


def distribution(root: Path) -> dict[str, str]:
    """`distribution`, the same with `_release` (its code name), `_version` and `_major_version`, and `os_family`; "" for what it does not say."""
    told = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', (root / "etc/os-release").read_text(), re.MULTILINE))
    name, family = _DISTRIBUTIONS.get(told.get("ID", ""), (told.get("NAME", ""), ""))
    version = told.get("VERSION_ID", "")
    exact = root / "etc/debian_version"
    if name == "Debian" and exact.is_file() and re.fullmatch(r"\d+(\.\d+)*", text := exact.read_text().strip()):
        version = text
    return {
        "distribution": name,
        "distribution_release": told.get("VERSION_CODENAME", ""),
        "distribution_version": version,
        "distribution_major_version": version.partition(".")[0],
        "os_family": family,
    }


def _interfaces() -> Mapping[str, Mapping[str, Any]]:
    """Interface → its first IPv4 address, the others of that family, and its IPv6 addresses."""
    done = run.program(["ip", "-json", "address", "show"], seconds=10)
    try:
        links = json.loads(done.stdout) if done.code == 0 else None
    except ValueError:
        links = None
    if not isinstance(links, list):
        raise errors.Transient(
            f"cannot list this host's addresses: {done.message or 'ip gave no JSON'}", reason=Reason.AddressesUnknown
        )
    return {link["ifname"]: _interface(link) for link in links if link.get("ifname")}


def _interface(link: Mapping[str, Any]) -> dict[str, Any]:
    def of(family: str) -> list[dict[str, str]]:
        return [
            {"address": info["local"], "prefix": str(info.get("prefixlen", "")), "scope": info.get("scope", "")}
            for info in link.get("addr_info", ())
            if info.get("family") == family and "local" in info
        ]

    found: dict[str, Any] = {"device": link["ifname"], "active": "UP" in link.get("flags", ())}
    first, *others = of("inet") or [{}]
    if first:
        found["ipv4"] = first
    if others:
        found["ipv4_secondaries"] = others
    if ipv6 := of("inet6"):
        found["ipv6"] = ipv6
    return found
