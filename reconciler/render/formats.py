"""How a secret's value is written into a file: each format of files quotes in its own way, and says what it cannot hold.

A file holds tokens until it is written; only then a value meets the syntax around it. The format is a property of the file
(`format` in service.yml, else what `merge` or the name says). A value of the generator's letters and digits is written as it is in
every format; one that the format cannot hold at its place is an error that names the secret and the file, never a guess.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml
from yaml.resolver import Resolver

from reconciler.document.yaml import scalar
from reconciler.errors import Terminal
from reconciler.model import File
from reconciler.reasons import Reason
from reconciler.render import tokens

# What means nothing of its own in any format, and needs no quoting.
PLAIN: Final = re.compile(r"[A-Za-z0-9_./+=,:@%^~-]*")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_YAML_1_1: Final[Any] = Resolver()
_QUOTES: Final = ('"', "'")


class _Unwritable(Exception):
    """A value that has no spelling at its place; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value goes: `before` and `after` are the rest of its line, `operation` the filter that made it ("" for none)."""

    before: str
    after: str
    operation: str

    @property
    def alone(self) -> bool:
        """Whether nothing else is on the line: the author wants the value itself."""
        return not self.before.strip() and not self.after.strip()

    @property
    def whole(self) -> bool:
        """Whether the value is all that stands behind a key."""
        return not self.after.strip() and bool(re.fullmatch(r"\s*[^\s=:#;][^=:]*[=:]\s*", self.before))

    @property
    def quote(self) -> str:
        """The quote that is open here; "" for none."""
        found, skip = "", False
        for char in self.before:
            if skip:
                skip = False
            elif char == "\\" and found != "'":
                skip = True
            elif char in _QUOTES:
                found = char if not found else "" if found == char else found
        return found


def write(file: File, secrets: Mapping[str, Any]) -> str:
    """The content of a file with every token replaced by its value, quoted as the file's format asks for. A file that is one secret and
    nothing else may be no text: what no UTF-8 holds is as `tokens.ESCAPED` has it.

    Raises Terminal: SecretMissing when a name has no value, SecretUnwritable when a value cannot stand where it is used.
    """
    if "<<" not in file.content:
        return file.content
    pieces, size = [], 0
    for piece in _pieces(file, secrets):
        if isinstance(piece, Terminal):
            raise piece
        pieces.append(piece)
        size += len(piece)
        if size > tokens.MAX_BOUND:
            raise Terminal(
                f"{file.path} is larger than {tokens.MAX_BOUND >> 20} MiB with its secrets (use them fewer times)",
                reason=Reason.LimitExceeded,
            )
    return "".join(pieces)


def unwritable(file: File, secrets: Mapping[str, Any]) -> list[Terminal]:
    """Every reason for which `write` would refuse. Raises Terminal (SecretMissing)."""
    return [piece for piece in _pieces(file, secrets) if isinstance(piece, Terminal)]


def _pieces(file: File, secrets: Mapping[str, Any]) -> Iterator[str | Terminal]:
    quote, end = FORMATS[file.format], 0
    whole = file.format == "text" and tokens.TOKEN.fullmatch(file.content) is not None
    for match in tokens.TOKEN.finditer(file.content):
        yield file.content[end : match.start()]
        end = match.end()
        try:
            value = tokens.bind(match[0], secrets, binary=True)
            if not whole and not tokens.is_text(value):
                raise _Unwritable(f"it {tokens.NO_TEXT}")
            yield quote(value, _place(file.content, match))
        except _Unwritable as error:
            what = tokens.words(tokens.names(match[0]))
            kind = f" (format {file.format})" if file.format else ""
            line = file.content.count("\n", 0, match.start()) + 1
            text = f"{what} cannot be written into {file.path}{kind}, line {line}: {error}"
            yield Terminal(text, reason=Reason.SecretUnwritable)
    yield file.content[end:]


def of_name(name: str, merge: str) -> str:
    """The format of a file that declares none: what it is merged as, else what its name says; "" when nothing does."""
    if merge in ("ini", "yaml"):
        return merge
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    return {"json": "json", "yml": "yaml", "yaml": "yaml"}.get(extension, "")


def _place(text: str, match: re.Match[str]) -> _Place:
    begin = text.rfind("\n", 0, match.start()) + 1
    stop = text.find("\n", match.end())
    after = text[match.end() : stop if stop >= 0 else len(text)]
    return _Place(text[begin : match.start()], after, match["filter"] or "")


def _one_line(value: str, why: str = "it holds a line end or another control character") -> None:
    if _CONTROL.search(value):
        raise _Unwritable(f"{why} (choose another value: `sops edit`)")


def _backslashed(value: str, characters: str) -> str:
    return "".join(f"\\{char}" if char in characters else char for char in value)


# --- one function per format ------------------------------------------------------------------------------------------


def _undeclared(value: str, place: _Place) -> str:
    if place.alone or PLAIN.fullmatch(value):
        return value
    raise _Unwritable(
        "it holds characters that may mean something there, and nothing says how the file quotes them (say `format:` in the "
        "service's entry of this file; `format: text` writes values as they are)"
    )


def _text(value: str, place: _Place) -> str:
    if not place.alone:
        _one_line(value)
    return value


def _ini(value: str, place: _Place) -> str:
    """oslo.config: `$` interpolates, quotes around the whole value are taken off, white space at its ends is."""
    _one_line(value)
    text = re.sub(r"(\\?)\$", lambda match: match[1] + (r"\$" if match[1] else "$$"), value)
    if place.before.endswith("\\") and value.startswith("$"):
        raise _Unwritable("a backslash stands before its `$` (take the backslash out of the file)")
    stripped = value != value.strip()
    if place.whole:
        quoted = bool(value) and value[0] == value[-1] and value[0] in _QUOTES and place.operation != "to_json"
        return f'"{text}"' if stripped or quoted else text
    edge = not place.before.strip() or not place.after.strip()
    if edge and (stripped or (not place.before.strip() and value[:1] in "#;[")):
        raise _Unwritable("it begins or ends with what oslo.config takes off (choose another value: `sops edit`)")
    if not place.after.strip() and value[-1:] in _QUOTES and re.search(r"[=:]\s*" + value[-1:], place.before):
        raise _Unwritable(
            "it ends with the quote that the text before it begins with (choose another value: `sops edit`)"
        )
    return text


def _yaml(value: str, place: _Place) -> str:
    if place.operation == "to_json" and not place.quote:
        return value
    if place.quote == '"':
        return tokens.quoted(value)[1:-1]
    if place.quote == "'":
        _one_line(value)
        return value.replace("'", "''")
    whole = not place.after.strip() and bool(re.fullmatch(r"\s*(?:-\s+|[^\s#'\"][^#]*:\s+)+", place.before))
    if whole or place.alone:
        return value if _is_plain_yaml(value) else tokens.quoted(value)
    if PLAIN.fullmatch(value) and ": " not in value + place.after[:1]:
        return value
    raise _Unwritable("YAML would read it as something else (write `| to_json` around the whole value)")


def _is_plain_yaml(value: str) -> bool:
    """Whether readers of YAML 1.1 and of 1.2 take it as a text without quotes."""
    if not re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./+=@%^~-]*", value) or value.lower() in ("y", "n"):
        return False
    tag = _YAML_1_1.resolve(yaml.ScalarNode, value, (True, False))
    try:
        return bool(tag == "tag:yaml.org,2002:str") and scalar(value) == value
    except ValueError:  # a number that is none
        return False


def _json(value: str, place: _Place) -> str:
    if place.quote == '"':
        if place.operation == "to_json":
            raise _Unwritable("quotes stand around `| to_json`, which brings its own (take them away)")
        return tokens.quoted(value)[1:-1]
    if place.operation == "to_json":
        return value
    raise _Unwritable("it stands outside quotes (write `| to_json`)")


def _haproxy(value: str, place: _Place) -> str:
    _one_line(value)
    if place.quote == '"':
        return _backslashed(value, '\\"$')
    if place.quote == "'":
        return value.replace("'", r"'\''")
    return value if PLAIN.fullmatch(value) else "'" + value.replace("'", r"'\''") + "'"


def _keepalived(value: str, place: _Place) -> str:
    if PLAIN.fullmatch(value) and not value.startswith(("@", "~")):
        return value
    raise _Unwritable("keepalived has no quoting for it (use letters and digits: `reconciler secrets rotate`)")


def _mycnf(value: str, place: _Place) -> str:
    """MariaDB's option files: `#` begins a comment anywhere outside quotes, backslashes escape."""
    _one_line(value)
    if PLAIN.fullmatch(value):
        return value
    if place.quote:
        return _backslashed(value, "\\" + place.quote)
    if place.whole:
        return '"' + _backslashed(value, '\\"') + '"'
    if not re.search(r"[#'\"\\\s]", value):
        return value
    raise _Unwritable(
        "an option file cannot quote a part of a value (choose one without # ' \" \\ and spaces: `sops edit`)"
    )


