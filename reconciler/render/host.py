"""`host` of a service: what it needs of the host itself, outside of containers."""

import ipaddress
import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from reconciler.document.words import show, suggest
from reconciler.model import HostKind, HostSetting
from reconciler.render import files, tokens
from reconciler.render.fields import Fields
from reconciler.render.files import each
from reconciler.render.seen import Parts, Seen

# A dot separates; a slash stands for a dot within a part, as in sysctl.conf: net.ipv4.conf.eth0/100.rp_filter.
_PART: Final = r"(?!\.|/{1,2}(?:\.|\Z))[A-Za-z0-9_/@:-]+"
_SYSCTL: Final = re.compile(rf"[a-z0-9]+(?:\.{_PART})+")
_MODULE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PARAMETER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(?:=[A-Za-z0-9_.,:+/-]*)?")
_HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*")
_INTERFACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_COLUMNS: Final = ("external_ids", "other_config")
_DEVICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*(?:/[A-Za-z0-9][A-Za-z0-9_.:-]*)*")
_PERM: Final = re.compile(r"0?[0-7][0-7][0145]")
_LONGEST: Final = 1024  # characters of a value
_LARGEST: Final = 256 << 10  # characters of a file
_OWN_NAMES: Final = frozenset({"localhost", "ip6-localhost", "ip6-loopback"})


@dataclass(frozen=True, slots=True)
class Service:
    """Whose section is read. `belongs` says of an entry which containers and jobs wait for it, None: it is not for this host;
    `text` renders the template, or the content, that an entry names; `running` are all containers of this host."""

    name: str
    running: Collection[str]
    belongs: Callable[[Fields], tuple[str, ...] | None]
    text: Callable[[Fields], str]


@dataclass(frozen=True, slots=True)
class _Said:
    """What one entry asks for."""

    name: str
    fields: Mapping[str, str]
    devices: tuple[str, ...] = ()
    inside: str = ""


class _Wrong(Exception):
    """(key, message, hint)"""

    def __init__(self, key: str | None, message: str, hint: str = "") -> None:
        super().__init__(key, message, hint)


Read = Callable[[Fields, Service], _Said]


def settings(section: Fields, service: Service) -> Iterator[HostSetting]:
    """What a service sets on this host. Problems go to the entries."""
    for key, (kind, read) in _SECTIONS.items():
        for entry in each(section.each(key)):
            before = service.belongs(entry) if entry.flag("enabled", True) else None
            if before is None:
                continue
            if (inside := entry.text("inside")) and inside not in service.running:
                continue  # whoever would be asked is not on this host
            try:
                said = read(entry, service)
            except _Wrong as wrong:
                key, message, hint = wrong.args
                entry.problem(key if key in entry.raw else None, message, hint)
            else:
                waiting = tuple(name for name in before if name != inside)
                yield HostSetting(kind, said.name, said.fields, service.name, waiting, said.devices, said.inside)


def all_of(seen: Seen, every: list[Parts]) -> tuple[HostSetting, ...]:
    """What is set on this host, by id."""
    found: list[tuple[Fields, HostSetting]] = []
    present = {name for parts in every for name in parts.specs}
    for parts in (one for one in every if one.service.section("host")):
        section = seen.fields(parts.service, parts.service.section("host"), ("host",))

        def belongs(entry: Fields, parts: Parts = parts) -> tuple[str, ...] | None:
            return _waiting(seen, entry, parts)

        def text(entry: Fields, parts: Parts = parts) -> str:
            return files.made_text(entry, seen.site, parts.service.name)

        about = Service(parts.service.name, present, belongs, text)
        named = tuple((key, *names) for key, names in parts.named.items())
        depends = (frozenset(present), tuple(parts.specs), tuple(job.name for job in parts.jobs), named)
        asked = section.shared("host", depends, partial(_listed, section, about))
        found += [(section, made) for made in asked]
    return joined(found)


def _waiting(seen: Seen, entry: Fields, parts: Parts) -> tuple[str, ...] | None:
    """The containers and jobs of this host that wait for what an entry of `host` asks for; None: it is not for this host."""
    for name in entry.texts("containers"):
        if name not in parts.service.section("containers"):
            hint = suggest(name, parts.service.section("containers"))
            entry.problem("containers", f"the service has no container {name!r}", hint)
    everything = (*parts.specs, *(job.name for job in parts.jobs))
    if "group" in entry and seen.host not in seen.members(entry):
        return None
    if "containers" in entry:
        named = (one for key in entry.texts("containers") for one in parts.named.get(key, ()))
        return tuple(named) or None
    return everything if parts.specs or not parts.service.section("containers") else None


def _listed(section: Fields, about: Service) -> list[HostSetting]:
    return list(settings(section, about))


def joined(found: Iterable[tuple[Fields, HostSetting]]) -> tuple[HostSetting, ...]:
    """By id. The same thing may be asked for by several services, in the same words; other words are a problem of their section."""
    result: dict[str, HostSetting] = {}
    for section, made in found:
        first = result.setdefault(made.id, made)
        if (first.fields, first.devices, first.inside) != (made.fields, made.devices, made.inside):
            words = [", ".join(dict.fromkeys(one.fields.values())) for one in (first, made)]
            which = "" if made.kind == "file" else f": {words[0]}, and here {words[1]}"
            said = f"{first.service} asks for {made.kind} {made.name} too, and for something else{which}"
            section.problem(None, said, "make them the same")
        result[made.id] = replace(first, before=tuple(dict.fromkeys((*first.before, *made.before))))
    return tuple(sorted(result.values(), key=lambda setting: setting.id))


