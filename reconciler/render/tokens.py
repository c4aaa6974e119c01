"""Tokens: what stands for a secret, or for an identifier that only the cloud knows, in every rendered text until it is written.

    <<secret:NAME>>             the secret NAME; `NAME.part` for one key of a secret that is a mapping
    <<id:REGISTRATION>>         the identifier that a registrar gave to what is registered under this Registration.id
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
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from reconciler.errors import Terminal
from reconciler.reasons import Reason
from reconciler.registrations.protocol import MAX_IDENTIFIER
from reconciler.render import meter
from reconciler.render.faults import Refused
from reconciler.secret import Secret

ESCAPED: Final = "surrogateescape"  # how bytes that are no UTF-8 are in the value of a secret
NO_TEXT: Final = "is no text (let it be the whole of a file, or write `| b64encode`)"
_ESCAPES: Final = re.compile("[\udc80-\udcff]")
MAX_BOUND: Final = 8 << 20  # bytes of one text with the values of its secrets
MAX_SECRET: Final = 64 << 10  # bytes that a secret has at most where its length is not known
HASHES: Final = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
BCRYPT_ROUNDS: Final = range(4, 13)
_BCRYPT_STEPS: Final = meter.MAX_STEPS // 20  # so that a host has twenty of them at most
_SALT: Final = re.compile(r"[./A-Za-z0-9]{21}[.Oeu]")  # 128 bits: the last of 22 characters has two of its six
_MAX_DEPTH: Final = 8
_ID: Final = "id:"  # before the name of an identifier; a secret's name has no colon

TOKEN: Final = re.compile(
    r"<<(?:secret:(?P<name>[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)"
    r"|(?P<id>id:[a-z]+(?:@[A-Za-z0-9_-]+)?:[a-z_]+:[A-Za-z0-9_./@-]{1,200})"
    r"|(?P<filter>b64encode|urlencode|to_json|quote|bcrypt|hash-(?:"
    + "|".join(HASHES)
    + r")):(?P<inner>[A-Za-z0-9_-]*))>>"
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


def identifier(registration: str) -> str:
    """The token of the identifier of what is registered under this Registration.id. Raises ValueError when there can be none."""
    text = f"<<{_ID}{registration}>>"
    if not (found := TOKEN.fullmatch(text)) or not found["id"]:
        raise ValueError(
            f"{registration[:80]!r} is not how a registration is called: KIND:TYPE:KEY, as in keystone:project:default/service, and in its "
            "key letters, digits and _ . / @ - only"
        )
    return text


def identifiers(text: str) -> set[str]:
    """The ids of all registrations whose identifiers `text` holds."""
    return {name.removeprefix(_ID) for name in _names(text, 0) if name.startswith(_ID)}


def secrets(text: str) -> set[str]:
    """The names of all secrets that `text` holds."""
    return {name for name in _names(text, 0) if not name.startswith(_ID)}


def identified(known: Mapping[str, str]) -> dict[str, str]:
    """Registration.id → identifier, by the names that `bind` looks for."""
    return {f"{_ID}{registration}": value for registration, value in known.items()}


def words(named: Collection[str]) -> str:
    """What names of tokens are called in a message."""
    plain = sorted(name for name in named if not name.startswith(_ID))
    known = sorted(name.removeprefix(_ID) for name in named if name.startswith(_ID))
    said = [f"the secret {', '.join(plain)}"] if plain else []
    return " and ".join([*said, *([f"the identifier of {', '.join(known)}"] if known else [])])


def is_held(value: object) -> bool:
    """Whether `value` is a text that holds a token."""
    return isinstance(value, str) and "<<" in value and TOKEN.search(value) is not None


def wrap(operation: str, text: str) -> str:
    """The token for `operation` (a filter of the grammar) applied to `text`, which holds tokens.

    Raises Refused when that would be more than _MAX_DEPTH of them inside one another.
    """
    meter.spend(5 + (len(text) >> 5), 4 * len(text))
    if _depth(text, 0) >= _MAX_DEPTH:
        raise Refused(f"a secret can pass through at most {_MAX_DEPTH} filters")
    token = f"<<{operation}:{base64.urlsafe_b64encode(text.encode()).decode().rstrip('=')}>>"
    if not TOKEN.fullmatch(token):
        raise ValueError(f"{operation!r} cannot be applied to a secret")
    return token


def names(text: str) -> set[str]:
    """The names of all secrets that the tokens in `text` stand for, the ones inside filters too; of identifiers with `id:` before them."""
    return set(_names(text, 0))


def held(value: object) -> set[str]:
    """The same of plain data: in texts, keys, lists and mappings."""
    if isinstance(value, str):
        return names(value)
    if isinstance(value, Mapping):
        return {name for pair in value.items() for part in pair for name in held(part)}
    if isinstance(value, list | tuple):
        return {name for item in value for name in held(item)}
    return set()


def bind(text: str, secrets: Mapping[str, Any], *, binary: bool = False) -> str:
    """`text` with every token replaced by its value. `secrets` maps names to str or Secret, or to mappings of such.

    Values are not looked into: a secret whose value looks like a token stays as it is. Raises Terminal with reason
    SecretMissing when a name has no value, and LimitExceeded when the result would be larger than MAX_BOUND, which rendering
    has ruled out (`bound_size`) if the secrets are no longer than their ciphertexts said; SecretUnwritable when a secret that is no text
    comes into the result, unless that may be `binary`.
    """
    bound = _Binding(secrets).bind(text, 0)
    if not binary:
        _require_text(text, bound)
    return bound


def stand_in(text: str, words: Mapping[str, str]) -> str:
    """`text` with every token replaced by a word for its secret, for where no value is known: texts that differ in their secrets alone
    differ. What only a real value can go through (bcrypt) is named, and not carried out."""
    return _Binding(words, _STANDING_IN).bind(text, 0)


def bound_size(text: str, sizes: Mapping[str, int]) -> int:
    """The bytes that `text` has at most once it is bound. `sizes` maps names of secrets to the bytes of their values.

    Raises Refused for tokens that are nested too deeply to be bound.
    """
    return _bound_size(text, sizes, 0)


def unquoted(text: str) -> str:
    """JSON in which every token that quotes its value stands without quotes of its own."""
    return _QUOTED_TOKEN.sub(r"\1", text) if "<<" in text else text


_QUOTED_TOKEN: Final = re.compile(r'"(<<to_json:[A-Za-z0-9_-]*>>)"')


def quoted(text: str) -> str:
    """`text` as a double-quoted scalar that JSON and YAML read alike, on one line."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


