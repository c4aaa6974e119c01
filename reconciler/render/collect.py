"""What templates see of all services at once: load-balancer frontends, Prometheus targets, log inputs, and what services collect."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.catalogue import Catalogue, Service
from reconciler.document.keywords import is_expression
from reconciler.document.yaml import Document
from reconciler.errors import Problem, SiteInvalid
from reconciler.render import placement, repeat
from reconciler.render.ansible import to_bool
from reconciler.render.faults import FilterError
from reconciler.render.repeat import Instance, Path
from reconciler.render.view import World

# What is there without anybody's `collects` → the section of every service that it is made of.
SECTIONS: Final = {
    "frontends": "frontends",
    "scrape_targets": "scrape",
    "log_inputs": "logs",
    "registered_databases": "registrations",
}

Entry = dict[str, Any]


def names(catalogue: Catalogue) -> dict[str, Mapping[str, Any]]:
    """Everything that templates see of all services at once, with what `collects` says of it; nothing of those that are always there."""
    return {**{name: {} for name in SECTIONS}, **catalogue.collections()}


def collect(world: World, host: str, name: str) -> list[Entry]:
    """The value of one of `names` on a host, sorted by name. Raises SiteInvalid with all problems of all entries.

    Every entry is what its service says, evaluated on `host`, plus `name` and `service`, and:
    - a frontend: `file`, `mode`, `external`, `port`, `listen_port`, `active_passive`, `tls_backend` with their defaults, and
      `members`;
    - the databases of a service: `users`, each with `name` and `password`, and `databases` with their names;
    - a scrape target: `path`, `scheme`, and `members`;
    - a log input: `here`, whether its group, or else one that the service has containers in, has `host`.
    A member is `{host, name, address, port, backup}`: inventory name, host name, address on the entry's `network`, and the port as
    that host has it. A contribution with a `group` is there once for every host of it, evaluated there, with `host` and `address`.
    """
    result = []
    problems: list[Problem] = []
    ports: dict[str, str] = {}  # of the address within the cloud: whose each is
    for service, path, one in _entries(world, host, name):
        try:
            found = [
                {"name": one.name, "service": service.name, **made} for made in _made(world, host, service, path, one)
            ]
        except SiteInvalid as error:
            problems += error.problems
            continue
        result += found
        for entry in found if name == "frontends" else ():
            if entry["external"] or not to_bool(entry.get("with_frontend", True)):
                continue
            if (first := ports.setdefault(str(entry.get("port")), one.name)) != one.name:
                message = f"the frontends {first} and {one.name} listen on port {entry.get('port')} both, and each would have some of the connections"
                hint = f"{one.raw.get('port')} says it: give one of them another"
                problems.append(service.document.place((*path, "port")).problem(message, hint))
    if problems:
        raise SiteInvalid(problems)
    return sorted(result, key=lambda entry: (str(entry["name"]), str(entry.get("host", ""))))


def _entries(world: World, host: str, name: str) -> Iterator[tuple[Service, Path, Instance]]:
    """Every entry with its place in its service."""
    section = SECTIONS.get(name)
    for service in world.site.catalogue.services.values():
        content = service.section(section or "contributes")
        content = content if section else content.get(name, {})
        if content and placement.enabled(world, host, service):
            for key, raw in content.items():
                if section == "registrations" and key != "mariadb":
                    continue  # of several servers the one with a name is not this one
                path = (section, key) if section else ("contributes", name, key)
                for one in repeat.instances(world, host, service, path, raw):
                    yield service, path, one


def _made(world: World, host: str, service: Service, path: Path, one: Instance) -> list[Entry]:
    if path[0] == "contributes":
        return _contributed(world, host, service, path, one)
    if path[0] == "registrations":
        return _databases(world, host, service, path, one)
    entry = world.evaluated(host, service, path, one.raw, one.names)
    if not to_bool(entry.pop("enabled", True)):
        return []
    make = {"frontends": _frontend, "scrape": _scrape, "logs": _log}[path[0]]
    made = make(world, host, service, entry, Ports(service, path, one))
    return [] if made is None else [made]


def _contributed(world: World, host: str, service: Service, path: Path, one: Instance) -> list[Entry]:
    """A contribution as `host` sees it, or as each of its hosts does."""
    raw = {key: value for key, value in one.raw.items() if key not in ("group", "network")}
    found = []
    for name in _hosts_of(world, host, service, path, one):
        entry = world.evaluated(name or host, service, path, raw, one.names)
        if to_bool(entry.pop("enabled", True)):
            place = (
                {}
                if not name
                else {"host": name, "address": _address(world, service, path, name, one.raw.get("network", "api"))}
            )
            found.append({**entry, **place})
    schema = world.collected[path[1]].get("entry")
    if schema:
        grammar = world.grammar(f"collects {path[1]}", schema)
        for entry in found:
            problems = grammar.check(
                Document(service.document.name, {key: entry[key] for key in entry if key not in ("host", "address")})
            )
            if problems:
                where = service.document.place(path)
                raise SiteInvalid([where.problem(f"{one.name}: {item.message}", item.hint) for item in problems])
    return found


def _hosts_of(world: World, host: str, service: Service, path: Path, one: Instance) -> list[str]:
    if "group" not in one.raw:
        return [""]
    group = world.evaluated(host, service, (*path, "group"), one.raw["group"], one.names)
    return _members_of(world, service, path, group)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the ports of an entry's members are written, for each of them may see another one."""

    service: Service
    path: Path
    one: Instance

    def of(self, world: World, member: str, keys: tuple[str, ...], default: Any) -> Any:
        """The port that `member` has: the first of `keys` that is written as an expression, in its own eyes."""
        for key in keys:
            if key in self.one.raw:
                raw = self.one.raw[key]
                if not is_expression(raw):
                    return default
                return world.evaluated(member, self.service, (*self.path, key), raw, self.one.names)
        return default


