"""Desired state that another program made: one JSON file per host, as `reconciler desired --out` writes them.

It stands for what nodes have now where the program that made it is not at hand: a plan against it shows what the program itself changes.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from reconciler import errors
from reconciler.codec import UNREADABLE, Lost, from_json, to_json
from reconciler.model import Desired
from reconciler.reasons import Reason

MOST: Final = 256 << 20  # bytes of all files


def encode(desired: Desired) -> bytes:
    """The file of a host."""
    return (json.dumps(to_json(desired), indent=1, sort_keys=True) + "\n").encode()


def read(place: Path) -> dict[str, bytes]:
    """The files by host, unread: of a folder, or one file (as ""). Raises errors.Terminal (FileUnreadable, LimitExceeded)."""
    found: dict[str, bytes] = {}
    try:
        paths = {path.stem: path for path in sorted(place.glob("*.json"))} if place.is_dir() else {"": place}
        for host, path in paths.items():
            found[host] = path.read_bytes()
    except OSError as error:
        raise errors.Terminal(f"cannot read {place}: {error.strerror}", reason=Reason.FileUnreadable) from None
    if not found:
        raise errors.Terminal(
            f"{place} holds no desired state (write it there with `reconciler desired SITE --out {place}`)",
            reason=Reason.FileUnreadable,
        )
    if sum(map(len, found.values())) > MOST:
        raise errors.Terminal(f"{place} holds more than {MOST >> 20} MiB", reason=Reason.LimitExceeded)
    return found


def of(found: Mapping[str, bytes], host: str, revision: str) -> Desired | None:
    """The desired state of a host in what `read` gave; None when there is none. `revision` is its commit where it names none. Raises
    errors.Terminal (BaseInvalid).

    What another version says and this one does not know is no part of the comparison: it would be the head's word against nothing.
    """
    content = found.get(host, found.get(""))
    if content is None:
        return None
    try:
        made = from_json(Desired, json.loads(content), Lost())
    except UNREADABLE as error:
        raise errors.Terminal(
            f"the desired state of {host} to compare with cannot be read ({type(error).__name__}): write it with `reconciler desired`",
            reason=Reason.BaseInvalid,
        ) from None
    if made.host != host:
        return None
    return made if made.revision else replace(made, revision=revision)
