"""Who a registration is about: from its fields, which say it plainly, else from its key.

    mariadb    database NAME · user NAME@HOST · grant NAME@HOST:DATABASE.TABLE
    rabbitmq   vhost NAME · user NAME · permission USER@VHOST
    keystone   domain NAME · service NAME · role NAME · endpoint SERVICE/INTERFACE/REGION · project DOMAIN/NAME
               user DOMAIN/NAME · role_assignment DOMAIN/USER/PROJECT/ROLE, with `system` for the whole system

What is withdrawn may have a key only. A key is then cut at the side on which separators are least likely to be part of a
name. All raise Terminal with reason RegistrarRefused for a key that cannot be cut.
"""

from dataclasses import dataclass

from reconciler.errors import Terminal
from reconciler.model import Registration
from reconciler.reasons import Reason


@dataclass(frozen=True, slots=True)
class Assignment:
    """A role of a user in a project; the project is None for the whole system."""

    domain: str
    user: str
    project: str | None
    role: str


def name(registration: Registration) -> str:
    """Of what has a name and nothing else."""
    return str(registration.fields.get("name") or registration.key)


def mariadb_user(registration: Registration) -> tuple[str, str]:
    """Name and host."""
    if found := _said(registration, "name", "host"):
        return found[0], found[1]
    return _account(registration, registration.key)


def mariadb_grant(registration: Registration) -> tuple[str, str, str]:
    """Name, host and database; `*` is all databases."""
    if found := _said(registration, "user", "host", "database"):
        return found[0], found[1], found[2]
    account, colon, scope = registration.key.rpartition(":")
    database, dot, _ = scope.rpartition(".")
    if not colon or not dot:
        raise _malformed(registration)
    return *_account(registration, account), database


def rabbitmq_permission(registration: Registration) -> tuple[str, str]:
    """User and virtual host."""
    if found := _said(registration, "user", "vhost"):
        return found[0], found[1]
    user, at, vhost = registration.key.partition("@")
    if not at:
        raise _malformed(registration)
    return user, vhost


def in_domain(registration: Registration) -> tuple[str, str]:
    """Domain and name."""
    if found := _said(registration, "domain", "name"):
        return found[0], found[1]
    domain, slash, rest = registration.key.partition("/")
    if not slash:
        raise _malformed(registration)
    return domain, rest


def endpoint(registration: Registration) -> tuple[str, str, str]:
    """Service, interface and region."""
    if found := _said(registration, "service", "interface", "region"):
        return found[0], found[1], found[2]
    parts = registration.key.rsplit("/", 2)
    if len(parts) != 3:
        raise _malformed(registration)
    return parts[0], parts[1], parts[2]


def role_assignment(registration: Registration) -> Assignment:
    """Who has which role where."""
    if found := _said(registration, "domain", "user", "role"):
        project = registration.fields.get("project")
        return Assignment(
            found[0], found[1], None if registration.fields.get("system") else str(project or ""), found[2]
        )
    domain, _, rest = registration.key.partition("/")
    parts = rest.rsplit("/", 2)
    if len(parts) != 3:
        raise _malformed(registration)
    user, target, role = parts
    return Assignment(domain, user, None if target == "system" else target, role)


def _said(registration: Registration, *fields: str) -> tuple[str, ...]:
    """These fields as text; empty unless all of them are there."""
    if not all(registration.fields.get(field) for field in fields):
        return ()
    return tuple(str(registration.fields[field]) for field in fields)


def _account(registration: Registration, text: str) -> tuple[str, str]:
    user, at, host = text.rpartition("@")
    if not at:
        raise _malformed(registration)
    return user, host


def _malformed(registration: Registration) -> Terminal:
    return Terminal(
        f"{registration.id} does not say what it is about: its key lacks a part", reason=Reason.RegistrarRefused
    )
