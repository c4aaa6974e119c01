"""A tree of files that stands for a host: what a node of a test sets there, this machine's kernel does not feel."""

from pathlib import Path
from typing import Any

from reconciler import catalogue, data


def machine(folder: Path) -> Path:
    """Make one below `folder` that has everything the catalogue asks of a host, at the kernel's own values: settings are 0, modules
    loaded. Returns its root."""
    root = folder / "machine"
    for service in catalogue.load(data.services(), "catalogue", trusted=True).services.values():
        asked = service.section("host")
        for entry in _plain(asked.get("sysctl")):
            path = root / "proc/sys" / entry["name"].replace(".", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("0\n")
        for entry in _plain(asked.get("modules")):
            (root / "sys/module" / entry["name"].replace("-", "_")).mkdir(parents=True, exist_ok=True)
    (root / "sys/module/ip6_tables").mkdir(parents=True, exist_ok=True)  # of a variable
    (root / "proc/modules").touch()
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n')
    return root


def _plain(entries: Any) -> list[dict[str, Any]]:
    """Those that are said without an expression in their name."""
    return [one for one in entries or () if "{{" not in one["name"]]
