"""What a site is made of."""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.catalogue import Catalogue
from reconciler.document.yaml import Place
from reconciler.errors import Problem


@dataclass(frozen=True, slots=True)
class Layer:
    """One place that says what a variable is. `origin`: "catalogue", "globals", "group:<name>" or "host"."""

    origin: str
    value: Any  # normalised, unevaluated
    place: Place


@dataclass(frozen=True, slots=True)
class Layered:
    """A variable as one host has it: `value` is the last layer's, and may hold expressions."""

    name: str
    value: Any
    place: Place
    layers: tuple[Layer, ...]  # outermost first; the last one wins


class _Over(Mapping[str, Layered]):
    """What a host has of its own over what all have: a ChainMap of two, asked tens of thousands of times for each host."""

    __slots__ = ("_base", "_own")

    def __init__(self, own: dict[str, Layered], base: dict[str, Layered]) -> None:
        self._own, self._base = own, base

    def __getitem__(self, name: str) -> Layered:
        return self._own[name] if name in self._own else self._base[name]

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._base

    def __iter__(self) -> Iterator[str]:
        return iter({**self._base, **self._own})

    def __len__(self) -> int:
        return len({**self._base, **self._own})


@dataclass(frozen=True, slots=True)
class Host:
    """A host of the inventory. `addresses` and `interfaces` are per network, with Kolla's fallbacks filled in."""

    name: str
    addresses: Mapping[str, str]
    interfaces: Mapping[str, str]  # as declared; variables like `api_interface` hold the rest
    groups: tuple[str, ...]  # all it is in, outer before inner
    facts: Mapping[str, Any]
    place: Place
    report_key: str = ""  # "ssh-ed25519 AAAA…", without a comment; "": its reports cannot be believed
    group: str = "all"  # the first group that the inventory itself puts it in: every host counts in one
    own: tuple[str, ...] = ()  # all of these
    declared: Mapping[str, str] = field(default_factory=dict)  # the addresses that are written, without fallbacks

    @property
    def hostname(self) -> str:
        """The machine's own short name, as Ansible's fact of this name: the declared one, else what the inventory's name says."""
        if declared := self._declared("hostname"):
            return declared
        if self.named_by_address:
            return "host-" + re.sub(r"[^0-9A-Za-z]+", "-", self.name).strip("-")
        return self.name.partition(".")[0] or self.name

    @property
    def nodename(self) -> str:
        """What `uname -n` says there, by which Nova, Neutron and Cinder know the host: the declared one, else the short name."""
        return self._declared("nodename") or self.hostname

    @property
    def fqdn(self) -> str:
        """The machine's full name: the declared one, else whichever other name adds a domain to the short one, else that."""
        longer = (one for one in (self.nodename, self.name) if one.startswith(f"{self.hostname}."))
        return self._declared("fqdn") or next(longer, self.hostname)

    @property
    def names(self) -> dict[str, str]:
        """What its machine has to be called for services to be what the site makes of them, by fact."""
        full = self._declared("fqdn")
        return {"hostname": self.hostname, "nodename": self.nodename, **({"fqdn": full} if full else {})}

    def _declared(self, name: str) -> str:
        found = self.facts.get(name)
        return found if isinstance(found, str) else ""

    @property
    def named_by_address(self) -> bool:
        """Whether the inventory's name is an address, which does not tell the machine's own name."""
        try:
            ipaddress.ip_address(self.name)
        except ValueError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Left:
    """A host that left for good, with what the others knew it as. `groups`: those that it is not in any more; `since`: the day, ISO 8601."""

    host: Host
    since: str
    groups: frozenset[str]

    @property
    def item(self) -> dict[str, Any]:
        """What expressions of a job see of it; `address` is the one on the network api, `nodename` is empty where it is not said."""
        host = self.host
        return {
            "name": host.name,
            "hostname": host.hostname,
            "nodename": host.facts.get("nodename", ""),
            "fqdn": host.fqdn,
            "address": host.addresses.get("api", ""),
            "addresses": dict(host.addresses),
            "since": self.since,
            "groups": sorted(self.groups),
        }