# What JSON lets stand raw inside a string and YAML does not, or reads as a line break.
_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def is_text(value: str) -> bool:
    """Whether a secret's value, or a text that it came into, has no bytes that are ESCAPED."""
    return value.isascii() or not _ESCAPES.search(value)


def _require_text(token: str, bound: str) -> None:
    """Raises Terminal (SecretUnwritable) for a text that holds bytes which no text can hold."""
    if not is_text(bound):
        which = ", ".join(sorted(names(token)))
        message = f"the secret {which} {NO_TEXT}"
        raise Terminal(message, reason=Reason.SecretUnwritable)


def _hash(algorithm: str, text: str) -> str:
    return hashlib.new(algorithm, text.encode(errors=ESCAPED)).hexdigest()


def _bcrypt(text: str) -> str:
    """`rounds$salt$password`, as `password_hash` of a template put it together."""
    rounds, _, rest = text.partition("$")
    salt, dollar, password = rest.partition("$")
    if not (rounds.isdecimal() and int(rounds) in BCRYPT_ROUNDS and _SALT.fullmatch(salt) and dollar):
        message = (
            "bcrypt needs 4 to 12 rounds and a salt of 22 letters, digits, . and /, the last of them one of . O e u "
            "(a password of the kind bcrypt_salt)"
        )
        raise Terminal(message, reason=Reason.SecretUnwritable)
    kept = hashlib.sha256(text.encode()).digest()
    if kept not in _HASHED:
        import bcrypt  # a megabyte that few nodes need

        if len(_HASHED) >= _MOST_HASHED:
            _HASHED.clear()
        _HASHED[kept] = bcrypt.hashpw(password.encode()[:72], f"$2b${int(rounds):02}${salt}".encode()).decode()
    return _HASHED[kept]


# By the digest of what they are of: one takes a quarter of a second, and files are compared in every pass.
_HASHED: Final[dict[bytes, str]] = {}
_MOST_HASHED: Final = 64


_OPERATIONS: Final[Mapping[str, Callable[[str], str]]] = {
    "b64encode": lambda text: base64.b64encode(text.encode(errors=ESCAPED)).decode(),
    "urlencode": lambda text: quote(text, safe="/", errors=ESCAPED),
    "to_json": quoted,
    "quote": shlex.quote,
    "bcrypt": _bcrypt,
    **{f"hash-{name}": functools.partial(_hash, name) for name in HASHES},
}


