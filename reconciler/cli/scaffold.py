"""The files of a new site. What is asked for comes in, file contents go out; nothing is read but the program's own data."""

import base64
import ipaddress
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from typing import Final

import yaml
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from reconciler import data, errors
from reconciler.reasons import Reason
from reconciler.secret import Secret

_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_CONTROLLER: Final = ("control", "network")
_COMPUTE: Final = ("compute",)
_TEMPLATES: Final = {
    "globals.yml": "globals.yml",
    "reconciler.yml": "reconciler.yml",
    ".sops.yaml": "sops.yaml",
    ".gitignore": "gitignore",
    "README.md": "README.md",
    "config/keystone.conf": "override.conf",
}
_SHARED: Final = (".gitlab-ci.yml", "ci/reconciler.gitlab-ci.yml")  # the same as in site-example


@dataclass(frozen=True, slots=True)
class NewHost:
    """A host of the inventory. `address`: in the management network."""

    name: str
    address: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything that a new site depends on. `keys` says in the README how hosts open the passwords."""

    site: str
    hosts: tuple[NewHost, ...]
    vip: str
    interface: str
    recipients: tuple[str, ...]
    keys: str
    host_keys: Mapping[str, str] = field(default_factory=dict)  # host → its public ssh key, of those that were given


def parse_name(text: str) -> str:
    """A name for a site or a host. Raises errors.Terminal (AnswerInvalid), as all functions here that read an answer."""
    if not re.fullmatch(_NAME, text.strip()):
        raise _wrong(f"{text!r} cannot be a name (letters, digits, '-', '_' and '.', at most 63)")
    return text.strip()


def parse_host(text: str, others: Sequence[NewHost]) -> NewHost:
    """`NAME=ADDRESS[,GROUP…]`. Without groups the first host is a controller, the others run instances."""
    name, found, rest = (part.strip() for part in text.partition("="))
    address, *groups = (part.strip() for part in rest.split(","))
    if not found or not re.fullmatch(_NAME, name) or not all(re.fullmatch(_NAME, group) for group in groups):
        raise _wrong(f"{text!r} is not a host: write it NAME=ADDRESS or NAME=ADDRESS,GROUP,GROUP, as ctl1=10.0.0.11")
    host = NewHost(name, parse_address(address), tuple(groups) or (_COMPUTE if others else _CONTROLLER))
    for other in others:
        if host.name == other.name:
            raise _wrong(f"there is a host {host.name} already")
        if host.address == other.address:
            raise _wrong(f"{other.name} has the address {host.address} already")
        _require_family(host.address, other)
    return host


def parse_address(text: str) -> str:
    """An address in its usual spelling."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise _wrong(f"{text!r} is not an IP address: addresses are declared, names are not looked up") from None


def parse_vip(text: str, hosts: Sequence[NewHost]) -> str:
    """An address that no host has."""
    address = parse_address(text)
    for host in hosts:
        if address == host.address:
            raise _wrong(f"{address} is the address of {host.name}: the services need a free one of the same network")
        _require_family(address, host)
    return address


def parse_interface(text: str) -> str:
    """The name of a network interface."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,14}", text.strip()):
        raise _wrong(f"{text!r} cannot be an interface (at most 15 characters, as eth0 or bond0.100)")
    return text.strip()


def suggested_vip(hosts: Sequence[NewHost]) -> str:
    """An address beside the first host's that no host has: the operator has to know whether it is free."""
    own = ipaddress.ip_address(hosts[0].address)
    taken = {host.address for host in hosts}
    near = (str(type(own)((int(own) & ~0xFF) + last)) for last in range(250, 0, -1))
    return next(address for address in near if address not in taken)


def _require_family(address: str, host: NewHost) -> None:
    if ipaddress.ip_address(address).version != ipaddress.ip_address(host.address).version:
        raise _wrong(f"{address} and the address of {host.name}, {host.address}, cannot be in one network")


def _wrong(message: str) -> errors.Terminal:
    return errors.Terminal(message, reason=Reason.AnswerInvalid)


