"""The files of a site, rewritten for another release of OpenStack: what can be told is changed in place, with its comments; the rest is
listed. Pure.

A file is taken only if it then says what it should: it is read again, and left alone otherwise.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reconciler import releases
from reconciler.catalogue import Catalogue, Variable
from reconciler.document import yaml
from reconciler.document.keywords import is_expression
from reconciler.document.yaml import Document, Path, Place
from reconciler.errors import Problem, SiteInvalid
from reconciler.site.layout import GLOBALS

RELEASE: Final = "openstack_release"
_VALUE: Final = re.compile(r"(:\s+)(\"[^\"]*\"|'[^']*'|[^\s#]+)")


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What became of a site. `files` are those that change, by path; `done` says each change at its old place, `left` what is for an
    operator to do or to look at; `refused` is why the step is none that OpenStack supports."""

    files: Mapping[str, str] = field(default_factory=dict)
    done: tuple[Problem, ...] = ()
    left: tuple[Problem, ...] = ()
    refused: str = ""


@dataclass(slots=True)
class _Change:
    """One line or block of a file: the variable at `path` gets another name, another value or goes away."""

    path: Path
    note: Problem
    name: str = ""
    value: str = ""
    comment: str = ""


def upgraded(files: Mapping[str, bytes], catalogue: Catalogue, release: str) -> Upgraded:
    """The files of variables of a site, by path, as `release` wants them. Raises SiteInvalid for what cannot be read."""
    documents = _documents(files)
    said = {name: list(_variables(document)) for name, document in documents.items()}
    values = [value for variables in said.values() for path, value in variables if path[-1] == RELEASE]
    before = {str(value) for value in values if not is_expression(value)}
    unsaid = not any(path == (RELEASE,) for path, _ in said.get(GLOBALS, ()))
    if unsaid:
        before.add(str(catalogue.variables[RELEASE].default))
    refused = next((why for old in sorted(before) if (why := releases.refusal(old, release))), "")
    if refused:
        return Upgraded(refused=f"{RELEASE} {refused}")
    texts, done, left = {}, [], []
    for name, document in documents.items():
        changes, open_ = _wanted(document, said[name], catalogue, release, before - {release})
        left += open_
        made = _rewritten(files[name].decode("utf-8-sig"), changes)
        if name == GLOBALS and unsaid:
            made, change = _with_release(made, release)
            changes.append(change)
        if not changes:
            continue
        if _reads_as(made, document, changes, release):
            texts[name] = made
            done += [change.note for change in changes]
        else:
            hint = "do it by hand: the file is not laid out so that it can be rewritten"
            left += [replace(change.note, hint=hint) for change in changes]
    if GLOBALS not in documents:
        texts[GLOBALS] = f'{RELEASE}: "{release}"\n'
        done.append(Place(GLOBALS, 1, 1).problem(f'{RELEASE}: "{release}" added'))
    return Upgraded(texts, tuple(sorted(done)), tuple(sorted(left)))


def said(files: Mapping[str, bytes]) -> list[tuple[str, Path, Any]]:
    """Every variable that a site sets: in which file, the path to it, its value. Raises SiteInvalid for what cannot be read."""
    documents = _documents(files).items()
    return [(name, path, value) for name, document in documents for path, value in _variables(document)]


def _documents(files: Mapping[str, bytes]) -> dict[str, Document]:
    return {path: yaml.load(content, path) for path, content in files.items() if _has_variables(path)}


def _has_variables(path: str) -> bool:
    return path in (GLOBALS, "inventory.yml") or (
        re.fullmatch(r"(groups|hosts)/[^/]+\.yml", path) is not None and not path.endswith(".passwords.yml")
    )


def _variables(document: Document) -> Iterator[tuple[Path, Any]]:
    """Every variable that a file sets: the path to it, its value."""
    content = document.data if isinstance(document.data, dict) else {}
    above: dict[Path, Any] = {(): content}
    if document.name == "inventory.yml":
        hosts = content.get("hosts")
        above = {
            ("hosts", host, "variables"): entry.get("variables")
            for host, entry in (hosts.items() if isinstance(hosts, dict) else ())
            if isinstance(entry, dict)
        }
    for path, mapping in above.items():
        for name, value in mapping.items() if isinstance(mapping, dict) else ():
            yield (*path, name), value