_STANDING_IN: Final = {**_OPERATIONS, "bcrypt": lambda text: f"<<bcrypt:{_hash('sha256', text)[:16]}>>"}


def apply(operation: str, text: str) -> str:
    """A filter of the grammar applied now when `text` holds no token, else the token that applies it later."""
    return wrap(operation, text) if is_held(text) else _OPERATIONS[operation](text)


def _names(text: str, depth: int) -> Iterator[str]:
    if "<<" not in text:
        return
    for match in TOKEN.finditer(text):
        if name := _named(match):
            yield name
        elif depth < _MAX_DEPTH:
            yield from _names(_inner(match), depth + 1)


def _depth(text: str, above: int) -> int:
    """How many filters are inside one another in the tokens of `text`; not counted further than _MAX_DEPTH."""
    if "<<" not in text or above > _MAX_DEPTH:
        return 0
    inner = (1 + _depth(_inner(match), above + 1) for match in TOKEN.finditer(text) if match["filter"])
    return max(inner, default=0)


# What an operation makes of so many bytes, at most.
_GROWTH: Final[Mapping[str, Callable[[int], int]]] = {
    "b64encode": lambda size: 4 * (size // 3 + 1),
    "urlencode": lambda size: 3 * size,
    "to_json": lambda size: 6 * size + 2,
    "quote": lambda size: 5 * size + 2,
    "bcrypt": lambda _: 60,
    **{f"hash-{name}": lambda _: 128 for name in HASHES},
}


def _bound_size(text: str, sizes: Mapping[str, int], depth: int) -> int:
    total = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    if "<<" not in text:
        return total
    if depth > _MAX_DEPTH:
        raise Refused(f"secret tokens are nested deeper than {_MAX_DEPTH} levels")
    for match in TOKEN.finditer(text):
        meter.spend(_BCRYPT_STEPS if match["filter"] == "bcrypt" else 3)
        if match["id"]:
            total += MAX_IDENTIFIER
        elif match["name"]:
            total += sizes.get(match["name"], MAX_SECRET)
        else:
            total += _GROWTH[match["filter"]](_bound_size(_inner(match), sizes, depth + 1))
        total -= len(match[0])
    return total


class _Binding:
    """Replaces tokens by values; counts what comes of it."""

    def __init__(
        self, secrets: Mapping[str, Any], operations: Mapping[str, Callable[[str], str]] | None = None
    ) -> None:
        self._secrets = secrets
        self._operations = operations or _OPERATIONS
        self._made = 0

    def bind(self, text: str, depth: int) -> str:
        if "<<" not in text:
            return text
        if depth > _MAX_DEPTH:
            raise Terminal(f"secret tokens are nested deeper than {_MAX_DEPTH} levels", reason=Reason.SecretMissing)
        return TOKEN.sub(lambda match: self._replaced(match, depth), text)

    def _replaced(self, match: re.Match[str], depth: int) -> str:
        if name := _named(match):
            made = _value(name, self._secrets)
        else:
            inner = self.bind(_inner(match), depth + 1)
            if match["filter"] in ("to_json", "quote", "bcrypt"):
                _require_text(match[0], inner)
            made = self._operations[match["filter"]](inner)
        self._made += len(made)
        if self._made > 2 * MAX_BOUND:  # what filters made on the way counts too
            raise Terminal(
                f"with its secrets a text would be larger than {MAX_BOUND >> 20} MiB: use them fewer times",
                reason=Reason.LimitExceeded,
            )
        return made


def _named(match: re.Match[str]) -> str:
    """The name of what a token stands for; "" for one that applies a filter."""
    return str(match["name"] or match["id"] or "")


def _inner(match: re.Match[str]) -> str:
    text: str = match["inner"]
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:  # written by hand: nothing of ours encodes to it, so it holds no secret
        return text


_FILLED: Final = "run `reconciler secrets generate`, and write what it does not make with `sops edit`"


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
    if name.startswith(_ID):
        raise Terminal(f"{words({name})} is not known here: only the registrar has it", reason=Reason.Unknown)
    hint = f"name a key of it: {name}.…" if isinstance(found, Mapping) else _FILLED
    raise Terminal(f"the secret {name} has no value in passwords.yml ({hint})", reason=Reason.SecretMissing)