def _shell(value: str, place: _Place) -> str:
    if "\x00" in value:
        raise _Unwritable("no shell takes a zero byte (choose another value: `sops edit`)")
    if place.operation == "quote":
        if place.quote:
            raise _Unwritable("quotes stand around `| quote`, which brings its own (take them away)")
        return value
    if place.quote == "'":
        return value.replace("'", "'\\''")
    if place.quote == '"':
        return _backslashed(value, '\\"$`')
    return value if PLAIN.fullmatch(value) and not value.startswith("~") else tokens.apply("quote", value)


def _erlang(value: str, place: _Place) -> str:
    if place.quote == '"':
        _one_line(value)
        return _backslashed(value, '\\"')
    raise _Unwritable('it stands outside quotes (write "…" around it)')


def _apache(value: str, place: _Place) -> str:
    _one_line(value)
    if "${" in value or "%{" in value:
        raise _Unwritable(
            "Apache would put a variable in the place of ${…} or %{…} (choose another value: `sops edit`)"
        )
    if place.quote:
        return _backslashed(value, "\\" + place.quote)
    if PLAIN.fullmatch(value):
        return value
    if place.before[-1:].isspace() and (not place.after or place.after[0].isspace()):
        return '"' + _backslashed(value, '\\"') + '"'
    raise _Unwritable('Apache cannot quote a part of a word (write "…" around the word)')


FORMATS: Final[Mapping[str, Callable[[str, _Place], str]]] = {
    "": _undeclared,
    "apache": _apache,
    "erlang": _erlang,
    "haproxy": _haproxy,
    "ini": _ini,
    "json": _json,
    "keepalived": _keepalived,
    "mycnf": _mycnf,
    "shell": _shell,
    "text": _text,
    "yaml": _yaml,
}
NAMES: Final = tuple(name for name in FORMATS if name)
