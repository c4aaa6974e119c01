"""What all children that work on sites have in common: what is loaded beforehand, what is read, and what work may cost.

Imported in children only: it brings everything along that reading, validating and rendering a site can ever load.
"""

import codecs
import contextlib
import os
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from reconciler import __version__, data, errors
from reconciler.errors import SiteInvalid
from reconciler.git import sources
from reconciler.model import Desired
from reconciler.reasons import Reason
from reconciler.render import World, compiling, precompiled
from reconciler.render import render as render_host
from reconciler.site import Site, pin
from reconciler.source import beforehand, made, prepare
from reconciler.source.child import MADE, SOURCES
from reconciler.source.prepare import HOST_SECONDS, LOAD_SECONDS
from reconciler.source.shares import workers
from reconciler.system.alarm import Alarm

Content = Mapping[str, bytes]

# Processor seconds more that a large site may take to validate: hosts are many files, or much of one.
_PER_FILE: Final = 0.0004
_PER_MIB: Final = 0.6

# Found only when they are first used: by Jinja, jsonschema, codecs, and by what tells about an error.
_LATE: Final = (
    *(f"reconciler.render.{name}" for name in ("build", "evaluate", "explanation", "filters")),
    *("jinja2.debug", "jinja2.ext"),
    "reconciler.catalogue.load",
    *("_strptime", "calendar", "difflib", "html.entities", "unicodedata", "stringprep", "textwrap", "zoneinfo", "decimal"),
)  # fmt: skip
_CODECS: Final = ("utf-8", "ascii", "latin-1", "utf-16", "utf-32", "idna", "punycode", "cp1252", "unicode-escape",
                  "raw-unicode-escape", "hex", "base64", "rot13", "utf-8-sig")  # fmt: skip


def warm(_: str) -> None:
    """Load what is loaded late, the catalogue that ships with the program and every grammar."""
    for name in _LATE:
        import_module(name)
    for name in _CODECS:
        codecs.lookup(name)
    prepare.shipped()
    compiled_beforehand()
    data.time_zones()
    data.catalogue_digest()
    for path in data.path("schemas").glob("*.schema.json"):
        data.schema(path.name.removesuffix(".schema.json"))
    with_a_problem: Content = {"inventory.yml": b"hosts: {a: {addresses: {network: x}, grups: []}}\n"}
    with contextlib.suppress(SiteInvalid):
        prepare.load(with_a_problem)


def compiled_beforehand() -> bool:
    """Use from now on what of the catalogue was compiled at installation. Whether there is anything."""
    content = beforehand.kept(beforehand.TEXTS)
    compiling.take(precompiled.read(content) if content is not None else {})
    return content is not None


def gather(argument: Mapping[str, Any]) -> dict[str, Content | SiteInvalid]:
    """The files of the sources that an argument has, or what is wrong with their trees; and as `made`
    what another program made."""
    found: dict[str, Content | SiteInvalid] = {}
    if argument.get(MADE):
        found[MADE] = made.read(Path(argument[MADE]))
    for name in SOURCES:
        if argument.get(name):
            try:
                found[name] = sources.read(argument[name])
            except SiteInvalid as error:
                found[name] = error
    return found


def files(gathered: Mapping[str, Content | SiteInvalid], name: str) -> Content:
    """What `gather` read for a source. Raises errors.SiteInvalid."""
    found = gathered[name]
    if isinstance(found, SiteInvalid):
        raise found
    return found


def load(files: Content, seconds: float = LOAD_SECONDS, *, pinned: bool = True) -> Site:
    """Validate a site's files. Raises errors.SiteInvalid, errors.Terminal (LimitExceeded; ProgramPinned, unless `pinned` is false:
    for what is only compared with)."""
    more = _PER_FILE * len(files) + _PER_MIB * min(sum(map(len, files.values())) / (1 << 20), 1.0)
    with Alarm(seconds + more, "reading and validating the site"):
        if pinned:
            pin.require(files, __version__)
        return prepare.load(files)


def render(site: Site, host: str, revision: str, world: World | None = None, seconds: float = HOST_SECONDS) -> Desired:
    """Desired state of a host. Raises errors.SiteInvalid, errors.Terminal (LimitExceeded)."""
    with Alarm(seconds, f"the host {host}"):
        return prepare.stamped(render_host(site, host, revision, world))


def share(argument: Mapping[str, Any], known: Collection[str], also: Collection[str] = ()) -> Iterator[str]:
    """The hosts that this child works on, of those in `argument` (none: all that are `known`), for `shares.ask`; telling how far it is.

    Raises errors.Terminal (HostUnknown) for one that is neither known nor in `also`.
    """
    chosen = list(dict.fromkeys(argument["hosts"] or known))
    for host in chosen:
        if host not in also:
            require_host(host, known)
    number, told = argument["number"], argument["progress"]
    if number == 0:
        os.write(told, b"%d\n" % len(chosen))
    for host in chosen[number :: workers(len(chosen), argument["most"])]:
        yield host
        os.write(told, b".")


def require_host(host: str, known: Collection[str]) -> None:
    """Raises errors.Terminal (HostUnknown)."""
    if host not in known:
        names = ", ".join(sorted(known)[:8])
        raise errors.Terminal(f"inventory.yml has no host {host!r} (it has {names})", reason=Reason.HostUnknown)
