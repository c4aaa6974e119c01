"""MariaDB: databases, users and grants.

    type      key                       fields
    database  name                      name, character_set?, collation?
    user      name@host                 name, host, password?, login? (for checks alone)
    grant     name@host:database.table  user, host, database, table, privileges, grant_option

A table is always `*`: a grant is for a whole database. Privileges are upper case and sorted. Fields with `?` are there only when
the service gives them; what is withdrawn may have its key only.
"""

from collections.abc import Iterator
from typing import Final

from reconciler.registrations.mariadb.grammar import GRAMMAR
from reconciler.registrations.proofs import Proofs
from reconciler.registrations.protocol import (
    Backend,
    Connection,
    Item,
    Kind,
    Section,
    Type,
    enabled,
    given,
    own_credentials,
)


def _read(part: Section, _: str) -> Iterator[Item]:
    for entry, name in enabled(part, "databases"):
        yield "database", name, {"name": name, **given(entry, "character_set", "collation")}
    for entry, name in enabled(part, "users"):
        host = entry.text("host", "%")
        account = f"{name}@{host}"
        quiet = {} if entry.flag("login", True) else {"login": False}
        yield "user", account, {"name": name, "host": host, **given(entry, "password"), **quiet}
        for grant in entry.each("grants"):
            database, table = grant.text("database", "*"), grant.text("table", "*")
            if table != "*":
                grant.problem("table", "privileges on one table are not supported", "leave table out")
            fields = {
                "user": name,
                "host": host,
                "database": database,
                "table": table,
                "privileges": sorted({text.upper() for text in grant.texts("privileges")}),
                "grant_option": grant.flag("grant_option"),
            }
            yield "grant", f"{account}:{database}.{table}", fields


def _backend(connection: Connection, _: Proofs) -> Backend:
    from reconciler.registrations.mariadb.backend import MariaDB

    return MariaDB(connection)


KIND: Final = Kind(
    name="mariadb",
    types={
        "database": Type(holds_data=True),
        "user": Type(after=("database",), grants=True),
        "grant": Type(after=("database", "user"), grants=True),
    },
    grammar=GRAMMAR,
    read=_read,
    backend=_backend,
    early=True,
    as_user=own_credentials,
)
