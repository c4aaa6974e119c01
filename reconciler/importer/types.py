"""What an import is made of: inputs, what became of each, and the site that comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from reconciler.document.yaml import Place
from reconciler.secret import Secret

Kind = Literal["variable", "password", "host", "group", "file", "folder"]


class Fate(StrEnum):
    """What became of an input."""

    TAKEN = "taken"
    RENAMED = "renamed"
    DEFAULT = "default"
    DIFFERENT = "different"
    UNKNOWN = "unknown"
    UNSUPPORTED = "unsupported"


MEANING: Mapping[Fate, str] = {
    Fate.TAKEN: "taken as it is",
    Fate.RENAMED: "taken under another name or in another place",
    Fate.DEFAULT: "says what holds here anyway, and left out",
    Fate.DIFFERENT: "means something else here, or nothing",
    Fate.UNKNOWN: "unknown here; kept as a comment, or encrypted where it may be a secret",
    Fate.UNSUPPORTED: "not supported",
}


@dataclass(frozen=True, slots=True)
class Input:
    """One thing that the source says. `scope` is what it is said of: "" the whole, "group:NAME" or "host:NAME"."""

    kind: Kind
    name: str
    place: Place
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of an input. `target` is where it is in the site, empty when nowhere. `look`: whatever became of it, somebody has
    to look at it."""

    input: Input
    fate: Fate
    target: str = ""
    reason: str = ""
    look: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """The address of a host in a network, which nobody told. `interface` is where kolla-ansible looks for it, empty when that is not said."""

    host: str
    network: str
    interface: str = ""

    def __str__(self) -> str:
        where = "its address in the management network" if self.network == "network" else "the address"
        return f"hosts.{self.host}.addresses.{self.network}: {where}{f' on {self.interface}' if self.interface else ''}"


@dataclass(frozen=True, slots=True)
class Assigned:
    """A variable and its value as Ansible reads it (YAML 1.1); the leaves of what was encrypted are Secret.

    `text` are the lines that say it, empty where they cannot be told from others'; `gap` are the comments before them.
    """

    name: str
    value: Any
    place: Place
    text: str = field(default="", repr=False)
    gap: str = field(default="", repr=False)
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """Variables of one file in its order. `tail` are the comments after the last one."""

    name: str
    variables: tuple[Assigned, ...]
    tail: str = field(default="", repr=False)


@dataclass(slots=True)
class Group:
    """A group of the inventory, as it is declared."""

    name: str
    place: Place
    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)
    variables: list[Assigned] = field(default_factory=list)


@dataclass(slots=True)
class Machine:
    """A host of the inventory."""

    name: str
    place: Place
    variables: list[Assigned] = field(default_factory=list)


@dataclass(slots=True)
class Tree:
    """An inventory: hosts in the order of their first mention, groups with `all` where it is named."""

    hosts: dict[str, Machine] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)

    def host(self, name: str, place: Place) -> Machine:
        """The host of that name, made at its first mention."""
        return self.hosts.setdefault(name, Machine(name, place))

    def group(self, name: str, place: Place) -> Group:
        """The group of that name, made at its first mention."""
        return self.groups.setdefault(name, Group(name, place))

    def members(self, name: str, seen: frozenset[str] = frozenset()) -> dict[str, None]:
        """All hosts of a group, its own before its children's. A circle ends where it closes."""
        group = self.groups.get(name)
        if name == "all":
            return dict.fromkeys(self.hosts)
        if group is None or name in seen:
            return {}
        result = dict(group.hosts)
        for child in group.children:
            result |= self.members(child, seen | {name})
        return result


@dataclass(frozen=True, slots=True)
class Source:
    """All that was read. Names of files are as the operator named them; paths in `config` are below that folder.

    `moved` are those of `config` that lie elsewhere: where they were. `federation` says where what a path of an identity provider means
    is, below federation.FOLDER.

    `vaulted` are those of `config` that ansible-vault encrypted: "" where the content is what was in it, else why it could not be opened.

    `certificates` are files by name: None where only the name was looked at. `named` says which of them a variable names (one of
    certificates.VARIABLES), empty where that is not here, and which folder.
    """

    globals: tuple[File, ...]
    passwords: tuple[File, ...]
    tree: Tree
    groups: Mapping[str, tuple[File, ...]]
    hosts: Mapping[str, tuple[File, ...]]
    config: Mapping[str, bytes] = field(repr=False)
    config_folder: str = "config"
    moved: Mapping[str, str] = field(default_factory=dict)
    federation: Mapping[str, str] = field(default_factory=dict)
    vaulted: Mapping[str, str] = field(default_factory=dict)
    certificates: Mapping[str, bytes | None] = field(default_factory=dict, repr=False)
    certificates_folder: str = "certificates"
    named: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    written: tuple[str, ...] = ()  # folders that kolla-ansible wrote for containers
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def place(self, path: str) -> Place:
        """Where a file of `config` was."""
        return Place(self.moved.get(path) or f"{self.config_folder}/{path}")


@dataclass(frozen=True, slots=True)
class Result:
    """A site. `files` are texts by path, without a secret, `binary` those that are no text; `secrets` are mappings to encrypt value by
    value, `sealed` files to encrypt as a whole. `lines` says which input made which line of a file. `missing` is what nobody said."""

    entries: tuple[Entry, ...]
    files: Mapping[str, str]
    secrets: Mapping[str, Mapping[str, Any]]
    sealed: Mapping[str, Secret]
    lines: Mapping[str, Mapping[int, Input]]
    missing: tuple[Missing, ...]
    binary: Mapping[str, bytes] = field(default_factory=dict, repr=False)
