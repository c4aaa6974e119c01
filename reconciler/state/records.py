"""What the files of the state directory hold, as far as only this program's state has it (`model.Memory` is what planning needs)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reconciler.model import Desired, Worked
from reconciler.secrets.locked import Locked


@dataclass(frozen=True, slots=True)
class Anchor:
    """The last commit that was verified and accepted. `reason` is set when an operator chose it."""

    commit: str
    accepted_at: datetime
    signer: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose containers are ours: those with `key` on their label, which was drawn by lot when the state directory was made.

    `also` are labels that count as ours as well: what an earlier version of this program put there, and what an operator
    claimed. `path` is the state directory that it was made for.
    """

    key: str
    path: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A commit of a testing branch that this host tries instead of the anchor, which stays as it is."""

    branch: str
    commit: str
    accepted_at: datetime
    signer: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written below each config root: path → digests of the contents, the oldest first."""

    roots: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Carried:
    """What was last carried out here: desired state, and the ciphertexts of the secrets it uses. It holds no secret, and needs
    neither the commit nor the catalogue that it was made of to be kept up."""

    desired: Desired
    locked: tuple[Locked, ...] = ()


def carried_before(data: dict[str, Any]) -> dict[str, Any]:
    """As versions wrote it that did not keep the ciphertexts."""
    return data if "desired" in data else {"desired": data}


@dataclass(frozen=True, slots=True)
class Begun:
    """A revision that is carried out in part, what it may have changed, and what of it works."""

    revision: str
    touched: tuple[str, ...] = ()
    worked: Mapping[str, Worked] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suspension:
    """An operator's wish that nothing be changed."""

    reason: str
    since: datetime
    by: str = ""
