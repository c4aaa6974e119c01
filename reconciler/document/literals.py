"""What looks like a secret that stands in a configuration file: by the names of settings, and by addresses with a password. Pure.

It goes by looks, in whatever format a file has, so that some secrets are missed; what is told is one nearly always.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_YES: Final = frozenset(("yes", "true", "on", "1", "y", "t"))
_NO: Final = frozenset(("no", "false", "off", "0", "n", "f", ""))

_WORDS: Final = (
    r"pass|password|passwd|passphrase|secret|token|credentials?|community|requirepass|masterauth|sst_auth|kek"
)
_KEYS: Final = r"private|secret|access|api|ssh|hmac|crypto|cookie|encryption"
_SECRET: Final = re.compile(rf"(?:^|.*_)(?:{_WORDS}|(?:{_KEYS})_?key)\d*", re.I)
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

PRIVATE_KEY: Final = re.compile(r"-----BEGIN (?!ENCRYPTED )[A-Z ]*PRIVATE KEY-----")
URL: Final = re.compile(r"(?P<before>\w://[^\s/:@{}]*:)(?P<value>[^\s/@{}]+)@")
_NAME: Final = re.compile(r"[ \t]*(?:-[ \t]+)*(?P<name>[\w.-]+)")
_MEMBER: Final = re.compile(
    r"""(?P<quote>["'])(?P<name>[\w.-]+)(?P=quote)\s*:\s*(?P<value>"(?:[^"\\\n]|\\.)*"|'[^'\\\n]*')"""
)
_COMMENT: Final = ("#", ";", "//", "!")
_ASSIGNED: Final = re.compile(r"[ \t]*[=:][ \t]*(?P<value>\S.*)")
_BARE: Final = re.compile(r"""[ \t]+(?P<value>[^\s=:"'][^\s]*?|"[^"]*"|'[^']*');?\s*""")
# What says where the secret is, or that there is none.
_ELSEWHERE: Final = ("/", "exec:", "${", "$(")
_NONE: Final = ("", "<None>", "default", "|", "|-", ">", ">-", "{", "[")


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that stands in a text: the setting's name, from where to where it goes without its quotes, and its line, from 1. `json`: it is
    spelt as JSON has it."""

    name: str
    start: int
    end: int
    line: int
    json: bool = False


def truth(value: object) -> bool | None:
    """A value as Ansible's filter `bool` takes it; None for an expression or anything else."""
    if value is None:
        return False
    word = str(value).strip().lower()
    return True if word in _YES else False if word in _NO else None


def looks_secret(name: str) -> bool:
    """Whether a variable or a setting of that name probably holds a secret, however its words are joined."""
    return _SECRET.fullmatch(_HUMP.sub("_", name).replace("-", "_").replace(".", "_")) is not None


def literals(text: str) -> Iterator[Literal]:
    """The secrets that stand in a file, in their order; none within another. Comments are passed over, and so is what an expression
    gives."""
    at = 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        end = 0
        if not line.lstrip().startswith(_COMMENT):
            for one in sorted(_of_line(line, at, number), key=lambda one: one.start):
                if one.start >= end:
                    end = one.end
                    yield one
        at += len(line)


def _of_line(line: str, at: int, number: int) -> Iterator[Literal]:
    if (setting := _NAME.match(line)) and looks_secret(setting["name"]):
        span = _value(line, setting.end())
        if span and not _is_plain(line[span[0] : span[1]]):
            yield Literal(setting["name"], at + span[0], at + span[1], number)
    for member in _MEMBER.finditer(line):
        if looks_secret(member["name"]) and not _is_plain(member["value"][1:-1]):
            start, end = member.span("value")
            yield Literal(member["name"], at + start + 1, at + end - 1, number, json=member["value"][0] == '"')
    for address in URL.finditer(line):
        yield Literal("password", at + address.start("value"), at + address.end("value"), number)


def _value(line: str, start: int) -> tuple[int, int] | None:
    """From where to where the value of a setting goes, without the quotes around it. It comes after `=` or `:`; without either, as of Apache
    and Valkey, it is the one word that follows."""
    found = _ASSIGNED.match(line, start) or _BARE.fullmatch(line, start)
    if not found:
        return None
    begin, end = found.span("value")
    end = begin + len(line[begin:end].rstrip())
    quoted = end - begin > 1 and line[begin] == line[end - 1] and line[begin] in "\"'"
    return (begin + 1, end - 1) if quoted else (begin, end)


def _is_plain(value: str) -> bool:
    """Whether a value says nothing that has to be kept."""
    return (
        "{{" in value or value in _NONE or value.startswith(_ELSEWHERE) or truth(value) is not None or value.isdigit()
    )
