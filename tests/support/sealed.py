"""Files that look as sops leaves them, to everybody without a key: well formed, and opened by none."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_LETTERS = "023456789acdefghjklmnpqrstuvwxyz"  # bech32's


def _bytes(seed: str, count: int) -> bytes:
    return hashlib.shake_256(seed.encode()).digest(count)


def _base64(seed: str, count: int) -> str:
    return base64.b64encode(_bytes(seed, count)).decode()


def cipher(seed: str, kind: str = "str") -> str:
    """A ciphertext; the same for the same seed."""
    parts = f"data:{_base64(seed, 24)},iv:{_base64('iv' + seed, 32)},tag:{_base64('tag' + seed, 16)}"
    return f"ENC[AES256_GCM,{parts},type:{kind}]"


def age_recipient(seed: str = "operator") -> str:
    """Something of the shape of an age recipient."""
    return "age1" + "".join(_LETTERS[byte % 32] for byte in _bytes(seed, 58))


def ssh_recipient(seed: str) -> str:
    """An ssh-ed25519 public key, as a line without a comment; nobody has its other half."""
    kind = b"ssh-ed25519"
    wire = len(kind).to_bytes(4, "big") + kind + (32).to_bytes(4, "big") + _bytes(seed, 32)
    return f"ssh-ed25519 {base64.b64encode(wire).decode()}"


def data_key(recipient: str) -> str:
    """What stands beside a recipient: the head that age writes for it, and a body."""
    stanza = f"X25519 {_base64(recipient, 32).rstrip('=')}"
    if recipient.startswith("ssh-"):
        kind, wire = recipient.split()[:2]
        tag = base64.b64encode(hashlib.sha256(base64.b64decode(wire)).digest()[:4]).decode().rstrip("=")
        stanza = f"{kind} {tag} {_base64(recipient, 32).rstrip('=')}"
    head = f"age-encryption.org/v1\n-> {stanza}\n{_base64('body' + recipient, 32)}\n--- {_base64('mac', 32)}\n"
    text = base64.b64encode(head.encode() + _bytes(recipient, 64)).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN AGE ENCRYPTED FILE-----", *lines, "-----END AGE ENCRYPTED FILE-----", ""])


def metadata(recipients: Sequence[str] = (), seed: str = "") -> dict[str, Any]:
    """What sops keeps under `sops`."""
    to = recipients or (age_recipient(),)
    return {
        "age": [{"recipient": recipient, "enc": data_key(recipient)} for recipient in to],
        "lastmodified": "2025-01-01T00:00:00Z",
        "mac": cipher("mac" + seed),
        "unencrypted_suffix": "_unencrypted",
        "version": "3.11.0",
    }


def text(values: Mapping[str, Any], recipients: Sequence[str] = ()) -> str:
    """A whole file: every text among `values` is the seed of its ciphertext; None and "" stay as they are."""

    def sealed(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: sealed(item) for key, item in value.items()}
        return cipher(value) if value else value

    whole = {**{name: sealed(value) for name, value in values.items()}, "sops": metadata(recipients)}
    return yaml.safe_dump(whole, sort_keys=False, width=2**30)


def whole(seed: str) -> str:
    """A file that is encrypted as a whole, whatever it holds."""
    return json.dumps({"data": cipher(seed), "sops": metadata()})


def fill(files: str) -> str:
    """`ENC[seed]` written out as a ciphertext, and `sops: {}` as metadata: for texts that people read."""
    whole = re.sub(r"(?m)^sops: \{\}$", lambda _: f"sops: {json.dumps(metadata())}", files)
    return re.sub(r"\bENC\[(\w+)\]", lambda match: cipher(match[1]), whole)