def _wanted(
    document: Document, said: Sequence[tuple[Path, Any]], catalogue: Catalogue, release: str, before: set[str]
) -> tuple[list[_Change], list[Problem]]:
    changes: list[_Change] = []
    left: list[Problem] = []
    for path, value in said:
        name, place = str(path[-1]), document.place(path, key=True)
        variable = catalogue.variables.get(name)
        if name == RELEASE and is_expression(value):
            left.append(
                place.problem(f"{RELEASE} is an expression", "see that it becomes the new release where it should")
            )
        elif name == RELEASE:
            if str(value) != release:
                changes.append(_Change(path, place.problem(f"{RELEASE}: {value} → {release}"), value=f'"{release}"'))
        elif variable is not None and variable.removed_in and variable.absent(release):
            found = _of_removed(document, path, variable, place)
            if isinstance(found, _Change):
                changes.append(found)
            else:
                left.append(found)
        elif old := next((old for old in sorted(before) if old in str(value)), ""):
            left.append(
                place.problem(f"{name} names {old} itself: {value!s:.120}", "is it meant for the new release too")
            )
        elif name == "kolla_base_distro_version":
            left.append(
                place.problem(
                    f"{name} is set ({value!s:.40}), and releases differ in it",
                    "leave it out, or look what the images are made of",
                )
            )
    return changes, left


def _of_removed(document: Document, path: Path, variable: Variable, place: Place) -> _Change | Problem:
    mapping: Any = document.data
    for step in path[:-1]:
        mapping = mapping[step]
    new = variable.renamed_to
    if new and new in mapping:
        return place.problem(f"{variable.name} is {new} now, and that is set here as well", "keep one of the two")
    if new:
        return _Change(path, place.problem(f"{variable.name} → {new}"), name=new)
    why = f"gone in {variable.removed_in}" + (f": {variable.instead}" if variable.instead else "")
    return _Change(path, place.problem(f"{variable.name} made a comment ({why})"), comment=why)


# --- text ------------------------------------------------------------------------------------------------------------


def _rewritten(text: str, changes: Sequence[_Change]) -> str:
    """The text with the changes, from the last line to the first. What it cannot do it leaves, and `_reads_as` finds it."""
    lines = text.splitlines(keepends=True)
    for change in sorted(changes, key=lambda change: change.note.line, reverse=True):
        first, column, name = change.note.line - 1, change.note.column - 1, str(change.path[-1])
        line = lines[first]
        if line[:column].strip() or not line.startswith(name, column):
            continue  # in braces, or in quotes
        if change.name:
            lines[first] = f"{line[:column]}{change.name}{line[column + len(name) :]}"
        elif change.value:
            lines[first] = _VALUE.sub(rf"\g<1>{change.value}", line, count=1)
        else:
            last = _end(lines, first, column)
            body = [f"{line[:column]}# {one[column:] if one.strip() else one}" for one in lines[first:last]]
            lines[first:last] = [f"{line[:column]}# {change.comment}\n", *body]
    return "".join(lines)


def _end(lines: Sequence[str], first: int, column: int) -> int:
    """The line after the last one of the value of the key in line `first`."""
    last = first + 1
    for number in range(first + 1, len(lines)):
        bare = lines[number].strip()
        depth = len(lines[number]) - len(lines[number].lstrip())
        if not bare or (bare.startswith("#") and depth <= column):
            continue  # of the value only if more of it follows
        if depth < column or (depth == column and not bare.startswith(("- ", "-\n")) and bare != "-"):
            break
        last = number + 1
    return last


def _with_release(text: str, release: str) -> tuple[str, _Change]:
    """globals.yml that did not say the release, so that the catalogue's default counted."""
    end = "" if not text or text.endswith("\n") else "\n"
    note = Place(GLOBALS, text.count("\n") + 1, 1).problem(f'{RELEASE}: "{release}" added')
    return f'{text}{end}{RELEASE}: "{release}"\n', _Change((RELEASE,), note, value=release)


def _reads_as(text: str, document: Document, changes: Sequence[_Change], release: str) -> bool:
    """Whether the text says what the document said, with the changes."""
    expected = _copy(document.data if document.data is not None else {})
    for change in changes:
        mapping, name = expected, change.path[-1]
        for step in change.path[:-1]:
            mapping = mapping[step]
        old = mapping.pop(name, None)
        if change.name:
            mapping[change.name] = old
        elif change.value:
            mapping[name] = release
    try:
        found = yaml.load(text.encode(), document.name).data
    except SiteInvalid:
        return False
    return bool((found if found is not None else {}) == expected)


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value
