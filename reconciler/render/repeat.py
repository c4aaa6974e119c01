"""`each` of an entry in service.yml: one container, frontend or whatever it is per item of a list. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.catalogue import Service
from reconciler.document.words import show
from reconciler.errors import SiteInvalid
from reconciler.render import values
from reconciler.render.view import World

Path = tuple[str, ...]  # of an entry in its service.yml: its section, and its key

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_OWN: Final = ("each", "name")


@dataclass(frozen=True, slots=True)
class Instance:
    """One of what an entry stands for. `key` is the entry's, `names` what its expressions see: `item`, or nothing."""

    name: str
    key: str
    raw: Any
    names: Mapping[str, Any]


def instances(world: World, host: str, service: Service, path: Path, raw: Any) -> Iterator[Instance]:
    """What the entry at `path` stands for, as `host` sees it. Raises SiteInvalid."""
    key = path[-1]
    if not isinstance(raw, dict) or "each" not in raw:
        yield Instance(key, key, raw, {})
        return
    where = service.document.place((*path, "each"))
    items = world.evaluated(host, service, (*path, "each"), raw["each"])
    if not isinstance(items, list):
        raise SiteInvalid([where.problem(f"each must be a list, is {show(items)}")])
    if len(items) > values.MAX_EACH:
        raise SiteInvalid([where.problem(f"each has {len(items)} items; {values.MAX_EACH} are the limit")])
    rest = {name: value for name, value in raw.items() if name not in _OWN}
    seen: set[str] = set()
    for item in items:
        names = {"item": item}
        name = _name(world, host, service, path, raw, names)
        if name in seen:
            message = f"each gives {name!r} twice"
            raise SiteInvalid([where.problem(message, "say a `name` with what tells the items apart")])
        seen.add(name)
        yield Instance(name, key, rest, names)


def _name(
    world: World, host: str, service: Service, path: Path, raw: Mapping[str, Any], names: Mapping[str, Any]
) -> str:
    item, key = names["item"], path[-1]
    if "name" in raw:
        found = world.evaluated(host, service, (*path, "name"), raw["name"], names)
    else:
        found = "" if isinstance(item, dict | list) else f"{key}_{values.text_of(item)}"
    if not isinstance(found, str) or not _NAME.fullmatch(found):
        hint = 'say it: name: "relay_{{ item.id }}", of letters, digits, _, . and -'
        where = service.document.place((*path, "name" if "name" in raw else "each"))
        raise SiteInvalid([where.problem(f"{show(found)} is not a name for one of {key}", hint)])
    return found
