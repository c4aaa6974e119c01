"""Ansible's filters for addresses and networks (`ansible.utils.ipaddr` and its relatives), with the standard library. Pure.

An address is as Ansible takes it: alone, with a prefix (`10.0.0.5/24`), or a network. What is none gives False, as there; a list gives
those of its items that are.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.render import meter, values
from reconciler.render.faults import FilterError
from reconciler.render.operations import FILTERS, Anything, Text, Value

_Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_LARGEST: Final = 1 << 128
_MAC: Final = re.compile(r"(?:[0-9a-f]{2}([:-]?))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}")


@dataclass(frozen=True, slots=True)
class _Given:
    """One address as it was given."""

    text: str
    interface: _Interface
    prefixed: bool

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return self.interface.network

    @property
    def size(self) -> int:
        return self.network.num_addresses

    @property
    def whole(self) -> bool:
        """Whether it is a network rather than an address in one."""
        return self.prefixed and self.size > 1 and self.interface.ip == self.network.network_address

    @property
    def only_network(self) -> bool:
        """Whether it cannot be an address as well."""
        return self.whole and self.size > 2 and self.interface.version == 4

    def at(self, index: int) -> str:
        if not -self.size <= index < self.size:
            raise FilterError(f"{self.network} has {self.size} addresses, not one of number {index}")
        return str(self.network[index])


def _given(value: Any) -> _Given | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(ipaddress.ip_address(value)) if isinstance(value, int) and 0 <= value < _LARGEST else str(value)
    if len(text) > 100 or "%" in text:
        return None
    try:
        return _Given(text, ipaddress.ip_interface(text), "/" in text)
    except ValueError:
        return None


def _usable(given: _Given, index: int) -> str | None:
    """The first (0) or last (-1) address that a host can have."""
    if given.size < 2:
        return None
    edge = 0 if given.size == 2 else 1
    return given.at(edge if index == 0 else -1 - edge)


def _where(condition: Callable[[_Given], bool]) -> Callable[[_Given], str | None]:
    return lambda given: given.text if condition(given) else None


_QUERIES: Final[Mapping[str, Callable[[_Given], Any]]] = {
    "": lambda given: given.text,
    "address": lambda given: str(given.interface.ip) if not given.only_network else None,
    "ip": lambda given: str(given.interface.ip) if not given.only_network else None,
    "host": lambda given: str(given.interface) if not given.whole or given.size == 2 else None,
    "address/prefix": lambda given: str(given.interface) if not given.whole or given.size == 2 else None,
    "network": lambda given: str(given.network.network_address),
    "net": lambda given: str(given.network) if given.whole else None,
    "subnet": lambda given: str(given.network),
    "network/prefix": lambda given: str(given.network),
    "network_id": lambda given: str(given.network.network_address),
    "network_netmask": lambda given: f"{given.network.network_address} {given.network.netmask}",
    "prefix": lambda given: given.network.prefixlen,
    "netmask": lambda given: str(given.network.netmask),
    "hostmask": lambda given: str(given.network.hostmask),
    "wildcard": lambda given: str(given.network.hostmask),
    "broadcast": lambda given: str(given.network.broadcast_address) if given.size > 2 else None,
    "size": lambda given: given.size,
    "size_usable": lambda given: given.size - 2 if given.size > 2 else given.size & 2,
    "first_usable": lambda given: _usable(given, 0),
    "last_usable": lambda given: _usable(given, -1),
    "range_usable": lambda given: f"{_usable(given, 0)}-{_usable(given, -1)}" if given.size > 1 else None,
    "type": lambda given: "network" if given.whole else "address",
    "version": lambda given: given.interface.version,
    "ipv4": _where(lambda given: given.interface.version == 4),
    "ipv6": lambda given: given.text if given.interface.version == 6 else _mapped(given),
    "private": _where(lambda given: given.interface.ip.is_private),
    "public": _where(lambda given: given.interface.ip.is_global and not given.interface.ip.is_multicast),
    "loopback": _where(lambda given: given.interface.ip.is_loopback),
    "lo": _where(lambda given: given.interface.ip.is_loopback),
    "link-local": _where(lambda given: given.interface.ip.is_link_local),
    "multicast": _where(lambda given: given.interface.ip.is_multicast),
    "unicast": _where(lambda given: not given.interface.ip.is_multicast),
    "int": lambda given: int(given.interface.ip) if not given.prefixed else f"{int(given.interface.ip)}/{given.network.prefixlen}",
    "revdns": lambda given: f"{given.interface.ip.reverse_pointer}.",
    "wrap": lambda given: _wrapped(given),
    "bool": lambda given: True,
}  # fmt: skip


def _mapped(given: _Given) -> str:
    return f"::ffff:{given.interface.ip}/{given.network.prefixlen + 96}"


def _wrapped(given: _Given) -> str:
    if given.interface.version == 4:
        return given.text
    address, slash, prefix = given.text.partition("/")
    return f"[{address}]{slash}{prefix}"


def _asked(given: _Given, query: Any) -> Any:
    if isinstance(query, int) or (isinstance(query, str) and re.fullmatch(r"-?[0-9]{1,39}", query)):
        return f"{given.at(int(query))}/{given.network.prefixlen}" if given.size > 1 else given.text
    if query in _QUERIES:
        return _QUERIES[query](given)
    network = _given(query)
    if network is None:
        raise FilterError(f"{query!r:.60} is neither a network nor one of {', '.join(filter(None, _QUERIES))}")
    inside = network.interface.version == given.interface.version and given.interface.ip in network.network
    return given.text if inside and given.network.prefixlen >= network.network.prefixlen else None


def _ask(value: Any, query: Any, version: int = 0) -> Any:
    """What a query says of an address, or of those addresses of a list of which it says something."""
    if isinstance(value, list | tuple):
        found = [_ask(item, query, version) for item in values.items(value)]
        return [answer for answer in found if answer not in (False, None)]
    meter.spend(20, 1000)
    given = _given(value)
    if given is None or (version and given.interface.version != version):
        return False
    return _asked(given, query)


def _declared(name: str) -> tuple[str, ...]:
    return name, f"ansible.utils.{name}", f"ansible.netcommon.{name}"


@FILTERS.add(*_declared("ipaddr"))
def _ipaddr(value: Value, query: Value = "") -> Any:
    return _ask(value, query)


@FILTERS.add(*_declared("ipv4"))
def _ipv4(value: Value, query: Value = "") -> Any:
    return _ask(value, query, 4)


@FILTERS.add(*_declared("ipv6"))
def _ipv6(value: Value, query: Value = "") -> Any:
    return _ask(value, query, 6)


@FILTERS.add(*_declared("ipwrap"))
def _ipwrap(value: Value) -> Any:
    """An IPv6 address in brackets; all else, and what is no address, as it is."""
    if isinstance(value, list | tuple):
        return [_ipwrap(item) for item in values.items(value)]
    given = _given(value) if isinstance(value, str) else None
    return _wrapped(given) if given else value


@FILTERS.add(*_declared("ipmath"))
def _ipmath(value: Text, amount: Value) -> str:
    """The address so many further on."""
    if not isinstance(amount, int) or isinstance(amount, bool):
        raise FilterError(f"its argument is a whole number, not {values.kind(amount)}")
    return str(_required(value).interface.ip + amount)


@FILTERS.add(*_declared("nthhost"))
def _nthhost(value: Text, number: Value) -> Any:
    """The address of that number in a network."""
    given = _given(value)
    return given.at(number) if given and isinstance(number, int) and 0 <= number < given.size else False


@FILTERS.add(*_declared("ipsubnet"))
def _ipsubnet(value: Text, prefix: Anything = None, index: Anything = None) -> Any:
    """The network itself, how many subnets of a prefix it has, or the one of an index."""
    given = _required(value)
    if prefix is None:
        return str(given.network)
    length = int(values.demand(prefix))
    if not given.network.prefixlen <= length <= given.network.max_prefixlen:
        return False
    count = 1 << (length - given.network.prefixlen)
    if index is None:
        return count
    number = int(values.demand(index))
    if not -count <= number < count:
        return False
    first = int(given.network.network_address) + (number % count << (given.network.max_prefixlen - length))
    return f"{ipaddress.ip_address(first) if given.interface.version == 4 else ipaddress.IPv6Address(first)}/{length}"


@FILTERS.add(*_declared("network_in_network"))
def _network_in_network(value: Text, test: Text) -> bool:
    outer, inner = _required(value), _required(test)
    return inner.interface.version == outer.interface.version and (
        int(outer.network[0]) <= int(inner.network[0]) and int(inner.network[-1]) <= int(outer.network[-1])
    )


@FILTERS.add(*_declared("hwaddr"))
def _hwaddr(value: Text) -> Any:
    """A MAC address with colons; False for what is none."""
    if not _MAC.fullmatch(value.lower()):
        return False
    digits = re.sub("[^0-9a-f]", "", value.lower())
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def _required(value: str) -> _Given:
    given = _given(value)
    if given is None:
        raise FilterError(f"{value[:60]!r} is neither an address nor a network")
    return given
