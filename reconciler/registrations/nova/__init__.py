"""Nova: flavors.

type    key   fields
flavor  name  name, vcpus, ram, disk, public
"""

from collections.abc import Iterator
from typing import Final

from reconciler.registrations.nova.grammar import GRAMMAR
from reconciler.registrations.proofs import Proofs
from reconciler.registrations.protocol import (
    Backend,
    Connection,
    Item,
    Kind,
    Section,
    Type,
    enabled,
    own_credentials,
)


def _read(part: Section, _: str) -> Iterator[Item]:
    for entry, name in enabled(part, "flavors"):
        sizes = {key: entry.integer(key) or 0 for key in ("vcpus", "ram", "disk")}
        yield "flavor", name, {"name": name, **sizes, "public": entry.flag("public", True)}


def _backend(connection: Connection, _: Proofs) -> Backend:
    from reconciler.registrations.nova.backend import Nova

    return Nova(connection)


KIND: Final = Kind(
    name="nova",
    types={"flavor": Type(identified=True)},
    grammar=GRAMMAR,
    read=_read,
    backend=_backend,
    as_user=own_credentials,
)
