"""globals.yml, groups/*.yml, hosts/*.yml → layers of variables, each value checked against its variable's schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.catalogue import Catalogue
from reconciler.catalogue.load import VARIABLE
from reconciler.document.grammar import Grammar, normalise
from reconciler.document.keywords import is_expression
from reconciler.document.words import suggest
from reconciler.document.yaml import Document, Path, Place
from reconciler.errors import Problem
from reconciler.site.inventory import Known
from reconciler.site.later import not_yet
from reconciler.site.layout import GLOBALS
from reconciler.site.types import Host, Layer, Layered

OWN_PREFIX = "site_"


@dataclass(frozen=True, slots=True)
class Layers:
    """The catalogue's defaults with globals on top, and what groups and hosts say beyond that."""

    base: dict[str, Layered]
    groups: Mapping[str, Mapping[str, Layer]]
    hosts: Mapping[str, Mapping[str, Layer]]


def load(
    documents: Mapping[str, Document],
    hosts: Mapping[str, Host],
    known: Known,
    catalogue: Catalogue,
    problems: list[Problem],
) -> Layers:
    """Read every file of variables; what is wrong in them is reported and left out."""
    reader = _Reader(catalogue, known, problems)
    groups: dict[str, Mapping[str, Layer]] = {}
    own: dict[str, Mapping[str, Layer]] = {}
    for name, host in hosts.items():
        own[name] = reader.inventory(documents["inventory.yml"], host)
    for path_name, document in documents.items():
        folder, slash, file = path_name.partition("/")
        name = file.removesuffix(".yml")
        if folder == "groups" and slash:
            problems += known.group(name, Place(document.name))
            groups[name] = reader.read(document, f"group:{name}")
        elif folder == "hosts" and slash and not file.endswith(".passwords.yml"):
            problems += known.host(name, Place(document.name))
            own[name] = reader.merge(own.get(name, {}), reader.read(document, "host"))
    return Layers(_base(documents.get(GLOBALS), reader, catalogue), groups, own)


def _base(document: Document | None, reader: "_Reader", catalogue: Catalogue) -> dict[str, Layered]:
    result = {}
    for name, variable in catalogue.variables.items():
        if not variable.required:
            layer = Layer("catalogue", variable.default, variable.place)
            result[name] = Layered(name, layer.value, layer.place, (layer,))
    for name, layer in (reader.read(document, "globals") if document else {}).items():
        below = result[name].layers if name in result else ()
        result[name] = Layered(name, layer.value, layer.place, (*below, layer))
    return result


class _Reader:
    def __init__(self, catalogue: Catalogue, known: Known, problems: list[Problem]) -> None:
        self._catalogue = catalogue
        self._known = known
        self._variables = catalogue.variables
        self._passwords = catalogue.passwords()
        self._services = frozenset(catalogue.services)
        self._problems = problems
        self._grammars: dict[str, Grammar] = {}
        self._hints: dict[str, str] = {}

    def read(self, document: Document, origin: str, path: Path = ()) -> dict[str, Layer]:
        """The variables in a document, or in the mapping at `path` of it."""
        content: Any = document.data
        for step in path:
            content = content[step]
        if not isinstance(content, dict):
            self._problems.append(document.place(path).problem("must be a mapping of variables to values"))
            return {}
        result = {}
        for name, value in content.items():
            where = (*path, name)
            variable = self._variables.get(name)
            if variable is not None:
                value = normalise(value, variable.schema)
                if name not in self._grammars:
                    self._grammars[name] = Grammar(variable.schema, expressions=True)
                self._problems += self._grammars[name].check(document, where, value)
                is_group = variable.schema.get("format") == "group" and isinstance(value, str)
                if is_group and value and not is_expression(value):
                    self._problems += self._known.group(value, document.place(where))
            elif not name.startswith(OWN_PREFIX):
                self._unknown(document, where, name)
                continue
            elif not VARIABLE.fullmatch(name):
                place = document.place(where, key=True)
                self._problems.append(place.problem(f"{name!r} is not a name", "use lower-case letters, digits and _"))
            result[name] = Layer(origin, value, document.place(where))
        return result

    def inventory(self, document: Document, host: Host) -> dict[str, Layer]:
        """What the inventory says of a host. `interfaces: {api: eth1}` means the variable api_interface."""
        result = {
            f"{network}_interface": Layer("host", name, document.place(("hosts", host.name, "interfaces", network)))
            for network, name in host.interfaces.items()
            if f"{network}_interface" in self._variables
        }
        entry = document.data["hosts"][host.name]
        if isinstance(entry, dict) and isinstance(entry.get("variables"), dict):
            result = self.merge(result, self.read(document, "host", ("hosts", host.name, "variables")))
        return result

    def merge(self, earlier: Mapping[str, Layer], file: Mapping[str, Layer]) -> dict[str, Layer]:
        """A host's variables of both its places. Saying the same variable in both is a problem."""
        for name in file:
            if name in earlier:
                hint = f"remove it here or at {earlier[name].place}"
                self._problems.append(file[name].place.problem(f"{name!r} is set for this host twice", hint))
        return {**earlier, **file}

    def _hint(self, name: str) -> str:
        """What to do about a variable that does not exist."""
        service = name.removeprefix("enable_").partition("_")[0]
        if away := not_yet(service, self._services):
            return away
        near = suggest(name, self._variables)
        if near or not name.startswith("enable_"):
            return near or f"a variable of your own is called {OWN_PREFIX}…"
        return "the catalogue has no such service: remove it"

    def _unknown(self, document: Document, path: Path, name: str) -> None:
        place = document.place(path, key=True)
        if name in self._passwords:
            self._problems.append(place.problem(f"{name!r} is a password", "it belongs in passwords.yml, encrypted"))
            return
        if refusal := self._catalogue.refusal(name):
            self._problems.append(place.problem(f"kolla-ansible's {name!r} has no place here", refusal))
            return
        if name not in self._hints:  # the same mistake may be in the files of many hosts
            self._hints[name] = self._hint(name)
        self._problems.append(place.problem(f"unknown variable {name!r}", self._hints[name]))
