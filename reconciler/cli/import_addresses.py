"""Addresses that an import is told: by options, and by whoever sits at the terminal."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler import errors
from reconciler.cli import output
from reconciler.phrases import count
from reconciler.reasons import Reason

if TYPE_CHECKING:
    from reconciler.importer.types import Missing, Source

Addresses = Mapping[tuple[str, str], str]  # (host, network) → address
_MANAGEMENT: Final = "network"


def parse(given: tuple[str, ...], read: "Source") -> Addresses:
    """Those of `--address HOST=ADDRESS` and `HOST:NETWORK=ADDRESS`. Raises errors.Terminal."""
    from reconciler.cli.scaffold import parse_address
    from reconciler.site.networks import NETWORKS

    found: dict[tuple[str, str], str] = {}
    for text in given:
        where, _, address = text.partition("=")
        host, _, network = where.partition(":")
        if host not in read.tree.hosts:
            raise errors.Terminal(
                f"--address {text}: the inventory has no host {host!r}", reason=Reason.ImportImpossible
            )
        if network and network not in NETWORKS:
            raise errors.Terminal(
                f"--address {text}: there is no network {network!r} ({', '.join(NETWORKS)})",
                reason=Reason.ImportImpossible,
            )
        found[host, network or _MANAGEMENT] = parse_address(address)
    return found


def ask(missing: "tuple[Missing, ...]", given: Addresses) -> Addresses:
    """What is given, and what somebody at the terminal knows of the rest. An empty answer leaves an address out."""
    from reconciler.cli.init import ask as question
    from reconciler.cli.scaffold import parse_address

    hosts = len({one.host for one in missing})
    output.line(
        f"addresses that nobody says: {len(missing)}, of {count(hosts, 'host')} (`reconciler facts` on a host tells its own, for --facts)",
        err=True,
    )
    if not click.confirm("Type them now?", default=True, err=True):
        return given
    found = dict(given)
    for one in missing:

        def check(text: str, one: "Missing" = one) -> str:
            if not text.strip():
                return ""
            address = parse_address(text)
            has = next(
                (host for (host, network), there in found.items() if (network, there) == (one.network, address)), ""
            )
            if has:
                raise errors.Terminal(f"{has} has {address} already", reason=Reason.AnswerInvalid)
            return address

        network = "the management network" if one.network == _MANAGEMENT else f"the network {one.network!r}"
        where = f", on {one.interface}" if one.interface else ""
        if answer := question(f"Address of {one.host} in {network}{where} (empty: not now)", None, "", False, check):
            found[one.host, one.network] = answer
    return found


def of_site(folder: Path, missing: "tuple[Missing, ...]", given: Addresses) -> Addresses:
    """What is given, and what the inventory of a site says where nobody else does. Raises errors.SiteInvalid."""
    from reconciler.document import yaml

    found = dict(given)
    file = folder / "inventory.yml"
    data = yaml.load(file.read_bytes(), file.name).data if file.is_file() else {}
    for one in missing:
        told: Any = data
        for key in ("hosts", one.host, "addresses", one.network):
            told = told.get(key) if isinstance(told, dict) else None
        if isinstance(told, str):
            found[one.host, one.network] = told
    return found


def somebody_is_there() -> bool:
    """Whether questions have somebody to answer them."""
    return sys.stdin.isatty()
