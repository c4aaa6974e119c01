"""Secrets that a commit cannot change by itself, because their server keeps them and this program logs in with them."""

from collections.abc import Mapping

from reconciler.model import Desired


def refused(base: Desired, head: Desired) -> Mapping[str, str]:
    """Of the secrets that differ between what was carried out and what is wanted, those that cannot be changed so: name → what to
    do instead. By the ciphertext: the same value that was encrypted anew is among them."""
    before = base.secrets
    return {
        name: what
        for name, what in head.fixed.items()
        if name in before and head.secrets.get(name) not in (None, before[name])
    }


def message(name: str, instead: str) -> str:
    """The one wording."""
    return f"{name} cannot be changed by a commit alone: {instead}"