def _frontend(world: World, host: str, service: Service, entry: Entry, ports: Ports) -> Entry:
    groups = placement.listed(entry.get("group"))
    named = {"file": groups[0] if groups else service.name, "mode": "http", "listen_port": entry.get("port")}
    entry = {**named, **entry}
    for key in ("external", "active_passive", "tls_backend"):
        entry[key] = bool(to_bool(entry.get(key, False)))
    keys = ("listen_port", "port")
    members = [] if entry["mode"] == "redirect" else _members(world, entry, ports, keys, entry["listen_port"])
    for index, member in enumerate(members):
        member["backup"] = entry["active_passive"] and index > 0
    return {**entry, "members": members}


def _scrape(world: World, host: str, service: Service, entry: Entry, ports: Ports) -> Entry:
    members = _members(world, entry, ports, ("port",), entry.get("port"))
    return {"path": "/metrics", "scheme": "http", **entry, "members": members}


def _databases(world: World, host: str, service: Service, path: Path, one: Instance) -> list[Entry]:
    """What a service has in MariaDB, in all clusters of the container that it names, by the service's name."""
    container = str(world.evaluated(host, service, (*path, "container"), one.raw.get("container", ""), one.names))
    known = container in service.section("containers")
    hosts = [*placement.clusters(world, service, container).values()] if known else [host]
    users: list[Entry] = []
    databases: list[str] = []
    for seen_by in hosts:
        entry = world.evaluated(seen_by, service, path, one.raw, one.names)
        if to_bool(entry.get("enabled", True)):
            named = [{"name": user["name"], "password": user.get("password", "")} for user in _enabled(entry, "users")]
            users += [user for user in named if seen_by == hosts[0] or user not in users]
            names = [database["name"] for database in _enabled(entry, "databases")]
            databases += [name for name in names if seen_by == hosts[0] or name not in databases]
    return [{"name": service.name, "users": users, "databases": databases}] if users or databases else []


def _enabled(entry: Entry, key: str) -> list[Entry]:
    return [item for item in entry.get(key) or () if to_bool(item.get("enabled", True))]


def _log(world: World, host: str, service: Service, entry: Entry, ports: Ports) -> Entry | None:
    groups = placement.listed(entry["group"]) if "group" in entry else placement.groups_of(world, host, service)
    here = [group for group in groups if world.member(host, group)]
    return {**entry, "here": bool(here)}


def _members(world: World, entry: Entry, ports: Ports, keys: tuple[str, ...], port: Any) -> list[Entry]:
    service, path = ports.service, ports.path
    if "hosts" in entry:
        names = list(entry["hosts"])
    else:
        names = _members_of(world, service, path, entry["group"]) if "group" in entry else []
    members = []
    for name in names:
        if name not in world.site.hosts:
            members.append({"host": name, "name": name, "address": name, "port": port})
            continue
        address = _address(world, service, path, name, entry.get("network", "api"))
        own = ports.of(world, name, keys, port)
        members.append(
            {"host": name, "name": world.variables(name)["ansible_hostname"], "address": address, "port": own}
        )
    return members


def _members_of(world: World, service: Service, path: Path, group: Any) -> list[str]:
    """The hosts of a group, or of several."""
    wanted = placement.listed(group)
    for name in wanted:
        if name not in world.groups:
            raise SiteInvalid([service.document.place(path).problem(f"no group {name!r} in the inventory")])
    return placement.union(world.groups, wanted)


def _address(world: World, service: Service, path: Path, host: str, network: Any) -> str:
    try:
        return world.variables(host).address(str(network))
    except FilterError as error:
        raise SiteInvalid([service.document.place(path).problem(str(error))]) from None
