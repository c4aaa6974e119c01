"""The files of a container: templates rendered, overrides merged in, and Kolla's config.json."""

import base64
import posixpath
import re
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from reconciler.catalogue.load import PREFIX
from reconciler.catalogue.types import COMMON
from reconciler.document.content import text as text_of
from reconciler.document.words import suggest
from reconciler.document.yaml import Place
from reconciler.errors import Problem, SiteInvalid
from reconciler.model import LEFTOVER_SUFFIX, File, OnChange, Validation
from reconciler.render import formats, merge, meter, paths, syntax, tokens
from reconciler.render.ansible import to_json
from reconciler.render.containers import CONFIG_FILES, is_below
from reconciler.render.evaluate import Scope, render_text
from reconciler.render.faults import FilterError, Refused
from reconciler.render.fields import Fields
from reconciler.site import Site
from reconciler.text import decoded

_MODE: Final = re.compile(r"0?[0-7][0-7][0145]")
_ID: Final = 2**32 - 2  # the highest user id; the one above it means "leave it as it is"
_NUMERIC_OWNER: Final = re.compile(r"([0-9]{1,10})(?::([0-9]{1,10}))?")
_KOLLA_KEYS: Final = {
    "preserve_properties": "preserve_properties",
    "merge_in_container": "merge",
    "ignore_missing": "ignore_missing",
}


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose files are made: a container or a job. `containers` are the names that `{container}` stands for."""

    name: str
    directory: str
    service: str
    kolla: bool
    containers: tuple[str, ...]
    site: Site
    host: str


@dataclass(slots=True)
class Made:
    """What came out: files, what config.json says of them, and binds for images without Kolla's contract."""

    files: list[File] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    binds: list[tuple[str, str]] = field(default_factory=list)  # path below the config root, target in the container

    def add(self, other: "Made") -> None:
        """What came out of one entry more."""
        self.files += other.files
        self.entries += other.entries
        self.binds += other.binds


def make(entries: Iterable[Fields], owner: Owner) -> Made:
    """Every file of `entries`. Problems go to each entry's list, so that all of them are found."""
    made, known = Made(), list[str]()  # paths in order: what is in a folder follows its name
    start: int | None = None
    for entry in map(_with_vars, each(entries)):
        before = len(entry.problems)
        start = before if start is None else start
        if not entry.flag("enabled", True) or len(entry.problems) > before:
            continue  # nobody knows of the latter whether it would be there
        name = entry.text("name")
        if not is_below(name):
            entry.problem("name", f"{name!r} is not a path below the container's config directory")
        if name.endswith(LEFTOVER_SUFFIX):
            entry.problem(
                "name", f"{name!r} is how half-written files are named, and would be removed", "name it otherwise"
            )
            continue
        try:
            folder = f"{owner.directory}/{name}/"
            after = bisect_left(known, folder)
            # What could not be made above may be what a folder was to have.
            above = before > start or (after < len(known) and known[after].startswith(folder))
            one = _shared(entry, name, owner, above)
            made.add(one)
            for file in one.files:
                insort(known, file.path)
        except SiteInvalid as error:
            entry.problems += error.problems
        except (FilterError, Refused) as error:
            entry.problem("name", f"{name}: {error}")
    return made


def _shared(entry: Fields, name: str, owner: Owner, above: bool) -> Made:
    """What one entry makes, worked out once for all hosts that see it alike. `above`: files of that folder stand above it."""

    def work() -> Made:
        made = Made()
        _file(entry, name, owner, made, above)
        return made

    about = (above, owner.name, owner.directory, owner.service, owner.kolla, owner.containers)
    return entry.shared("file", (name, *about), work)


def _with_vars(entry: Fields) -> Fields:
    """The entry with what its `vars` say among the names of its template."""
    if not entry.raw.get("vars"):
        return entry
    return entry.naming({key: entry.below("vars").value(key, secret=True) for key in entry.below("vars").raw})


def each(entries: Iterable[Fields]) -> Iterator[Fields]:
    """The entries; one with `each` once for every item of that list, as `item` in its expressions and its template."""
    for entry in entries:
        yield from entry.repeated()


