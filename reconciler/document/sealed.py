"""A file that sops encrypted, read without any key: its values' names and places, for whom it is, and all that is odd in it.

Strict, because this is read before sops is started and by everybody who reviews a site: what a node would refuse is told here,
and what would make sops ask a key service over the network is told before sops sees it. Only age recipients count, every value is
a text that is encrypted, and nothing is left in the clear by a rule of the file's own.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.document.yaml import Document, Path
from reconciler.errors import Problem
from reconciler.reasons import Reason

METADATA: Final = "sops"
CONTENT: Final = "data"  # the one key of a file that sops encrypted as a whole
_NOT_ENCRYPTED: Final = Reason.SopsNotEncrypted
_FAILED: Final = Reason.SopsFailed
_REMOTE: Final = Reason.SopsRemoteKey
_NO_MAC: Final = Reason.SopsMacMismatch

CREATION_RULES: Final = ".sops.yaml"  # the file that says for whom new ones are encrypted
_CIPHERTEXT: Final = re.compile(
    r"ENC\[AES256_GCM,data:([A-Za-z0-9+/]+=*),iv:([A-Za-z0-9+/]+=*),tag:([A-Za-z0-9+/]+=*),type:([a-z]+)\]"
)
_IV_BYTES: Final = 32
_TAG_BYTES: Final = 16
_AGE: Final = re.compile(r"age1[02-9ac-hj-np-z]{58}")
_SSH: Final = re.compile(r"(ssh-ed25519|ssh-rsa) ([A-Za-z0-9+/]+=*)(?: .*)?")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)")
_VERSION: Final = re.compile(r"\d+\.\d+\.\d+[\w.+-]*")
_ARMOUR: Final = ("-----BEGIN AGE ENCRYPTED FILE-----", "-----END AGE ENCRYPTED FILE-----")
_AGE_HEADER: Final = "age-encryption.org/v1"
_DATA_KEY: Final = 16 + 32 + 16  # bytes: nonce, the key, tag

# Key services that sops would ask over the network, or programs it would run, at the wish of whoever wrote the file.
KEY_SERVICES: Final = ("kms", "gcp_kms", "hckms", "azure_kv", "hc_vault", "pgp")
# What would leave values in the clear, or hold only with several keys at once.
_RULES: Final = (
    "unencrypted_regex", "encrypted_suffix", "encrypted_regex", "unencrypted_comment_regex", "encrypted_comment_regex",
    "mac_only_encrypted", "shamir_threshold", "key_groups",
)  # fmt: skip
_KNOWN: Final = frozenset((*KEY_SERVICES, *_RULES, "age", "lastmodified", "mac", "version", "unencrypted_suffix"))
_SUFFIX: Final = "unencrypted_suffix"


@dataclass(frozen=True, slots=True)
class Entry:
    """One value. `name` is dotted below the top; `line` and `column` count from 1 and are its key's, of a list's item its own;
    `ciphertext` is empty for a value that is not set (sops leaves these in the clear)."""

    name: str
    line: int
    column: int
    ciphertext: str


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing for which a node refuses the file. `reason` is what the node would say."""

    problem: Problem
    reason: Reason


@dataclass(frozen=True, slots=True)
class Sealed:
    """What can be read without a key. With any flaw, nothing of the file is to be used."""

    entries: tuple[Entry, ...]
    recipients: tuple[str, ...]
    flaws: tuple[Flaw, ...]


def read(document: Document) -> Sealed:
    """Everything that an encrypted file says in the clear, and every flaw of it."""
    data, name = document.data, document.name
    metadata = data.get(METADATA) if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(metadata, dict):
        if isinstance(data, dict) and any(
            isinstance(value, str) and _CIPHERTEXT.fullmatch(value) for _, value in _leaves(data)
        ):
            # Encrypting it once more would make secrets of the ciphertexts.
            hint = "restore it from the last good revision: without it nobody can open the file any more"
            return Sealed(
                (), (), (Flaw(document.place().problem("has lost what sops wrote under `sops`", hint), _FAILED),)
            )
        hint = f"run `sops encrypt --in-place {name}`; if it was ever pushed like this, replace every password in it"
        return Sealed((), (), (Flaw(document.place().problem("is not encrypted", hint), _NOT_ENCRYPTED),))
    flaws = list(_metadata(document, metadata))
    suffix = metadata.get(_SUFFIX)
    found = []
    for path, value in _leaves(data):
        place = document.place(path, key=isinstance(path[-1], str))
        dotted = ".".join(map(str, path))
        found.append(Entry(dotted, place.line, place.column, value if isinstance(value, str) else ""))
        if flaw := _value(path, value, suffix if isinstance(suffix, str) else ""):
            message, hint, reason = flaw
            flaws.append(Flaw(place.problem(f"the value of {dotted} {message}", hint.format(file=name)), reason))
    return Sealed(tuple(found), tuple(_recipients(metadata)), tuple(flaws))


