"""`prechecks` of a service: what is asked before a host goes to another release of OpenStack; and `maintenance`: what is done before a host is
taken out of use."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from reconciler.model import Maintenance, Precheck
from reconciler.render import containers, tokens
from reconciler.render.fields import Fields


def precheck(fields: Fields, name: str, service: str, script: Callable[[Fields], str]) -> Precheck:
    """One of them. Problems go to `fields`; `script` renders the template that a mapping names."""
    if "host" in fields:
        return _of_host(fields, name, service)
    command, text = fields.words("command") or (), script(fields) if "script" in fields else ""
    if secrets := tokens.names(" ".join((*command, text))):
        fields.problem(None, f"a check cannot use {tokens.words(secrets)}: it reads it in the files", "")
    inside = fields.flag("inside", False)
    if not command:
        fields.problem("command", "a check before an upgrade has a command")
    for key in ("script", "volumes"):
        if inside and key in fields:
            fields.problem(key, "what runs already has its own files and volumes", "leave it out, or `inside`")
    mounts = () if inside else tuple(replace(mount, mode="ro") for mount in containers.mounts(fields, "volumes"))
    return Precheck(
        name=name,
        container=fields.text("container"),
        command=command,
        words=fields.text("description"),
        script=text,
        inside=inside,
        mounts=mounts,
        user=fields.text("user"),
        passes=tuple(fields.value("passes") or (0,)),
        timeout=fields.duration("timeout", 300.0),
        service=service,
    )


def maintenance(fields: Fields, name: str, service: str, script: Callable[[Fields], str]) -> Maintenance:
    """One of `maintenance`. Problems go to `fields`; `script` renders the template that a mapping names."""
    command, text = fields.words("command") or (), script(fields) if "script" in fields else ""
    if secrets := tokens.names(" ".join((*command, text))):
        fields.problem(None, f"a maintenance cannot use {tokens.words(secrets)}: it reads it in the files", "")
    if not command:
        fields.problem("command", "a maintenance has a command")
    return Maintenance(
        name=name,
        container=fields.text("container"),
        command=command,
        words=fields.text("description"),
        script=text,
        user=fields.text("user"),
        timeout=fields.duration("timeout", 3600.0),
        service=service,
    )


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
