"""Reads kolla-ansible's folder, inventory and fact cache. Nothing is written, and no program is run."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from reconciler import errors
from reconciler.document.yaml import Place
from reconciler.importer import federation, inventory
from reconciler.importer.ansible import MAX_BYTES, variables, wrong
from reconciler.importer.certificates import AUTHORITY, FOLDER, VARIABLES
from reconciler.importer.types import File, Source, Tree
from reconciler.importer.vault import HEADER, Vault
from reconciler.reasons import Reason

_YAML: Final = (".yml", ".yaml", ".json", "")
_NOT_INVENTORY: Final = (".cfg", ".ini", ".retry", ".orig", ".bak", ".md", ".txt", ".py", "~", ".swp")
_MAX_FILES: Final = 20_000
_USUAL: Final = "/etc/kolla"  # kolla-ansible's own default for its configuration


def collect(etc: Path, inventories: tuple[Path, ...], facts: Path | None, vault: Vault) -> Source:
    """Everything that the import looks at. Raises errors.SiteInvalid with file and line, errors.Terminal."""
    if not (etc / "globals.yml").is_file():
        raise errors.Terminal(
            f"{etc / 'globals.yml'} is not there: name the folder that kolla-ansible is given with --configdir, "
            "usually /etc/kolla",
            reason=Reason.ImportImpossible,
        )
    tree = Tree()
    groups: dict[str, tuple[File, ...]] = {}
    hosts: dict[str, tuple[File, ...]] = {}
    seen: list[Path] = []
    for path in inventories:
        seen += _inventory(path, tree, vault)
        base = path if path.is_dir() else path.parent
        for folder, found in (("group_vars", groups), ("host_vars", hosts)):
            for name, files in _variable_files(base / folder, vault, seen):
                found[name] = (*found.get(name, ()), *files)
    named = [etc / "globals.yml", *sorted((etc / "globals.d").glob("*.yml"))]
    passwords = [path for path in (etc / "passwords.yml",) if path.is_file()]
    said = tuple(variables(_read(path), _shown(path), vault) for path in named)
    config = _config(etc, said)
    certs, named_certs = _certificates(etc, config, said)
    places, providers = federation.files(said, config, lambda text: _named(text, etc, config))
    written = sorted(path.parent for path in etc.glob("*/config.json"))
    known = {path.resolve() for path in (*named, *passwords, *seen, *written, config, certs)}
    known |= {path.resolve() for path in (*named_certs.values(), *providers) if path}
    chosen = [path for name, path in named_certs.items() if path and name in VARIABLES]
    keys = dict.fromkeys((*_walk(certs, links=True), *chosen))
    overrides = {
        path.relative_to(config).as_posix(): _override(path, vault)
        for path in _walk(config)
        if not _within(_place(path), {certs.resolve()}) and path not in providers
    }
    overrides |= {target: _override(path, vault) for path, target in providers.items()}
    return Source(
        globals=said,
        passwords=tuple(variables(_read(path), _shown(path), vault) for path in passwords),
        tree=tree,
        groups=groups,
        hosts=hosts,
        config={path: content for path, (content, _) in overrides.items()},
        vaulted={path: why for path, (_, why) in overrides.items() if why is not None},
        config_folder=_shown(config),
        moved={target: _shown(path) for path, target in providers.items()},
        federation=places,
        certificates={_shown(path): _certificate(path, certs, path in chosen, vault) for path in keys},
        certificates_folder=_shown(certs),
        named={name: _shown(path) if path else "" for name, path in named_certs.items()},
        others=tuple(
            _shown(path) for path in _walk(etc) if not (_within(path.resolve(), known) or _within(_place(path), known))
        ),
        written=tuple(map(_shown, written)),
        facts=_facts(facts, tree) if facts else {},
    )


def _config(etc: Path, said: tuple[File, ...]) -> Path:
    """The folder of overrides: where node_custom_config says, when that is a folder here, else config/ beside globals.yml."""
    named = [one.value for file in said for one in file.variables if one.name == "node_custom_config"]
    if named and isinstance(named[-1], str) and Path(named[-1]).is_absolute() and Path(named[-1]).is_dir():
        return Path(named[-1])
    return etc / "config"


def _override(path: Path, vault: Vault) -> tuple[bytes, str | None]:
    """A file below config/ and, where ansible-vault encrypted it, "" when the content is what was in it, else why it is not. One that no
    password opens is no reason to import nothing; that none was given is. Raises errors.Terminal."""
    content, place = _read(path), Place(_shown(path))
    if not content.startswith(HEADER):
        return content, None
    try:
        return vault.open(content, place).reveal().encode(), ""
    except errors.Terminal as error:
        if not vault.has_passwords:
            raise
        return content, str(error).removeprefix(f"{place.file}: ")


def _certificates(etc: Path, config: Path, said: tuple[File, ...]) -> tuple[Path, dict[str, Path | None]]:
    """The folder of certificates, and variable → the file that it names, None when that is not here."""
    values = {one.name: one.value for file in said for one in file.variables if isinstance(one.value, str)}
    folder = etc / "certificates"

    own = _named(values[FOLDER], etc, config) if values.get(FOLDER) else None
    found: dict[str, Path | None] = {}
    if own and own.is_dir() and not etc.resolve().is_relative_to(own.resolve()):
        found[FOLDER], folder = own, own
    listed = {_place(file): file for file in _walk(folder, links=True)}
    for name in VARIABLES:
        if values.get(name):
            file = _named(values[name], etc, config)
            found[name] = listed.get(_place(file), file) if file and file.is_file() else None
    return folder, found


def _named(text: str, etc: Path, config: Path) -> Path | None:
    """What a path that a variable says leads to on this machine, None when that is not here."""
    folders = (("kolla_certificates_dir", etc / "certificates"), ("node_config", etc), ("node_custom_config", config))
    for name, here in folders:
        text = re.sub(rf"\{{\{{\s*{name}\s*\}}\}}", lambda _, here=here: _shown(here), text)  # type: ignore[misc]
    named = Path(text)
    # The configuration may be a copy of the deployment host's.
    copied = etc / named.relative_to(_USUAL) if named.is_relative_to(_USUAL) else named
    return next((one for one in (named, copied) if "{{" not in text and one.exists()), None)


def _place(file: Path) -> Path:
    """Where a file is, by whatever way its folder was named. A link is a file of its own."""
    return file.parent.resolve() / file.name


def _certificate(path: Path, folder: Path, chosen: bool, vault: Vault) -> bytes | None:
    """A file's content, opened as Ansible opens what it copies; None for what is not looked into. `chosen`: a variable names it."""
    if (path.is_relative_to(folder / AUTHORITY) and not chosen) or not path.is_file():
        return None
    content = _read(path)
    return vault.open(content, Place(_shown(path))).reveal().encode() if content.startswith(HEADER) else content


