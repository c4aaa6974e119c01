"""RabbitMQ: virtual hosts, users and permissions.

    type        key         fields
    vhost       name        name
    user        name        name, password?, tags
    permission  user@vhost  user, vhost, configure, write, read

Fields with `?` are there only when the service gives them; what is withdrawn may have its key only.
"""

from collections.abc import Iterator
from typing import Final

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
from reconciler.registrations.rabbitmq.grammar import GRAMMAR


def _read(part: Section, _: str) -> Iterator[Item]:
    for _entry, name in enabled(part, "vhosts"):
        yield "vhost", name, {"name": name}
    for entry, name in enabled(part, "users"):
        yield "user", name, {"name": name, **given(entry, "password"), "tags": sorted(entry.texts("tags"))}
        for permission in entry.each("permissions"):
            vhost = permission.text("vhost", "/")
            rights = {key: permission.text(key) for key in ("configure", "write", "read")}
            yield "permission", f"{name}@{vhost}", {"user": name, "vhost": vhost, **rights}


def _backend(connection: Connection, _: Proofs) -> Backend:
    from reconciler.registrations.rabbitmq.backend import RabbitMQ

    return RabbitMQ(connection)


KIND: Final = Kind(
    name="rabbitmq",
    types={
        "vhost": Type(holds_data=True),
        "user": Type(grants=True, shuts_out="whoever has the former one is not let in anew until its own turn"),
        "permission": Type(after=("vhost", "user"), grants=True),
    },
    grammar=GRAMMAR,
    read=_read,
    backend=_backend,
    early=True,
    as_user=own_credentials,
)
