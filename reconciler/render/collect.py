"""What templates see of all services at once: load-balancer frontends, Prometheus targets, log inputs."""

from collections.abc import Iterator
from typing import Any, Final

from reconciler.catalogue import Service
from reconciler.errors import Problem, SiteInvalid
from reconciler.render import placement
from reconciler.render.ansible import to_bool
from reconciler.render.faults import FilterError
from reconciler.render.view import World

NAMES: Final = ("frontends", "scrape_targets", "log_inputs")
_SECTIONS: Final = {"frontends": "frontends", "scrape_targets": "scrape", "log_inputs": "logs"}

Entry = dict[str, Any]


def collect(world: World, host: str, name: str) -> list[Entry]:
    """The value of one of NAMES on a host, sorted by name. Raises SiteInvalid with all problems of all entries.

    Every entry is what its service says, evaluated on `host`, plus `name` and `service`, and:
    - a frontend: `mode`, `external`, `port`, `listen_port`, `active_passive`, `tls_backend` with their defaults, and `members`;
    - a scrape target: `path`, `scheme`, and `members`;
    - a log input: only where the service runs something on `host`.
    A member is `{host, name, address, port, backup}`: inventory name, host name, address on the entry's `network`.
    """
    make = {"frontends": _frontend, "scrape_targets": _scrape, "log_inputs": _log}[name]
    result = []
    problems: list[Problem] = []
    for service, key, raw in _entries(world, host, _SECTIONS[name]):
        try:
            entry = world.evaluated(host, service, (_SECTIONS[name], key), raw)
            if to_bool(entry.pop("enabled", True)):
                made = make(world, host, service, entry)
                if made is not None:
                    result.append({"name": key, "service": service.name, **made})
        except SiteInvalid as error:
            problems += error.problems
    if problems:
        raise SiteInvalid(problems)
    return sorted(result, key=lambda entry: str(entry["name"]))


def _entries(world: World, host: str, section: str) -> Iterator[tuple[Service, str, Any]]:
    for service in world.site.catalogue.services.values():
        content = service.section(section)
        if content and placement.enabled(world, host, service):
            for key, raw in content.items():
                yield service, key, raw


def _frontend(world: World, host: str, service: Service, entry: Entry) -> Entry:
    entry = {"mode": "http", "listen_port": entry.get("port"), **entry}
    for key in ("external", "active_passive", "tls_backend"):
        entry[key] = bool(to_bool(entry.get(key, False)))
    members = (
        [] if entry["mode"] == "redirect" else _members(world, service, ("frontends",), entry, entry["listen_port"])
    )
    for index, member in enumerate(members):
        member["backup"] = entry["active_passive"] and index > 0
    return {**entry, "members": members}


def _scrape(world: World, host: str, service: Service, entry: Entry) -> Entry:
    members = _members(world, service, ("scrape",), entry, entry.get("port"))
    return {"path": "/metrics", "scheme": "http", **entry, "members": members}


def _log(world: World, host: str, service: Service, entry: Entry) -> Entry | None:
    groups = placement.listed(entry["group"]) if "group" in entry else placement.groups_of(world, host, service)
    return entry if any(host in world.groups.get(group, ()) for group in groups) else None


def _members(world: World, service: Service, path: tuple[str, ...], entry: Entry, port: Any) -> list[Entry]:
    if "hosts" in entry:
        names = list(entry["hosts"])
    elif "group" in entry:
        for group in placement.listed(entry["group"]):
            if group not in world.groups:
                raise SiteInvalid([service.document.place(path).problem(f"no group {group!r} in the inventory")])
        names = placement.union(world.groups, placement.listed(entry["group"]))
    else:
        names = []
    network = entry.get("network", "api")
    members = []
    for name in names:
        if name not in world.site.hosts:
            members.append({"host": name, "name": name, "address": name, "port": port})
            continue
        variables = world.variables(name)
        try:
            address = variables.address(network)
        except FilterError as error:
            raise SiteInvalid([service.document.place(path).problem(str(error))]) from None
        members.append({"host": name, "name": variables["ansible_hostname"], "address": address, "port": port})
    return members
