"""Which file of a site is what; what belongs nowhere is a problem."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.document.sealed import CREATION_RULES
from reconciler.document.words import suggest
from reconciler.document.yaml import Place
from reconciler.errors import Problem

GLOBALS: Final = "globals.yml"
_FILES: Final = ("inventory.yml", GLOBALS, "passwords.yml", "reconciler.yml", "kolla_build.yml")
_FOLDERS: Final = ("passwords", "groups", "hosts", "config", "services")
_ANSIBLE: Final = {  # what kolla-ansible's users have beside an inventory
    "group_vars": "variables of a group are in groups/<name>.yml, those of all hosts in globals.yml",
    "host_vars": "variables of a host are in hosts/<name>.yml",
    "globals.d": "variables of all hosts are in globals.yml alone",
}
_INVENTORY: Final = (
    "a site needs an inventory with its hosts; of what kolla-ansible is given `reconciler import` makes a site"
)
_RULES_TOO: Final = frozenset((CREATION_RULES, ".sops.yml"))  # however they are written
_OTHERS: Final = frozenset(("docs", "renovate.json", "LICENSE", "CODEOWNERS", "Makefile", "ci", "scripts"))


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of a site by their kind. Paths in `overrides` and `services` are below their folder."""

    documents: tuple[str, ...]
    overrides: Mapping[str, bytes]
    services: Mapping[str, bytes]


def sort_files(files: Mapping[str, bytes], problems: list[Problem]) -> Layout:
    """Tell the files apart. Unknown ones become problems; hidden ones, Markdown and docs/ are nobody's business, but for rules of sops."""
    documents: list[str] = []
    strange: set[str] = set()
    overrides: dict[str, bytes] = {}
    services: dict[str, bytes] = {}
    for path in sorted(files):
        top, slash, rest = path.partition("/")
        name = path.rpartition("/")[2]
        hidden = name.startswith(".")
        if name.casefold() in _RULES_TOO and path != CREATION_RULES:
            problems.append(_rules_elsewhere(path))
        if top == "config" and slash:
            if not hidden:
                overrides[rest] = files[path]
        elif top == "services" and slash:
            services[rest] = files[path]
        elif path in _FILES:
            documents.append(path)
        elif top in _FOLDERS and slash:
            if rest.endswith(".yml") and "/" not in rest:
                documents.append(path)
            elif not hidden and not rest.endswith(".md"):
                problems.append(Place(path).problem("is read by nothing", _folder_hint(top, rest)))
        elif not _ignored(top, bool(slash)) and top not in strange:
            strange.add(top)
            known = [f"{folder}/" for folder in _FOLDERS] if slash else list(_FILES)
            name = f"{top}/" if slash else top
            hint = _ANSIBLE.get(top, "") or suggest(name, known) or f"a site has {', '.join(known)}"
            problems.append(Place(name).problem("is read by nothing", hint))
    if "inventory.yml" not in files:
        problems.append(Place("inventory.yml").problem("is missing", _INVENTORY))
    return Layout(tuple(documents), overrides, services)


def _rules_elsewhere(path: str) -> Problem:
    """sops takes the nearest rules, so one of these would let others in to what is encrypted below it."""
    what = f"has rules for sops; for whom a site's files are encrypted is said by {CREATION_RULES} at its top, and nowhere else"
    return Place(path).problem(what, f"put its rules into {CREATION_RULES} beside inventory.yml, and remove it")


def _ignored(top: str, folder: bool) -> bool:
    return top.startswith((".", "README")) or top in _OTHERS or (not folder and top.endswith(".md"))


def _folder_hint(folder: str, rest: str) -> str:
    if rest.endswith(".yaml"):
        return f"rename it to {rest.rpartition('/')[2].removesuffix('.yaml')}.yml"
    return f"{folder}/ holds <name>.yml files"
