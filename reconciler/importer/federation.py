"""Files of Keystone's identity providers. kolla-ansible is given their paths on the deployment host; here they are below
config/keystone/federation/, and the variables say where there."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from reconciler.importer.types import Assigned, File, Source

FOLDER: Final = "keystone/federation/"  # below config/
VARIABLES: Final = ("keystone_identity_providers", "keystone_identity_mappings")
_PATHS: Final = ("metadata_folder", "certificate_file", "file")
_READ: Final = ("*.provider", "*.client", "*.conf")  # of a metadata_folder
_WORD: Final = re.compile(r"[^A-Za-z0-9_.-]+")


def files(
    said: tuple[File, ...], config: Path, found: Callable[[str], Path | None]
) -> tuple[dict[str, str], dict[Path, str]]:
    """(path as a variable says it → path below FOLDER, file → path below config/), of what is here. `found` is where a path that a variable
    says leads on this machine. Looks at names alone."""
    places: dict[str, str] = {}
    taken: dict[Path, str] = {}
    home = config / FOLDER
    for entry in _entries(said):
        for key in _PATHS:
            text = str(entry.get(key) or "")
            path = found(text) if text else None
            if path is None or path.is_dir() != (key == "metadata_folder"):
                continue
            places[text] = _place(key, path, home, str(entry.get("name")))
            for file in sorted({one for name in _READ for one in path.glob(name)}) if path.is_dir() else [path]:
                below = places[text] if file == path else f"{places[text]}/{file.name}"
                taken[file] = FOLDER + below
    return places, taken


def _place(key: str, path: Path, home: Path, name: str) -> str:
    """Where a file or folder goes: it stays where it is below `home`."""
    if home.resolve() in path.resolve().parents:
        return path.resolve().relative_to(home.resolve()).as_posix()
    folder = "mappings" if key == "file" else _WORD.sub("-", name).strip("-.") or "provider"
    return folder if key == "metadata_folder" else f"{folder}/{path.name}"


def here(said: Assigned, source: Source) -> Assigned:
    """A variable with the paths that its files have here; one that names none stays as it is."""
    if said.name not in VARIABLES or not isinstance(said.value, list):
        return said
    entries = [
        {key: source.federation.get(value, value) if key in _PATHS else value for key, value in entry.items()}
        if isinstance(entry, dict)
        else entry
        for entry in said.value
    ]
    return said if entries == said.value else replace(said, value=entries, text="")


def _entries(said: tuple[File, ...]) -> Iterator[Mapping[str, Any]]:
    for file in said:
        for one in file.variables:
            if one.name in VARIABLES and isinstance(one.value, list):
                yield from (entry for entry in one.value if isinstance(entry, dict))
