"""Service folders → Catalogue, with every problem of every file."""

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from reconciler import data
from reconciler.catalogue.expand import expand
from reconciler.catalogue.references import check_references
from reconciler.catalogue.types import COMMON, Catalogue, Origin, Service, Variable
from reconciler.document import yaml
from reconciler.document.content import check as check_text
from reconciler.document.grammar import Grammar, normalise
from reconciler.document.words import suggest
from reconciler.document.yaml import Document, Place
from reconciler.errors import Problem, SiteInvalid

NAME: Final = re.compile(r"[a-z][a-z0-9_-]*")
VARIABLE: Final = re.compile(r"[a-z][a-z0-9_]*")
# What templates see besides variables (docs/services.md): a variable of that name could never be read.
RESERVED: Final = frozenset(
    (
        *("ansible_facts", "ansible_hostname", "container", "frontends", "groups", "host", "hostvars"),
        *("inventory_hostname", "log_inputs", "scrape_targets", "service"),
    )
)
PREFIX: Final[Mapping[Origin, str]] = {"catalogue": "catalogue", "site": "services"}

# Of a site's own: the whole of Kolla has 80 services with 300 containers.
MAX_SERVICES: Final = 1000
MAX_CONTAINERS: Final = 2000

_RELEASES: Final = ("since", "removed_in", "renamed_to", "instead")  # what a variable says of releases of OpenStack

_FOLDER_FILES: Final = ("service.yml", "variables.yml", "README.md", "templates/")
_IGNORED: Final = ("examples/", "tests/", "docs/")


def load(files: Mapping[str, bytes], origin: Origin, trusted: bool = False) -> Catalogue:
    """The services in `files` (paths below services/ → content). Raises SiteInvalid with all problems.

    A catalogue is complete in itself and checked so; a site's own services may refer to the catalogue's, so that their
    references are checked by `merge`. A folder with only variables.yml declares variables that services share.

    `trusted` leaves the grammars out, which take most of the time: for the catalogue of an installed program, which was
    checked when it was built.
    """
    problems: list[Problem] = []
    return _finish(read(files, origin, problems, trusted), problems)


def merge(shipped: Catalogue, own: Catalogue) -> Catalogue:
    """Both catalogues as one. An own service of a shipped name takes its place, with a warning.

    Raises SiteInvalid for what own services refer to and nobody has, and for names that are there twice.
    """
    problems: list[Problem] = [*own.warnings]
    return _finish(combine(shipped, own, problems), problems)


def read(
    files: Mapping[str, bytes],
    origin: Origin,
    problems: list[Problem],
    trusted: bool = False,
    shipped: Catalogue | None = None,
) -> Catalogue:
    """As `load`, but adds to `problems` and gives what can be used all the same.

    A site's own services can name the files that `common` of the catalogue `shipped` has for all.
    """
    folders: dict[str, dict[str, bytes]] = {}
    for path in sorted(files):
        name, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(name, {})[rest] = files[path]
        elif not path.endswith(".md") and not path.startswith("."):
            problems.append(
                _place(origin, path).problem("is not in a folder of a service", "services/<name>/service.yml")
            )
    if len(folders) > MAX_SERVICES:
        place = _place(origin, "").problem(f"has {len(folders)} services; {MAX_SERVICES} are the limit", "remove some")
        raise SiteInvalid([place])
    services: dict[str, Service] = dict(shipped.services) if shipped else {}
    for name in sorted(folders, key=lambda name: (name != COMMON, name)):
        common = services[COMMON].shared if COMMON in services else {}
        services[name] = _service(name, folders[name], origin, problems, trusted, common)
    services = {name: services[name] for name in folders}
    catalogue = Catalogue(services, _join(services.values(), problems))
    if origin == "catalogue":
        problems += check_references(catalogue, services)
    return catalogue


def combine(shipped: Catalogue, own: Catalogue, problems: list[Problem]) -> Catalogue:
    """As `merge`, but adds to `problems` and gives what can be used all the same."""
    if not own.services:
        return shipped
    for name in own.services:
        if name in shipped.services:
            place = Place(own.services[name].document.name, 1, 1)
            problems.append(
                place.warning(f"replaces the catalogue's service {name!r} entirely", "rename it to add one")
            )
    services = dict(sorted({**shipped.services, **own.services}.items()))
    # Own variables among themselves were looked at before.
    found: list[Problem] = []
    catalogue = Catalogue(services, _join(services.values(), found))
    known = {str(problem) for problem in problems}
    problems += [problem for problem in found if str(problem) not in known]
    _bounded(own)
    problems += check_references(catalogue, own.services)
    return catalogue


def _bounded(own: Catalogue) -> None:
    """Raises SiteInvalid when the services have more containers and jobs than any host could run."""
    count = 0
    for service in own.services.values():
        count += len(service.section("containers")) + len(service.section("jobs"))
        if count > MAX_CONTAINERS:
            place = service.document.place(("containers",), key=True)
            message = f"with these the site has more than {MAX_CONTAINERS} containers and jobs of its own"
            raise SiteInvalid([place.problem(message, "remove some")])


def _finish(catalogue: Catalogue, problems: list[Problem]) -> Catalogue:
    if any(problem.severity == "error" for problem in problems):
        raise SiteInvalid(problems)
    return Catalogue(catalogue.services, catalogue.variables, tuple(sorted(problems)))


def _place(origin: Origin, path: str) -> Place:
    return Place(f"{PREFIX[origin]}/{path}")


