"""`prechecks` of a service: what is asked before a host goes to another release of OpenStack; and `maintenance`: what is done before a host is
taken out of use."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypedDict

from reconciler.model import Maintenance, Precheck
from reconciler.render import containers, tokens
from reconciler.render.fields import Fields


def precheck(fields: Fields, name: str, service: str, script: Callable[[Fields], str]) -> Precheck:
    """One of them. Problems go to `fields`; `script` renders the template that a mapping names."""
    if "host" in fields:
        return _of_host(fields, name, service)
    inside = fields.flag("inside", False)
    for key in ("script", "volumes"):
        if inside and key in fields:
            fields.problem(key, "what runs already has its own files and volumes", "leave it out, or `inside`")
    mounts = () if inside else tuple(replace(mount, mode="ro") for mount in containers.mounts(fields, "volumes"))
    return Precheck(
        name=name,
        **_program(fields, service, script, "check before an upgrade", 300.0),
        inside=inside,
        mounts=mounts,
        passes=tuple(fields.value("passes") or (0,)),
    )


def maintenance(fields: Fields, name: str, service: str, script: Callable[[Fields], str]) -> Maintenance:
    """One of `maintenance`. Problems go to `fields`; `script` renders the template that a mapping names."""
    return Maintenance(name=name, **_program(fields, service, script, "maintenance", 3600.0))


class _Program(TypedDict):
    """What both say of the program that is run."""

    container: str
    command: tuple[str, ...]
    words: str
    script: str
    user: str
    timeout: float
    service: str


def _program(fields: Fields, service: str, script: Callable[[Fields], str], what: str, timeout: float) -> _Program:
    """What is run, and for how many seconds at most where the entry does not say. `what` it is for, in messages."""
    command, text = fields.words("command") or (), script(fields) if "script" in fields else ""
    if secrets := tokens.names(" ".join((*command, text))):
        fields.problem(None, f"a {what} cannot use {tokens.words(secrets)}: it reads it in the files", "")
    if not command:
        fields.problem("command", f"a {what} has a command")
    return {
        "container": fields.text("container"),
        "command": command,
        "words": fields.text("description"),
        "script": text,
        "user": fields.text("user"),
        "timeout": fields.duration("timeout", timeout),
        "service": service,
    }


def _of_host(fields: Fields, name: str, service: str) -> Precheck:
    """One that the host answers itself."""
    for key in ("container", "command", "script", "inside", "volumes", "user", "passes", "timeout", "once"):
        if key in fields:
            fields.problem(key, f"the host is asked, and no container: {key} does nothing", "leave it out, or `host`")
    part = fields.below("host")
    said = part.value("systems") or {}
    listed = isinstance(said, Mapping) and all(isinstance(one, list | tuple) for one in said.values())
    if not listed:
        part.problem("systems", "systems are distributions, each with a list of its versions", "")
    systems = {str(one): tuple(map(str, versions)) for one, versions in said.items()} if listed else {}
    return Precheck(name, "", (), fields.text("description"), service=service, systems=systems, room=part.flag("room"))
