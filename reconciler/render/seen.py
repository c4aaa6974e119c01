"""What one host of a site sees of services while its desired state is built, and what is wrong there."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from reconciler.catalogue import Service
from reconciler.document.words import suggest
from reconciler.errors import Problem, SiteInvalid
from reconciler.model import Container, Job
from reconciler.render import placement, repeat, tokens
from reconciler.render.evaluate import Scope, World
from reconciler.render.fields import Fields


@dataclass(slots=True)
class Parts:
    """One service while its host is built."""

    service: Service
    containers: dict[str, Fields] = field(default_factory=dict)  # on this host
    specs: dict[str, Container] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    implicit: set[str] = field(default_factory=set)  # jobs that say nothing of `before`
    job_fields: dict[str, Fields] = field(default_factory=dict)  # of jobs on this host
    named: dict[str, list[str]] = field(default_factory=dict)  # key of a repeated entry → those on this host


class Seen:
    """A host, and in `problems` what is wrong with what it sees."""

    def __init__(self, world: World, host: str) -> None:
        self.world = world
        self.site = world.site
        self.host = host
        self.problems: list[Problem] = []

    def enabled(self, service: Service) -> bool:
        """Whether a service is switched on."""
        try:
            return placement.enabled(self.world, self.host, service)
        except SiteInvalid as error:
            self.problems += error.problems
            return False

    def repeated(self, service: Service, section: str) -> Iterator[repeat.Instance]:
        """What the entries of a section stand for; those that cannot be told are reported."""
        for key, raw in service.section(section).items():
            try:
                yield from repeat.instances(self.world, self.host, service, (section, key), raw)
            except SiteInvalid as error:
                self.problems += error.problems

    def fields(self, service: Service, raw: Any, path: tuple[str, ...], **names: Any) -> Fields:
        """What stands at a path of a service's service.yml; `names` are seen by its expressions."""
        scope = Scope(self.world.variables(self.host), {"service": service.name, **names})
        return Fields(raw, scope, service.document, path, self.problems)

    def variable(self, name: str, default: str) -> str:
        """A variable as a text that may be shown."""
        variables = self.world.variables(self.host)
        try:
            found = str(variables[name]) if name in variables else default
        except SiteInvalid as error:
            self.problems += error.problems
            return default
        if tokens.names(found):
            message = f"{name} holds a secret, and paths and keys are shown to everybody"
            self.problems.append(variables.layered(name)[-1].place.problem(message, "give it another value"))
        return found

    def members(self, fields: Fields) -> Iterable[str]:
        """The hosts of the groups of an entry; all where it says none."""
        names = fields.texts("group") if "group" in fields else ("all",)
        for name in names:
            self.world.member(self.host, name)
            if name not in self.site.groups:
                fields.problem("group", f"no group {name!r} in the inventory", suggest(name, self.site.groups))
        return placement.union(self.site.groups, names)

    def first(self, service: Service, container: str) -> str:
        """The first host that has a container, in this host's cluster of it."""
        try:
            of = placement.cluster(self.world, self.host, service, container)
            return placement.first(self.world, service, container, of)
        except SiteInvalid as error:
            self.problems += error.problems
            return self.host

    def cluster(self, service: Service, container: str) -> str:
        """Which of a container's clusters this host is in; "" where it has none."""
        try:
            return placement.cluster(self.world, self.host, service, container) or ""
        except SiteInvalid as error:
            self.problems += error.problems
            return ""
