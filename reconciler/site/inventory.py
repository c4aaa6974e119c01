"""inventory.yml → hosts and groups, with the catalogue's groups filled in."""

import graphlib
import ipaddress
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler import data
from reconciler.catalogue import Catalogue
from reconciler.document import sealed
from reconciler.document.grammar import Grammar, resolved
from reconciler.document.words import suggest
from reconciler.document.yaml import Document, Place
from reconciler.errors import Problem, SiteInvalid
from reconciler.site.later import later
from reconciler.site.networks import FALLBACK, with_fallbacks
from reconciler.site.types import Host, Left

# Hosts that all groups together get from the groups below them: 1,000 hosts in racks, rows and roles take 10,000.
_MAX_MEMBERSHIPS: Final = 500_000

REVIEW: Final = "review"  # the last part of the name of reviews' commit status


@dataclass(frozen=True, slots=True)
class Known:
    """The names that files of a site may use. Where the inventory could not be read, every name may be one."""

    hosts: tuple[str, ...]
    groups: tuple[str, ...]
    complete: bool = True

    def host(self, name: str, place: Place) -> list[Problem]:
        """The problem with a host's name, if there is one."""
        return self._unknown("host", name, self.hosts, place)

    def group(self, name: str, place: Place) -> list[Problem]:
        """The problem with a group's name, if there is one."""
        return self._unknown("group", name, self.groups, place)

    def _unknown(self, what: str, name: str, names: tuple[str, ...], place: Place) -> list[Problem]:
        if name in names or not self.complete:
            return []
        return [place.problem(f"the inventory has no {what} {name!r}", suggest(name, names))]


def load(
    document: Document | None, catalogue: Catalogue, problems: list[Problem], with_file: Collection[str] = ()
) -> tuple[dict[str, Host], dict[str, tuple[str, ...]], dict[str, Left]]:
    """Hosts, groups (every group of the catalogue and `all` among them), and who left. What is wrong is left out and reported.

    `with_file` are the groups that have a file of variables: somebody uses them."""
    if document is None:  # missing or unreadable, which is reported already
        document = Document("inventory.yml", {})
    else:
        problems += Grammar(resolved(data.schema("inventory"))).check(document)
    entries = _mapping(_mapping(document.data).get("hosts"))
    tree = _Groups(document, catalogue, with_file)
    problems += tree.problems
    groups = {**tree.hosts(), "all": tuple(entries)}
    groups_of: dict[str, list[str]] = {name: [] for name in entries}
    for group in tree.by_depth():
        for name in groups[group]:
            groups_of[name].append(group)
    hosts = {}
    for name, entry in entries.items():
        place = document.place(("hosts", name), key=True)
        hosts[name] = _host(name, _mapping(entry), tuple(groups_of[name]), place, tree.own(name))
    problems += _alike(document, "hosts", entries)
    problems += _alike(document, "groups", _mapping(_mapping(document.data).get("groups")))
    problems += _duplicate_addresses(document, entries)
    problems += _duplicate_keys(document, entries)
    problems += _bare_interfaces(document, entries)
    problems += _own_names(hosts)
    problems += _reserved(document, "hosts", entries)
    problems += _reserved(document, "groups", _mapping(_mapping(document.data).get("groups")))
    return hosts, groups, dict(_left(document, hosts, groups, tree, problems))


def _host(name: str, content: Mapping[str, Any], groups: tuple[str, ...], place: Place, own: tuple[str, ...]) -> Host:
    return Host(
        name=name,
        addresses=with_fallbacks(_texts(content.get("addresses"))),
        interfaces=_texts(content.get("interfaces")),
        groups=groups,
        facts=_mapping(content.get("facts")),
        place=place,
        report_key=_key(content.get("report_key")),
        group=own[0] if own else "all",
        own=own,
        declared=_texts(content.get("addresses")),
    )


