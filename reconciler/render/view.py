"""What the stages of evaluating a variable may ask of the whole site, which `evaluate.World` answers."""

from collections.abc import Mapping
from typing import Any, Protocol

from reconciler.catalogue import Service
from reconciler.document.grammar import Grammar
from reconciler.render.meter import Cost, Meter
from reconciler.render.reads import Reads
from reconciler.render.sharing import Shared
from reconciler.site import Site


class Variables(Protocol):
    """The variables of one host; each is evaluated when it is asked for."""

    def __getitem__(self, name: str) -> Any: ...

    def address(self, network: str) -> str:
        """The host's address on a network. Raises FilterError when the inventory declares none that would do."""


class World(Protocol):
    """One site while it is rendered. `groups` are inventory groups with their hosts in order, `collected` what is gathered of all services."""

    site: Site
    meter: Meter
    groups: dict[str, list[str]]
    collected: dict[str, Mapping[str, Any]]
    enabled: dict[tuple[str, str], tuple[bool, Cost, Reads]]
    first: dict[tuple[str, ...], tuple[str, Cost, Reads]]
    shared: Shared

    def variables(self, host: str) -> Variables:
        """The variables of a host. Raises KeyError for a host that the inventory does not have."""

    def member(self, host: str, group: str) -> bool:
        """Whether a host is in a group."""

    def evaluated(
        self, host: str, service: Service, path: tuple[str, ...], raw: Any, names: Mapping[str, Any] | None = None
    ) -> Any:
        """A value of a service's service.yml, where it stands at `path`, as `host` sees it; `names` are seen besides. Raises SiteInvalid."""

    def grammar(self, name: str, schema: Mapping[str, Any]) -> Grammar:
        """A schema, ready to check; kept by its name."""