def make(answers: Answers) -> dict[str, str]:
    """The site's files by path, but for passwords.yml."""
    words = {
        "SITE": answers.site,
        "NAME": _scalar(answers.site),
        "FIRST": answers.hosts[0].name,
        "VIP": _scalar(answers.vip),
        "RECIPIENTS": ",\n      ".join(answers.recipients),
        "KEYS": answers.keys,
    }
    templates = resources.files("reconciler.cli") / "template"
    texts = {path: (templates / name).read_text() for path, name in _TEMPLATES.items()}
    result = {path: _filled(text, words) for path, text in texts.items()}
    result["inventory.yml"] = _inventory(answers)
    result |= {path: data.path("site-example", path).read_text() for path in _SHARED}
    return result


def _filled(text: str, words: Mapping[str, str]) -> str:
    return re.sub(r"@([A-Z]+)@", lambda found: words[found[1]], text)


def _scalar(text: str) -> str:
    """`text` in YAML, in quotes where it would otherwise be a number, a truth value or no text at all."""
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text) and yaml.safe_load(text) == text
    return text if plain else json.dumps(text)


def _inventory(answers: Answers) -> str:
    lines = [
        "# yaml-language-server: $schema=.schemas/inventory.schema.json",
        "# The hosts. A node looks itself up here under the name that its settings give it (by default its host name).",
        "# Addresses are declared, never discovered: what is planned in CI is what the node will do.",
        "hosts:",
    ]
    for index, host in enumerate(answers.hosts):
        lines += [f"  {_scalar(host.name)}:", "    addresses:"]
        more = "   # management; other networks (api, tunnel …) use it where they have no address of their own"
        lines.append(f"      network: {_scalar(host.address)}{more if index == 0 else ''}")
        lines += ["    interfaces:", f"      network: {_scalar(answers.interface)}"]
        lines.append(f"    groups: [{', '.join(map(_scalar, host.groups))}]")
        # By which others know the host and its reports.
        if (key := answers.host_keys.get(host.name, "")).startswith("ssh-ed25519 "):
            lines.append(f"    report_key: {key}")
        if index == 0:
            lines += [
                "    # What kolla-ansible would ask the host is said here:",
                "    # facts: {processor_vcpus: 8, memtotal_mb: 32000, distribution: Debian}",
            ]
    lines += [
        "",
        "# Every service has a group and takes its hosts from a group around it (keystone from control, nova-compute from compute …).",
        "# Name one here to put it elsewhere:",
        "# groups:",
        f"#   memcached: {{hosts: [{_scalar(answers.hosts[-1].name)}]}}",
    ]
    return "\n".join(lines) + "\n"


# --- keys ------------------------------------------------------------------------------------------------------------


def new_identity(now: datetime) -> tuple[Secret, str]:
    """A fresh age identity: what its file holds, as age-keygen writes it, and its recipient (`age1…`)."""
    private = X25519PrivateKey.generate()
    recipient = _bech32("age", private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    identity = _bech32("age-secret-key-", raw).upper()
    return Secret(f"# created: {now:%Y-%m-%dT%H:%M:%SZ}\n# public key: {recipient}\n{identity}\n"), recipient


def public_key(content: str, name: str) -> str:
    """The recipient in an OpenSSH public key file, or in a line of ssh-keyscan. Raises errors.Terminal (AnswerInvalid)."""
    for line in content.splitlines():
        words = line.split()
        for kind, key in itertools.pairwise(words):
            if kind in ("ssh-ed25519", "ssh-rsa") and _is_key(key, kind):
                return f"{kind} {key}"
    raise errors.Terminal(
        f"{name} holds no ed25519 or RSA public key: give the host's /etc/ssh/ssh_host_ed25519_key.pub",
        reason=Reason.AnswerInvalid,
    )


def _is_key(text: str, kind: str) -> bool:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return raw[4 : 4 + len(kind)] == kind.encode()


_LETTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def _bech32(prefix: str, content: bytes) -> str:
    """BIP 173, which is how age writes keys."""
    number = int.from_bytes(content) << (-len(content) * 8) % 5
    size = -(-len(content) * 8 // 5)
    words = [number >> 5 * (size - 1 - index) & 31 for index in range(size)]
    checksum = 1
    for value in (*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix), *words, *[0] * 6):
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            checksum ^= generator if top >> bit & 1 else 0
    words += [(checksum ^ 1) >> 5 * (5 - index) & 31 for index in range(6)]
    return f"{prefix}1{''.join(_LETTERS[word] for word in words)}"