def _left(
    document: Document,
    hosts: Mapping[str, Host],
    groups: Mapping[str, tuple[str, ...]],
    tree: "_Groups",
    problems: list[Problem],
) -> Iterator[tuple[str, Left]]:
    """Who left, with all groups that each is not in any more."""
    present = _Present(hosts.values())
    for name, entry in _mapping(_mapping(document.data).get("left")).items():
        content, path = _mapping(entry), ("left", name)
        place = document.place(path, key=True)
        said = _names(content.get("groups"))
        for index, group in enumerate(said):
            where = document.place((*path, "groups", index))
            if group not in groups:
                problems.append(where.problem(f"unknown group {group!r}", suggest(group, groups)))
            elif name in groups[group]:
                hint = "take it out of `left` where it came back, and out of the group where it left"
                problems.append(where.problem(f"{name!r} is in the group {group!r}, so it has not left it", hint))
        host = hosts.get(name) or _host(name, content, (), place, ())
        if name not in hosts:
            problems += present.known_as(host, document, path)
        gone = {group for group in tree.around(said) if name not in groups[group]} | ({"all"} - {*host.groups})
        yield name, Left(host, str(content.get("since", "")), frozenset(gone))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> dict[str, str]:
    return {name: text for name, text in _mapping(value).items() if isinstance(text, str)}


def _names(value: Any) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _key(value: Any) -> str:
    return sealed.bare(value) if isinstance(value, str) else ""


def _reserved(document: Document, section: str, names: Iterable[str]) -> list[Problem]:
    """The commit status of a host, and of a group of hosts, is called like it: reconciler/<site>/<name>, in which case tells nothing apart on
    some forges."""
    message = f"{REVIEW!r} is what the commit status of reviews is called"
    return [
        document.place((section, name), key=True).problem(message, "rename it")
        for name in names
        if name.lower() == REVIEW
    ]


def _alike(document: Document, section: str, names: Iterable[str]) -> list[Problem]:
    """Names that differ in case only: host names do not differ then, and neither do files on some systems."""
    problems = []
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(name.lower(), name)
        if first != name:
            place = document.place((section, name), key=True)
            problems.append(place.problem(f"{name!r} and {first!r} differ in case only", "rename one of them"))
    return problems


def _duplicate_keys(document: Document, entries: Mapping[str, Any]) -> list[Problem]:
    """Two hosts with one key could speak for each other."""
    problems = []
    seen: dict[str, str] = {}
    for name, entry in entries.items():
        key = _key(_mapping(entry).get("report_key"))
        first = seen.setdefault(key, name) if key else name
        if first != name:
            place = document.place(("hosts", name, "report_key"))
            problems.append(place.problem(f"{first!r} has the same report_key", "give every host its own"))
    return problems


def _own_names(hosts: Mapping[str, Host]) -> list[Problem]:
    """Warnings of machines' own names that are guessed or not unique: members of RabbitMQ and Galera are told apart by them."""
    hint = "say under the host what its machine calls itself: facts: {hostname: …}"
    problems = []
    guessed = [host for host in hosts.values() if host.named_by_address and not host.facts.get("hostname")]
    if guessed:
        first = guessed[0]
        message = f"{first.name!r} is an address, so {first.hostname!r} stands for the machine's own name"
        more = f" (and {len(guessed) - 1} more hosts)" if len(guessed) > 1 else ""
        problems.append(first.place.warning(message + more, hint))
    seen: dict[str, Host] = {}
    for host in hosts.values():
        other = seen.setdefault(host.hostname.lower(), host)
        if other is not host and other.name.lower() != host.name.lower():
            problems.append(host.place.warning(f"{other.name!r} has the same own name, {host.hostname!r}", hint))
    return problems


def _duplicate_addresses(document: Document, entries: Mapping[str, Any]) -> list[Problem]:
    problems = []
    seen: dict[tuple[str, str], Place] = {}
    for name, entry in entries.items():
        for network, text in _texts(_mapping(entry).get("addresses")).items():
            try:
                address = str(ipaddress.ip_address(text))
            except ValueError:
                continue
            place = document.place(("hosts", name, "addresses", network))
            first = seen.setdefault((network, address), place)
            if first is not place:
                hint = f"first at {first}"
                problems.append(place.problem(f"{address} is another host's address on the network {network!r}", hint))
    return problems


