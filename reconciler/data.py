"""Where the program's own data lies (schemas, the catalogue, systemd units, CI files of a site): in the wheel, or beside a checkout."""

import base64
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent


@functools.cache
def root() -> Path:
    """The folder that holds `schemas/`, `services/`, `systemd/` and `site-example/`. Raises FileNotFoundError when there is none."""
    for folder in (_PACKAGE / "_data", _PACKAGE.parent):
        if (folder / "schemas").is_dir():
            return folder
    raise FileNotFoundError(
        f"{_PACKAGE / '_data'} is missing: the program is not completely installed; install it again"
    )


def path(*parts: str) -> Path:
    """The path of a file or folder of the program's own data: `path("schemas", "service.schema.json")`."""
    return root().joinpath(*parts)


@functools.cache
def schema(name: str) -> Mapping[str, Any]:
    """The grammar `schemas/<name>.schema.json`, read once; not to be changed. Raises FileNotFoundError."""
    content: dict[str, Any] = json.loads(path("schemas", f"{name}.schema.json").read_bytes())
    return content


def services() -> dict[str, bytes]:
    """Every file of the catalogue that ships with the program, by its path below `services/`."""
    return dict(sorted(_below(str(path("services")), ""), key=lambda item: item[0].split("/")))


def _below(folder: str, prefix: str) -> Iterator[tuple[str, bytes]]:
    """As `services`, of one folder. Every child asks, so no `Path` is made of each."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "__")):
                continue
            if entry.is_dir():
                yield from _below(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                with open(entry.path, "rb") as file:  # noqa: PTH123
                    yield prefix + entry.name, file.read()


@functools.cache
def catalogue_digest() -> str:
    """SHA-256 of what the services of `services()` say, hexadecimal: equal digests render alike. What only people read in them does
    not count."""
    found = hashlib.sha256()
    for name, content in services().items():
        inside = name.partition("/")[2]
        if inside in ("service.yml", "variables.yml") or inside.startswith("templates/"):
            found.update(f"{name}\0{len(content)}\0".encode() + content)
    return found.hexdigest()


@functools.cache
def asset(package: str, name: str) -> str:
    """The text of a file that lies beside the code of a package: a style, a script, a template of a page."""
    import importlib.resources

    return importlib.resources.files(package).joinpath(name).read_text(encoding="utf-8")


def only_these(style: str, script: str) -> str:
    """The directives of a Content-Security-Policy that let this very style and script run, and no other."""
    return f"style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.cache
def time_zones() -> frozenset[str]:
    """The names of the IANA time zone database, as the tzdata package that the program brings along has them: the same on
    every machine, whatever its system knows."""
    import importlib.resources

    return frozenset(importlib.resources.files("tzdata").joinpath("zones").read_text().split())
