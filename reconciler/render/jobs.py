"""The jobs of a service: one-shot containers that take after one of its containers."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from reconciler.codec import to_json
from reconciler.document.keywords import is_expression
from reconciler.model import Container, Job
from reconciler.render import tokens
from reconciler.render.fields import Fields
from reconciler.site import SecretName

# What a job does not take from its container: they are about something that keeps running.
_NOT_TAKEN: Final = (
    "enabled", "group", "cluster", "healthcheck", "files", "permissions", "config_directory", "depends_on", "restart_policy", "reload", "validate",
    "rollback", "rollout", "drain", "handover", "stability", "start_timeout", "labels", "ports",
)  # fmt: skip
_ENVIRONMENT: Final = "/run/reconciler/environment"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ADDED: Final = ("environment",)
_OWN: Final = ("enabled", "rollout", "secret_environment", "leaves", "inside", "container", "files", "permissions", "inputs", "creates", "once",
               "before", "after", "migration",
               "timeout")  # fmt: skip


def combined(job: Fields, container: Fields) -> Fields:
    """A job's fields with its container's underneath: environments add up, all else of the job's wins.

    Volumes are read of each by itself, so that a problem has its own place.
    """
    raw = {key: value for key, value in container.raw.items() if key not in _NOT_TAKEN and key != "volumes"}
    for key, value in job.raw.items():
        if key in _OWN or key == "volumes":
            continue
        if key in _ADDED:
            raw[key] = {**container.mapping(key), **job.mapping(key)}
        else:
            raw[key] = value
    return Fields(raw, job.scope, job.document, job.path, job.problems)


def secret_environment(job: Fields, combined: Fields) -> list[Fields]:
    """The file with the variables that hold secrets, which the job's command reads before it starts; none where it has none.

    What is in `environment` the engine shows to everybody who may ask it.
    """
    if "secret_environment" not in job:
        return []
    part = job.below("secret_environment")
    variables, lines = part.below("variables"), []
    for name in variables.raw:
        value = variables.text(name, secret=True)
        if not _NAME.fullmatch(name) or is_expression(value):
            variables.problem(name, f"{name} is not a variable of an environment", "a name of letters, digits and _")
            continue
        lines.append(f"export {name}={tokens.apply('quote', value)}\n")
    lines.append('exec "$@"\n')
    command = combined.words("command")
    if command:
        combined.raw = {**combined.raw, "command": ["bash", _ENVIRONMENT, *command]}
    else:
        part.problem(None, "secrets reach a job through its command, and it says none", "say its `command`")
    entry = {
        "name": "secret-environment",
        "content": "".join(lines),
        "destination": _ENVIRONMENT,
        "owner": part.text("owner", "root"),
        "perm": "0600",
        "format": "text",
    }
    return [Fields(entry, job.scope, job.document, part.path, job.problems, True)]


def inputs_digest(spec: Container, command: str, inputs: list[Any], secrets: Mapping[str, SecretName]) -> str:
    """SHA-256 over what makes a job run again: what it runs with, and the declared inputs; not its files.

    A secret among the inputs counts by its ciphertext.
    """
    used = sorted(tokens.names(json.dumps(inputs, default=str)))
    parts = {
        "image": spec.image,
        "command": list(spec.command or ()) or command,
        "entrypoint": list(spec.entrypoint or ()),
        "environment": dict(spec.environment),
        "mounts": [to_json(mount) for mount in spec.mounts],
        "user": spec.user,
        "inputs": inputs,
        "secrets": {name: secrets[name].digest for name in used if name in secrets},
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _leaving(item: Mapping[str, Any]) -> str:
    """The same for a job by which the others forget a host: once for each time that it left, whatever image they have."""
    return hashlib.sha256(json.dumps([item["name"], item["since"]]).encode()).hexdigest()


def job(
    fields: Fields,
    name: str,
    spec: Container,
    command: str,
    owner: str,
    service: str,
    secrets: Mapping[str, SecretName],
) -> Job:
    """The job itself, `before` and `after` as declared: not yet limited to what is on this host."""
    left = fields.scope.own["item"] if "leaves" in fields else None
    inputs = fields.items("inputs", secret=True)
    return Job(
        name=name,
        container=dataclasses.replace(spec, restart_policy="no", depends_on=()),
        inputs=_leaving(left) if left else inputs_digest(spec, command, inputs, secrets),
        creates=_creates(fields),
        timeout=fields.duration("timeout", 600.0),
        before=fields.texts("before"),
        after=fields.texts("after"),
        service=service,
        once=cast(Literal["cluster", "host"], fields.choice("once", "cluster", ("cluster", "host"))),
        owner=owner,
        migration=fields.flag("migration"),
        left=left["name"] if left else "",
        leaves=fields.below("leaves").text("means"),
        inside=fields.text("container") if fields.flag("inside") else "",
    )


def inside(fields: Fields, spec: Container) -> Container:
    """The container of a job whose command is run in one that runs: what it runs is all that counts."""
    for key in (
        "files",
        "permissions",
        "volumes",
        "environment",
        "secret_environment",
        "entrypoint",
        "user",
        "creates",
    ):
        if key in fields:
            fields.problem(key, f"what runs already has its own: {key} does nothing", "leave it out, or `inside`")
    command = fields.words("command") or ()
    if not command:
        fields.problem("command", "a job inside a container has a command")
    if secrets := tokens.names(" ".join(command)):
        fields.problem("command", f"it cannot use {tokens.words(secrets)}: everybody sees what runs", "")
    return dataclasses.replace(spec, command=command)


def _creates(fields: Fields) -> str:
    text = fields.text("creates")
    volume, colon, path = text.partition(":")
    if text and (not colon or not volume or not path):
        fields.problem("creates", f"{text!r} is not volume:path")
    if ".." in path.split("/"):
        fields.problem("creates", f"{text!r} leads upwards with '..'", "name a path in the volume")
    return text


def existing(names: tuple[str, ...], present: Mapping[str, Any] | set[str]) -> tuple[str, ...]:
    """The names that are on this host."""
    return tuple(name for name in dict.fromkeys(names) if name in present)
