"""The keys of registrations taken apart.

    mariadb    database NAME · user NAME@HOST · grant NAME@HOST/DATABASE (`*`: all databases)
    rabbitmq   vhost NAME · user NAME · permission USER@VHOST
    keystone   domain NAME · service NAME (or NAME/TYPE) · endpoint SERVICE/INTERFACE/REGION · project DOMAIN/NAME
               role NAME · user DOMAIN/NAME · role_assignment DOMAIN/USER|PROJECT|ROLE

A role assignment's project is `PROJECT` (in the user's domain), `DOMAIN/PROJECT`, or `system:all`. Where a name holds a
separator of its own key, or a backslash, a backslash goes before it. A key is read from the side on which separators are
least likely to be part of a name, so `a@b@%` and `nova/internal/RegionOne` need none.
"""

import re
from itertools import pairwise

from reconciler.errors import Terminal

SYSTEM = "system:all"


def plain(key: str) -> str:
    """The name that a key (or a part of one) spells."""
    return re.sub(r"\\(.)", r"\1", key, flags=re.DOTALL)


def split(key: str, separator: str, parts: int = 2, *, from_right: bool = False) -> tuple[str, ...]:
    """`parts` raw parts of a key, cut at unescaped separators from the left or the right.

    Raises Terminal with reason RegistrarRefused when the key has fewer.
    """
    places = [
        match.start() for match in re.finditer(r"\\.|" + re.escape(separator), key, re.DOTALL) if match[0] == separator
    ]
    if len(places) < parts - 1:
        raise Terminal(
            f"the registration key {key!r} does not have {parts} parts around {separator!r}", reason="RegistrarRefused"
        )
    chosen = places[-(parts - 1) :] if from_right else places[: parts - 1]
    edges = [-1, *chosen, len(key)]
    return tuple(key[start + 1 : end] for start, end in pairwise(edges))


def mariadb_user(key: str) -> tuple[str, str]:
    """Name and host."""
    name, host = split(key, "@", from_right=True)
    return plain(name), plain(host)


def mariadb_grant(key: str) -> tuple[str, str, str]:
    """Name, host and database."""
    user, database = split(key, "/", from_right=True)
    return *mariadb_user(user), plain(database)


def rabbitmq_permission(key: str) -> tuple[str, str]:
    """User and virtual host."""
    user, vhost = split(key, "@")
    return plain(user), plain(vhost)


def in_domain(key: str) -> tuple[str, str]:
    """Domain and name."""
    domain, name = split(key, "/")
    return plain(domain), plain(name)


def service(key: str) -> tuple[str, str]:
    """Name and type of a Keystone service; the type is empty when the key does not say it."""
    try:
        name, type_ = split(key, "/", from_right=True)
    except Terminal:
        return plain(key), ""
    return plain(name), plain(type_)


def endpoint(key: str) -> tuple[str, str, str]:
    """Service (a key of its own), interface and region."""
    name, interface, region = split(key, "/", 3, from_right=True)
    return name, plain(interface), plain(region)


def role_assignment(key: str) -> tuple[tuple[str, str], tuple[str, str] | None, str]:
    """User and project, each with its domain, and the role; the project is None for the whole system."""
    user, project, role = split(key, "|", 3)
    domain, name = in_domain(user)
    if plain(project) == SYSTEM:
        return (domain, name), None, plain(role)
    try:
        where = in_domain(project)
    except Terminal:
        where = (domain, plain(project))
    return (domain, name), where, plain(role)