def config_json(command: str, made: Sequence[dict[str, Any]], permissions: Iterable[Fields]) -> str:
    """Kolla's config.json, keys in Kolla's order."""
    content: dict[str, Any] = {"command": command, "config_files": list(made)}
    listed = [entry for entry in each(permissions) if entry.flag("enabled", True)]
    for key, made_first in (("permissions", False), ("directories", True)):
        if found := [_permission(entry) for entry in listed if entry.flag("create") == made_first]:
            content[key] = found
    return to_json(content, 4) + "\n"


def _permission(entry: Fields) -> dict[str, Any]:
    result: dict[str, Any] = {"path": entry.text("path")}
    if "owner" in entry and entry.text("owner"):
        result["owner"] = entry.text("owner")
    if "perm" in entry and entry.text("perm"):
        result["perm"] = _octal(entry, "perm", entry.text("perm"))
    if "recurse" in entry:
        result["recurse"] = entry.flag("recurse")
    if "exclude" in entry:
        result["exclude"] = list(entry.texts("exclude"))
    return result


# Path below the container's folder, text or the bytes of what is none, sources.
_Text = tuple[str, str | bytes, tuple[str, ...]]


def _file(entry: Fields, name: str, owner: Owner, made: Made, above: bool) -> None:
    entry.scope.variables.begin_file()
    how = entry.choice("merge", "replace" if entry.raw.get("overrides") else "none", ("ini", "yaml", "replace", "none"))
    if how == "none" and entry.raw.get("overrides"):
        entry.problem("merge", "merge: none reads no overrides", "say ini, yaml or replace, or remove the overrides")
    sources, overrides = entry.items("source"), entry.items("overrides") if how != "none" else []
    entry.scope.variables.looked(map(str, [*sources, *overrides]), owner.containers, owner.service)
    given, patterns = _expanded(sources, owner), _expanded(overrides, owner)
    found = paths.find(patterns, owner.site.overrides)
    wildcard = any(paths.WILDCARD in one for one in (given or patterns)) and (bool(given) or how == "replace")
    texts: list[_Text] = []
    if wildcard:
        first: dict[str, str] = {}  # of several files for the same place the first one wins
        for path in paths.find(given or patterns, owner.site.overrides):
            first.setdefault(paths.target(name, path, given or patterns), path)
        texts = [(place, *_merged(entry, place, "none", [path], owner)) for place, path in first.items()]
        chosen = list(first.values())
    else:
        source = paths.find(given, owner.site.overrides)[:1]
        chosen = [*source, *found] if how in ("ini", "yaml") else found[:1] or source
        base = None if source or (how == "replace" and chosen) else _base(entry, owner)
        if base or chosen:
            texts = [(name, *_merged(entry, name, how, chosen, owner, base))]
    filled = above and "destination" in entry
    optional = entry.flag("optional", wildcard)
    if not texts and not filled and not optional and not _named(entry):
        _missing(entry, name, [f"config/{path}" for path in (*given, *patterns)])
        return
    _add(entry, name, texts, owner, made, how, optional, stays=entry.flag("stays") and not chosen)


def _missing(entry: Fields, name: str, places: list[str]) -> None:
    """Report a file that nothing makes. Of the catalogue's the site can only write it: the most general of its places is named, once for
    all that would read it there."""
    if not places or not entry.document.name.startswith(f"{PREFIX['catalogue']}/"):
        where = " or ".join(places) or "what goes into it"
        entry.problem("name", f"{name} has neither a template nor an override", f"write {where}, or set optional: true")
        return
    general = min(reversed(places), key=lambda place: place.count("/"))
    others = [place for place in places if place != general]
    own = general.startswith("config/certificates/")
    hint = f"write it{', or let `reconciler certificates` make it' if own else ''}: {entry.place('name')} needs it"
    problem = Problem(general, 0, 0, "is missing", f"{hint}{', there or as ' if others else ''}{' or '.join(others)}")
    entry.problems.append(problem)


def _named(entry: Fields) -> bool:
    """Whether the entry names a text, so that its absence is a problem already reported."""
    return "template" in entry or "content" in entry