def _sysctl(entry: Fields, _: Service) -> _Said:
    name = entry.text("name")
    if not _SYSCTL.fullmatch(name):
        hint = "dots in between, as in net.ipv4.ip_forward"
        raise _Wrong("name", f"{name!r} is not the name of a kernel setting", hint)
    value = entry.value("value")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _Wrong("value", f"value must be a number or a text, is {show(value)}", "1 for on, 0 for off")
    text = " ".join(str(value).split())
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise _Wrong("value", "the value is empty, too long or cannot be printed")
    return _Said(name, {"live": text, "boot": text})


def _module(entry: Fields, _: Service) -> _Said:
    name = entry.text("name")
    if not _MODULE.fullmatch(name):
        raise _Wrong("name", f"{name!r} is not the name of a kernel module", "letters, digits, - and _")
    # The kernel writes - in the name of a module as _.
    said = {"live": "loaded", "boot": "loaded"}
    if parameters := " ".join(entry.text("parameters").split()):
        if not all(_PARAMETER.fullmatch(word) for word in parameters.split()) or len(parameters) > _LONGEST:
            raise _Wrong("parameters", f"{parameters!r} are not parameters of a module", "as in nested=1 ept=0")
        said["parameters"] = parameters
    return _Said(name.replace("-", "_"), said)


def _host_name(entry: Fields, _: Service) -> _Said:
    try:
        address = str(ipaddress.ip_address(entry.text("address")))
    except ValueError:
        raise _Wrong("address", f"{entry.text('address')!r} is not an address", "as in 10.0.0.11 or fd00::11") from None
    names = tuple(dict.fromkeys(entry.texts("names")))
    for name in names:
        if not _HOST_NAME.fullmatch(name) or len(name) > _LONGEST:
            raise _Wrong("names", f"{name!r} is not the name of a host", "letters, digits, - and dots")
        if name.lower() in _OWN_NAMES:
            raise _Wrong("names", f"{name} is the host's own", "leave it out")
    if not names:
        raise _Wrong("names", "an entry of hosts has no names")
    return _Said(names[0], {"line": " ".join((address, *names))})


def _file(entry: Fields, service: Service) -> _Said:
    path = entry.text("path")
    if not path.startswith("/") or posixpath.normpath(path) != path or path.startswith("//") or not path.isprintable():
        raise _Wrong("path", f"{path!r} is not an absolute path in its normal spelling")
    if ("template" in entry) == ("content" in entry):
        raise _Wrong(None, "a file of the host has either a template or its content")
    text = service.text(entry)
    if held := tokens.names(text):
        what = f"a file of the host cannot hold {tokens.words(held)}: everybody on the host could read it"
        raise _Wrong(None, what, "give it to a container, as one of its files")
    if len(text) > _LARGEST:
        raise _Wrong(None, f"the file has {len(text) >> 10} KiB, and {_LARGEST >> 10} are the limit")
    mode = entry.text("perm", "0644")
    if not _PERM.fullmatch(mode):
        raise _Wrong("perm", f"{mode!r} is not the mode of a file", 'quoted digits such as "0644"')
    devices = entry.texts("devices")
    if bad := next((name for name in devices if not _DEVICE.fullmatch(name)), None):
        raise _Wrong("devices", f"{bad!r} is not the name of a device below /dev", "as in kvm")
    return _Said(path, {"content": text, "mode": f"{int(mode, 8):04o}"}, devices)


def _bridge(entry: Fields, _: Service) -> _Said:
    mode = entry.choice("fail_mode", "standalone", ("standalone", "secure"))
    return _Said(_switch_name(entry, "name"), {"fail_mode": mode}, inside=entry.text("inside"))


def _port(entry: Fields, _: Service) -> _Said:
    return _Said(_switch_name(entry, "name"), {"bridge": _switch_name(entry, "bridge")}, inside=entry.text("inside"))


def _switch_name(entry: Fields, key: str) -> str:
    name = entry.text(key)
    if not _INTERFACE.fullmatch(name):
        raise _Wrong(
            key, f"{name!r} is not the name of a bridge or a port", "letters, digits, - _ and ., at most 15 of them"
        )
    return name


def _value(entry: Fields, _: Service) -> _Said:
    column, key, value = entry.choice("column", "external_ids", _COLUMNS), entry.text("name"), entry.value("value")
    if not _KEY.fullmatch(key):
        raise _Wrong("name", f"{key!r} is not the name of a value", "letters, digits, - and _")
    if isinstance(value, bool):
        value = "true" if value else "false"
    text = str(value) if isinstance(value, str | int | float) else ""
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise _Wrong("value", "the value is empty, too long or cannot be printed")
    return _Said(f"{column}:{key}", {"value": text}, inside=entry.text("inside"))


_SECTIONS: Final[Mapping[str, tuple[HostKind, Read]]] = {
    "modules": ("module", _module),
    "sysctl": ("sysctl", _sysctl),
    "hosts": ("hosts", _host_name),
    "files": ("file", _file),
    "bridges": ("bridge", _bridge),
    "ports": ("port", _port),
    "open_vswitch": ("ovs", _value),
}
