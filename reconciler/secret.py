"""The type that holds a secret, and what may be said about one: a keyed digest, or nothing.

A secret leaves this type only through `reveal()`, so that a search for that word finds every place where one does. All
else that turns an object into text (print, format, logging, tracebacks with locals) gives `***`; what would make a
wrong text out of it (adding, joining, pickling, JSON) raises instead.
"""

import base64
import hashlib
import hmac
import html
import json
import secrets as _random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NoReturn, final
from urllib.parse import quote_from_bytes, quote_plus

MASK: Final = "***"
SHORTEST: Final = 6  # shorter secrets are not looked for in texts: they would hit innocent words

_HASH_KEY = _random.token_bytes(32)
_LINE = 20  # a line of a multi-line secret (a private key) is looked for by itself from this length on


@final
class Secret:
    """A text that cannot print itself. Immutable; copying gives the same object; equality takes constant time."""

    __slots__ = ("__value",)

    __value: str

    def __init__(self, value: str) -> None:
        if type(value) is not str:
            raise TypeError(f"a Secret holds a str, not {type(value).__name__}")
        object.__setattr__(self, "_Secret__value", value)

    def reveal(self) -> str:
        """The text itself: for rendered files, a child's stdin, a client's password argument; nothing else."""
        return self.__value

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self.__value), _bytes(other.__value))

    def __hash__(self) -> int:
        digest = hashlib.blake2b(_bytes(self.__value), key=_HASH_KEY, digest_size=8).digest()
        return int.from_bytes(digest, "big")

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret does not change")

    # Joining, adding, iterating, ordering and len() raise TypeError because nothing here offers them.
    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not serialisable; use reveal() where it has to leave")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret is not serialisable; use reveal() where it has to leave")


def conceal(value: Any) -> Any:
    """`value` (plain JSON-like data) with every scalar as a Secret; mappings and lists keep their shape.

    Numbers and booleans become their JSON spelling. None stays None: that something is not set is no secret.
    """
    if isinstance(value, Mapping):
        return {str(key): conceal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [conceal(item) for item in value]
    if value is None or isinstance(value, Secret):
        return value
    return Secret(value if isinstance(value, str) else json.dumps(value))


def reveal(value: Any) -> Any:
    """The opposite of `conceal`: plain data, for a child's stdin or a rendered file."""
    if isinstance(value, Mapping):
        return {key: reveal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [reveal(item) for item in value]
    return value.reveal() if isinstance(value, Secret) else value


def leaves(value: Any) -> Iterator[Secret]:
    """Every Secret inside nested mappings and lists."""
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)


class Redactor:
    """Replaces secrets in texts; made once for a set of secrets, then called per text."""

    __slots__ = ("_spellings",)

    def __init__(self, secrets: Iterable[Secret]) -> None:
        spellings: set[str] = set()
        for secret in set(secrets):
            spellings |= _spellings(secret.reveal())
        self._spellings = tuple(spellings)

    def __call__(self, text: str) -> str:
        """`text` with `***` for every occurrence of a secret in one of its usual spellings."""
        # Masking may join its neighbours into another occurrence. Each round is shorter than the one before.
        while spans := self._spans(text):
            text = _mask(text, spans)
        return text

    def _spans(self, text: str) -> list[tuple[int, int]]:
        spans = []
        for spelling in self._spellings:
            start = text.find(spelling)
            while start >= 0:
                spans.append((start, start + len(spelling)))
                start = text.find(spelling, start + 1)
        return spans


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """`text` with `***` for every occurrence of a secret of at least SHORTEST characters.

    Found as it is and in base64 (alone or inside more), URL-quoted, JSON-, Python- and HTML-escaped spelling; of a
    secret with several lines every long line is found by itself. Use a Redactor for many texts.
    """
    return Redactor(secrets)(text)


def keyed_digest(key: bytes, data: bytes) -> str:
    """HMAC-SHA256 as 64 hex digits: says whether secret content changed, to nobody without the key."""
    return hmac.new(key, data, hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _mask(text: str, spans: list[tuple[int, int]]) -> str:
    """Masks the union of `spans`, touching ones as one."""
    pieces, end = [], -1
    position = 0
    for start, stop in sorted(spans):
        if start > end:
            pieces += [text[position:start], MASK]
        end = max(end, stop)
        position = end
    return "".join([*pieces, text[position:]])


def _spellings(value: str) -> set[str]:
    lines = {line for line in value.splitlines() if len(line) >= _LINE and not line.startswith("-----")}
    found: set[str] = set()
    for text in {value, value.strip()}:
        if len(text) < SHORTEST:
            continue
        data = _bytes(text)
        quoted = {quote_from_bytes(data, safe=""), quote_from_bytes(data), quote_plus(data)}
        found |= {text, html.escape(text), repr(text)[1:-1], data.hex()}
        found |= {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
        found |= quoted | {_lower_escapes(spelling) for spelling in quoted}
        found |= _base64(data)
    return found | (lines if len(value) >= SHORTEST else set())


def _lower_escapes(quoted: str) -> str:
    head, *rest = quoted.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


def _base64(data: bytes) -> set[str]:
    """Both alphabets; whole, and the part that stays the same at each of the three places inside more data."""
    found = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(data).decode()
        found |= {whole, whole.rstrip("=")}
        for before in (0, 1, 2):
            encoded = encode(b"\0" * before + data).decode()
            first = -(-before * 8 // 6)
            last = (before + len(data)) * 8 // 6
            found.add(encoded[first:last])
    return found
