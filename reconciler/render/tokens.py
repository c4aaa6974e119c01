"""Secret tokens: what stands for a secret in every rendered text until the moment it is written.

    <<secret:NAME>>             the secret NAME; `NAME.part` for one key of a secret that is a mapping
    <<FILTER:BASE64URL>>        FILTER applied to the text that the base64url part encodes, which may hold tokens itself

A token is plain text, so it can be concatenated, merged and compared without anybody knowing the value. Filters that
need the value (`b64encode`, `to_json`, …) wrap it instead and are carried out by `bind`.
"""

import base64
import functools
import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from reconciler.errors import Terminal
from reconciler.secret import Secret

HASHES: Final = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
_MAX_DEPTH: Final = 8

TOKEN: Final = re.compile(
    r"<<(?:secret:(?P<name>[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)"
    r"|(?P<filter>b64encode|urlencode|to_json|quote|hash-(?:" + "|".join(HASHES) + r")):(?P<inner>[A-Za-z0-9_-]*))>>"
)


class SecretRef(str):
    """The token of one secret, as templates see it. A part of it is another token; nothing else can be asked of it."""

    __slots__ = ()

    def __new__(cls, name: str) -> "SecretRef":
        text = f"<<secret:{name}>>"
        if not TOKEN.fullmatch(text):
            raise ValueError(f"{name!r} cannot be the name of a secret: use letters, digits and underscores")
        return super().__new__(cls, text)

    @property
    def name(self) -> str:
        return self[len("<<secret:") : -len(">>")]

    def part(self, key: str) -> "SecretRef":
        """The token of one key of a secret that is a mapping."""
        return SecretRef(f"{self.name}.{key}")


def is_held(value: object) -> bool:
    """Whether `value` is a text that holds a token."""
    return isinstance(value, str) and "<<" in value and TOKEN.search(value) is not None


def wrap(operation: str, text: str) -> str:
    """The token for `operation` (a filter of the grammar) applied to `text`, which holds tokens."""
    token = f"<<{operation}:{base64.urlsafe_b64encode(text.encode()).decode().rstrip('=')}>>"
    if not TOKEN.fullmatch(token):
        raise ValueError(f"{operation!r} cannot be applied to a secret")
    return token


def names(text: str) -> set[str]:
    """The names of all secrets that the tokens in `text` stand for, the ones inside filters too."""
    return set(_names(text, 0))


def held(value: object) -> set[str]:
    """The names of all secrets in plain data: in texts, keys, lists and mappings."""
    if isinstance(value, str):
        return names(value)
    if isinstance(value, Mapping):
        return {name for pair in value.items() for part in pair for name in held(part)}
    if isinstance(value, list | tuple):
        return {name for item in value for name in held(item)}
    return set()


def bind(text: str, secrets: Mapping[str, Any]) -> str:
    """`text` with every token replaced by its value. `secrets` maps names to str or Secret, or to mappings of such.

    Values are not looked into: a secret whose value looks like a token stays as it is. Raises Terminal with reason
    SecretMissing when a name has no value.
    """
    return _bind(text, secrets, 0)


def quoted(text: str) -> str:
    """`text` as a double-quoted scalar that JSON and YAML read alike, on one line."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


# What JSON lets stand raw inside a string and YAML does not, or reads as a line break.
_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def _hash(algorithm: str, text: str) -> str:
    return hashlib.new(algorithm, text.encode()).hexdigest()


_OPERATIONS: Final[Mapping[str, Callable[[str], str]]] = {
    "b64encode": lambda text: base64.b64encode(text.encode()).decode(),
    "urlencode": lambda text: quote(text, safe="/"),
    "to_json": quoted,
    "quote": shlex.quote,
    **{f"hash-{name}": functools.partial(_hash, name) for name in HASHES},
}


def apply(operation: str, text: str) -> str:
    """A filter of the grammar applied now when `text` holds no token, else the token that applies it later."""
    return wrap(operation, text) if is_held(text) else _OPERATIONS[operation](text)


def _names(text: str, depth: int) -> Iterator[str]:
    if "<<" not in text:
        return
    for match in TOKEN.finditer(text):
        if match["name"]:
            yield match["name"]
        elif depth < _MAX_DEPTH:
            yield from _names(_inner(match), depth + 1)


def _bind(text: str, secrets: Mapping[str, Any], depth: int) -> str:
    if "<<" not in text:
        return text
    if depth > _MAX_DEPTH:
        raise Terminal(f"secret tokens are nested deeper than {_MAX_DEPTH} levels", reason="SecretMissing")

    def replace(match: re.Match[str]) -> str:
        if match["name"]:
            return _value(match["name"], secrets)
        return _OPERATIONS[match["filter"]](_bind(_inner(match), secrets, depth + 1))

    return TOKEN.sub(replace, text)


def _inner(match: re.Match[str]) -> str:
    text: str = match["inner"]
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:  # written by hand: nothing of ours encodes to it, so it holds no secret
        return text


def _value(name: str, secrets: Mapping[str, Any]) -> str:
    try:
        found: Any = secrets[name]
    except KeyError:
        found = secrets
        for key in name.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
    if isinstance(found, Secret):
        return found.reveal()
    if isinstance(found, str):
        return found
    hint = f"name a key of it: {name}.…" if isinstance(found, Mapping) else "run `reconciler secrets generate`"
    raise Terminal(f"the secret {name} has no value in passwords.yml ({hint})", reason="SecretMissing")
