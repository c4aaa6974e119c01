"""`host` of a service: what it needs of the host itself, outside of containers."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from reconciler.document.grammar import show
from reconciler.model import HostKind, HostSetting
from reconciler.render.fields import Fields

Read = Callable[[Fields, str], Mapping[str, str] | None]

# A dot separates; a slash stands for a dot within a part, as in sysctl.conf: net.ipv4.conf.eth0/100.rp_filter.
_PART: Final = r"(?!\.|/{1,2}(?:\.|\Z))[A-Za-z0-9_/@:-]+"
_SYSCTL: Final = re.compile(rf"[a-z0-9]+(?:\.{_PART})+")
_MODULE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_LONGEST: Final = 1024  # characters of a value


def settings(
    section: Fields, service: str, belongs: Callable[[Fields], tuple[str, ...] | None]
) -> Iterator[HostSetting]:
    """What a service sets on this host. `belongs` says of an entry which containers and jobs wait for it; None: it is not for
    this host. Problems go to the entries."""
    for key, (kind, read) in _SECTIONS.items():
        for entry in section.each(key):
            before = belongs(entry) if entry.flag("enabled", True) else None
            name = entry.text("name") if before is not None else ""
            if name and (fields := read(entry, name)):
                yield HostSetting(kind, _spelt(kind, name), fields, service, before or ())


def _sysctl(entry: Fields, name: str) -> Mapping[str, str] | None:
    if not _SYSCTL.fullmatch(name):
        entry.problem(
            "name", f"{name!r} is not the name of a kernel setting", "dots in between, as in net.ipv4.ip_forward"
        )
        return None
    value = entry.value("value")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        entry.problem("value", f"value must be a number or a text, is {show(value)}", "1 for on, 0 for off")
        return None
    text = " ".join(str(value).split())
    if not text or len(text) > _LONGEST or not text.isprintable():
        entry.problem("value", "the value is empty, too long or cannot be printed")
        return None
    return {"live": text, "boot": text}


def _module(entry: Fields, name: str) -> Mapping[str, str] | None:
    if not _MODULE.fullmatch(name):
        entry.problem("name", f"{name!r} is not the name of a kernel module", "letters, digits, - and _")
        return None
    return {"live": "loaded", "boot": "loaded"}


def _spelt(kind: HostKind, name: str) -> str:
    """The kernel writes - in the name of a module as _."""
    return name.replace("-", "_") if kind == "module" else name


_SECTIONS: Final[Mapping[str, tuple[HostKind, Read]]] = {"modules": ("module", _module), "sysctl": ("sysctl", _sysctl)}
