"""Real keys, made per run: SSH host keys with ssh-keygen, age identities as age-keygen writes them."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from reconciler.secrets import sops

_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


@dataclass(frozen=True, slots=True)
class Key:
    """A private key file, its recipient, and how sops is told about it."""

    file: Path
    recipient: str
    keys: sops.Keys


def _polymod(values: list[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            checksum ^= generator if top >> bit & 1 else 0
    return checksum


def _bech32(prefix: str, data: bytes) -> str:
    """BIP 173, as age writes its keys."""
    number = int.from_bytes(data, "big") << (-len(data) * 8) % 5
    size = -(-len(data) * 8 // 5)
    words = [number >> 5 * (size - 1 - index) & 31 for index in range(size)]
    expanded = [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]
    checksum = _polymod([*expanded, *words, 0, 0, 0, 0, 0, 0]) ^ 1
    words += [checksum >> 5 * (5 - index) & 31 for index in range(6)]
    return f"{prefix}1{''.join(_BECH32[word] for word in words)}"


@pytest.fixture(scope="session")
def make_ssh_key(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Key]:
    def make(kind: str = "ed25519", passphrase: str = "") -> Key:
        file = tmp_path_factory.mktemp("ssh") / f"ssh_host_{kind}_key"
        command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "root@node with spaces", "-f", str(file)]
        subprocess.run(command, check=True, timeout=30)
        recipient = " ".join(file.with_suffix(".pub").read_text().split()[:2])
        return Key(file, recipient, sops.Keys(ssh_key_file=file))

    return make


@pytest.fixture(scope="session")
def ssh_key(make_ssh_key: Callable[..., Key]) -> Key:
    return make_ssh_key()


@pytest.fixture(scope="session")
def other_ssh_key(make_ssh_key: Callable[..., Key]) -> Key:
    return make_ssh_key()


@pytest.fixture(scope="session")
def age_key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    private = X25519PrivateKey.generate()
    secret = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    recipient = _bech32("age", private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    file = tmp_path_factory.mktemp("age") / "keys.txt"
    identity = _bech32("age-secret-key-", secret).upper()
    file.write_text(f"# created: 2025-01-01T00:00:00Z\n# public key: {recipient}\n{identity}\n")
    file.chmod(0o600)
    return Key(file, recipient, sops.Keys(age_key_file=file))