def _service(
    name: str,
    files: Mapping[str, bytes],
    origin: Origin,
    problems: list[Problem],
    trusted: bool,
    common: Mapping[str, Any],
) -> Service:
    if not NAME.fullmatch(name):
        hint = "lower-case letters, digits, - and _"
        problems.append(_place(origin, name).problem(f"{name!r} is not a name for a service", hint))
    if "service.yml" not in files and "variables.yml" not in files:
        problems.append(_place(origin, name).problem("has neither service.yml nor variables.yml", "write service.yml"))
    _check_files(name, files, origin, problems)
    documents = {}
    for kind in ("service", "variables"):
        document = _document(f"{PREFIX[origin]}/{name}/{kind}.yml", files.get(f"{kind}.yml"), problems)
        documents[kind] = document or Document(f"{PREFIX[origin]}/{name}/{kind}.yml", {})
        if document and not trusted:
            problems += _grammar(kind).check(document)
    templates: dict[str, str] = {}
    for path, content in files.items():
        if path.startswith("templates/"):
            try:
                text = content.decode() if trusted else check_text(content, _place(origin, f"{name}/{path}").file)
                templates[path.removeprefix("templates/")] = text
            except SiteInvalid as error:
                problems += error.problems
    declared = _variables(name, documents["variables"], problems, trusted)
    document, variables = expand(documents["service"], name, declared, problems, common)
    content = documents["service"].data
    shared = content.get("files") if isinstance(content, dict) else None
    return Service(name, document, variables, templates, origin, shared if isinstance(shared, dict) else {})


def _check_files(name: str, files: Mapping[str, bytes], origin: Origin, problems: list[Problem]) -> None:
    for path in files:
        known = path.startswith(("templates/", *_IGNORED)) or path in _FOLDER_FILES
        if not known and not path.startswith(".") and not path.endswith(".md"):
            hint = suggest(path, _FOLDER_FILES) or f"one of {', '.join(_FOLDER_FILES)}"
            problems.append(_place(origin, f"{name}/{path}").problem("is not a file of a service", hint))


def _document(name: str, content: bytes | None, problems: list[Problem]) -> Document | None:
    """A file of YAML; None when it is absent, or cannot be read (which is reported)."""
    if content is None:
        return None
    try:
        document = yaml.load(content, name)
    except SiteInvalid as error:
        problems += error.problems
        return None
    return Document(name, {}) if document.data is None else document


@functools.cache
def _grammar(kind: str) -> Grammar:
    return Grammar(data.schema(kind), expressions=kind == "service")


def _variables(service: str, document: Document, problems: list[Problem], trusted: bool) -> dict[str, Variable]:
    result: dict[str, Variable] = {}
    fragments = document.data if isinstance(document.data, dict) else {}
    broken = any(problem.file == document.name for problem in problems)
    for name, fragment in fragments.items():
        if broken and not _grammar("variables").valid({name: fragment}):
            # The name is declared all the same, or its every use would be reported too.
            result[name] = _variable(service, document, name, {"default": None})
        else:
            result[name] = _variable(service, document, name, fragment)
            if not trusted:
                problems += _check_variable(document, result[name])
    return result


def _variable(service: str, document: Document, name: str, fragment: Mapping[str, Any]) -> Variable:
    required = fragment.get("required") is True
    schema = {key: value for key, value in fragment.items() if key != "default" and key not in _RELEASES}
    if isinstance(schema.get("required"), bool):
        del schema["required"]
    return Variable(
        name=name,
        schema=schema,
        default=normalise(fragment.get("default"), schema),
        required=required,
        description=str(fragment.get("description", "")).strip(),
        place=document.place((name, "default")) if "default" in fragment else document.place((name,), key=True),
        service=service,
        **{key: str(fragment[key]).strip() for key in _RELEASES if key in fragment},
    )


def _check_variable(document: Document, variable: Variable) -> list[Problem]:
    place = document.place((variable.name,), key=True)
    problems = []
    if variable.name in RESERVED:
        problems.append(place.problem(f"the name {variable.name!r} is what templates call something else", "rename it"))
    if variable.name.startswith("site_"):
        problems.append(place.problem("names that begin with site_ are a site's own variables", "rename it"))
    if not variable.required:
        grammar = Grammar(variable.schema, expressions=True)
        problems += grammar.check(document, (variable.name, "default"), variable.default)
    for key in ("example", "examples"):
        example = variable.schema.get(key)
        for content in example if key == "examples" and example else [example] if key in variable.schema else []:
            value = normalise(content, variable.schema)
            problems += Grammar(variable.schema, expressions=True).check(document, (variable.name, key), value)
    return problems


def _join(services: Iterable[Service], problems: list[Problem]) -> dict[str, Variable]:
    """All variables by name. A name that two services declare, or that is a password too, is a problem."""
    result: dict[str, Variable] = {}
    passwords = {name: service for service in services for name in service.section("passwords")}
    for service in services:
        for name, variable in service.variables.items():
            if name in result:
                other = result[name].place
                problems.append(variable.place.problem(f"the variable {name!r} is declared twice", f"first at {other}"))
            elif name in passwords:
                other = passwords[name].document.place(("passwords", name), key=True)
                problems.append(variable.place.problem(f"{name!r} is a password too", f"declared at {other}"))
            result.setdefault(name, variable)
    for variable in result.values():
        if variable.renamed_to and variable.renamed_to not in result:
            hint = suggest(variable.renamed_to, result)
            message = f"{variable.name!r} is renamed to {variable.renamed_to!r}, and there is no such variable"
            problems.append(variable.place.problem(message, hint or "declare it, with `since`"))
    for service in services:
        for name in service.section("collects"):
            if name in result or name in passwords or name in RESERVED:
                place = service.document.place(("collects", name), key=True)
                problems.append(place.problem(f"templates call something else {name!r}", "rename what is collected"))
    return dict(sorted(result.items()))
