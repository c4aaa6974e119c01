"""The files of a site → Site, or every problem of every file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from reconciler.catalogue import Catalogue
from reconciler.catalogue.load import combine, read
from reconciler.document import budget, yaml
from reconciler.document.yaml import Document
from reconciler.errors import Problem, Problems, SiteInvalid, TooManyError
from reconciler.site import authorities, inventory, kolla_build, nowhere, overrides, passwords, policy, variables
from reconciler.site.layout import sort_files
from reconciler.site.types import Site

MAX_VALUES: Final = 300_000  # in all files: the site of 1,000 hosts has 25,000


def load(files: Mapping[str, bytes], catalogue: Catalogue, name: str = "") -> Site:
    """Read and check a whole site. `files` are paths below the site's folder → content.

    `name` is the site's name where reconciler.yml gives none. Raises SiteInvalid with all problems of all files, warnings
    among them (of very many the first); the warnings of a valid site are in `Site.warnings`.
    """
    problems = Problems()
    try:
        with budget.opened():
            return _load(files, catalogue, name, problems)
    except TooManyError:
        raise SiteInvalid(problems) from None


def _load(files: Mapping[str, bytes], catalogue: Catalogue, name: str, problems: list[Problem]) -> Site:
    layout = sort_files(files, problems)
    catalogue = _catalogue(layout.services, catalogue, problems)
    documents = _documents({path: files[path] for path in layout.documents}, problems)

    with_file = {PurePosixPath(path).stem for path in documents if path.startswith(("groups/", "passwords/"))}
    hosts, groups, left = inventory.load(documents.get("inventory.yml"), catalogue, problems, with_file)
    known = inventory.Known(tuple(hosts), tuple(groups), complete="inventory.yml" in documents)
    rules = policy.load(documents.get("reconciler.yml"), catalogue, known, problems)
    layers = variables.load(documents, hosts, known, catalogue, problems)
    secrets = passwords.load(documents, known, catalogue, layout.overrides, problems)
    sealed = passwords.load_sealed(layout.overrides, secrets, problems)
    overrides.check(layout.overrides, known, catalogue, problems, sealed)
    problems += authorities.problems(layout.overrides, sealed)
    if building := documents.get(kolla_build.FILE):
        problems += kolla_build.problems(building, catalogue)

    if any(problem.severity == "error" for problem in problems):
        raise SiteInvalid(problems)
    made = Site(
        name=str(rules.get("name") or name or "site"),
        hosts=hosts,
        groups=groups,
        overrides=layout.overrides,
        policy=rules,
        catalogue=catalogue,
        passwords={name: secret for part in secrets.secrets.values() for name, secret in part.items()},
        sealed=sealed,
        left=left,
        _base=layers.base,
        _groups=layers.groups,
        _hosts=layers.hosts,
        _secrets=secrets.secrets,
        _recipients=secrets.recipients,
    )
    problems += policy.check_labels(documents.get("reconciler.yml"), made)
    if any(problem.severity == "error" for problem in problems):
        raise SiteInvalid(problems)
    return replace(made, warnings=tuple(sorted((*problems, *nowhere.warnings(made)))))


def _catalogue(files: Mapping[str, bytes], shipped: Catalogue, problems: list[Problem]) -> Catalogue:
    """The catalogue with the site's own services, as far as those can be read."""
    return combine(shipped, read(files, "site", problems, shipped=shipped), problems) if files else shipped


def _documents(files: Mapping[str, bytes], problems: list[Problem]) -> dict[str, Document]:
    """The YAML files that can be read; an empty one is an empty mapping."""
    result = {}
    values = 0
    for path, content in files.items():
        try:
            document = yaml.load(content, path)
        except SiteInvalid as error:
            found = _ini(content) if path == "inventory.yml" else None
            problems += [found] if found else error.problems
        else:
            values += document.values
            if values > MAX_VALUES:
                place = document.place()
                problems.append(place.problem(f"with this file the site has more than {MAX_VALUES} values", "split it"))
                raise TooManyError
            result[path] = Document(path, {}) if document.data is None else document
    return result


def _ini(content: bytes) -> Problem | None:
    """An inventory of Ansible's, which begins with `[group]`: None when this is something else."""
    for number, line in enumerate(map(bytes.strip, content.splitlines()), 1):
        if line and not line.startswith((b"#", b";")):
            if not (line.startswith(b"[") and line.endswith(b"]")):
                return None
            hint = "`reconciler import kolla-ansible` makes a site of it"
            return Problem("inventory.yml", number, 1, "is an inventory of Ansible's as ini, and not YAML", hint)
    return None
