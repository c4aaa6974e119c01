"""user NAME@HOST · grant NAME@HOST:DATABASE.TABLE"""

from reconciler.model import Registration
from reconciler.registrations.keys import malformed, said


def user(registration: Registration) -> tuple[str, str]:
    """Name and host."""
    if found := said(registration, "name", "host"):
        return found[0], found[1]
    return _account(registration, registration.key)


def grant(registration: Registration) -> tuple[str, str, str]:
    """Name, host and database; `*` is all databases."""
    if found := said(registration, "user", "host", "database"):
        return found[0], found[1], found[2]
    account, colon, scope = registration.key.rpartition(":")
    database, dot, _ = scope.rpartition(".")
    if not colon or not dot:
        raise malformed(registration)
    return *_account(registration, account), database


def _account(registration: Registration, text: str) -> tuple[str, str]:
    name, at, host = text.rpartition("@")
    if not at:
        raise malformed(registration)
    return name, host
