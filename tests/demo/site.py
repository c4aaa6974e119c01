"""The demo's site: the example that ships with the project, with the addresses and the size of this machine."""

import shutil
from pathlib import Path

from tests.support.paths import CHECKOUT

EXAMPLE = CHECKOUT / "site-example"
ADDRESS, VIP = "127.0.0.51", "127.0.0.52"
HOST, NAME = "ctl1", "demo"
# Of the example, what the demo goes without: a web page of one's own, and what is for people only.
_LEFT_OUT = ("README.md", "services")
_CHANGES = {
    "inventory.yml": {
        "10.0.0.11 ": f"{ADDRESS}",
        "memtotal_mb: 16000": "memtotal_mb: 4000 ",
        "\n  status: {children: [control]}": " {}",
    },
    "globals.yml": {
        "10.0.0.250": VIP,
        "enable_keepalived: true": "enable_keepalived: false",
        "enable_glance: true": "enable_openstack_core: false\nenable_keystone: true",
    },
    "reconciler.yml": {"name: example": f"name: {NAME}"},
}
_MACHINE = """
# What this machine asks for: it grants fewer open files than Kolla's default.
default_container_dimensions: {}
haproxy_max_connections: 2000
"""
EXPIRATION = "\n[token]\nexpiration = 7200\n"
RIGHT, WRONG = "kolla_internal_vip_address", "kolla_internal_vip_adress"


def write(folder: Path, recipient: str, config_root: Path) -> None:
    """Put the site into a folder that is there; `recipient` is the line of an ssh public key that opens the passwords.

    Raises ValueError when the example no longer has what is changed here.
    """
    for path in sorted(EXAMPLE.rglob("*")):
        name = path.relative_to(EXAMPLE)
        if path.is_file() and name.parts[0] not in _LEFT_OUT:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
    for file, changes in _CHANGES.items():
        for old, new in changes.items():
            edit(folder / file, old, new)
    append(folder / "globals.yml", f"{_MACHINE}node_config_directory: {config_root}\n")
    (folder / ".sops.yaml").write_text(f"creation_rules:\n  - path_regex: passwords.*\n    age: {recipient}\n")


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that is in a file. Raises ValueError when it is not."""
    content = path.read_text()
    if old not in content:
        raise ValueError(f"{path.name} has no {old!r}")
    path.write_text(content.replace(old, new, 1))


def append(path: Path, text: str) -> None:
    """Add a text to the end of a file."""
    path.write_text(path.read_text() + text)