def _within(path: Path, known: set[Path]) -> bool:
    return path in known or any(parent in known for parent in path.parents)


def _shown(path: Path) -> str:
    """As the operator named it."""
    return path.as_posix()


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise wrong(Place(_shown(path)), f"is larger than {MAX_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise wrong(Place(_shown(path)), f"cannot be read: {error.strerror}") from None


def _walk(folder: Path, links: bool = False) -> Iterator[Path]:
    """The files below a folder in the order of their names; no repository's own, none that are hidden. `links`: what is behind
    links to folders, too, and links to nothing."""
    count = 0
    seen: set[Path] = set()
    for where, folders, files in os.walk(folder, followlinks=links):
        real = Path(where).resolve()
        if real in seen:  # a circle of links
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(where, name)
            if name.startswith(".") or not (path.is_file() or (links and path.is_symlink())):
                continue
            count += 1
            if count > _MAX_FILES:
                raise wrong(Place(_shown(folder)), f"holds more than {_MAX_FILES} files: is it the right folder?")
            yield path


def _inventory(path: Path, tree: Tree, vault: Vault) -> list[Path]:
    """Reads a file, or the files of a folder that Ansible would take; all that were read."""
    if path.is_dir():
        taken = [one for one in sorted(path.iterdir()) if one.is_file() and not one.name.startswith(".")]
        taken = [one for one in taken if not one.name.endswith(_NOT_INVENTORY)]
    else:
        taken = [path]
    for one in taken:
        inventory.read(_read(one), _shown(one), tree, vault)
    return taken


def _variable_files(folder: Path, vault: Vault, seen: list[Path]) -> Iterator[tuple[str, tuple[File, ...]]]:
    """Name → its files, for `name`, `name.yml` and the files below `name/`."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        files = [one for one in (_walk(path) if path.is_dir() else [path]) if one.suffix in _YAML]
        files = [one for one in files if not one.name.startswith(".")]
        seen += files
        name = path.name if path.is_dir() else path.name.removesuffix(path.suffix if path.suffix in _YAML else "")
        if files:
            yield name, tuple(variables(_read(one), _shown(one), vault) for one in files)


def _facts(folder: Path, tree: Tree) -> Mapping[str, Mapping[str, Any]]:
    """Host → its facts, from Ansible's fact cache (jsonfile) or the files of `ansible -m setup --tree`."""
    found = {}
    for host in tree.hosts:
        path = next((path for path in (folder / host, folder / f"{host}.json") if path.is_file()), None)
        if path is None:
            continue
        try:
            content = json.loads(_read(path))
        except ValueError:
            raise wrong(Place(_shown(path)), "is not JSON") from None
        content = content.get("ansible_facts", content) if isinstance(content, dict) else {}
        found[host] = content if isinstance(content, dict) else {}
    return found
