"""Fills the encrypted passwords file: what is missing, nothing else.

At every moment the file is there, whole and readable: values are set on a copy beside it, the copy is checked, and one
rename puts it in place. Values reach sops over stdin, never as an argument, and never the disk in the clear.
"""

import os
import re
import secrets
import string
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from reconciler import errors
from reconciler.reasons import Reason
from reconciler.secret import conceal
from reconciler.secrets import creation_rules, in_place, sops
from reconciler.system import files

Kind = Literal["random", "uuid", "ssh_key", "fernet", "hmac", "bcrypt_salt", "blank"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Progress = Callable[[int, int], None]

_RSA_BITS = 4096
_SHORTEST, _LONGEST = 8, 1024
_NEW_MODE = 0o644  # ciphertext, made to be pushed
_BCRYPT_ALPHABET = string.ascii_letters + string.digits + "./"


@dataclass(frozen=True, slots=True)
class PasswordSpec:
    """A password a service wants. `length` (characters) counts for `random` only.

    `ssh_key` is a mapping of private_key (PEM) and public_key (OpenSSH); `hmac` 32 hex digits; `bcrypt_salt` the 22
    characters of a salt; `blank` is left to the operator. Raises ValueError for an odd name, kind or length.
    """

    name: str
    kind: Kind = "random"
    length: int = 40

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.name) or self.name == "sops":
            raise ValueError(f"{self.name!r} cannot be the name of a password (letters, digits, _; not 'sops')")
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: there is no kind {self.kind!r} of password (one of {', '.join(KINDS)})")
        if not _SHORTEST <= self.length <= _LONGEST:
            raise ValueError(f"{self.name}: a length of {self.length} is not between {_SHORTEST} and {_LONGEST}")


def make(spec: PasswordSpec) -> Any:
    """A fresh value: a Secret, for `ssh_key` a mapping of two, for `blank` None."""
    return conceal(_MAKERS[spec.kind](spec))


def generate(
    path: Path,
    wanted: Sequence[PasswordSpec],
    recipients: Sequence[str] | None = None,
    *,
    keys: sops.Keys | None = None,
    on_progress: Progress | None = None,
) -> list[str]:
    """Fill what `path` lacks or has empty; returns the names that were filled, in the order wanted.

    A file that does not exist is made, encrypted for `recipients` or, when None, as the .sops.yaml beside it says; a present file
    keeps its recipients. Everything else in it keeps its ciphertext. Nothing to fill needs no
    key. `on_progress(done, total)` is called per value. Raises as sops.decrypt and files.write_atomic, and
    errors.Terminal (SecretIncomplete: half a key pair; SopsFailed), errors.Transient (FileBusy, FileChanged); the file
    is then as it was.
    """
    with in_place.locked(path.parent):
        try:
            content, _ = files.read_nofollow(path.parent, path.name)
        except FileNotFoundError:
            specs = [spec for spec in _unique(wanted) if spec.kind != "blank"]
            return _create(path, specs, recipients, keys or sops.Keys(), on_progress)
        present = sops.ciphertexts(content, name=path.name)
        specs = [spec for spec in _unique(wanted) if _lacks(spec, present, path)]
        return _change(path, content, specs, keys or sops.Keys(), on_progress)


def rotate(path: Path, name: str, spec: PasswordSpec, *, keys: sops.Keys | None = None) -> None:
    """Give the one password `name` a fresh value as `spec` says; the others keep their ciphertext.

    Raises as `generate`, and errors.Terminal (SecretUnknown) when the file does not have it or `spec` is blank.
    """
    with in_place.locked(path.parent):
        try:
            content, _ = files.read_nofollow(path.parent, path.name)
        except FileNotFoundError:
            raise errors.Terminal(f"{path} does not exist (generate it first)", reason=Reason.SecretUnknown) from None
        if name != spec.name or name not in sops.names(content, name=path.name):
            raise errors.Terminal(
                f"{path.name} has no {name!r} to rotate (generate fills it)", reason=Reason.SecretUnknown
            )
        if spec.kind == "blank":
            raise errors.Terminal(
                f"{name} is chosen by the operator (sops edit {path.name})", reason=Reason.SecretUnknown
            )
        _change(path, content, [spec], keys or sops.Keys(), None)


# --- values ---------------------------------------------------------------------------------------------------------


def _random(spec: PasswordSpec) -> str:
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(spec.length))


def _ssh_key(_: PasswordSpec) -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return {"private_key": private.decode(), "public_key": public.decode()}


