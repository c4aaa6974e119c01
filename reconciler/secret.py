"""The type that holds a secret, and what may be said about one: a keyed digest, or nothing.

A secret leaves this type only through `reveal()`, so that a search for that word finds every place where one does. All
else that turns an object into text (print, format, logging, tracebacks with locals) gives `***`; what would make a
wrong text out of it (adding, joining, pickling, JSON) raises instead.

Every Secret that lives in this process is known to `known()`, which takes it out of what others say: nobody has to hand secrets to
whoever makes a message (foreign.py).
"""

import base64
import hashlib
import hmac
import html
import json
import re
import secrets as _random
import shlex
import threading
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, NoReturn, final
from urllib.parse import quote_from_bytes, quote_plus

MASK: Final = "***"
SHORTEST: Final = 6  # shorter secrets are looked for as words of their own: inside others they would hit innocent ones
SHORTEST_WORD: Final = 3  # still shorter ones are not looked for at all

_HASH_KEY = _random.token_bytes(32)
_LINE = 20  # a line of a multi-line secret (a private key) is looked for by itself from this length on
_CUT = 12  # so much of the beginning of a secret is one, where the text breaks off after it
_KEPT = 4096  # secrets that stay known after their last use
_ROUNDS = 8  # in which masking may join neighbours, and
_TRIES = 200_000  # places where a spelling may begin; a text with more of either was made to take long


@final
class Secret:
    """A text that cannot print itself. Immutable; copying gives the same object; equality takes constant time."""

    __slots__ = ("__value", "__weakref__")

    __value: str

    def __init__(self, value: str) -> None:
        if type(value) is not str:
            raise TypeError(f"a Secret holds a str, not {type(value).__name__}")
        object.__setattr__(self, "_Secret__value", value)
        _KNOWN.add(self)

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
    """Replaces secrets in texts; made once for a set of secrets, then called per text. Its cost does not grow with their number."""

    __slots__ = ("_by_start", "_words")

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._by_start: dict[str, list[str]] = {}
        words: set[str] = set()
        for value in {secret.reveal() for secret in secrets}:
            for spelling in _spellings(value):
                self._by_start.setdefault(spelling[:SHORTEST], []).append(spelling)
            short = value.strip()
            if SHORTEST_WORD <= len(short) < SHORTEST and short.strip("*"):
                words |= {short, html.escape(short), json.dumps(short)[1:-1]}
        either = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        self._words = re.compile(rf"(?<!\w)(?:{either})(?!\w)") if words else None

    def __call__(self, text: str) -> str:
        """`text` with `***` for every occurrence of a secret in one of its usual spellings; `***` alone for a text in which it would take
        long to find them all."""
        # Masking may join its neighbours into another occurrence. Each round leaves less that could be one.
        for _ in range(_ROUNDS):
            spans = self._spans(text)
            if not spans:
                return MASK if spans is None else text
            text = _mask(text, spans)
        return MASK

    def _spans(self, text: str) -> list[tuple[int, int]] | None:
        """None: there are too many places to look at."""
        spans = [match.span() for match in self._words.finditer(text)] if self._words else []
        starts, tries = self._by_start, 0
        begun = {start for start, _ in spans}
        # From the end, because a beginning of a secret is one also where what will be masked follows.
        for start in range(len(text) - SHORTEST, -1, -1) if starts else ():
            for spelling in starts.get(text[start : start + SHORTEST], ()):
                tries += 1
                whole = text.startswith(spelling, start)
                if end := start + len(spelling) if whole else _cut_short(text, start, spelling, begun):
                    spans.append((start, end))
                    begun.add(start)
            if tries > _TRIES:
                return None
        return spans


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """`text` with `***` for every occurrence of a secret, of one that is shorter than SHORTEST where it is a word of its own.

    Found as it is and in base64 (alone or inside more), hexadecimal, and as URL, JSON, YAML, Python, SQL, the shell and HTML
    quote it; of a secret with several lines every long line is found by itself; and its beginning where the text breaks off
    after it. Use a Redactor for many texts.
    """
    return Redactor(secrets)(text)


