"""user NAME@HOST · grant NAME@HOST:DATABASE.TABLE"""

from reconciler.model import Registration
from reconciler.registrations.keys import cut, pair, said


def user(registration: Registration) -> tuple[str, str]:
    """Name and host."""
    return pair(registration, "name", "host", "@", last=True)


def grant(registration: Registration) -> tuple[str, str, str]:
    """Name, host and database; `*` is all databases."""
    if found := said(registration, "user", "host", "database"):
        return found[0], found[1], found[2]
    account, scope = cut(registration, registration.key, ":", last=True)
    database, _ = cut(registration, scope, ".", last=True)
    return *cut(registration, account, "@", last=True), database