@dataclass(frozen=True, slots=True)
class SecretName:
    """A secret by name: where it is encrypted, the digest of its ciphertext, which changes when it is rotated, and the bytes of its
    value, which its ciphertext tells."""

    name: str
    place: Place
    digest: str  # SHA-256, hexadecimal
    size: int


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that a site says. Mappings are not to be changed.

    `passwords` holds the names of passwords.yml and of all passwords/*.yml and hosts/*.passwords.yml, `secrets(host)` those that
    count on one host. Parts of a structured secret are there by their dotted name too: `keystone_ssh_key.private_key`.
    """

    name: str
    hosts: Mapping[str, Host]
    groups: Mapping[str, tuple[str, ...]]  # hosts; own ones in inventory order, then the children's
    overrides: Mapping[str, bytes]  # path below config/ → content
    policy: Mapping[str, Any]  # reconciler.yml with defaults; durations in seconds
    catalogue: Catalogue
    passwords: Mapping[str, SecretName]
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
    sealed: Mapping[str, SecretName] = field(
        default_factory=dict
    )  # encrypted files below config/: path → the secret that each is
    left: Mapping[str, Left] = field(default_factory=dict)  # by name, in the order in which the inventory has them
    _base: dict[str, Layered] = field(default_factory=dict, repr=False)  # catalogue and globals
    _groups: Mapping[str, Mapping[str, Layer]] = field(default_factory=dict, repr=False)
    _hosts: Mapping[str, Mapping[str, Layer]] = field(default_factory=dict, repr=False)
    _secrets: Mapping[str, Mapping[str, SecretName]] = field(default_factory=dict, repr=False)  # by file
    _recipients: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)  # by file

    def layers(self, host: str) -> Mapping[str, Layered]:
        """Every variable that has a value on a host, with its layers. Raises KeyError for an unknown host."""
        found: dict[str, Layered] = {}
        both = _Over(found, self._base)
        for source in self._own(host):
            for name, layer in source.items():
                below = both[name].layers if name in both else ()
                found[name] = Layered(name, layer.value, layer.place, (*below, layer))
        return both

    def said(self, host: str) -> dict[str, Any]:
        """What is said of a host beside the catalogue and globals: a variable's value as it is written."""
        return {name: layer.value for source in self._own(host) for name, layer in source.items()}

    def alone(self, host: str) -> frozenset[str]:
        """The variables that a host says by itself, in its file and in the inventory."""
        return frozenset(self._hosts.get(host, ()))

    def below(self, name: str, default: Any = None) -> Any:
        """What the catalogue and globals say of a variable, as it is written."""
        return self._base[name].value if name in self._base else default

    def sources(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """Everything that is said, as it is written, by who says it: ("base", ""), ("group", name), ("host", name), and of secrets
        ("secrets", file), digest and size of each."""
        groups = {("group", name): layers for name, layers in self._groups.items()}
        hosts = {("host", name): layers for name, layers in self._hosts.items()}
        layers: dict[tuple[str, str], Mapping[str, Layer | Layered]] = {("base", ""): self._base, **groups, **hosts}
        return {
            **{key: {name: layer.value for name, layer in source.items()} for key, source in layers.items()},
            **{
                ("secrets", file): {name: (secret.digest, secret.size) for name, secret in secrets.items()}
                for file, secrets in self._secrets.items()
            },
        }

    def sources_of(self, host: str) -> Iterator[tuple[str, str]]:
        """Which of `sources` count on a host, if they are there."""
        yield "base", ""
        yield from (("group", name) for name in self.hosts[host].groups)
        yield "host", host
        yield from (("secrets", file) for file in self.password_files(host))

    def written(self, name: str) -> dict[str, Any]:
        """A variable's value by host, where it has one, as it is written: not evaluated."""
        found = {}
        for host in self.hosts:
            sources: tuple[Mapping[str, Layer | Layered], ...] = (self._base, *self._own(host))
            for source in sources:
                if name in source:
                    found[host] = source[name].value
        return found

    def _own(self, host: str) -> tuple[Mapping[str, Layer], ...]:
        """What is said of a host beside the base, later ones over earlier ones: its groups from outer to inner, and itself."""
        groups = (self._groups[group] for group in self.hosts[host].groups if group in self._groups)
        return (*groups, self._hosts.get(host, {}))

    def names(self) -> frozenset[str]:
        """Every variable and secret that has a value on some host."""
        layers = (self._base, *self._groups.values(), *self._hosts.values(), self.passwords)
        return frozenset(name for layer in layers for name in layer)

    def secrets(self, host: str) -> Mapping[str, SecretName]:
        """The secrets that a host uses: passwords.yml, then its groups' from outer to inner, then its own."""
        result: dict[str, SecretName] = {}
        for name in self.password_files(host):
            result.update(self._secrets.get(name, {}))
        result.update({secret.name: secret for secret in self.sealed.values()})
        return result

    def sealed_for(self, secrets: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """The encrypted files of config/ among these secrets, as `config/…`, each with its recipients."""
        used = set(secrets)
        names = {f"config/{path}": secret.name for path, secret in self.sealed.items()}
        return {path: self._recipients[path] for path, name in names.items() if name in used}

    def recipients(self, host: str) -> Mapping[str, tuple[str, ...]]:
        """The password files that a host has to open, those that hold nothing left out, each with its recipients."""
        return {name: self._recipients[name] for name in self.password_files(host) if self._recipients.get(name)}

    @property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """Every encrypted file, of passwords or as `config/…`, with its recipients."""
        return self._recipients

    def password_files(self, host: str) -> tuple[str, ...]:
        """The password files that a host reads where they exist, later ones over earlier ones."""
        groups = self.hosts[host].groups
        return ("passwords.yml", *(f"passwords/{group}.yml" for group in groups), f"hosts/{host}.passwords.yml")
