"""service.yml as it is written → as the rest of the program reads it: shared files and defaults in their places.

What is written once (`files:`, `defaults:`) is put where it is used, so that nothing after this knows that it was shared; a problem
found there still has the place where it was written (`Document.moved`). Standard variables of Kolla's containers come from
`standard`.
"""

from collections.abc import Mapping
from typing import Any, Final

from reconciler.catalogue import standard
from reconciler.catalogue.types import COMMON, Variable
from reconciler.document.keywords import is_expression, is_one_expression
from reconciler.document.words import suggest
from reconciler.document.yaml import Document, Path, origin
from reconciler.errors import Problem

# Fields whose defaults come first, and what the entry says itself after them; of all others the entry's own count.
_ADDING: Final = ("environment", "labels", "volumes", "files", "permissions", "depends_on")
_SHARED: Final = ("files", "defaults")
_SECTIONS: Final = ("containers", "jobs")


def expand(
    document: Document,
    service: str,
    declared: Mapping[str, Variable],
    problems: list[Problem],
    common: Mapping[str, Any],
) -> tuple[Document, dict[str, Variable]]:
    """The document without `files:` and `defaults:`, and all variables: `declared` ones and those of Kolla's containers.

    `common` are the files that every service can name, beside its own.
    """
    if not isinstance(document.data, dict):
        return document, dict(declared)
    work = _Expansion(document, problems, common)
    data = {key: value for key, value in document.data.items() if key not in _SHARED}
    for section in _SECTIONS:
        if isinstance(data.get(section), dict):
            data[section] = {name: work.entry(section, name, entry) for name, entry in data[section].items()}
    if service != COMMON:
        work.check_used()
    made = Document.moved(document, data, work.moves)
    variables = dict(declared)
    if isinstance(data.get("containers"), dict):
        data["containers"], found = standard.derive(made, service, declared, work.moves, problems)
        variables |= found
    return made, variables


class _Expansion:
    def __init__(self, document: Document, problems: list[Problem], common: Mapping[str, Any]) -> None:
        self.document = document
        self.problems = problems
        self._common = common
        self.moves: dict[Path, Path] = {}  # where something is → where it was written
        self._shared = _mapping(document.data, "files")
        self._defaults = _mapping(document.data, "defaults")
        self._used: set[str] = set()

    def entry(self, section: str, name: str, entry: Any) -> Any:
        """A container or job with its defaults underneath and its files in full."""
        if not isinstance(entry, dict):
            return entry
        here: Path = (section, name)
        result = self._merged(_mapping(self._defaults, section), ("defaults", section), entry, here)
        test = result.get("healthcheck")
        if test and isinstance(test, str | list) and not is_one_expression(test):
            result["healthcheck"] = {"test": test}
            self.moves[(*here, "healthcheck", "test")] = self._written((*here, "healthcheck"))
        if isinstance(result.get("files"), list):
            where = (*here, "files")
            result["files"] = [self._file(item, (*where, index)) for index, item in enumerate(result["files"])]
        return result

    def _merged(
        self, defaults: Mapping[str, Any], source: Path | None, own: Mapping[str, Any], here: Path
    ) -> dict[str, Any]:
        """`own` over `defaults`, which were written at `source`; without one in another document, so that `here` is their place."""
        result = dict(own)
        for key, value in defaults.items():
            if key not in own:
                result[key] = value
                self.moves[(*here, key)] = (*source, key) if source else self._written(here)
            elif source and key in _ADDING:
                result[key] = self._sum(value, (*source, key), own[key], (*here, key))
        return result

    def _sum(self, first: Any, source: Path, own: Any, here: Path) -> Any:
        if isinstance(first, dict) and isinstance(own, dict):
            self.moves |= {(*here, key): (*source, key) for key in first if key not in own}
            return {**first, **own}
        if isinstance(first, list) and isinstance(own, list):
            self.moves |= {(*here, index): (*source, index) for index in range(len(first))}
            self.moves |= {(*here, len(first) + index): (*here, index) for index in range(len(own))}
            return [*first, *own]
        message = "adds to what `defaults` say, and one of the two is an expression"
        self.problems.append(self.document.place(here).problem(message, "write both out, or take it out of defaults"))
        return own

    def _file(self, item: Any, here: Path) -> Any:
        """A file with the shared one and the defaults underneath."""
        if isinstance(item, str):
            item, written = {"use": item}, self._written(here)
        else:
            written = here
        if not isinstance(item, dict):
            return item
        word = item.get("use")
        own = {key: value for key, value in item.items() if key != "use"}
        result = dict(own)
        if isinstance(word, str):
            if is_expression(word):
                return {"name": word}  # which the grammar refuses
            if word not in self._shared and word not in self._common:
                place = self.document.place(self._written(written))
                hint = suggest(word, {**self._shared, **self._common}) or "write it under files:"
                self.problems.append(place.problem(f"the service has no file {word!r} to share", hint))
                return {"name": word, "optional": True}
            self._used.add(word)
            if word in self._shared:
                shared, source = _mapping(self._shared, word), ("files", word)
            else:
                shared, source = _mapping(self._common, word), None
            result = {"name": word, **self._merged(shared, source, own, here)}
        elif "name" not in own:
            self.problems.append(self.document.place(self._written(here)).problem("is missing 'name'"))
        return self._merged(_mapping(self._defaults, "files"), ("defaults", "files"), result, here)

    def check_used(self) -> None:
        for word in self._shared:
            if word not in self._used:
                place = self.document.place(("files", word), key=True)
                hint = "name it in the files of a container or job, or remove it"
                self.problems.append(place.warning(f"no container or job has the file {word!r}", hint))

    def _written(self, path: Path) -> Path:
        return origin(path, self.moves)


def _mapping(content: Any, key: str) -> Mapping[str, Any]:
    """The mapping under a key; empty for anything else, which the grammar reports."""
    found = content.get(key) if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}