def _bcrypt_salt(_: PasswordSpec) -> str:
    # 22 characters carry 132 bits for 128: the last one must leave the surplus bits zero, or bcrypt changes it.
    return "".join(secrets.choice(_BCRYPT_ALPHABET) for _ in range(21)) + secrets.choice(".Oeu")


_MAKERS: Final[dict[Kind, Callable[[PasswordSpec], Any]]] = {
    "random": _random,
    "uuid": lambda _: str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)),
    "ssh_key": _ssh_key,
    "fernet": lambda _: Fernet.generate_key().decode(),
    "hmac": lambda _: secrets.token_hex(16),
    "bcrypt_salt": _bcrypt_salt,
    "blank": lambda _: None,
}


def _make_all(specs: Sequence[PasswordSpec]) -> Iterator[Any]:
    # RSA keys take about a second each, outside the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(make, specs)


# --- the file -------------------------------------------------------------------------------------------------------


def _create(
    path: Path,
    specs: Sequence[PasswordSpec],
    recipients: Sequence[str] | None,
    keys: sops.Keys,
    on_progress: Progress | None,
) -> list[str]:
    if not specs:
        return []
    values: dict[str, Any] = {}
    for spec, value in zip(specs, _make_all(specs), strict=True):
        values[spec.name] = value
        if on_progress:
            on_progress(len(values), len(specs))
    content = sops.encrypt(values, recipients, site=path.parent, name=path.name, program=keys.program)
    if path.exists():
        raise in_place.changed(path)
    files.write_atomic(path, content, mode=_NEW_MODE)
    return list(values)


def _change(
    path: Path, content: bytes, specs: Sequence[PasswordSpec], keys: sops.Keys, on_progress: Progress | None
) -> list[str]:
    """Set every one of `specs` to a fresh value, at about 30 ms each: sops sets one value per run."""
    if not specs:
        return []
    sops.decrypt(content, name=path.name, keys=keys)  # what cannot be read fails here, before any RSA key is made
    indent = creation_rules.find(path.parent).indent
    with in_place.copy(path, content) as copy:
        for done, (spec, value) in enumerate(zip(specs, _make_all(specs), strict=True), start=1):
            sops.set_value(copy, spec.name, value, keys=keys, name=path.name, indent=indent)
            if on_progress:
                on_progress(done, len(specs))
        after = copy.read_bytes()
    _require_kept(path, content, after, {spec.name for spec in specs})
    in_place.replace([in_place.Replacement(path, content, after)])
    return [spec.name for spec in specs]


def _lacks(spec: PasswordSpec, present: dict[str, str], path: Path) -> bool:
    """Whether `spec` is to be filled; `present` is dotted name → ciphertext, "" when not set."""
    mine = {name: text for name, text in present.items() if name == spec.name or name.startswith(f"{spec.name}.")}
    if spec.kind == "blank":
        return False
    if spec.kind == "ssh_key" and any(mine.values()):
        for part in ("private_key", "public_key"):
            if not mine.get(f"{spec.name}.{part}"):
                raise errors.Terminal(
                    f"{path.name}: {spec.name} has no {part}, and the other half is set (give it, or empty both)",
                    reason=Reason.SecretIncomplete,
                )
    return not any(mine.values())


def _require_kept(path: Path, before: bytes, after: bytes, filled: set[str]) -> None:
    """Raises unless all but `filled` kept its ciphertext, every one of `filled` has one, and nobody else may read."""
    old, new = sops.ciphertexts(before, name=path.name), sops.ciphertexts(after, name=path.name)
    kept = {name: text for name, text in old.items() if name.partition(".")[0] not in filled}
    still = {name: text for name, text in new.items() if name.partition(".")[0] not in filled}
    unset = filled - {name.partition(".")[0] for name, text in new.items() if text}
    moved = sops.recipients(before, name=path.name) != sops.recipients(after, name=path.name)
    if list(kept.items()) != list(still.items()) or unset or moved:
        raise errors.Terminal(
            f"sops changed more of {path.name} than it was asked to; the file is as it was (check the version of sops)",
            reason=Reason.SopsFailed,
        )


def _unique(wanted: Sequence[PasswordSpec]) -> list[PasswordSpec]:
    """`wanted` once each: services share passwords. Two that disagree are a mistake in the catalogue."""
    found: dict[str, PasswordSpec] = {}
    for spec in wanted:
        if found.setdefault(spec.name, spec) != spec:
            raise errors.Terminal(
                f"{spec.name} is wanted as {found[spec.name].kind} and as {spec.kind} (make the services agree)",
                reason=Reason.SecretConflict,
            )
    return list(found.values())
