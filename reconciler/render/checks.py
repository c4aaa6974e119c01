"""`checks` of a service: probes that a node makes once it has converged."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.document.words import show
from reconciler.model import Check
from reconciler.render import tokens
from reconciler.render.fields import Fields

Provider = tuple[str, Mapping[str, Any]]  # service, how a new client reaches it

_KINDS: Final = ("http", "tcp", "command")
_STATUS: Final = re.compile(r"[1-5][0-9][0-9]")
_PORT: Final = re.compile(r"[0-9]{1,5}")


def check(
    fields: Fields, name: str, service: str, script: Callable[[Fields], str], providers: Mapping[str, Provider]
) -> Check | None:
    """One of them; None when it is switched off or is not one. Problems go to `fields`.

    `script` renders the template that a mapping names; `providers`: kind → (service, connection).
    """
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
        script=script(command) if "script" in command else "",
        expect=tuple(_codes(fields)),
        contains=fields.text("contains"),
        timeout=fields.duration("timeout", 10.0),
        verify=fields.flag("verify", True),
        send=fields.text("send"),
        advice=fields.text("advice"),
        credentials=fields.choice("credentials", "", ("", *providers)),
        watches=fields.texts("watches"),
        routine=fields.flag("routine", True),
    )
    if "command" in fields and bool(made.command) == bool(made.script):
        fields.problem("command", "a check in a container has either a command or a script")
    if made.send and not (made.tcp and made.contains):
        fields.problem("send", "what is sent over tcp is judged by the answer", "say what the answer `contains`")
    if made.credentials and not made.http:
        fields.problem("credentials", "only http asks with credentials")
    if made.tcp and not _PORT.fullmatch(made.tcp.rpartition(":")[2]):
        fields.problem("tcp", f"{made.tcp!r} is not host:port")
    if "@" in made.http.partition("://")[2].partition("/")[0]:
        fields.problem(
            "http", "the address holds a user or a password, and reports show it", "check what needs no login"
        )
    if secrets := tokens.names(made.script):
        fields.problem(None, f"a check cannot use {tokens.words(secrets)}: reports would show it")
    if made.credentials in providers:
        made = replace(made, connection=providers[made.credentials][1])
    return made


def _codes(fields: Fields) -> Iterator[int]:
    for value in fields.items("expect"):
        if isinstance(value, str | int) and _STATUS.fullmatch(show(value).strip("'")):
            yield int(value)
        elif value not in (None, ""):
            fields.problem("expect", f"{show(value)} is not a status of HTTP", "a number such as 200")
