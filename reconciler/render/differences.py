"""What two hosts of a site see differently, and what one host sees differently in two revisions of it, by name.

A name is a variable's or a secret's, one that each host has by itself (`inventory_names`), `("address", network)`, `("member", group)`,
FILES for the files below config/, or HOST_FILES for those whose path names the host. Each is a bit (`reads`); it may be there
although nothing differs, and is never missing where something does.
"""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from reconciler.document.sameness import same
from reconciler.render import inventory_names
from reconciler.site import Host, Site

FILES: Final = ("files",)
HOST_FILES: Final = ("files", "host")
_MOST_KEPT: Final = 4096  # pairs of hosts, several times the hosts of a large site; of each some thousand bits
_NOTHING: Final = object()


class _Looks(NamedTuple):
    """What a host of a site has of its own, put together once: each host is compared with several."""

    said: Mapping[str, Any]
    names: Mapping[str, Any]
    sealed: list[str]  # its password files
    host: Host


class Differences:
    """Those of worlds with the same hosts, groups and catalogue, by the numbers that `sharing` gives them."""

    def __init__(self) -> None:
        self.sites: dict[int, Site] = {}
        self._bits: dict[Hashable, int] = {}
        self._hosts: dict[tuple[int, str, str], int] = {}
        self._revisions: dict[tuple[int, int], _Revisions] = {}
        self._members: dict[str, int] = {}  # host → the bits of the groups that it is in
        self._looks: dict[tuple[int, str], _Looks] = {}

    def bit(self, name: Hashable) -> int:
        """The bit that a name has."""
        found = self._bits.get(name)
        if found is None:
            found = self._bits[name] = 1 << len(self._bits)
        return found

    def between_hosts(self, number: int, one: str, other: str) -> int:
        """What two hosts of a world see differently."""
        if one == other:
            return 0
        key = (number, one, other)
        found = self._hosts.get(key)
        if found is None:
            if len(self._hosts) >= _MOST_KEPT:
                self._hosts.clear()
            site = self.sites[number]
            self._members = self._members or self._memberships(site)
            members = self._members.get(one, 0) ^ self._members.get(other, 0)
            unlike = _unlike(site, self._of(number, one), self._of(number, other))
            found = self._hosts[key] = self._sum(unlike) | members
        return found

    def _of(self, number: int, host: str) -> _Looks:
        key = (number, host)
        if key not in self._looks:
            site = self.sites[number]
            names = inventory_names.names(site.hosts[host], {}, {})
            self._looks[key] = _Looks(site.said(host), names, [*site.recipients(host)], site.hosts[host])
        return self._looks[key]

    def _memberships(self, site: Site) -> dict[str, int]:
        found = dict.fromkeys(site.hosts, 0)
        for group, hosts in site.groups.items():
            bit = self.bit(("member", group))
            for host in hosts:
                found[host] = found.get(host, 0) | bit
        return found

    def between_revisions(self, one: int, other: int, host: str) -> tuple[int, int]:
        """What differs between two worlds for a host itself, and for any host."""
        key = (one, other)
        if key not in self._revisions:
            self._revisions[key] = _Revisions(self.sites[one], self.sites[other])
        found = self._revisions[key]
        if host not in found.hosts:
            found.hosts[host] = self._sum(found.of(host))
        if found.all is None:
            found.all = self._sum(found.of_all())
        return found.hosts[host], found.all

    def _sum(self, names: Iterator[Hashable]) -> int:
        total = 0
        for name in names:
            total |= self.bit(name)
        return total


class _Revisions:
    """What differs between two revisions, by the source that says it."""

    def __init__(self, one: Site, other: Site) -> None:
        self._site = one
        left, right = one.sources(), other.sources()
        self._changed = {key: [*_unequal(left.get(key, {}), right.get(key, {}))] for key in {**left, **right}}
        sealed = [{path: secret.name for path, secret in site.sealed.items()} for site in (one, other)]
        self._files = one.overrides != other.overrides or sealed[0] != sealed[1]
        self.hosts: dict[str, int] = {}
        self.all: int | None = None

    def of(self, host: str) -> Iterator[Hashable]:
        """What differs for a host itself."""
        for key in self._site.sources_of(host):
            yield from self._named(key)
        yield from self._of_files()

    def of_all(self) -> Iterator[Hashable]:
        """What differs for any host."""
        for key in self._changed:
            yield from self._named(key)
        yield from self._of_files()

    def _named(self, key: tuple[str, str]) -> Iterator[str]:
        for name in self._changed.get(key, ()):
            yield name
            if key[0] == "secrets":
                yield name.partition(".")[0]  # a part of it is named by way of the whole

    def _of_files(self) -> Iterator[Hashable]:
        yield from (FILES, HOST_FILES) if self._files else ()


def _unlike(site: Site, one: _Looks, other: _Looks) -> Iterator[Hashable]:
    """What two hosts of a site see differently, but for the groups that they are in."""
    for name in {**one.said, **other.said}:
        below = site.below(name, _NOTHING)
        if not same(one.said.get(name, below), other.said.get(name, below)):
            yield name
    hosts = one.host, other.host
    if one.sealed != other.sealed:
        secrets = [{name: (s.digest, s.size) for name, s in site.secrets(host.name).items()} for host in hosts]
        for name in _unequal(*secrets):
            yield from (name, name.partition(".")[0])
    yield from _unequal(one.names, other.names)
    for network in _unequal(hosts[0].addresses, hosts[1].addresses):
        yield from (("address", network), f"{network}_interface_address")
    if any(host.name in path for path in site.overrides for host in hosts):
        yield HOST_FILES


def _unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """The names whose values are not the same, or that only one has."""
    for name in {**one, **other}:
        if not same(one.get(name, _NOTHING), other.get(name, _NOTHING)):
            yield name
