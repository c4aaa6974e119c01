"""`checks` of a service: probes that a node makes once it has converged."""

import re
from collections.abc import Iterator
from typing import Final

from reconciler.document.grammar import show
from reconciler.model import Check
from reconciler.render.fields import Fields

_KINDS: Final = ("http", "tcp", "command")
_STATUS: Final = re.compile(r"[1-5][0-9][0-9]")
_PORT: Final = re.compile(r"[0-9]{1,5}")


def check(fields: Fields, name: str, service: str) -> Check | None:
    """One of them; None when it is switched off or is not one. Problems go to `fields`."""
    if not fields.flag("enabled", True):
        return None
    given = [kind for kind in _KINDS if kind in fields]
    if len(given) != 1:
        fields.problem(None, f"a check has exactly one of {', '.join(_KINDS)}, not {', '.join(given) or 'none'}")
        return None
    command = fields.below("command")
    made = Check(
        name=name,
        service=service,
        http=fields.text("http"),
        tcp=fields.text("tcp"),
        container=command.text("container"),
        command=command.words("command") or (),
        expect=tuple(_codes(fields)),
        contains=fields.text("contains"),
        timeout=fields.duration("timeout", 10.0),
        verify=fields.flag("verify", True),
    )
    if made.tcp and not _PORT.fullmatch(made.tcp.rpartition(":")[2]):
        fields.problem("tcp", f"{made.tcp!r} is not host:port")
    if "@" in made.http.partition("://")[2].partition("/")[0]:
        fields.problem(
            "http", "the address holds a user or a password, and reports show it", "check what needs no login"
        )
    return made


def _codes(fields: Fields) -> Iterator[int]:
    for value in fields.items("expect"):
        if isinstance(value, str | int) and _STATUS.fullmatch(show(value).strip("'")):
            yield int(value)
        elif value not in (None, ""):
            fields.problem("expect", f"{show(value)} is not a status of HTTP", "a number such as 200")
