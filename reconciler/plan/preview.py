"""Planning one revision against another, with no node and no secret: what the CI job shows.

The base revision's desired state stands in for actual state, so the same `diff` decides and the same lines are printed.
Secrets are bound to their names and the digest of their ciphertext: a rotated password is seen, its value is not.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from reconciler.model import Actual, Desired, FileState, HostKept, Image, JobResult, Memory, Plan, Running, State
from reconciler.plan import rotation
from reconciler.plan.diff import diff
from reconciler.plan.draft import Basis
from reconciler.plan.files import staying
from reconciler.registrations.protocol import DIFFERS

_THEN = datetime(2000, 1, 1, tzinfo=UTC)

Bind = Callable[[str, Mapping[str, str]], str]


def preview(
    base: Desired | None,
    head: Desired,
    *,
    bind: Bind,
    between: Desired | None = None,
) -> Plan:
    """What the host would do when the site goes from `base` (None: nothing yet) to `head`.

    `between` is the base's commit as the head's program renders it, where another program made `base`. `bind`
    replaces the secret tokens in a text by given values.
    """
    actual = as_actual(base, bind) if base else Actual({}, {}, {}, deep=True)
    known = _with_former(actual.registrations, rotation.changed(base, head) if base else ())
    found = {**_absent(head, actual.containers), **_from_others(base, head), **known}
    actual = replace(actual, registrations=found)
    return diff(
        head,
        actual,
        _memory(base),
        Basis(
            contents=_contents(head, bind) | staying(head, actual.files),
            written={path: (hashlib.sha256(found.content or b"").hexdigest(),) for path, found in actual.files.items()},
            between=between,
        ),
    )


def as_actual(base: Desired, bind: Bind) -> Actual:
    """The actual state of a node that has converged to `base`."""
    contents = _contents(base, bind)
    return Actual(
        containers={
            container.name: Running(
                spec=container,
                id=container.name,
                image_id=container.image,
                state=State.RUNNING,
                started_at=_THEN,
                owned=True,
                explicit=frozenset(container.environment),
            )
            for container in base.containers
        },
        images={container.image: Image(id=container.image) for container in base.containers},
        files={
            file.path: FileState(contents[file.path], file.mode, file.owner, file.group, _THEN) for file in base.files
        },
        registrations={registration.id: registration.fields for registration in base.registrations},
        host_settings={setting.id: setting.fields for setting in base.host_settings},
        deep=True,
    )


def _absent(head: Desired, running: Collection[str]) -> dict[str, None]:
    """What the registrars would not know: those that a node could ask, because what they need runs."""
    asked = {registrar.kind for registrar in head.registrars if all(name in running for name in registrar.needs)}
    return {registration.id: None for registration in head.registrations if registration.kind in asked}


def _from_others(base: Desired | None, head: Desired) -> dict[str, Mapping[str, Any]]:
    """What another host has registered that this one owns by now: how it was only that one's desired state tells, so it counts as it is to be."""
    theirs = frozenset(base.registered_elsewhere) if base else frozenset()
    return {registration.id: registration.fields for registration in head.registrations if registration.id in theirs}


def _with_former(
    registrations: Mapping[str, Mapping[str, Any] | None], names: Collection[str]
) -> dict[str, Mapping[str, Any] | None]:
    """The same, where a secret of these names is another one than what is to be."""
    return {
        id_: fields and {key: DIFFERS if rotation.holds(value, names) else value for key, value in fields.items()}
        for id_, fields in registrations.items()
    }


def _contents(desired: Desired, bind: Bind) -> dict[str, bytes]:
    versions = _Versions(desired.secrets)
    return {file.path: file.data if file.encoding else bind(file.content, versions).encode() for file in desired.files}


def _memory(base: Desired | None) -> Memory:
    if base is None:
        return Memory()
    return Memory(
        jobs={job.name: JobResult(job.inputs, True, _THEN) for job in base.jobs},
        last_good=base,
        registered=tuple(r for r in base.registrations if r.owner == base.host),
        host_settings={setting.id: HostKept(setting) for setting in base.host_settings},
    )


class _Versions(dict[str, str]):
    """Stands in for the secrets: each name gives itself and the first digits of its ciphertext's digest."""

    def __missing__(self, name: str) -> str:
        return f"<<secret:{name}>>"

    def __init__(self, digests: Mapping[str, str]) -> None:
        super().__init__({name: f"<<secret:{name}@{digest[:8]}>>" for name, digest in digests.items()})
