"""Whether a file that is delivered as a whole can be what its format says, as far as that can be told without its program.

JSON and YAML are parsed. Of the others brackets, sections and quotes are looked at: enough to tell a file of another kind, a lost
line or a forgotten end from one that its program would read. Secrets are tokens here, and count as plain words.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NoReturn

import yaml

from reconciler.document.yaml_events import events
from reconciler.errors import Problem, SiteInvalid
from reconciler.render import meter, tokens

_MAX_DEPTH: Final = 60
_OTHERWISE: Final = "correct it, or say `format: text` in service.yml when its program reads something else"


class _Wrong(Exception):
    """What is wrong, with the line of the text."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def check(format_: str, text: str, name: str) -> None:
    """Raise SiteInvalid, with the line of the rendered text, when `text`, which came from the file `name`, is no `format_`."""
    look = _CHECKS.get(format_)
    if look is None or not text.strip():
        return
    meter.spend(1 + (len(text) >> 3), 4 * len(text))
    try:
        look(tokens.TOKEN.sub(lambda match: '""' if match["filter"] == "to_json" else "secret", text))
    except _Wrong as error:
        raise SiteInvalid([Problem(name, error.line, 1, f"is not {_NAMES[format_]}: {error}", _OTHERWISE)]) from None


def _json(text: str) -> None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise _Wrong(error.lineno, f"{error.msg[:1].lower()}{error.msg[1:]} (column {error.colno})") from None
    except (RecursionError, ValueError):
        raise _Wrong(1, "it is nested too deeply, or a number is too large") from None


def _yaml(text: str) -> None:
    try:
        for _ in events(text, _MAX_DEPTH):
            pass
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise _Wrong(mark.line + 1 if mark else 1, str(getattr(error, "problem", "") or "it cannot be read")) from None


def _statements(text: str, comments: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, a line that ends in a backslash with the next one, each with its number."""
    begun, number = "", 0
    for count, line in enumerate(text.split("\n"), 1):
        number = number if begun else count
        if line.endswith("\\"):
            begun += line[:-1]
            continue
        statement, begun = (begun + line).strip(), ""
        if statement and statement[0] not in comments:
            yield number, statement
    if begun.strip():
        yield number, begun.strip()


_HAPROXY_SECTIONS: Final = frozenset(
    (
        *(
            "acme",
            "backend",
            "cache",
            "crt-list",
            "crt-store",
            "defaults",
            "fcgi-app",
            "frontend",
            "global",
            "http-errors",
        ),
        *(
            "listen",
            "log-forward",
            "log-profile",
            "mailers",
            "peers",
            "program",
            "resolvers",
            "ring",
            "traces",
            "userlist",
        ),
    )
)


def _haproxy(text: str) -> None:
    first = True
    for number, statement in _statements(text, "#"):
        if statement.startswith("."):  # a condition of haproxy's own
            continue
        word = statement.split()[0]
        if first and word not in _HAPROXY_SECTIONS:
            raise _Wrong(
                number, f"it begins with {word[:40]!r}, and no section (such as `listen NAME`) begins before it"
            )
        first = False
        _quotes(number, statement, "\"'")


def _mycnf(text: str) -> None:
    group = False
    for number, statement in _statements(text, "#;"):
        if statement.startswith("["):
            if not re.fullmatch(r"\[[^\[\]]+\]\s*(?:#.*)?", statement):
                raise _Wrong(number, "the name of a group does not end with `]`")
            group = True
        elif statement.startswith("!include"):
            continue
        elif not re.match(r"[A-Za-z][\w.-]*\s*(?:=|#|$)", statement):
            raise _Wrong(number, f"{statement[:40]!r} is neither an option nor a group")
        elif not group:
            raise _Wrong(number, "an option stands before the first group, such as `[mysqld]`")


def _apache(text: str) -> None:
    opened: list[tuple[int, str]] = []
    for number, statement in _statements(text, "#"):
        tag = re.match(r"<(/?)([A-Za-z][\w.]*)", statement)
        if tag is None:
            if not statement[0].isalpha():
                raise _Wrong(number, f"{statement[:40]!r} is no directive")
        elif not statement.endswith(">"):
            raise _Wrong(number, f"the tag <{tag[1]}{tag[2]} does not end with `>`")
        elif not tag[1]:
            opened.append((number, tag[2]))
        elif not opened or opened.pop()[1].lower() != tag[2].lower():
            raise _Wrong(number, f"</{tag[2]}> closes what is not open here")
        _quotes(number, statement, '"')
    if opened:
        raise _Wrong(opened[-1][0], f"<{opened[-1][1]}> is never closed")


def _quotes(number: int, statement: str, marks: str) -> None:
    """Raise _Wrong when a quote is open at the end of a line."""
    opened = ""
    skip = False
    for char in statement:
        if skip:
            skip = False
        elif char == "\\" and opened != "'":
            skip = True
        elif char == "#" and not opened and marks != '"':
            return
        elif char in marks and opened in ("", char):
            opened = "" if opened else char
    if opened:
        raise _Wrong(number, f"a quote ({opened}) is not closed")


_KEEPALIVED: Final = re.compile(r'(?P<skip>[#!][^\n]*|"[^"\n]*"|[^\s{}"#!]+|\s+)|(?P<open>\{)|(?P<close>\})|(?P<odd>.)')
_ERLANG: Final = re.compile(
    r"(?P<skip>%[^\n]*|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\$\\?.|[^\s\[\]{}()\"'%$.]+|\s+|\.(?=\S))"
    r"|(?P<open>[\[{(]|<<)|(?P<close>[\]})]|>>)|(?P<end>\.)|(?P<odd>.)",
    re.DOTALL,
)
_PAIRS: Final = {"]": "[", "}": "{", ")": "(", ">>": "<<"}


def _keepalived(text: str) -> None:
    _brackets(text, _KEEPALIVED)


def _erlang(text: str) -> None:
    last = _brackets(text, _ERLANG)
    if last != "end":
        raise _Wrong(text.rstrip().count("\n") + 1, "a term does not end with `.`")


def _brackets(text: str, words: re.Pattern[str]) -> str:
    """Raise _Wrong where brackets and quotes do not fit. The result is the kind of the last word that counts."""
    opened: list[tuple[int, str]] = []
    last = ""
    for match in words.finditer(text):
        kind, word = match.lastgroup or "", match[0]
        if kind == "skip" and (word.isspace() or word[0] in "%#!"):
            continue
        last = kind
        if kind == "open":
            opened.append((match.start(), word))
        elif kind == "close" and (not opened or opened.pop()[1] != _PAIRS[word]):
            raise _Wrong(_line(text, match.start()), f"{word} closes what is not open here")
        elif kind == "odd":
            raise _Wrong(_line(text, match.start()), f"a quote ({word}) is not closed")
        elif kind == "end" and opened:
            break
    if opened:
        _never_closed(text, *opened[-1])
    return last


def _never_closed(text: str, at: int, word: str) -> NoReturn:
    raise _Wrong(_line(text, at), f"{word} is never closed")


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


_CHECKS: Final[Mapping[str, Callable[[str], None]]] = {
    "apache": _apache,
    "erlang": _erlang,
    "haproxy": _haproxy,
    "json": _json,
    "keepalived": _keepalived,
    "mycnf": _mycnf,
    "yaml": _yaml,
}
_NAMES: Final = {
    "apache": "a configuration of Apache",
    "erlang": "a list of Erlang terms",
    "haproxy": "a configuration of HAProxy",
    "json": "JSON",
    "keepalived": "a configuration of keepalived",
    "mycnf": "an option file of MariaDB",
    "yaml": "YAML",
}
