"""A configuration of kolla-ansible, written here, as folders; and what ansible-vault makes of a text."""

import hashlib
import hmac
import os
import secrets
from binascii import hexlify
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from reconciler import catalogue, data
from reconciler.catalogue import Catalogue
from reconciler.importer.collect import collect
from reconciler.importer.types import Entry, Result, Source
from reconciler.importer.vault import Vault
from reconciler.secret import reveal
from reconciler.secrets import sops

SHIPPED: Catalogue = catalogue.load(data.services(), "catalogue", trusted=True)

GLOBALS = """\
---
# Hill cloud, three controllers
kolla_base_distro: "debian"
openstack_release: "2025.1"

# --- addresses ---
kolla_internal_vip_address: "10.0.0.250"   # free
network_interface: "bond0"
api_interface: "{{ network_interface }}"
bifrost_network_interface: "bond1.20"
kolla_container_engine: docker
keystone_token_provider: 'fernet'
enable_tacker: "no"
enable_zun: "yes"
docker_registry:
haproxy_max_connections: "4000"
hill_resolver: 192.0.2.53
"""
MULTINODE = """\
[control]
ctl[1:3]

[network:children]
control

[compute]
cmp[01:02] ansible_user=kolla ansible_become=true

[deployment]
localhost ansible_connection=local

[baremetal:children]
control
network
compute

[mariadb:children]
control

[hill:children]
control

[control:vars]
haproxy_max_connections=2000
"""


def folder(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def read(root: Path, files: Mapping[str, Any], vault: Vault | None = None, facts: bool = False) -> Source:
    """A source from `etc/…` and `inventory/hosts` below `root`; passwords and inventory as above where none are given."""
    folder(root, {"etc/globals.yml": GLOBALS, "inventory/hosts": MULTINODE, **files})
    return collect(root / "etc", (root / "inventory/hosts",), root / "facts" if facts else None, vault or Vault())


def entry(result: Result, name: str, scope: str = "") -> Entry:
    (found,) = [one for one in result.entries if one.input.name == name and one.input.scope == scope]
    return found


def passwords() -> dict[str, Any]:
    """Every password that the catalogue asks for."""
    pair = {"private_key": "-----BEGIN KEY-----\nx\n-----END KEY-----\n", "public_key": "ssh-rsa AAAA"}
    asked = SHIPPED.passwords().items()
    return {name: pair if one["kind"] == "ssh_key" else fresh() for name, one in asked if one["kind"] != "blank"}


def opened(path: Path, key: tuple[Path, str]) -> dict[str, Any]:
    """What is in a file that sops encrypted; `key` as the fixture gives it."""
    examined = sops.examine(path.read_bytes(), name=path.name)
    found = sops.unlock(
        examined.text, name=path.name, recipients=examined.recipients, keys=sops.Keys(key[0]), exact=True
    )
    return reveal(found)  # type: ignore[no-any-return]


def facts_of(address: str, tunnel: str) -> str:
    return (
        f'{{"ansible_bond0": {{"ipv4": {{"address": "{address}"}}}}, '
        f'"ansible_bond1.20": {{"ipv4": {{"address": "{tunnel}"}}}}, '
        '"ansible_processor_vcpus": 8, "ansible_memtotal_mb": 32000, "ansible_distribution": "Debian"}'
    )


def vaulted(text: str, password: str, header: str = "$ANSIBLE_VAULT;1.1;AES256") -> bytes:
    """As ansible-vault writes it, after its documented format."""
    salt = os.urandom(32)
    keys = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 10_000, 80)
    padder = PKCS7(128).padder()
    padded = padder.update(text.encode()) + padder.finalize()
    writer = Cipher(algorithms.AES(keys[:32]), modes.CTR(keys[64:])).encryptor()
    body = writer.update(padded) + writer.finalize()
    signature = hmac.digest(keys[32:64], body, "sha256")
    inner = hexlify(b"\n".join(map(hexlify, (salt, signature, body))))
    lines = [inner[start : start + 80] for start in range(0, len(inner), 80)]
    return b"\n".join([header.encode(), *lines]) + b"\n"


def fresh() -> str:
    return f"pw-{secrets.token_hex(8)}"