class _Known:
    """The secrets that live in this process, and the latest that did: what is rotated away may still be said by a service."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._living: weakref.WeakValueDictionary[int, Secret] = weakref.WeakValueDictionary()
        self._kept: dict[Secret, None] = {}  # in the order of their use
        self._count = 0
        self._made: tuple[int, Redactor] = (0, Redactor(()))

    def add(self, secret: Secret) -> None:
        with self._lock:
            self._count += 1
            self._living[self._count] = secret

    def keep(self, secrets: Iterable[Secret]) -> None:
        with self._lock:
            for secret in secrets:
                self._kept.pop(secret, None)
                self._kept[secret] = None
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]

    def redactor(self) -> Redactor:
        with self._lock:
            if self._made[0] != self._count:
                self._made = (self._count, Redactor(list(self._living.values())))
            return self._made[1]


_KNOWN: Final = _Known()


def known() -> Redactor:
    """Takes every secret out of a text that lives in this process."""
    return _KNOWN.redactor()


def keep(secrets: Iterable[Secret]) -> None:
    """See that these stay known, within reason, after whoever uses them has let them go."""
    _KNOWN.keep(secrets)


def _bytes(text: str) -> bytes:
    """As they are in the file of a secret that is no text; half a surrogate pair otherwise has bytes of its own."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
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


def _cut_short(text: str, start: int, spelling: str, masked: Collection[int]) -> int:
    """Where a spelling ends that the text begins to give and breaks off; 0 when it does not, or gives too little. `masked`: where what will be
    masked begins."""
    least, most = 0, len(spelling)  # characters that they share
    while least < most:
        middle = (least + most + 1) // 2
        if text.startswith(spelling[:middle], start):
            least = middle
        else:
            most = middle - 1
    end = start + least
    broken = end == len(text) or end in masked or not (text[end].isalnum() or text[end] in "+/=_-")
    begin = "-----BEGIN"  # everybody's private key begins so
    head = spelling.find("-----", len(begin)) + 5 if spelling.startswith(begin) else 0
    return end if broken and least >= _CUT + head else 0


def _spellings(value: str) -> set[str]:
    """How a value is written down in the places that programs write to; all of at least SHORTEST characters."""
    lines = {line for line in value.splitlines() if len(line) >= _LINE and not line.startswith("-----")}
    found: set[str] = set()
    for text in {value, value.strip()}:
        if len(text) < SHORTEST:
            continue
        data = _bytes(text)
        quoted = {quote_from_bytes(data, safe=""), quote_from_bytes(data), quote_plus(data)}
        found |= {text, html.escape(text), html.escape(text, quote=False), repr(text)[1:-1], repr(data)[2:-1]}
        found |= {text.replace("'", "&apos;"), text.replace("'", "&#39;")}
        found |= {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
        found |= {re.sub(r"\\u00(..)", lambda match: f"\\x{match[1].upper()}", json.dumps(text)[1:-1])}
        found |= {json.dumps(json.dumps(text))[3:-3], json.dumps(text)[1:-1].replace("/", "\\/")}
        # The shell, YAML's and SQL's single quotes, and what escapes with backslashes.
        found |= {shlex.quote(text).strip("'"), text.replace("'", "''"), text.replace("'", "'\\''")}
        found |= {
            re.sub(r"([\\'\"])", r"\\\1", text),
            re.sub(r"([\\'])", r"\\\1", text),
            re.sub(r"([^\w])", r"\\\1", text),
        }
        found |= {text.replace("$", "$$"), text.replace("%", "%%")}
        found |= {
            data.hex(),
            data.hex().upper(),
            data.hex(":"),
            data.hex(" "),
            "".join(f"\\x{byte:02x}" for byte in data),
        }
        found |= quoted | {_lower_escapes(spelling) for spelling in quoted}
        found |= _base64(data)
    return {spelling for spelling in found | (lines if len(value) >= SHORTEST else set()) if len(spelling) >= SHORTEST}


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