def _bare_interfaces(document: Document, entries: Mapping[str, Any]) -> list[Problem]:
    """Networks with an interface of their own and no address of their own: kolla-ansible would look at the interface."""
    problems = []
    for name, entry in entries.items():
        interfaces = _texts(_mapping(entry).get("interfaces"))
        addresses = _texts(_mapping(entry).get("addresses"))
        for network, interface in interfaces.items():
            other = FALLBACK.get(network, "")
            if (
                network in addresses
                or not other
                or network == "kolla_external_vip"
                or interface == interfaces.get(other)
            ):
                continue
            place = document.place(("hosts", name, "interfaces", network), key=True)
            message = f"the network {network!r} has its own interface but takes its address from {other!r}"
            problems.append(place.warning(message, f"declare addresses: {{{network}: …}}"))
    return problems


class _Present:
    """The hosts that there are, by what others know them as."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._named: dict[str, list[Host]] = {}
        self._at: dict[str, list[Host]] = {}
        for host in hosts:
            self._named.setdefault(host.hostname.lower(), []).append(host)
            for address in dict.fromkeys(host.addresses.values()):
                self._at.setdefault(address, []).append(host)

    def known_as(self, left: Host, document: Document, path: tuple[str, str]) -> Iterator[Problem]:
        """What a host that left was known as, and another one is now: that one would be forgotten."""
        for host in self._named.get(left.hostname.lower(), ()):
            hint = "say under facts what the machine that left called itself, or take the entry out: a member of that name joins anew by itself"
            yield document.place(path, key=True).problem(f"{host.name!r} has the own name {left.hostname!r} now", hint)
        told = set[str]()
        for network, address in left.addresses.items():
            for host in self._at.get(address, ()):
                if host.name not in told:
                    where = document.place((*path, "addresses", network))
                    yield where.problem(f"{address} is an address of {host.name!r} now", "leave it out here")
                    told.add(host.name)


class _Groups:
    """The tree of groups: who is in which, from the hosts' and the groups' side, and the catalogue's defaults."""

    def __init__(self, document: Document, catalogue: Catalogue, with_file: Collection[str]) -> None:
        content = _mapping(document.data)
        self._with_file = with_file
        self._document = document
        self._entries = _mapping(content.get("hosts"))
        self._declared = _mapping(content.get("groups"))
        self.problems: list[Problem] = []
        self._later = later(catalogue.services)
        shipped = catalogue.groups()
        self._catalogue = dict.fromkeys(itertools.chain(shipped, *shipped.values()))
        self.members: dict[str, dict[str, None]] = {}
        self.children: dict[str, list[str]] = {}
        for name, group in self._declared.items():
            self.members[name] = dict.fromkeys(_names(_mapping(group).get("hosts")))
            self.children[name] = list(dict.fromkeys(_names(_mapping(group).get("children"))))
        self._from_hosts()
        for name in self._catalogue:
            if name not in self.members:
                self.members[name] = {}
                self.children[name] = list(shipped.get(name, ()))
        self._check()
        self._outer_first = self._sorted()

    def _from_hosts(self) -> None:
        for host, entry in self._entries.items():
            for index, group in enumerate(_names(_mapping(entry).get("groups"))):
                if group not in self.members and group not in self._catalogue:
                    place = self._document.place(("hosts", host, "groups", index))
                    hint = suggest(group, self._known()) or f"declare it: groups: {{{group}: {{}}}}"
                    self.problems.append(place.problem(f"unknown group {group!r}", hint))
                    continue
                self.members.setdefault(group, {})[host] = None
                self.children.setdefault(group, [])

    def _known(self) -> Iterable[str]:
        return dict.fromkeys((*self._declared, *self._catalogue))

    def _check(self) -> None:
        used = {child for children in self.children.values() for child in children}.union(
            self._catalogue, self._with_file
        )
        for name in self._declared:
            path = ("groups", name)
            if name == "all":
                place = self._document.place(path, key=True)
                self.problems.append(place.problem("the group 'all' is every host, always", "rename it"))
            for index, host in enumerate(self.members[name]):
                if host not in self._entries:
                    place = self._document.place((*path, "hosts", index))
                    self.problems.append(place.problem(f"unknown host {host!r}", suggest(host, self._entries)))
            for index, child in enumerate(self.children[name]):
                if child not in self.children:
                    place = self._document.place((*path, "children", index))
                    self.problems.append(place.problem(f"unknown group {child!r}", suggest(child, self._known())))
            # As kolla-ansible's inventories have it, and misspelt for nothing.
            away = name.partition("-")[0] in self._later
            near = suggest(name, self._catalogue) if name not in used and not away else ""
            if near:
                place = self._document.place(path, key=True)
                self.problems.append(place.warning(f"no service and no group uses the group {name!r}", near))
        self._break_cycles()

    def _break_cycles(self) -> None:
        """Report every cycle once, and cut it, so that what follows can walk the tree. No recursion: chains may be long."""
        done: set[str] = set()
        for root in self.children:
            path: dict[str, Iterator[str]] = {} if root in done else {root: iter(tuple(self.children[root]))}
            while path:
                name = next(reversed(path))
                child = next(path[name], None)
                if child is None:
                    done.add(name)
                    del path[name]
                elif child not in self.children:
                    self.children[name].remove(child)
                elif child in path:
                    self._cycle(name, child, list(path))
                elif child not in done:
                    path[child] = iter(tuple(self.children[child]))

    def _cycle(self, name: str, child: str, path: list[str]) -> None:
        cycle = " → ".join((*path[path.index(child) :], child))
        place = self._document.place(("groups", name, "children"))
        self.problems.append(place.problem(f"groups contain each other: {cycle}", "remove one of them"))
        self.children[name].remove(child)

    def _sorted(self) -> list[str]:
        """All groups, every one before its children."""
        return list(reversed(tuple(graphlib.TopologicalSorter(self.children).static_order())))

    def own(self, host: str) -> tuple[str, ...]:
        """The groups that the inventory itself puts a host in, those that the host names first."""
        listed = _names(_mapping(self._entries.get(host)).get("groups"))
        named = (name for name in listed if name in self.members)
        naming = (name for name in self._declared if host in self.members.get(name, ()))
        return tuple(dict.fromkeys((*named, *naming)))

    def hosts(self) -> dict[str, tuple[str, ...]]:
        """All hosts of each group: its own, then its children's in their order."""
        expanded: dict[str, tuple[str, ...]] = {}
        count = 0
        for name in reversed(self._outer_first):
            own = [host for host in self.members[name] if host in self._entries]
            count += sum(len(expanded[child]) for child in self.children[name])
            if count > _MAX_MEMBERSHIPS:
                place = self._document.place(("groups", name), key=True)
                message = f"groups get more than {_MAX_MEMBERSHIPS} hosts from the groups below them"
                raise SiteInvalid([place.problem(message, "nest fewer groups")])
            below = itertools.chain.from_iterable(expanded[child] for child in self.children[name])
            expanded[name] = tuple(dict.fromkeys((*own, *below)))
        return {name: expanded[name] for name in self.children}

    def around(self, names: Iterable[str]) -> set[str]:
        """The groups of these names, and all that take hosts from them."""
        found = {name for name in names if name in self.children}
        for name in reversed(self._outer_first):  # children first
            if found.intersection(self.children[name]):
                found.add(name)
        return found

    def by_depth(self) -> list[str]:
        """All groups, a group before its children; on one level in the order of the inventory, `all` first."""
        depth = dict.fromkeys(self.children, 0)
        for name in self._outer_first:
            for child in self.children[name]:
                depth[child] = max(depth[child], depth[name] + 1)
        return ["all", *(name for name in sorted(depth, key=lambda name: depth[name]) if name != "all")]
