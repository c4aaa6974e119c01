"""passwords.yml and its like as far as they can be read without a key: names, places, digests of the ciphertext."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from reconciler.catalogue import Catalogue
from reconciler.document import sealed, yaml
from reconciler.document.words import suggest
from reconciler.document.yaml import Document, Path, Place
from reconciler.errors import Problem, SiteInvalid
from reconciler.site.inventory import Known
from reconciler.site.later import not_yet
from reconciler.site.types import SecretName


@dataclass(slots=True)
class Files:
    """What all password files say without a key: names by file, and for whom each file is encrypted."""

    secrets: dict[str, dict[str, SecretName]] = field(default_factory=dict)
    recipients: dict[str, tuple[str, ...]] = field(default_factory=dict)


def is_password_file(path: str) -> bool:
    """Whether a file of a site holds secrets."""
    return path == "passwords.yml" or path.startswith("passwords/") or path.endswith(".passwords.yml")


def load(
    documents: Mapping[str, Document],
    known: Known,
    catalogue: Catalogue,
    overrides: Mapping[str, bytes],
    problems: list[Problem],
) -> Files:
    """Secrets by file, without any value. Whatever a node would refuse about such a file is a problem; no value is quoted.

    `overrides` may name secrets that no service declares.
    """
    names = catalogue.passwords()
    result = Files()
    for path, document in documents.items():
        if is_password_file(path):
            _check_owner(path, document, known, problems)
            result.secrets[path], result.recipients[path] = _read(
                document, names, catalogue.services.keys(), overrides, problems
            )
    return result


def load_sealed(files: Mapping[str, bytes], result: Files, problems: list[Problem]) -> dict[str, SecretName]:
    """The files below config/ that are encrypted as a whole: path → the secret that each is. Whatever a node would refuse is a problem."""
    found: dict[str, SecretName] = {}
    for path, content in files.items():
        name = f"config/{path}"
        if not sealed.is_whole(content):
            if b"ENC[AES256_GCM,data:" in content:  # it would be delivered as it is
                hint = "encrypt the whole file with `sops encrypt --input-type binary`, or name secrets of passwords.yml in it"
                problems.append(Place(name, 1, 1).problem("is encrypted value by value", hint))
            continue
        try:
            document = yaml.load(content, name)
        except SiteInvalid as error:
            problems += error.problems
            continue
        read = sealed.read(document)
        problems += [flaw.problem for flaw in read.flaws]
        if set(document.data) != {sealed.CONTENT, sealed.METADATA}:
            hint = "encrypt it with `sops encrypt --input-type binary`"
            problems.append(document.place().problem("is not encrypted as a whole", hint))
        value = document.data.get(sealed.CONTENT)
        digest = hashlib.sha256(json.dumps(value).encode()).hexdigest()
        result.recipients[name] = read.recipients
        found[path] = SecretName(_secret_name(path), document.place((sealed.CONTENT,)), digest, _size(value))
    return found


def _secret_name(path: str) -> str:
    """A name for the secret that a file is: readable, and no other file's."""
    return f"config_{re.sub('[^A-Za-z0-9]+', '_', path)}_{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def opens(recipients: tuple[str, ...], key: str) -> bool:
    """Whether the host with this SSH host key can plausibly open a file. An age recipient may be anybody's."""
    return any(not sealed.is_ssh(to) or sealed.same_key(to, key) for to in recipients)


def _check_owner(path: str, document: Document, known: Known, problems: list[Problem]) -> None:
    folder, _, file = path.partition("/")
    if folder == "passwords":
        problems += known.group(file.removesuffix(".yml"), Place(document.name))
    elif folder == "hosts":
        problems += known.host(file.removesuffix(".passwords.yml"), Place(document.name))


def _read(
    document: Document,
    names: Mapping[str, Any],
    services: Set[str],
    overrides: Mapping[str, bytes],
    problems: list[Problem],
) -> tuple[dict[str, SecretName], tuple[str, ...]]:
    content = document.data
    if not isinstance(content, dict):
        problems.append(document.place().problem("must be a mapping of names to secrets"))
        return {}, ()
    if not content:
        return {}, ()
    found = sealed.read(document)
    problems += [flaw.problem for flaw in found.flaws]
    result: dict[str, SecretName] = {}
    for name, value in content.items():
        if name == sealed.METADATA:
            continue
        if name not in names and not any(name.encode() in content for content in overrides.values()):
            away = not_yet(name.partition("_")[0], services)
            advice = away or suggest(name, names) or "remove it, or declare it under passwords: of a service"
            problems.append(document.place((name,), key=True).warning(f"no service uses the password {name!r}", advice))
        for path, leaf in _leaves((name,), value):
            _add(result, document, path, leaf)
        _add(result, document, (name,), value)
    return result, found.recipients


def _add(result: dict[str, SecretName], document: Document, path: Path, value: Any) -> None:
    name = _dotted(path)
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    result[name] = SecretName(name, document.place(path), digest, sum(_size(leaf) for _, leaf in _leaves(path, value)))


def _size(value: Any) -> int:
    """The bytes of a value: AES-GCM gives a ciphertext of the same length. What is empty is not encrypted, and stands for no value."""
    if value is None:
        return 0
    if isinstance(value, str) and value.startswith("ENC["):
        return len(value.partition("data:")[2].partition(",")[0]) * 3 // 4
    return len(str(value).encode(errors="surrogatepass"))


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves((*path, key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves((*path, index), item)
    else:
        yield path, value


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))
