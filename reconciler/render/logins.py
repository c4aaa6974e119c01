"""Checks that follow from what a service registers: whether a new client would be let in, with the service's own credentials.

Nothing has to be written for them: whoever registers a user with a password logs in as that user, and whoever provides a
registrar is logged in to as its administrator. `provides.<kind>.clients` says where clients reach it, if not where the node does.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.model import Check, Registration
from reconciler.render import register
from reconciler.render.fields import Fields

_OF_THE_ADMINISTRATOR = (
    "username",
    "password",
    "project",
    "project_name",
    "project_domain",
    "system_scope",
    "user_domain",
)


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
    """That each registered user with a password would be let in. `providers`: kind → (service, connection)."""
    for item in registrations:
        if item.type == "user" and item.fields.get("password") and item.kind in providers:
            service, connection = providers[item.kind]
            own = {key: value for key, value in connection.items() if key not in _OF_THE_ADMINISTRATOR}
            domain = {"user_domain": item.fields["domain"]} if "domain" in item.fields else {}
            yield Check(
                f"{item.kind} login of {item.fields['name']}",
                service,
                login=item.kind,
                client=item.service,
                connection={
                    **own,
                    **domain,
                    "username": item.fields["name"],
                    "password": item.fields["password"],
                    "unscoped": True,
                },
            )
