"""Every kind of registrar there is. A new one is a folder beside this file, and a line here."""

from typing import Final

from reconciler.registrations import keystone, mariadb, neutron, nova, rabbitmq
from reconciler.registrations.protocol import Kind

# In the order in which services are read.
KINDS: Final = {kind.name: kind for kind in (mariadb.KIND, rabbitmq.KIND, keystone.KIND, nova.KIND, neutron.KIND)}
# Of several registrars of a kind, each has a name: `mariadb@cell2`.
NAMED: Final = "@"


def of(registrar: str) -> Kind | None:
    """The kind of a registrar, `mariadb` or `mariadb@cell2`; None when there is none of that name."""
    return KINDS.get(registrar.partition(NAMED)[0])