def is_whole(content: bytes) -> bool:
    """Whether this looks like a file that sops encrypted as a whole (`sops encrypt` of anything but YAML, JSON, ini and dotenv)."""
    return content.lstrip()[:1] == b"{" and b'"data": "ENC[' in content[:4096] and b'"sops": {' in content


def is_recipient(text: str) -> bool:
    """Whether this is an age recipient, or an ssh-ed25519 or ssh-rsa public key with or without a comment; no plugin's."""
    return bool(_AGE.fullmatch(text) or _ssh_wire(text))


def is_ssh(recipient: str) -> bool:
    """Whether a recipient is an SSH public key: such a one says whose it is."""
    return recipient.startswith("ssh-")


def bare(recipient: str) -> str:
    """A recipient as sops writes it: an SSH public key loses its comment."""
    return " ".join(recipient.split()[:2])


def same_key(recipient: str, key: str) -> bool:
    """Whether two SSH public keys are the same, whatever their comments."""
    return bare(recipient) == bare(key)


def among(recipient: str, keys: Iterable[str]) -> bool:
    """Whether one of the keys is the recipient's."""
    return any(same_key(recipient, key) for key in keys)


# --- values ---------------------------------------------------------------------------------------------------------


def _leaves(data: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    def walk(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
        if isinstance(value, dict):
            for key, item in value.items():
                yield from walk((*path, key), item)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from walk((*path, index), item)
        else:
            yield path, value

    for key, value in data.items():
        if key != METADATA:
            yield from walk((key,), value)


_BY_HAND: Final = "change it with `sops edit {file}`, not by hand; if it was ever pushed, choose another value"


def _value(path: Path, value: Any, suffix: str) -> tuple[str, str, Reason] | None:
    """What is wrong with one value, what to do, and the reason; None when nothing is."""
    if value is None or value == "":
        return None
    if suffix and any(str(step).endswith(suffix) for step in path):
        hint = "what is no secret belongs into globals.yml; what is one needs another name"
        return f"is left in the clear, because its name ends in {suffix}", hint, _NOT_ENCRYPTED
    if not isinstance(value, str) or not value.startswith("ENC["):
        return "is not encrypted", _BY_HAND, _NOT_ENCRYPTED
    match = _CIPHERTEXT.fullmatch(value)
    parts = [_decoded(part) for part in match.groups()[:3]] if match else []
    if match is None or None in parts:
        return "is not what sops writes", f"restore it from history, or {_BY_HAND}", _NOT_ENCRYPTED
    if len(parts[1] or b"") != _IV_BYTES or len(parts[2] or b"") != _TAG_BYTES:
        return "cannot be opened: its parts have the wrong length", f"restore it from history, or {_BY_HAND}", _FAILED
    if match[4] != "str":
        hint = "run `sops edit {file}` and put it in quotes, as it is meant: a number may have lost its spelling (0123, 1e5)"
        return f"is no text but of type {match[4]}", hint, Reason.SopsNotText
    return None


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error too: what is not ASCII is another one
        return None


# --- metadata -------------------------------------------------------------------------------------------------------


def _metadata(document: Document, metadata: Mapping[str, Any]) -> Iterator[Flaw]:
    def flaw(key: str, message: str, hint: str, reason: Reason) -> Flaw:
        path = (METADATA, key) if key in metadata else (METADATA,)
        return Flaw(document.place(path, key=True).problem(message, hint), reason)

    for key, value in metadata.items():
        if key not in _KNOWN:
            yield flaw(key, f"sops.{key} is unknown", "encrypt the file anew with `sops rotate`", _FAILED)
        elif key in KEY_SERVICES and value not in (None, [], ""):
            message = f"is also encrypted for {key}: only age recipients are used, so that no file decides whom this program asks"
            yield flaw(
                key,
                message,
                "restore the last good revision; if it is yours, take it out of .sops.yaml first, then run `sops updatekeys`",
                _REMOTE,
            )
        elif key in _RULES and value not in (None, [], "", False, 0):
            message = f"sops.{key} is not used here: every value is encrypted, and every recipient opens the file alone"
            yield flaw(key, message, "take it out of .sops.yaml, and encrypt the file anew", _FAILED)
    if _SUFFIX in metadata and not isinstance(metadata[_SUFFIX], str | None):
        yield flaw(_SUFFIX, "sops.unencrypted_suffix is no text", "encrypt the file anew", _FAILED)
    mac = metadata.get("mac")
    match = _CIPHERTEXT.fullmatch(mac) if isinstance(mac, str) else None
    if match is None or match[4] != "str":
        hint = "restore the last good revision: without its checksum nobody can tell what was changed"
        yield flaw("mac", "has no checksum that sops made (sops.mac)", hint, _NO_MAC)
    for key, pattern in (("lastmodified", _TIME), ("version", _VERSION)):
        if not pattern.fullmatch(str(metadata.get(key))):
            yield flaw(key, f"sops.{key} is not what sops writes", "restore the last good revision", _FAILED)
    yield from _age(document, metadata.get("age"))


def _age(document: Document, rows: Any) -> Iterator[Flaw]:
    if not isinstance(rows, list) or not rows:
        place = document.place((METADATA, "age"), key=True)
        yield Flaw(
            place.problem("has no age recipient", "name them in .sops.yaml, and run `sops updatekeys`"),
            Reason.SopsNoKey,
        )
        return
    for index, row in enumerate(rows):
        place = document.place((METADATA, "age", index))
        if not isinstance(row, dict) or set(row) != {"recipient", "enc"}:
            yield Flaw(place.problem("an age recipient has `recipient` and `enc`", "run `sops updatekeys`"), _FAILED)
            continue
        recipient, armour = str(row["recipient"]), str(row["enc"])
        if not is_recipient(recipient):
            message = f"{recipient[:80]!r} is no age recipient (age1…, ssh-ed25519 or ssh-rsa)"
            yield Flaw(place.problem(message, "remove it from .sops.yaml, and run `sops updatekeys`"), _REMOTE)
        elif why := _unfit(recipient, armour):
            message = f"the data key for {recipient[:80]} {why}: no node would open the file with it"
            yield Flaw(place.problem(message, "run `sops updatekeys`, or restore the last good revision"), _FAILED)


def _unfit(recipient: str, armour: str) -> str:
    """Why an encrypted data key cannot be for this recipient; "" when it may be. Its head is in the clear."""
    lines = armour.strip().splitlines()
    if len(lines) < 3 or (lines[0], lines[-1]) != _ARMOUR:
        return "is not what age writes"
    content = _decoded("".join(lines[1:-1]))
    head, mark, rest = (content or b"").partition(b"\n--- ")
    words = head.decode(errors="replace").splitlines()
    if not mark or not words or words[0] != _AGE_HEADER:
        return "is not what age writes"
    stanzas = [line.split()[1:] for line in words if line.startswith("-> ")]
    if len(stanzas) != 1 or len(rest.partition(b"\n")[2]) != _DATA_KEY:
        return "is not what sops makes of one"
    wire = _ssh_wire(recipient)
    expected = [recipient.split()[0], _tag(wire)] if wire else ["X25519"]
    return "" if stanzas[0][: len(expected)] == expected else "is encrypted for another one"


def _ssh_wire(recipient: str) -> bytes | None:
    """The key itself of an SSH public key; None for all else."""
    match = _SSH.fullmatch(recipient)
    wire = _decoded(match[2]) if match else None
    kind = match[1].encode() if match else b""
    return wire if wire and wire.startswith(len(kind).to_bytes(4, "big") + kind) else None


def _tag(wire: bytes) -> str:
    """How age names an SSH key in the head of what it encrypts."""
    return base64.b64encode(hashlib.sha256(wire).digest()[:4]).decode().rstrip("=")


def _recipients(metadata: Mapping[str, Any]) -> Iterator[str]:
    rows = metadata.get("age")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("recipient"), str):
            yield row["recipient"]
