"""The files of a site → Site, or every problem of every file."""

from collections.abc import Mapping
from typing import Final

from reconciler import catalogue as services
from reconciler.catalogue import Catalogue
from reconciler.document import yaml
from reconciler.document.yaml import Document
from reconciler.errors import Problem, SiteInvalid
from reconciler.site import inventory, overrides, passwords, policy, variables
from reconciler.site.layout import sort_files
from reconciler.site.types import Site

_EMPTY: Final = Catalogue({}, {})


def load(files: Mapping[str, bytes], catalogue: Catalogue, name: str = "") -> Site:
    """Read and check a whole site. `files` are paths below the site's folder → content.

    `name` is the site's name where reconciler.yml gives none. Raises SiteInvalid with all problems of all files, warnings
    among them; the warnings of a valid site are in `Site.warnings`.
    """
    problems: list[Problem] = []
    layout = sort_files(files, problems)
    catalogue = _catalogue(layout.services, catalogue, problems)
    documents = {path: _read(path, files[path], problems) for path in layout.documents}

    inventory_document = documents.get("inventory.yml") or Document("inventory.yml", {})
    hosts, groups = inventory.load(inventory_document, catalogue, problems)
    known = inventory.Known(tuple(hosts), tuple(groups))
    rules = policy.load(documents.get("reconciler.yml"), catalogue, problems)
    layers = variables.load(documents, hosts, known, catalogue, problems)
    secrets = passwords.load(documents, known, catalogue, problems)
    overrides.check(layout.overrides, known, catalogue, problems)

    if any(problem.severity == "error" for problem in problems):
        raise SiteInvalid(problems)
    return Site(
        name=str(rules.get("name") or name or "site"),
        hosts=hosts,
        groups=groups,
        overrides=layout.overrides,
        policy=rules,
        catalogue=catalogue,
        passwords={name: secret for part in secrets.values() for name, secret in part.items()},
        warnings=tuple(sorted(problems)),
        _base=layers.base,
        _groups=layers.groups,
        _hosts=layers.hosts,
        _secrets=secrets,
    )


def _catalogue(files: Mapping[str, bytes], shipped: Catalogue, problems: list[Problem]) -> Catalogue:
    """The catalogue with the site's own services; when those are wrong the rest is still checked, with what is right."""
    if not files:
        return shipped
    try:
        merged = services.merge(shipped, services.load(files, "site"))
    except SiteInvalid as error:
        problems += error.problems
        return shipped
    problems += merged.warnings
    return merged


def _read(path: str, content: bytes, problems: list[Problem]) -> Document:
    try:
        document = yaml.load(content, path)
    except SiteInvalid as error:
        problems += error.problems
        return Document(path, {})
    if document.data is None:
        return Document(path, {})
    return document