def _expanded(patterns: Iterable[Any], owner: Owner) -> list[str]:
    return [
        path
        for pattern in patterns
        for path in paths.expand(str(pattern), host=owner.host, containers=owner.containers, service=owner.service)
    ]


def _add(
    entry: Fields, name: str, texts: list[_Text], owner: Owner, made: Made, merged: str, optional: bool, *, stays: bool
) -> None:
    kind = entry.choice("format", "", formats.NAMES) if "format" in entry else ""
    mode = _mode(entry, owner.kolla)
    numeric = _NUMERIC_OWNER.fullmatch(entry.text("owner")) if not owner.kolla else None
    if not owner.kolla and entry.text("owner") and numeric is None:
        entry.problem("owner", 'without Kolla\'s contract an owner is a number, or two: "1000:1000"')
    uid, gid = (int(numeric[1]), int(numeric[2] or numeric[1])) if numeric else (0, 0)
    if max(uid, gid) > _ID:
        entry.problem("owner", f"{entry.text('owner')} is no user or group: the highest number is {_ID}")
        uid = gid = 0
    destination = entry.text("destination")
    for path, found, sources in texts:
        whole = posixpath.normpath(f"{owner.directory}/{path}")
        text = found if isinstance(found, str) else base64.b64encode(found).decode()
        literal = isinstance(found, tokens.SecretRef | bytes)
        made.files.append(
            File(
                path=whole,
                content=text,
                mode=mode,
                owner=uid,
                group=gid,
                container=owner.name,
                service=owner.service,
                on_change=cast(OnChange, entry.choice("on_change", "restart", ("restart", "reload", "none"))),
                secrets=tuple(sorted(tokens.secrets(text))),  # base64 holds none
                sources=(*sources, *entry.scope.variables.read_files()),
                format="text" if literal else kind or formats.of_name(path, merged),
                stays=stays,
                encoding="base64" if isinstance(found, bytes) else "",
            )
        )
        if destination and not owner.kolla:
            made.binds.append(
                (whole, destination if path == name else posixpath.join(destination, posixpath.relpath(path, name)))
            )
    if destination and owner.kolla:
        made.entries.append(_config_entry(entry, name, destination, optional))


def _config_entry(entry: Fields, name: str, destination: str, optional: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"source": f"{CONFIG_FILES}/{name}", "dest": destination}
    if not entry.flag("preserve_properties"):
        result["owner"] = entry.text("owner", "root")
        result["perm"] = _octal(entry, "perm", entry.text("perm", "0600"))
    if optional:
        result["optional"] = True
    for key, kolla in _KOLLA_KEYS.items():
        if key in entry and entry.flag(key):
            result[kolla] = True
    if "exclude" in entry:
        result["exclude"] = list(entry.texts("exclude"))
    return result


def validation(fields: Fields, owner: Owner) -> Validation | None:
    """`validate` of a container: how its image checks a configuration by itself."""
    if fields.value("validate") is None:
        return None
    part = fields.below("validate")
    command = part.words("command") or ()
    script = script_of(part, owner.site, owner.service) if "script" in part else ""
    if secrets := tokens.names(" ".join((*command, script))):
        part.problem(None, f"a checker cannot use {tokens.words(secrets)}: it reads it in the files", "")
    return Validation(command, script, part.duration("timeout", 120.0))


def script_of(part: Fields, site: Site, of: str) -> str:
    """The rendered template that `script` of a mapping names: one of the service's own, or of those for all."""
    name = part.text("script")
    found = _template(name, site, of)
    if found:
        return render_text(found[1], part.scope, found[0])
    part.problem("script", f"neither this service nor common has a template {name!r}", "write it below templates/")
    return ""


def made_text(entry: Fields, site: Site, of: str) -> str:
    """What `template`, or `content`, of a mapping makes. What cannot be rendered is a problem, and ""."""
    try:
        base = _base(entry, Owner("", "", of, False, (), site, ""))
    except SiteInvalid as error:
        entry.problems += error.problems
        return ""
    return base[1] if base else ""


def _template(name: str, site: Site, of: str) -> tuple[str, str] | None:
    """(path, text) of a template of a service, or of `common`, whose templates every service has."""
    for service in (of, COMMON):
        found = site.catalogue.services.get(service)
        if found and name in found.templates:
            return f"{PREFIX[found.origin]}/{service}/templates/{name}", found.templates[name]
    return None


