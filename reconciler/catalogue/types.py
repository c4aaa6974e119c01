"""What a catalogue is made of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from reconciler import releases
from reconciler.document.yaml import Document, Path, Place
from reconciler.errors import Problem

Origin = Literal["catalogue", "site"]
COMMON: Final = "common"  # the service whose files and templates every other one can name


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of a service. `schema` is its JSON Schema fragment; `default` may hold expressions.

    `since` and `removed_in` are the release of OpenStack that brought it and the one that has it no more, "" for always; `renamed_to` is what it is
    called from then on, `instead` what to do instead.
    """

    name: str
    schema: Mapping[str, Any]
    default: Any
    required: bool  # has no default: a site that uses it must set it
    description: str
    place: Place  # of its default, or of the variable when it has none
    service: str
    since: str = ""
    removed_in: str = ""
    renamed_to: str = ""
    instead: str = ""

    def absent(self, release: str) -> str:
        """Why setting it does nothing in a cloud of this release, "" when it does, or when what is given is no release."""
        at = releases.order(release)
        if at is None:
            return ""
        if self.since and at < (releases.order(self.since) or at):
            return f"OpenStack has it since {self.since}, and this host has {release}"
        if self.removed_in and at >= (releases.order(self.removed_in) or (at[0] + 1, 1)):
            return f"it was {'renamed' if self.renamed_to else 'removed'} in {self.removed_in}, and this host has {release}"
        return ""

    @property
    def advice(self) -> str:
        """What to do about it where it is not there any more."""
        said = f"say {self.renamed_to}" if self.renamed_to else "remove it"
        return f"{said}: {self.instead}" if self.instead else said


@dataclass(frozen=True, slots=True)
class Password:
    """A secret that a service needs. `definition` is what service.yml says of it: `{kind: random, …}`."""

    name: str
    definition: Mapping[str, Any]
    place: Place
    service: str


@dataclass(frozen=True, slots=True)
class OverridePattern:
    """A path below the site's config/ that a file of a service reads, as service.yml writes it.

    `containers` are the names that `{container}` stands for; `enabled` is when the file is there at all, as it is written;
    `verbatim` is whether its bytes may be anything, because nothing renders or merges them; `merge` how it is put
    together with others key by key ("ini", "yaml"; "": it is not).
    """

    pattern: str
    service: str
    containers: tuple[str, ...]
    place: Place
    enabled: Any = True
    verbatim: bool = False
    merge: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """One service folder. `document` is service.yml, raw and unevaluated; `templates` is file name → text.

    `shared` is its `files:`, which are in the containers of `document` already; those of `common` are there for every service.
    """

    name: str
    document: Document
    variables: Mapping[str, Variable]
    templates: Mapping[str, str]
    origin: Origin
    shared: Mapping[str, Any] = field(default_factory=dict)

    def section(self, name: str) -> Mapping[str, Any]:
        """A mapping of service.yml (`containers`, `jobs` …); empty when it is absent."""
        data = self.document.data
        content = data.get(name) if isinstance(data, dict) else None
        return content if isinstance(content, dict) else {}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All services, and what they say together. Services and variables are in the order of their names."""

    services: Mapping[str, Service]
    variables: Mapping[str, Variable]
    warnings: tuple[Problem, ...] = field(default=(), compare=False)

    def passwords(self) -> dict[str, Mapping[str, Any]]:
        """What each password is: `{"keystone_database_password": {"kind": "random"}, …}`."""
        found = (item for service in self.services.values() for item in service.section("passwords").items())
        return {name: said if isinstance(said, dict) else {} for name, said in found}

    def password_definitions(self) -> Iterator[Password]:
        """Every definition of a password. Several services may define the same one, in the same words."""
        for service in self.services.values():
            for name, definition in service.section("passwords").items():
                content = definition if isinstance(definition, dict) else {}
                yield Password(name, content, service.document.place(("passwords", name), key=True), service.name)

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Inventory groups that services use → the groups whose hosts they take when the inventory defines none."""
        result: dict[str, tuple[str, ...]] = {}
        for service in self.services.values():
            for name, listed in service.section("groups").items():
                parents = tuple(item for item in listed if isinstance(item, str)) if isinstance(listed, list) else ()
                if parents or name not in result:
                    result[name] = parents
        return result

    def refusal(self, name: str) -> str:
        """What to do instead of setting a variable that kolla-ansible has and that has no place here; empty for every other name."""
        tables = [service.section("refuses") for service in self.services.values()]
        found = next((table[name] for table in tables if name in table), "")
        if not found:
            patterns = ((pattern, said) for table in tables for pattern, said in table.items() if "*" in pattern)
            found = next((said for pattern, said in patterns if fnmatchcase(name, pattern)), "")
        return str(found)

    def role_names(self, service: str) -> Mapping[str, "Service"]:
        """Names that kolla-ansible's role of a service has inside: name → the service (it, or `common`) that says what it is here."""
        found = (self.services[name] for name in (COMMON, service) if name in self.services)
        return {name: one for one in found for name in one.section("role_names")}

    def collections(self) -> dict[str, Mapping[str, Any]]:
        """What services gather from all others: its name → what `collects` says of it."""
        found = (item for service in self.services.values() for item in service.section("collects").items())
        return {name: said if isinstance(said, dict) else {} for name, said in found}

    def override_patterns(self) -> tuple[OverridePattern, ...]:
        """Every path below config/ that some file reads, by pattern."""
        return tuple(pattern for service in self.services.values() for pattern in _patterns(service))


def _patterns(service: Service) -> Iterator[OverridePattern]:
    for name in service.section("containers"):
        yield from _file_patterns(service, ("containers", name), (name,))
    for name, job in service.section("jobs").items():
        # A job has its container's files too, and reads what is there for either name.
        container = job.get("container") if isinstance(job, dict) else None
        if isinstance(container, str):
            yield from _file_patterns(service, ("containers", container), (name,), named=True)
            yield from _file_patterns(service, ("jobs", name), (container, name))


def _file_patterns(
    service: Service, path: Path, containers: tuple[str, ...], named: bool = False
) -> Iterator[OverridePattern]:
    """The patterns of the files of a container or job; with `named` only those that hold its name."""
    owner: Any = service.document.data
    for step in path:
        owner = owner.get(step) if isinstance(owner, dict) else None
    files = owner.get("files") if isinstance(owner, dict) else None
    for index, file in enumerate(files if isinstance(files, list) else ()):
        if not isinstance(file, dict):
            continue
        where = (*path, "files", index)
        listed = {key: file.get(key) or [] for key in ("overrides", "source", "reads")}
        merge = str(file["merge"]) if file.get("merge") in ("ini", "yaml") else ""
        whole = bool(file.get("verbatim")) and not merge
        for key, said in listed.items():
            for number, pattern in enumerate(said if isinstance(said, list) else [said]):
                if named and (key != "overrides" or "{container}" not in str(pattern)):
                    continue
                place = service.document.place((*where, key, number) if key == "overrides" else (*where, key))
                yield OverridePattern(
                    pattern=str(pattern),
                    service=service.name,
                    containers=containers,
                    place=place,
                    enabled=file.get("enabled", True),
                    verbatim=whole and key != "reads",
                    merge=merge if key == "overrides" else "",
                )
