"""passwords.yml and its like as far as they can be read without a key: names, places, digests of the ciphertext."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.catalogue import Catalogue
from reconciler.document.grammar import suggest
from reconciler.document.yaml import Document, Path, Place
from reconciler.errors import Problem
from reconciler.site.inventory import Known
from reconciler.site.types import SecretName

_CIPHER: Final = "ENC["
_PLAIN_SUFFIX: Final = "_unencrypted"  # sops' own way to leave a key readable


def is_password_file(path: str) -> bool:
    """Whether a file of a site holds secrets."""
    return path == "passwords.yml" or path.startswith("passwords/") or path.endswith(".passwords.yml")


def load(
    documents: Mapping[str, Document], known: Known, catalogue: Catalogue, problems: list[Problem]
) -> dict[str, dict[str, SecretName]]:
    """Secrets by file, without any value. Plain text in such a file is a problem, and never quoted."""
    names = catalogue.passwords()
    result: dict[str, dict[str, SecretName]] = {}
    for path, document in documents.items():
        if is_password_file(path):
            _check_owner(path, document, known, problems)
            result[path] = _read(document, names, problems)
    return result


def _check_owner(path: str, document: Document, known: Known, problems: list[Problem]) -> None:
    folder, _, file = path.partition("/")
    if folder == "passwords":
        problems += known.group(file.removesuffix(".yml"), Place(document.name))
    elif folder == "hosts":
        problems += known.host(file.removesuffix(".passwords.yml"), Place(document.name))


def _read(document: Document, names: Mapping[str, Any], problems: list[Problem]) -> dict[str, SecretName]:
    content = document.data
    if not isinstance(content, dict):
        problems.append(document.place().problem("must be a mapping of names to secrets"))
        return {}
    if not content:
        return {}
    result: dict[str, SecretName] = {}
    hint = f"run: sops encrypt --in-place {document.name}"
    encrypted = isinstance(content.get("sops"), dict)
    if not encrypted:
        problems.append(document.place().problem("is not encrypted", hint))
    for name, value in content.items():
        if name == "sops":
            continue
        if name not in names:
            advice = suggest(name, names) or "remove it, or declare it under passwords: of a service"
            problems.append(document.place((name,), key=True).warning(f"no service uses the password {name!r}", advice))
        for path, leaf in _leaves((name,), value):
            if encrypted and not _is_cipher(path, leaf):
                problems.append(document.place(path).problem(f"{_dotted(path)!r} is not encrypted", hint))
            _add(result, document, path, leaf)
        _add(result, document, (name,), value)
    return result


def _add(result: dict[str, SecretName], document: Document, path: Path, value: Any) -> None:
    name = _dotted(path)
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    result[name] = SecretName(name, document.place(path), digest, sum(_size(leaf) for _, leaf in _leaves(path, value)))


def _size(value: Any) -> int:
    """The bytes of a value: AES-GCM gives a ciphertext of the same length."""
    if isinstance(value, str) and value.startswith(_CIPHER):
        data = value.partition("data:")[2].partition(",")[0]
        return len(data) * 3 // 4 if data else len(value)
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


def _is_cipher(path: Path, value: Any) -> bool:
    """Whether sops would leave a value like this: a ciphertext, or what it does not encrypt (nothing, by choice)."""
    if value is None or value == "" or str(path[-1]).endswith(_PLAIN_SUFFIX):
        return True
    return isinstance(value, str) and value.startswith(_CIPHER) and value.endswith("]")


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))