def _base(entry: Fields, owner: Owner) -> tuple[str, str] | None:
    """(name, text) of what the overrides go on top of, rendered."""
    if "content" in entry:
        return entry.document.name, entry.rendered("content")
    if "template" not in entry:
        return None
    name = entry.text("template")
    found = _template(name, owner.site, owner.service)
    if found is None:
        known = owner.site.catalogue.services[owner.service].templates
        entry.problem("template", f"the service has no template {name!r}", suggest(name, known))
        return None
    return found[0], render_text(found[1], entry.scope, found[0])


def _merged(
    entry: Fields, name: str, how: str, found: Sequence[str], owner: Owner, base: tuple[str, str] | None = None
) -> tuple[str | bytes, tuple[str, ...]]:
    """The text of the file `name`, or the bytes of one that is copied and is no text, and the names of its sources. Raises SiteInvalid
    for what is not of its format."""
    verbatim = entry.flag("verbatim")
    scope = entry.scope
    sources = [base] if base else []
    problems: list[Problem] = []
    for path in found:
        try:
            if how not in ("ini", "yaml") and verbatim and (data := _binary(path, name, how, entry, owner)) is not None:
                return data, (f"config/{path}",)
            sources.append((f"config/{path}", _override(path, owner, scope, verbatim)))
        except SiteInvalid as error:
            problems += error.problems
    if how in ("ini", "yaml"):
        hint = "encrypt single values in passwords.yml instead, and name them here"
        encrypted = [path for path in found if path in owner.site.sealed]
        problems += [
            Place(f"config/{path}").problem("is encrypted, and cannot be merged key by key", hint) for path in encrypted
        ]
    if problems:
        raise SiteInvalid(problems)
    names = tuple(name for name, _ in sources)
    declared = entry.choice("format", "", formats.NAMES) if "format" in entry else ""
    if how == "ini":
        return merge.ini(sources, declared or "ini"), names
    if how == "yaml":
        return merge.yaml_text(sources, extend_lists=entry.flag("extend_lists")), names
    source, text = sources[-1]
    if isinstance(text, tokens.SecretRef):
        return text, names  # the whole file is a secret
    syntax.check(declared or formats.of_name(name, how), text, source)
    return text, names


def _override(path: str, owner: Owner, scope: Scope, verbatim: bool) -> str:
    name = f"config/{path}"
    if path in owner.site.sealed:
        return tokens.SecretRef(owner.site.sealed[path].name)
    text = text_of(owner.site.overrides[path], name, exact=verbatim)
    return text if verbatim else render_text(text, scope.of_site(owner.service), name)


def _binary(path: str, name: str, how: str, entry: Fields, owner: Owner) -> bytes | None:
    """The bytes of an override that are no text, None when they are; those of a format are always, or are refused as one."""
    declared = entry.choice("format", "", formats.NAMES) if "format" in entry else ""
    content = owner.site.overrides[path]
    if path in owner.site.sealed or (declared or formats.of_name(name, how)) not in ("", "text"):
        return None
    if decoded(content) is not None:
        return None
    meter.spend(1 + (len(content) >> 8), 2 * len(content))
    return content


def _mode(entry: Fields, kolla: bool) -> int:
    """The bits on the node. Without Kolla's contract the container sees the node's file, so that `perm` means it too."""
    text = entry.text("mode") or (entry.text("perm") if not kolla else "") or "0660"
    return int(_octal(entry, "mode" if entry.text("mode") else "perm", text), 8)


def _octal(entry: Fields, key: str, text: str) -> str:
    """A mode that only says who may read, write and run the file; anything else is a problem and read as 0600.

    With a setuid or setgid bit whoever runs the file becomes its owner, and a configuration that everybody may write is
    everybody's.
    """
    if _MODE.fullmatch(text):
        return text
    hint = 'write an octal mode such as "0660", without setuid, setgid and sticky bits, and not writable by everybody'
    entry.problem(key, f"{text!r} is not a mode for a file", hint)
    return "0600"
