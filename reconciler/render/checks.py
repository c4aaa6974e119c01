"""`checks` of a service: probes that a node makes once it has converged."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.model import Check
from reconciler.render import tokens
from reconciler.render.fields import Fields

Provider = tuple[str, Mapping[str, Any]]  # service, how a new client reaches it

_KINDS: Final = ("http", "tcp", "command")


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
        expect=tuple(code for code in map(_code, fields.items("expect")) if code),
        contains=fields.text("contains"),
        timeout=fields.duration("timeout", 10.0),
        verify=fields.flag("verify", True),
        send=fields.text("send"),
        advice=fields.text("advice"),
        credentials=fields.choice("credentials", "", ("", *providers)),
        watches=fields.texts("watches"),
    )
    if "command" in fields and bool(made.command) == bool(made.script):
        fields.problem("command", "a check in a container has either a command or a script")
    if made.send and not (made.tcp and made.contains):
        fields.problem("send", "what is sent over tcp is judged by the answer", "say what the answer `contains`")
    if made.credentials and not made.http:
        fields.problem("credentials", "only http asks with credentials")
    if made.tcp and not made.tcp.rpartition(":")[2].isdigit():
        fields.problem("tcp", f"{made.tcp!r} is not host:port")
    if secrets := tokens.names(" ".join((made.http, made.tcp, made.contains, made.send, made.script, *made.command))):
        fields.problem(None, f"a check cannot use the secret {', '.join(sorted(secrets))}: reports would show it")
    if made.credentials in providers:
        made = replace(made, connection=providers[made.credentials][1])
    return made


def _code(value: object) -> int:
    return int(str(value)) if str(value).isdigit() else 0
