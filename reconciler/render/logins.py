"""Checks that follow from what a service registers: whether a new client would be let in, with the service's own credentials.

Nothing has to be written for them: whoever registers a user with a password logs in as that user, and whoever provides a
registrar is logged in to as its administrator. `provides.<name>.clients` says where clients reach it, if not where the node does.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.model import Check, Registration
from reconciler.registrations import kinds
from reconciler.registrations.protocol import CONFIDENTIAL
from reconciler.render import register
from reconciler.render.fields import Fields


def provider(part: Fields) -> Mapping[str, Any] | None:
    """How a new client reaches what `part`, one entry of `provides`, describes; None when it is switched off."""
    if not part.flag("enabled", True):
        return None
    connection = register.connection(part)
    return {**connection, **part.below("clients").values()}


def administrator(kind: str, service: str, connection: Mapping[str, Any]) -> Check:
    """That the program itself would be let in anew."""
    return Check(f"{kind} login of the administrator", service, login=kind, connection=connection)


def users(
    registrations: Iterator[Registration], providers: Mapping[str, tuple[str, Mapping[str, Any]]]
) -> Iterator[Check]:
    """That each registered user with a password would be let in. `providers`: registrar → (service, connection)."""
    for item in registrations:
        kind = kinds.of(item.kind)
        logs_in = item.type == "user" and item.fields.get(CONFIDENTIAL) and item.fields.get("login", True)
        if logs_in and item.kind in providers and kind:
            service, connection = providers[item.kind]
            yield Check(
                f"{item.kind} login of {item.fields['name']}",
                service,
                login=item.kind,
                client=item.service,
                connection=kind.as_user(connection, item.fields),
            )
